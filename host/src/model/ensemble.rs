//! The folder of an ensemble: one file, [`ENSEMBLE`], TOML, that names its members and says how they are joined.
//!
//! | key | |
//! |---|---|
//! | `format` | `ocellus-ensemble-1` |
//! | `method` | `mean`, `weighted` or `stack` |
//! | `classes` | class names in label order |
//! | `weights` | with `weighted`: one for each member |
//! | `[[member]]` | `path`: the file that computes its scores, from the folder on; `sha256` of that file in hex; `dataset`: the hash of what it was trained on, where its files say; `[member.data]`: as in its recipe, for how it takes its images |
//! | `[stack]` | with `stack`: `l2`, `bias` and `weights` of the [meta-learner](Stack) |
//!
//! Members are not copied. One that has changed since is refused: how they are joined was fitted to what they were.

use super::ModelFiles;
pub use crate::checkpoint::ENSEMBLE;
use crate::data::names;
use crate::eval::Evaluator;
use crate::eval::ensemble::{Ensemble, Member, Rule};
use crate::eval::stacking::Stack;
use crate::eval::view::View;
use crate::files;
use crate::graph::Origin;
use crate::recipe::{DataRecipe, Recipe};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Component, Path, PathBuf};

/// The only format that is read.
const FORMAT: &str = "ocellus-ensemble-1";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    format: String,
    method: Method,
    classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<Vec<f64>>,
    #[serde(rename = "member")]
    members: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack: Option<Stack>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    Mean,
    Weighted,
    Stack,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    sha256: String,
    dataset: String,
    data: DataRecipe,
}

/// Where a member's scores come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// As the user named the model.
    pub named: PathBuf,
    /// The file that computes its scores.
    pub file: PathBuf,
    /// SHA-256 of that file in hex.
    pub sha256: String,
    /// Hash of the dataset that it was trained on; empty where its files do not say.
    pub dataset: String,
    /// Its recipe's section.
    pub data: DataRecipe,
    /// How it takes its images.
    pub view: View,
}

impl Source {
    /// The model at `path`, and what computes its scores: of a folder the trained network before quantization if it is there, else its
    /// plan; or the file that is named.
    ///
    /// # Errors
    /// There is none, it is an ensemble itself, it cannot be read, or it does not take square colour images.
    pub fn open(path: &Path) -> Result<(Self, Evaluator)> {
        let files = ModelFiles::find(path)?;
        ensure!(files.ensemble.is_none(), "{} is an ensemble itself: name its members instead", path.display());
        let parts = [&files.checkpoint, &files.float_onnx, &files.plan, &files.int8_onnx];
        let named = parts.iter().find(|part| files.is_named(part.as_deref()));
        let file = named.or_else(|| parts.iter().find(|part| part.is_some())).and_then(|part| part.as_deref());
        let file = file.with_context(|| format!("{} holds no model", path.display()))?.to_owned();
        let (sha256, evaluator, files) = open_file(&file)?;
        let data = files.read_recipe()?.data;
        let view = View::of(&data, evaluator.signature()?.0).with_context(|| path.display().to_string())?;
        let (named, dataset) = (path.to_owned(), files.origin().dataset);
        Ok((Self { named, file, sha256, dataset, data, view }, evaluator))
    }

    /// As the user named it, for reports.
    pub fn name(&self) -> String {
        self.named.display().to_string()
    }
}

/// SHA-256 of the file of a model in hex, what computes its scores, and the files that it is one of.
fn open_file(file: &Path) -> Result<(String, Evaluator, ModelFiles)> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let files = ModelFiles::find(file)?;
    let is = |part: &Option<PathBuf>| files.is_named(part.as_deref());
    let evaluator = if is(&files.plan) {
        Evaluator::Engine(files.read_plan()?)
    } else if is(&files.int8_onnx) {
        Evaluator::Tract(files.load_tract()?)
    } else {
        files.load_float()?
    };
    Ok((hex::encode(Sha256::digest(&bytes)), evaluator, files))
}

