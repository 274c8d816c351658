//! The recipe: everything that decides what a training run produces, in one TOML file.

mod augment;
mod data;
mod distill;
mod layer_spec;
mod model;
mod net;
mod quant;
mod resolve;
mod train;
mod transfer;

pub use augment::AugmentRecipe;
pub use data::{DataRecipe, Enlarge, Fit, LabelKind, Normalise};
pub use distill::DistillRecipe;
pub use layer_spec::{
    ActivationKind, Filter, IMAGE, LayerOp, LayerSpec, Names as LayerNames, Pool, names as layer_names,
};
pub use model::Model;
pub use net::{BnStatistics, Head, LayerOrder, NetRecipe, Padding};
pub use quant::{CalibrationMethod, Optimize, QuantRecipe};
pub use train::{DeviceKind, Keep, LossKind, OptimizerKind, Precision, ScheduleKind, TrainRecipe};
pub use transfer::{Freeze, Statistics, TransferRecipe};

use crate::view;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

/// Everything that decides what a training run produces. Keys that are left out have the defaults documented here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Recipe {
    /// Network architecture.
    pub model: Model,
    /// What the result is called in reports and file metadata; empty for the model's name.
    pub name: String,
    /// Where the images come from.
    pub data: DataRecipe,
    /// Widths and drop rates of the network.
    pub net: NetRecipe,
    /// How its weights are trained.
    pub train: TrainRecipe,
    /// Transfer learning: which layers are frozen, and on which backbone a head is trained.
    pub transfer: TransferRecipe,
    /// Knowledge distillation: what else the network learns from.
    pub distill: DistillRecipe,
    /// How training images are varied.
    pub augment: AugmentRecipe,
    /// How activations are calibrated for int8.
    pub quant: QuantRecipe,
}

