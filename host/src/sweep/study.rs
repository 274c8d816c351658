//! The study file: what is searched, by what, for what, and for how long.

use super::space::Space;
use crate::board::Board;
use crate::recipe::Recipe;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A study as its TOML file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Study {
    /// What it is called; by default as its file.
    #[serde(default)]
    pub name: String,
    /// File of the base recipe, which all trials share; by default the default recipe. A relative path that leads nowhere from where the
    /// command was called is looked for beside the study.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<PathBuf>,
    /// How the next point is chosen.
    #[serde(default)]
    pub sampler: SamplerKind,
    /// What makes a trial good, the most important first.
    #[serde(default = "accuracy_alone")]
    pub objectives: Vec<Objective>,
    /// Trials that are trained, without points that are rejected; nothing for all points of the space, or as many as `hours` allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// Hours after which a worker begins no other trial; nothing for no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
    /// Seed of the search. That of the trainings is `train.seed` of the recipe.
    #[serde(default)]
    pub seed: u64,
    /// Keys of the base recipe that are set for all trials.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Keys that are searched: see [`Space::parse`].
    #[serde(default)]
    pub search: Table,
    /// What a trial's network may need on a board.
    #[serde(default)]
    pub budget: BudgetLimits,
    /// Whether bad trials end early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halving: Option<Halving>,
}

/// How the next point is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// Every point of the space, in order.
    Grid,
    /// At random.
    Random,
    /// Tree-structured Parzen estimator (Bergstra et al., 2011), with several objectives by Pareto's order.
    #[default]
    Tpe,
    /// Crossover and mutation of the best trials so far (NSGA-II, Deb et al., 2002).
    Nsga2,
}

/// What makes a trial good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Validation accuracy, as high as possible.
    Accuracy,
    /// Bytes of the plan, as few as possible.
    Flash,
    /// Bytes of feature maps and scratch memory, as few as possible.
    Ram,
    /// Multiply-accumulates of an inference, as few as possible.
    Macs,
    /// Predicted instructions of an inference, as few as possible.
    Instructions,
}

impl Objective {
    /// Its name in study files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Flash => "flash",
            Self::Ram => "ram",
            Self::Macs => "macs",
            Self::Instructions => "instructions",
        }
    }
}

fn accuracy_alone() -> Vec<Objective> {
    vec![Objective::Accuracy]
}

/// What a network may need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BudgetLimits {
    /// Board that has room for it, and whose core instructions are predicted for; by default no board, and a Cortex-M7.
    pub board: Option<String>,
    /// Most bytes of the plan, which lies in flash.
    pub flash_bytes: Option<u64>,
    /// Most bytes of feature maps and scratch memory, which lie in RAM.
    pub ram_bytes: Option<u64>,
    /// Most multiply-accumulates of an inference.
    pub macs: Option<u64>,
    /// Most predicted instructions of an inference.
    pub instructions: Option<u64>,
    /// Most predicted milliseconds of an inference, at the clock of `board`; the slower end of the prediction counts.
    pub time_ms: Option<f64>,
}

impl BudgetLimits {
    /// Whether it limits anything.
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    fn check(&self) -> Result<()> {
        if let Some(name) = &self.board {
            let board = Board::load(name).context("budget.board")?;
            ensure!(
                self.time_ms.is_none() || board.clock_hz.is_some(),
                "budget.time-ms needs a clock, which {name} has not: limit budget.instructions instead"
            );
        }
        ensure!(
            self.time_ms.is_none() || self.board.is_some(),
            "budget.time-ms is of a board's clock: name the board with budget.board"
        );
        let limits = [
            ("flash-bytes", self.flash_bytes.map(|x| x as f64)),
            ("ram-bytes", self.ram_bytes.map(|x| x as f64)),
            ("macs", self.macs.map(|x| x as f64)),
            ("instructions", self.instructions.map(|x| x as f64)),
            ("time-ms", self.time_ms),
        ];
        for (key, limit) in limits {
            let is_positive = limit.is_none_or(|limit| limit.is_finite() && limit > 0.0);
            ensure!(is_positive, "budget.{key} is not above 0: nothing would fit; leave it out for no limit");
        }
        Ok(())
    }
}

/// Early ends of trials that are worse than others were after as many epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Halving {
    /// Which rule.
    pub method: HalvingMethod,
    /// One in so many trials goes on at each rung.
    #[serde(default = "three")]
    pub factor: u32,
    /// Epochs before the first rung.
    #[serde(default = "one")]
    pub min_epochs: u32,
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

/// Rules of early ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HalvingMethod {
    /// Asynchronous successive halving (Li et al., 2020, <https://arxiv.org/abs/1810.05934>).
    SuccessiveHalving,
    /// Several of it side by side, whose first rungs lie later and later (Li et al., 2018, <https://arxiv.org/abs/1603.06560>).
    Hyperband,
}