impl Manifest {
    /// The ensemble of `members` in the folder at `folder`, which is there.
    ///
    /// # Errors
    /// A path that leads from there to a member is not UTF-8.
    pub fn new(members: &[Source], classes: &[String], rule: &Rule, folder: &Path) -> Result<Self> {
        let entry = |member: &Source| {
            let path = relative(&member.file, folder)?;
            let what = || format!("the name {} is not UTF-8: rename it", path.display());
            ensure!(path.to_str().is_some(), what());
            let Source { sha256, dataset, data, .. } = member;
            Ok(Entry { path, sha256: sha256.clone(), dataset: dataset.clone(), data: data.clone() })
        };
        let (method, weights, stack) = match rule {
            Rule::Mean => (Method::Mean, None, None),
            Rule::Weighted(weights) => (Method::Weighted, Some(weights.clone()), None),
            Rule::Stack(stack) => (Method::Stack, None, Some(stack.clone())),
        };
        let members = members.iter().map(entry).collect::<Result<_>>()?;
        Ok(Self { format: FORMAT.to_owned(), method, classes: classes.to_vec(), weights, members, stack })
    }

    /// Writes it into its folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write(&folder.join(ENSEMBLE), toml::to_string(self)?.as_bytes())
    }

    /// Where the scores of its members come from, as the file says; `folder` holds it.
    ///
    /// # Errors
    /// A member cannot be opened, as for [`Manifest::open`].
    pub fn sources(&self, folder: &Path) -> Result<Vec<Source>> {
        let of = |entry: &Entry| {
            let file = folder.join(&entry.path);
            let member = entry.open(folder)?;
            let Entry { sha256, dataset, data, .. } = entry.clone();
            Ok(Source { named: file.clone(), file, sha256, dataset, data, view: member.view })
        };
        self.members.iter().map(of).collect()
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is of another version, or damaged.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the ensemble {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = toml::from_str(text)?;
        match table.get("format").and_then(toml::Value::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                bail!("its format is {other}, this version reads {FORMAT}: make it anew with `ocellus ensemble`")
            }
            None => bail!("it was not written by `ocellus ensemble`: it has no `format`"),
        }
        let manifest: Self = table.try_into()?;
        names::check_all(manifest.classes.iter().map(String::as_str))?;
        ensure!(!manifest.members.is_empty(), "it has no members");
        manifest.rule()?;
        Ok(manifest)
    }

    fn rule(&self) -> Result<Rule> {
        match (self.method, &self.weights, &self.stack) {
            (Method::Mean, None, None) => Ok(Rule::Mean),
            (Method::Weighted, Some(weights), None) => Ok(Rule::Weighted(weights.clone())),
            (Method::Stack, None, Some(stack)) => Ok(Rule::Stack(stack.clone())),
            _ => bail!(
                "`weights` are for the method `weighted`, and `[stack]` is for `stack`: make it anew with `ocellus ensemble`"
            ),
        }
    }

    /// The ensemble that lies in `folder`.
    ///
    /// # Errors
    /// A member is gone, has changed or cannot be read, or has other classes than the others.
    pub fn open(&self, folder: &Path) -> Result<Ensemble> {
        let members = self.members.iter().map(|entry| entry.open(folder)).collect::<Result<_>>()?;
        let ensemble = Ensemble::new(members, self.rule()?)?;
        ensure!(
            names::are_same(ensemble.classes(), &self.classes),
            "its members have other classes than it: make it anew with `ocellus ensemble`"
        );
        Ok(ensemble)
    }

    /// What it goes back to; `bytes` are those of the file.
    pub fn origin(&self, bytes: &[u8]) -> Origin {
        Origin { weights: hex::encode(Sha256::digest(bytes)), dataset: self.members[0].dataset.clone() }
    }

    /// A recipe that says where its images come from.
    pub fn recipe(&self) -> Recipe {
        Recipe { name: "ensemble".to_owned(), data: self.members[0].data.clone(), ..Recipe::default() }
    }
}