impl Recipe {
    /// Reads and validates the recipe at `path`. A relative path in it that leads nowhere from where the command was called
    /// is looked for beside the recipe.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key, or has a value that makes no sense; the message names
    /// the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the recipe {}", path.display()))?;
        let mut recipe = Self::parse(&text).with_context(|| format!("in the recipe {}", path.display()))?;
        recipe.look_beside(path.parent().unwrap_or(Path::new("")));
        Ok(recipe)
    }

    /// Reads and validates a recipe from TOML text.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self = toml::from_str(text)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Changes keys by `section.key=value` texts, where a value is what it would be in TOML, and a text needs no quotes,
    /// not even one that looks like a number where the key is a name.
    ///
    /// # Errors
    /// A text without `=`, an unknown key, a value of another kind, or one that makes no sense; names the key.
    pub fn with(&self, changes: &[String]) -> Result<Self> {
        let mut recipe = self.clone();
        for change in changes {
            let (key, value) = change.split_once('=').with_context(|| format!("{change:?} is not KEY=VALUE"))?;
            let (key, value) = (key.trim(), value.trim());
            let as_toml = recipe.with_value(key, toml_value(value));
            recipe = as_toml.or_else(|error| recipe.with_value(key, value.into()).map_err(|_| error))?;
        }
        recipe.validate()?;
        Ok(recipe)
    }

    /// Whether a recipe has the dotted `key`, and whether that can be `value`, whatever else the recipe says.
    ///
    /// # Errors
    /// There is no such key, or it has values of another kind; names it.
    pub fn check_key(&self, key: &str, value: toml::Value) -> Result<()> {
        self.with_value(key, value).map(drop)
    }

    /// The recipe with this value of the dotted `key`, which may still make no sense beside the others.
    fn with_value(&self, key: &str, value: toml::Value) -> Result<Self> {
        let mut table = self.table()?;
        let mut path: Vec<&str> = key.split('.').collect();
        let last = path.pop().expect("a split has at least one part");
        let mut section = &mut table;
        for name in path {
            let entry = section.entry(name).or_insert_with(|| toml::Table::new().into());
            section = entry.as_table_mut().with_context(|| format!("{key}: {name} is not a section of a recipe"))?;
        }
        section.insert(last.to_owned(), value);
        table.try_into().context("in the keys that were set")
    }

    fn table(&self) -> Result<toml::Table> {
        self.check_paths()?;
        let what = || format!("a number of the recipe is above {}, the largest that TOML has", i64::MAX);
        toml::Table::try_from(self).with_context(what)
    }

    /// Refuses paths that the text of a recipe cannot hold.
    fn check_paths(&self) -> Result<()> {
        let Self { data, net, transfer, distill, .. } = self;
        let paths = [
            ("data.path", &data.path),
            ("net.pretrained", &net.pretrained),
            ("transfer.backbone", &transfer.backbone),
            ("distill.teacher", &distill.teacher),
            ("distill.soft-labels", &distill.soft_labels),
        ];
        for (key, path) in paths {
            let Some(path) = path else { continue };
            ensure!(
                path.to_str().is_some(),
                "{key}: the name {} is not UTF-8, and a recipe, in which a run keeps it, is a text: rename it, or give a link \
                 to it that has another name",
                view::name(path)
            );
        }
        Ok(())
    }

    /// The recipe as TOML with every key written out, so that later defaults do not change what a run meant.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe has only string keys and TOML values")
    }

    /// What the result is called: `name`, or what its backbone's file is called, or the model's name.
    pub fn title(&self) -> &str {
        let backbone = self.transfer.backbone.as_deref().and_then(Path::file_stem).and_then(OsStr::to_str);
        if self.name.is_empty() { backbone.unwrap_or(self.model.name()) } else { &self.name }
    }

    /// What the network does to the pixels first: the recipe's keys, or the model's own values.
    pub fn normalise(&self) -> Normalise {
        let own = self.model.normalise();
        Normalise { mean: self.data.mean.unwrap_or(own.mean), std: self.data.std.unwrap_or(own.std) }
    }

    /// Where its filters are padded: the recipe's key, or the model's own choice.
    pub fn padding(&self) -> Padding {
        self.net.padding.unwrap_or(self.model.padding())
    }

    /// What its normalisations add to the variance: the recipe's key, or the model's own value.
    pub fn bn_epsilon(&self) -> f64 {
        self.net.bn_epsilon.unwrap_or(self.model.bn_epsilon())
    }

    /// Dotted names of the keys in which two recipes train differently. A name and the calibration change no weight, nor do
    /// where a backbone of a known SHA-256 lies and whether its features are kept, and a dataset is compared by its hash, as are a teacher
    /// and its soft labels; but the normalisation of its pixels counts.
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        let table = |recipe: &Self| {
            let mut written = recipe.clone();
            (written.net.padding, written.net.bn_epsilon) = (Some(recipe.padding()), Some(recipe.bn_epsilon()));
            written.table().expect("a recipe is a TOML table")
        };
        let (ours, theirs) = (table(self), table(other));
        let mut keys = Vec::new();
        for section in ["model", "net", "train", "transfer", "distill", "augment"] {
            match (&ours[section], &theirs[section]) {
                (toml::Value::Table(a), toml::Value::Table(b)) => {
                    let all: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                    let differing = all.into_iter().filter(|key| a.get(*key) != b.get(*key));
                    keys.extend(differing.map(|key| format!("{section}.{key}")));
                }
                (a, b) if a != b => keys.push(section.to_owned()),
                _ => {}
            }
        }
        let same_file = !self.transfer.backbone_sha256.is_empty()
            && self.transfer.backbone_sha256 == other.transfer.backbone_sha256;
        keys.retain(|key| key != "transfer.cache" && !(same_file && key == "transfer.backbone"));
        let (ours, theirs) = (&self.distill, &other.distill);
        if ours.is_on() == theirs.is_on() {
            // What the soft labels are worth follows from their hash, which a run that is yet to begin does not have.
            keys.retain(|key| !WHERE_FROM.contains(&key.as_str()));
            keys.extend(differing_hash("distill.teacher", &ours.teacher_sha256, &theirs.teacher_sha256));
            keys.extend(differing_hash("distill.soft-labels", &ours.soft_labels_sha256, &theirs.soft_labels_sha256));
        }
        let (ours, theirs) = (self.normalise(), other.normalise());
        keys.extend((ours.mean != theirs.mean).then(|| "data.mean".to_owned()));
        keys.extend((ours.std != theirs.std).then(|| "data.std".to_owned()));
        keys
    }

    /// Which variation of an image `epoch`, from 0, shows.
    pub fn view(&self, epoch: u32) -> u32 {
        if self.distill.is_on() { epoch % self.distill.views } else { self.transfer.view(epoch) }
    }

    /// Seed of the variation of training images.
    pub fn augment_seed(&self) -> u64 {
        if self.distill.is_on() { self.distill.seed } else { self.train.seed }
    }

    /// Checks every value that a later stage relies on.
    ///
    /// # Errors
    /// The first key whose value is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.table()?;
        let name = self.name.as_str();
        ensure!(!name.contains(['/', '\\']) && name != "." && name != "..", "name = {name:?} cannot name a folder");
        self.data.validate()?;
        self.net.validate()?;
        ensure!(
            self.net.head == Head::Linear || self.model.has_pooled_head(),
            "net.head chooses the head of a residual network; the layers of a {} are {}",
            self.model.name(),
            self.model.layer_keys()
        );
        ensure!(
            self.net.truncate == 0 || self.model.has_pooled_head(),
            "net.truncate cuts a residual network, a MobileNet or an EfficientNet; the layers of a {} are {}",
            self.model.name(),
            self.model.layer_keys()
        );
        ensure!(
            self.net.width == 0 || self.model.is_resnet(),
            "net.width = {} is for residual networks; {} has another width by its name or its own keys",
            self.net.width,
            self.model.name()
        );
        self.train.validate()?;
        self.transfer.validate()?;
        self.distill.validate()?;
        let (views, kept) = (self.distill.views, self.transfer.cache_views);
        ensure!(
            !self.distill.is_on() || kept == 0 || kept == views,
            "transfer.cache-views = {kept} and distill.views = {views} are views of the same images: give the same number for both"
        );
        let mixes = self.augment.mixes();
        ensure!(
            !mixes || (self.transfer.cache_views == 0 && self.transfer.backbone.is_none()),
            "augment.mixup, augment.cutmix and augment.ricap mix other images in each step, so that their features cannot be kept: \
             set both to 0, or leave out transfer.cache-views and transfer.backbone"
        );
        self.augment.validate()?;
        self.quant.validate()
    }
}