/// A study that makes sense, with its base recipe and its space.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The study.
    pub study: Study,
    /// The base recipe, with the keys of `[set]`.
    pub base: Recipe,
    /// What is searched.
    pub space: Space,
}

impl Plan {
    /// Reads the study at `path` and its base recipe.
    ///
    /// # Errors
    /// A file cannot be read or is no TOML; an unknown key; a value or a combination that makes no sense. The message names file and key.
    pub fn load(path: &Path) -> Result<Self> {
        let what = || format!("in the study {}", path.display());
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the study {}", path.display()))?;
        let mut study: Study = toml::from_str(&text).with_context(what)?;
        if study.name.is_empty() {
            study.name = path.file_stem().and_then(OsStr::to_str).unwrap_or("study").to_owned();
        }
        if let Some(recipe) = &mut study.recipe {
            let beside = path.parent().unwrap_or(Path::new("")).join(&*recipe);
            if recipe.is_relative() && !recipe.exists() && beside.exists() {
                *recipe = beside;
            }
        }
        let base = study.recipe.as_deref().map_or_else(|| Ok(Recipe::default()), Recipe::load).with_context(what)?;
        Self::new(study, base).with_context(what)
    }

    /// A study and the recipe that it names.
    ///
    /// # Errors
    /// As [`Plan::load`].
    pub fn new(study: Study, recipe: Recipe) -> Result<Self> {
        let mut fixed = Vec::new();
        flatten(&study.set, "", &mut fixed);
        let base = recipe.with(&fixed).context("[set]")?;
        let space = Space::parse(&study.search, &base)?;
        let plan = Self { study, base, space };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        let Self { study, base, space } = self;
        let name = study.name.as_str();
        ensure!(!name.contains(['/', '\\']) && name != "." && name != "..", "name = {name:?} cannot name a folder");
        // What the journal holds of it is TOML.
        ensure!(
            study.seed <= i64::MAX as u64,
            "seed = {} is above {}, the largest number of TOML",
            study.seed,
            i64::MAX
        );
        study.budget.check()?;
        self.check_length()?;
        self.check_objectives()?;
        if let Some(halving) = &study.halving {
            ensure!(halving.factor >= 2, "halving.factor = {} ends no trial: give at least 2", halving.factor);
            let (first, all) = (halving.min_epochs, base.train.epochs);
            ensure!(
                first >= 1 && first < all,
                "halving.min-epochs = {first} is not between 1 and train.epochs = {all}: trials could not end before their last epoch"
            );
            ensure!(
                space.keys().iter().all(|key| key.name != "train.epochs"),
                "search.train.epochs and [halving] exclude each other: trials are compared after as many epochs"
            );
        }
        let is_foreign =
            base.transfer.backbone.is_some() || space.keys().iter().any(|key| key.name == "transfer.backbone");
        ensure!(
            !(is_foreign && (study.budget.is_limited() || study.objectives.len() > 1)),
            "a head on transfer.backbone has no plan for a board: leave out [budget] and the objectives other than accuracy"
        );
        Ok(())
    }

    fn check_length(&self) -> Result<()> {
        let Study { sampler, trials, hours, .. } = &self.study;
        ensure!(trials.is_none_or(|trials| trials > 0), "trials = 0 searches nothing: give at least 1");
        ensure!(
            hours.is_none_or(|hours| hours.is_finite() && hours > 0.0),
            "hours is not above 0: give at least a part of one"
        );
        if *sampler == SamplerKind::Grid {
            let real = self.space.keys().iter().find(|key| key.range.count().is_none());
            if let Some(key) = real {
                bail!(
                    "search.{}: a grid needs values that can be counted: give a count, {{ from, to, count = 5 }}, a list of choices, or \
                     another sampler",
                    key.name
                );
            }
            ensure!(self.space.size().is_some(), "the grid has more points than can be counted: give fewer values");
        } else {
            ensure!(
                trials.is_some() || hours.is_some(),
                "the study has no end: give trials = N, or hours = N (each worker's own), or both"
            );
        }
        Ok(())
    }

    fn check_objectives(&self) -> Result<()> {
        let objectives = &self.study.objectives;
        ensure!(!objectives.is_empty(), "objectives = [] makes all trials alike: leave it out for accuracy alone");
        for (i, objective) in objectives.iter().enumerate() {
            let name = objective.name();
            ensure!(!objectives[..i].contains(objective), "objectives: {name} is given twice: leave one out");
        }
        ensure!(
            objectives.contains(&Objective::Accuracy),
            "objectives has no accuracy: without it there is nothing to train for; `ocellus model show` says what networks cost"
        );
        Ok(())
    }

    /// The recipe of a trial.
    ///
    /// # Errors
    /// The values make no sense together; names the key.
    pub fn recipe(&self, texts: &[String]) -> Result<Recipe> {
        self.base.with(texts).map(Recipe::resolved)
    }
}