impl Entry {
    fn open(&self, folder: &Path) -> Result<Member> {
        let file = folder.join(&self.path);
        ensure!(
            file.is_file(),
            "the member {} is gone: put it back, or make the ensemble anew with `ocellus ensemble`",
            file.display()
        );
        // Its hash first: what has changed may be no model any more.
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let found = hex::encode(Sha256::digest(&bytes));
        ensure!(
            found == self.sha256,
            "the member {} has changed since the ensemble was made (its SHA-256 is {found}, not {}): put that file back, or make \
             the ensemble anew with `ocellus ensemble`",
            file.display(),
            self.sha256
        );
        let (_, evaluator, _) = open_file(&file)?;
        let view = View::of(&self.data, evaluator.signature()?.0)?;
        Ok(Member { name: file.display().to_string(), evaluator, view })
    }
}

/// The way from `folder` to `file`, which are both there.
fn relative(file: &Path, folder: &Path) -> Result<PathBuf> {
    let whole = |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    let (file, folder) = (whole(file)?, whole(folder)?);
    let [to, from] = [&file, &folder].map(|path| path.components().collect::<Vec<_>>());
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    Ok(up.chain(to[common..].iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{BEST, Checkpoint};
    use crate::data::Split;
    use crate::net::{self, module::Module};
    use crate::recipe::Model;
    use ocellus_shared::Shape;

    /// A run folder with a network of random weights.
    fn run(folder: &Path, name: &str, classes: &[&str], side: u16, seed: u64) -> PathBuf {
        let mut recipe = Recipe { model: Model::Linear, ..Recipe::default() };
        recipe.data.img_size = Some(side);
        let input = Shape::new(side, side, 3);
        let weights = Module::new(net::build(&recipe, input, classes.len()).unwrap()).unwrap().initial(seed);
        let classes = classes.iter().map(|&name| name.to_owned()).collect();
        let dataset_hash = format!("hash of {side}");
        let run = folder.join(name);
        std::fs::create_dir_all(&run).unwrap();
        let checkpoint = Checkpoint { recipe, classes, input, dataset_hash, weights, resume: None };
        checkpoint.save(&run.join(BEST)).unwrap();
        run
    }

    fn made(folder: &Path, runs: &[PathBuf], rule: &Rule) -> PathBuf {
        let (sources, evaluators): (Vec<_>, Vec<_>) = runs.iter().map(|run| Source::open(run).unwrap()).unzip();
        let out = folder.join("joined");
        std::fs::create_dir_all(&out).unwrap();
        let (_, classes) = evaluators[0].signature().unwrap();
        Manifest::new(&sources, &classes, rule, &out).unwrap().write(&out).unwrap();
        out
    }

    fn split(side: usize) -> Split {
        let images = (0..5 * side * side * 3).map(|i| (i * 37 % 251) as u8).collect();
        Split { images, labels: vec![0, 1, 0, 1, 1], height: side, width: side }
    }

    #[test]
    fn an_ensemble_is_a_model_whose_scores_are_its_members_mean() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [1, 2, 3].map(|seed| run(folder.path(), &format!("r{seed}"), &["a", "b"], 8, seed));
        let out = made(folder.path(), &runs, &Rule::Mean);
        for named in [out.clone(), out.join(ENSEMBLE)] {
            let files = ModelFiles::find(&named).unwrap();
            let evaluator = files.load_float().unwrap();
            assert_eq!(evaluator.signature().unwrap(), (Shape::new(8, 8, 3), vec!["a".into(), "b".into()]));
            assert_eq!(evaluator.score_scale().unwrap(), 1.0);
            let found = evaluator.scores(&split(8), &|| ()).unwrap().log_probabilities(2, 1.0);
            let members = runs.each_ref().map(|run| {
                let alone = ModelFiles::find(run).unwrap().load_float().unwrap();
                alone.scores(&split(8), &|| ()).unwrap().log_probabilities(2, 1.0)
            });
            for (i, log) in found.iter().enumerate() {
                let mean = members.iter().map(|member| member[i].exp()).sum::<f64>() / 3.0;
                assert!((log.exp() - mean).abs() < 1e-6, "{i}: {} {mean}", log.exp());
            }
            assert_eq!(files.read_recipe().unwrap().data.img_size, Some(8));
            assert_eq!(files.origin().dataset, "hash of 8");
            let error = format!("{:#}", files.read_plan().unwrap_err());
            assert!(error.contains("is an ensemble") && error.contains("--teacher"), "{error}");
        }
    }

    #[test]
    fn it_can_be_moved_with_its_members_and_notices_what_they_become() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [1, 2].map(|seed| run(folder.path(), &format!("inside/r{seed}"), &["a", "b"], 8, seed));
        let out = made(&folder.path().join("inside"), &runs, &Rule::Weighted(vec![0.25, 0.75]));
        let load = |out: &Path| ModelFiles::find(out).unwrap().load_float();
        load(&out).unwrap();
        let moved = folder.path().join("elsewhere");
        std::fs::rename(folder.path().join("inside"), &moved).unwrap();
        load(&moved.join("joined")).unwrap();
        let message = || format!("{:#}", load(&moved.join("joined")).err().expect("it is refused"));
        run(&moved, "r2", &["a", "b"], 8, 9);
        assert!(message().contains("has changed since the ensemble was made"), "{}", message());
        std::fs::remove_file(moved.join("r2").join(BEST)).unwrap();
        assert!(message().contains("is gone"), "{}", message());
    }

    #[test]
    fn members_see_images_of_their_own_size() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [8, 12].map(|side| run(folder.path(), &format!("r{side}"), &["a", "b"], side, 1));
        let evaluator = ModelFiles::find(&made(folder.path(), &runs, &Rule::Mean)).unwrap().load_float().unwrap();
        let views = evaluator.views(&DataRecipe::default()).unwrap();
        assert_eq!(views.iter().map(|view| view.side).collect::<Vec<_>>(), [8, 12]);
        let scores = evaluator.scores_of_views(&[split(8), split(12)], &|| ()).unwrap();
        assert_eq!(scores.predictions(2).len(), 5);
        assert!(evaluator.scores(&split(8), &|| ()).unwrap_err().to_string().contains("in 2 ways"));
    }

    #[test]
    fn what_cannot_be_joined_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let runs = [run(folder.path(), "r1", &["a", "b"], 8, 1), run(folder.path(), "r2", &["b", "a"], 8, 1)];
        let out = made(folder.path(), &runs, &Rule::Mean);
        let error = format!("{:#}", ModelFiles::find(&out).unwrap().load_float().err().unwrap());
        assert!(error.contains("the same classes in another order"), "{error}");
        let error = Source::open(&out).err().unwrap().to_string();
        assert!(error.contains("is an ensemble itself"), "{error}");
        let text = std::fs::read_to_string(out.join(ENSEMBLE)).unwrap();
        let refused = |from: &str, to: &str, part: &str| {
            assert!(text.contains(from), "{from}");
            let error = format!("{:#}", Manifest::parse(&text.replace(from, to)).unwrap_err());
            assert!(error.contains(part), "{to}: {error}");
        };
        refused("ensemble-1", "ensemble-2", "ocellus-ensemble-2");
        refused("format", "form", "not written by");
        refused("\"mean\"", "\"median\"", "median");
        refused("\"mean\"", "\"weighted\"", "`weights` are for");
        refused("classes = ", "weights = [0.5, 0.5]\nclasses = ", "`weights` are for");
        refused("sha256", "sha512", "sha512");
        std::fs::copy(runs[0].join(BEST), out.join(BEST)).unwrap();
        let error = ModelFiles::find(&out).unwrap_err().to_string();
        assert!(error.contains("both an ensemble and another model"), "{error}");
    }
}