/// The keys of `[distill]` that say where something is, and hashes of what is there.
const WHERE_FROM: [&str; 4] =
    ["distill.teacher", "distill.teacher-sha256", "distill.soft-labels", "distill.soft-labels-sha256"];

/// `key`, where two hashes are known and differ.
fn differing_hash(key: &str, one: &str, other: &str) -> Option<String> {
    (!one.is_empty() && !other.is_empty() && one != other).then(|| key.to_owned())
}

/// `text` as a TOML value; a text of its own where it is none.
fn toml_value(text: &str) -> toml::Value {
    let line = toml::from_str::<toml::Table>(&format!("x = {text}"));
    let toml = line.ok().and_then(|mut table| table.remove("x"));
    // People also write .5 and 5., which TOML does not know.
    let number = || text.parse().ok().filter(|x: &f64| x.is_finite()).map(toml::Value::Float);
    toml.or_else(number).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::plan::Crop;

    #[test]
    fn every_key_survives_toml() {
        let mut recipe = Recipe { model: Model::Linear, name: "a".into(), ..Recipe::default() };
        recipe.data.path = Some("some/folder".into());
        recipe.data.img_size = Some(48);
        recipe.data.mean = Some(Normalise::IMAGENET.mean);
        recipe.train.seed = 7;
        recipe.train.lr = 0.1 + 0.2;
        assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
        assert_eq!(Recipe::parse("").unwrap(), Recipe::default());
    }

    #[test]
    fn keys_are_set_one_by_one() {
        let changes = ["train.lr=0.25", "train.opt = adam", "data.img-size=96", "net.blocks=[[8], [16, 16]]", "name=x"];
        let changes =
            [&changes[..], &["net.block-dropout=[0, 0.5]"]].concat().iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let recipe = Recipe::default().with(&changes).unwrap();
        assert_eq!((recipe.train.lr, recipe.train.opt), (0.25, OptimizerKind::Adam));
        assert_eq!((recipe.data.img_size, recipe.name.as_str()), (Some(96), "x"));
        assert_eq!(recipe.net.blocks, [vec![8], vec![16, 16]]);
        let half = Recipe::default().with(&["augment.crop=.5".into(), "augment.rotate=5.".into()]).unwrap().augment;
        assert_eq!((half.crop, half.rotate), (0.5, 5.0), "as people write numbers");
        let named = Recipe::default().with(&["data.path=2024".into(), "name = 2024-05-01".into()]).unwrap();
        assert_eq!((named.data.path, named.name.as_str()), (Some("2024".into()), "2024-05-01"));
        for (bad, word) in [
            ("train.epochs=1.5", "1.5"),
            ("train.lr", "KEY=VALUE"),
            ("train.speed=1", "speed"),
            ("train.lr=fast", "lr"),
            ("model.x=1", "model"),
        ] {
            let error = Recipe::default().with(&[bad.to_owned()]).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{bad}: {error:#}");
        }
    }

    #[test]
    fn results_are_called_what_they_are_of() {
        let mut recipe = Recipe { model: Model::Linear, ..Recipe::default() };
        assert_eq!(recipe.title(), "linear");
        recipe.transfer.backbone = Some("nets/big.v2.onnx".into());
        assert_eq!(recipe.title(), "big.v2");
        recipe.name = "mine".into();
        assert_eq!(recipe.title(), "mine");
    }

    #[test]
    fn mistakes_name_the_key() {
        let cases = [
            ("name = \"../x\"", "name"),
            ("[train]\nlearning-rate = 1", "learning-rate"),
            ("[train]\nopt = \"lion\"", "lion"),
            ("[train]\nlr = nan", "train.lr"),
            ("[train]\nlr = -1.0", "train.lr"),
            ("[train]\nepochs = 0", "train.epochs"),
            ("[train]\nbatch-size = 0", "train.batch-size"),
            ("[train]\nshards = 0", "train.shards"),
            ("[train]\nwarmup-epochs = 21", "train.warmup-epochs"),
            ("[train]\nema = 1.0", "train.ema"),
            ("[train]\nsmoothing = -0.1", "train.smoothing"),
            ("[train]\nsched = \"linear\"", "sched"),
            ("[train]\ngamma = 1.5", "train.gamma"),
            ("[train]\nstep-epochs = 0", "train.step-epochs"),
            ("[train]\nstep-gamma = 0.0", "train.step-gamma"),
            ("[train]\nplateau-factor = 1.0", "train.plateau-factor"),
            ("[train]\nloss = \"hinge\"", "loss"),
            ("[train]\nfocal-gamma = -1.0", "train.focal-gamma"),
            ("[transfer]\nfreeze = -1", "freeze"),
            ("[transfer]\nunfreeze-at = 3", "transfer.freeze"),
            ("[transfer]\nfreeze = 1\nunfreeze-at = 1", "transfer.unfreeze-at"),
            ("[transfer]\nlayer-decay = 0.0", "transfer.layer-decay"),
            ("[transfer]\nunfreeze-warmup-epochs = nan", "transfer.unfreeze-warmup-epochs"),
            ("[transfer]\ncache-views = 2\n[augment]\nmixup = 0.2", "transfer.cache-views"),
            ("[transfer]\ncache-views = 2\n[distill]\nteacher = \"t\"\nviews = 3", "distill.views = 3"),
            ("[distill]\ntemperature = 0.0", "distill.temperature"),
            ("[distill]\nlabel-weight = -1.0", "distill.label-weight"),
            ("[distill]\nteacher-weight = nan", "distill.teacher-weight"),
            ("[distill]\nlabel-weight = 0\nteacher-weight = 0", "nothing is left to learn from"),
            ("[distill]\nviews = 0", "distill.views"),
            ("[distill]\nalpha = 0.5", "alpha"),
            ("[net]\nblock-dropout = [0.5]", "net.block-dropout"),
            ("[net]\nblocks = [[8], [], [8]]", "net.blocks"),
            ("[net]\nblocks = [[8], [0], [8]]", "net.blocks"),
            ("[net]\ndense-dropout = 1.0", "drop rate"),
            ("[net]\nhead-dropout = 1.0", "drop rate"),
            ("[net]\nhead-widths = [128, 0]", "net.head-widths"),
            ("[net]\nhead-l2 = -1.0", "net.head-l2"),
            ("[net]\nhead = \"mlp\"", "net.head"),
            ("[net]\ntruncate = 1", "net.truncate"),
            ("[net]\ntruncate = -1", "truncate"),
            ("[augment]\nflip = 2", "augment.flip"),
            ("[data]\nimg-size = 0", "data.img-size"),
            ("[data]\ncrop = \"squash\"", "stretch"),
            ("[train]\nrestarts = [20]", "train.restarts"),
            ("[train]\nrestarts = [5, 5]", "train.restarts"),
            ("[train]\nrestarts = [5]\nsched = \"step\"", "cosine"),
            ("[train]\nkeep = \"last\"\npatience = 3", "train.patience"),
            ("[data]\nmean = [0.5, 1.5, 0.5]", "data.mean"),
            ("[data]\nstd = [0.5, 0.0, 0.5]", "data.std"),
            ("[data]\nval-fraction = 1.0", "data.val-fraction"),
            ("[quant]\npercentile = 50", "quant.percentile"),
            ("[quant]\nimages = 0", "quant.images"),
        ];
        for (text, key) in cases {
            let message = format!("{:#}", Recipe::parse(text).unwrap_err());
            assert!(message.contains(key), "{text}: {message}");
        }
    }

    #[test]
    fn a_crop_is_read_back() {
        let recipe = Recipe::default().with(&["data.crop=stretch".into()]).unwrap();
        assert_eq!(recipe.data.fit(), Fit { crop: Crop::Stretch, enlarge: Enlarge::Area });
        assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
        assert_eq!(Recipe::parse("").unwrap().data.crop, Crop::Centre);
    }

    #[test]
    fn a_normalisation_is_written_out_only_where_there_is_one() {
        assert_eq!(Recipe::default().resolved(), Recipe::default());
        let recipe = Recipe::default().with(&["data.std=[0.5, 0.5, 0.5]".into()]).unwrap().resolved();
        assert_eq!((recipe.data.mean, recipe.data.std), (Some([0.0; 3]), Some([0.5; 3])));
        assert_eq!(Recipe::parse(&recipe.to_toml()).unwrap(), recipe);
    }

    #[test]
    fn teachers_are_compared_by_their_hashes() {
        let of = |teacher: &str, sha256: &str, labels: &str| {
            let mut recipe = Recipe::default();
            recipe.distill.teacher = Some(teacher.into());
            (recipe.distill.teacher_sha256, recipe.distill.soft_labels_sha256) = (sha256.into(), labels.into());
            recipe
        };
        assert!(of("a", "1", "").differing_keys(&of("b", "1", "2")).is_empty());
        assert_eq!(of("a", "1", "2").differing_keys(&of("a", "3", "2")), ["distill.teacher"]);
        assert_eq!(of("a", "1", "2").differing_keys(&of("a", "1", "3")), ["distill.soft-labels"]);
        assert!(of("a", "1", "2").differing_keys(&Recipe::default()).contains(&"distill.teacher".to_owned()));
        let mut warmer = of("a", "1", "2");
        warmer.distill.temperature = 8.0;
        assert_eq!(warmer.differing_keys(&of("a", "1", "2")), ["distill.temperature"]);
    }

    #[test]
    fn a_student_sees_the_views_that_its_teacher_saw() {
        let mut recipe = Recipe::default();
        (recipe.distill.views, recipe.distill.seed, recipe.train.seed) = (3, 5, 7);
        assert_eq!(([0, 3, 7].map(|epoch| recipe.view(epoch)), recipe.augment_seed()), ([0, 3, 7], 7));
        recipe.distill.teacher = Some("t".into());
        assert_eq!(([0, 3, 7].map(|epoch| recipe.view(epoch)), recipe.augment_seed()), ([0, 0, 1], 5));
    }

    #[test]
    fn only_what_changes_the_weights_differs() {
        let mut other = Recipe { name: "other".into(), ..Recipe::default() };
        other.data.path = Some("elsewhere".into());
        other.quant.images = 1;
        assert!(other.differing_keys(&Recipe::default()).is_empty());
        other.transfer.cache = false;
        assert!(other.differing_keys(&Recipe::default()).is_empty());
        let mut moved = other.clone();
        moved.transfer.backbone = Some("there.onnx".into());
        assert_eq!(moved.differing_keys(&other), ["transfer.backbone"]);
        (moved.transfer.backbone_sha256, other.transfer.backbone_sha256) = ("ab".into(), "ab".into());
        assert!(moved.differing_keys(&other).is_empty());
        other.transfer.backbone_sha256.clear();
        other.model = Model::Linear;
        other.net.dense = 0;
        other.train.ema = 0.0;
        other.data.std = Some([0.5; 3]);
        assert_eq!(other.differing_keys(&Recipe::default()), ["model", "net.dense", "train.ema", "data.std"]);
    }
}