/// `KEY=VALUE` of every value below `table`, whose dotted name is `prefix`.
fn flatten(table: &Table, prefix: &str, texts: &mut Vec<String>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(section) => flatten(section, &name, texts),
            value => texts.push(format!("{name}={value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan> {
        Plan::new(toml::from_str(text)?, Recipe::default())
    }

    const RATE: &str = "[search]\n'train.lr' = { from = 0.01, to = 0.1, log = true }\n";

    #[test]
    fn a_study_survives_its_own_toml() {
        let text = format!(
            "name = 'a'\ntrials = 4\nobjectives = ['accuracy', 'flash']\nsampler = 'nsga2'\nseed = 7\n[set.train]\nepochs = 9\n{RATE}\
             [budget]\nboard = 'weact-h743'\nflash-bytes = 100_000\n[halving]\nmethod = 'hyperband'\n"
        );
        let made = plan(&text).unwrap();
        assert_eq!((made.base.train.epochs, made.study.halving.unwrap().factor), (9, 3));
        let again: Study = toml::from_str(&toml::to_string(&made.study).unwrap()).unwrap();
        assert_eq!(again, made.study);
    }

    #[test]
    fn files_are_looked_for_beside_the_study() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rates.toml");
        std::fs::write(folder.path().join("base.toml"), "[train]\nepochs = 7\n").unwrap();
        std::fs::write(&file, format!("recipe = 'base.toml'\ntrials = 3\n{RATE}")).unwrap();
        let plan = Plan::load(&file).unwrap();
        assert_eq!((plan.study.name.as_str(), plan.base.train.epochs), ("rates", 7));
        assert_eq!(plan.recipe(&["train.lr=0.05".to_owned()]).unwrap().train.lr, 0.05);
        let error = format!("{:#}", Plan::load(&folder.path().join("gone.toml")).unwrap_err());
        assert!(error.contains("gone.toml"), "{error}");
    }

    #[test]
    fn mistakes_are_told_with_the_key_and_the_remedy() {
        for (text, parts) in [
            ("", &["[search]", "at least one"][..]),
            (RATE, &["no end", "trials = N"]),
            ("trails = 3", &["unknown field `trails`", "trials"]),
            ("trials = 0", &["trials = 0", "at least 1"]),
            ("trials = 'many'", &["trials", "many"]),
            ("hours = 0", &["hours", "above 0"]),
            ("sampler = 'magic'", &["magic", "`tpe`"]),
            ("sampler = 'grid'", &["search.train.lr", "count = 5"]),
            ("trials = 3\nobjectives = []", &["objectives = []", "leave it out"]),
            ("trials = 3\nobjectives = ['flash']", &["no accuracy"]),
            ("trials = 3\nobjectives = ['accuracy', 'accuracy']", &["accuracy is given twice"]),
            ("trials = 3\nobjectives = ['speed']", &["speed", "`instructions`"]),
            ("trials = 3\nseed = -1", &["seed", "-1"]),
            ("trials = 3\nname = 'a/b'", &["name = \"a/b\""]),
            ("trials = 3\nset.train.speed = 1", &["[set]", "unknown field `speed`"]),
            ("trials = 3\nset.train.lr = -1.0", &["[set]", "train.lr = -1"]),
            ("trials = 3\nbudget.board = 'toaster'", &["budget.board", "no board called \"toaster\""]),
            ("trials = 3\nbudget.flash = 100", &["unknown field `flash`", "flash-bytes"]),
            ("trials = 3\nbudget.ram-bytes = 0", &["budget.ram-bytes", "leave it out"]),
            ("trials = 3\nbudget.time-ms = 9", &["budget.time-ms", "budget.board"]),
            ("trials = 3\nhalving.method = 'magic'", &["magic", "`hyperband`"]),
            ("trials = 3\nhalving = { method = 'hyperband', factor = 1 }", &["halving.factor", "at least 2"]),
            (
                "trials = 3\nhalving = { method = 'hyperband', min-epochs = 20 }",
                &["halving.min-epochs", "train.epochs = 20"],
            ),
            ("trials = 3\nset.transfer.backbone = 'b.onnx'\nbudget.macs = 9", &["transfer.backbone", "[budget]"]),
        ] {
            let text = if text.is_empty() || text == RATE { text.to_owned() } else { format!("{text}\n{RATE}") };
            let error = format!("{:#}", plan(&text).unwrap_err());
            for part in parts {
                assert!(error.contains(part), "{text}: {part:?} is not in: {error}");
            }
        }
        let epochs = "trials = 3\nhalving.method = 'hyperband'\n[search]\n'train.epochs' = [5, 9]";
        assert!(format!("{:#}", plan(epochs).unwrap_err()).contains("exclude each other"));
    }
}
