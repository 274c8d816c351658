//! The files of one model, found from any of them or from the folder that holds them.

pub mod ensemble;
pub mod teacher;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ocellus_shared::plan::Plan;

use crate::checkpoint::{self, Checkpoint};
use crate::data::names;
use crate::deploy;
pub use crate::deploy::{FLOAT_ONNX, INT8_ONNX, PLAN, RECIPE};
use crate::eval::Evaluator;
use crate::eval::backbone::OnnxBackbone;
use crate::eval::tract::{FloatModel, TractModel};
use crate::features::Extractor;
use crate::fold::fold;
use crate::graph::{self, Origin};
use crate::net;
use crate::onnx;
use crate::recipe::Recipe;
use crate::view;
use ensemble::{ENSEMBLE, Manifest};

/// Where a model's files are; those that do not exist are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFiles {
    /// What the user named.
    pub named: PathBuf,
    /// See [`PLAN`].
    pub plan: Option<PathBuf>,
    /// See [`INT8_ONNX`].
    pub int8_onnx: Option<PathBuf>,
    /// See [`FLOAT_ONNX`].
    pub float_onnx: Option<PathBuf>,
    /// The trained weights.
    pub checkpoint: Option<PathBuf>,
    /// See [`RECIPE`].
    pub recipe: Option<PathBuf>,
    /// The file of an ensemble, which has none of the others.
    pub ensemble: Option<PathBuf>,
}

impl ModelFiles {
    /// The model at `path`: a model folder, a run folder, the folder of an ensemble, or one file (`.plan`, `.onnx`, `.safetensors`,
    /// `ensemble.toml`) and the files of the same model beside it.
    ///
    /// # Errors
    /// Nothing is there, or it is not part of a model.
    pub fn find(path: &Path) -> Result<Self> {
        ensure!(path.exists(), "{} does not exist: give a model folder, a run folder or a plan", path.display());
        if path.is_dir() {
            let files = Self { named: path.to_owned(), ..Self::in_folder(path) };
            let parts = [&files.plan, &files.int8_onnx, &files.checkpoint];
            let nothing = parts.iter().all(|part| part.is_none());
            ensure!(
                nothing || files.ensemble.is_none(),
                "{} holds both an ensemble and another model: name the file of the one that you mean, or move one of them",
                path.display()
            );
            ensure!(
                !nothing || files.ensemble.is_some(),
                "{} holds no model: expected {PLAN}, which `ocellus export` writes, or {}, which `ocellus train` does",
                path.display(),
                checkpoint::BEST
            );
            return Ok(files);
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let files = Self { named: path.to_owned(), ..Self::in_folder(folder) };
        let this = Some(path.to_owned());
        if path.file_name().is_some_and(|name| name == ENSEMBLE) {
            return Ok(Self { named: files.named, ensemble: this, ..Self::default() });
        }
        let files = Self { ensemble: None, ..files };
        match path.extension().and_then(|e| e.to_str()) {
            Some("plan") => Ok(Self { plan: this, ..files }),
            // Whoever names it means it, and not the weights that it was written from.
            Some("onnx") if is_float(path) => Ok(Self { float_onnx: this, checkpoint: None, ..files }),
            Some("onnx") => Ok(Self { int8_onnx: this, ..files }),
            Some("safetensors") => Ok(Self { checkpoint: this, ..files }),
            _ => bail!("{} is no model: its name ends in neither .plan, .onnx nor .safetensors", path.display()),
        }
    }

    fn in_folder(folder: &Path) -> Self {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        Self {
            named: PathBuf::new(),
            plan: file(PLAN),
            int8_onnx: file(INT8_ONNX),
            float_onnx: file(FLOAT_ONNX),
            checkpoint: file(checkpoint::BEST),
            recipe: file(RECIPE),
            ensemble: file(ENSEMBLE),
        }
    }

    /// Whether the user named the file `part` of the model itself.
    pub fn is_named(&self, part: Option<&Path>) -> bool {
        part.is_some_and(|part| part == self.named)
    }

    /// Where the model comes from, as far as its files say.
    pub fn origin(&self) -> Origin {
        if let Some(path) = &self.ensemble {
            let read = || Some((Manifest::load(path).ok()?, std::fs::read(path).ok()?));
            return read().map(|(manifest, bytes)| manifest.origin(&bytes)).unwrap_or_default();
        }
        if let Some(checkpoint) = self.checkpoint.as_deref().and_then(|path| Checkpoint::load(path).ok()) {
            return Origin { weights: checkpoint.weights_hash(), dataset: checkpoint.dataset_hash };
        }
        let files = [&self.int8_onnx, &self.float_onnx].into_iter().flatten();
        files
            .filter_map(|path| onnx::origin(&std::fs::read(path).ok()?))
            .map(|(origin, _)| origin)
            .next()
            .unwrap_or_default()
    }

    /// Warns where the plan with this digest was exported from other weights than those beside it.
    fn warn_if_stale(&self, path: &Path, digest: &str) {
        let exported = self.int8_onnx.as_deref().and_then(|path| onnx::origin(&std::fs::read(path).ok()?));
        let exported = exported.filter(|(origin, of)| !origin.weights.is_empty() && of == digest);
        let Some(((exported, _), checkpoint)) = exported.zip(self.checkpoint.as_deref()) else { return };
        if Checkpoint::load(checkpoint).is_ok_and(|checkpoint| checkpoint.weights_hash() != exported.weights) {
            view::warn(&format!(
                "{} was exported from other weights than {} has now: `ocellus export` writes it anew",
                path.display(),
                checkpoint.display()
            ));
        }
    }

    /// Makes sure that the files of an export that lie beside each other are of the same one: an export that was killed while it
    /// replaced them leaves some of another.
    ///
    /// # Errors
    /// They are not. Where the user named one of them, that is only a warning: it is what was meant.
    fn check_one_export(&self) -> Result<()> {
        let read = |path: &Option<PathBuf>| std::fs::read(path.as_deref()?).ok();
        let origin = |path: &Option<PathBuf>| read(path).and_then(|bytes| onnx::origin(&bytes)).unwrap_or_default();
        let digest = |bytes: Vec<u8>| Plan::parse(&bytes).ok().map(|plan| hex::encode(plan.digest()));
        let ((int8, of_int8), (float, _)) = (origin(&self.int8_onnx), origin(&self.float_onnx));
        let of_plan = read(&self.plan).and_then(digest).unwrap_or_default();
        let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
        let name = |path: &Option<PathBuf>| path.as_deref().map(view::name).unwrap_or_default();
        let other = match (differ(&of_plan, &of_int8), differ(&float.weights, &int8.weights)) {
            (true, _) => name(&self.plan),
            (false, true) => name(&self.float_onnx),
            (false, false) => return Ok(()),
        };
        let what = format!(
            "{other} and {} are of different exports, of which one was perhaps interrupted: write them anew with `ocellus export`",
            name(&self.int8_onnx)
        );
        let is_named =
            [&self.plan, &self.int8_onnx, &self.float_onnx].iter().any(|part| self.is_named(part.as_deref()));
        ensure!(is_named, "{what}");
        view::warn(&what);
        Ok(())
    }

    /// The bytes of the plan, which parses. Warns where it is not of the weights beside it.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or it is of another version, damaged, or of another export than the ONNX file beside it.
    pub fn read_plan(&self) -> Result<Vec<u8>> {
        let (path, bytes) = self.read(self.plan.as_deref(), PLAN)?;
        let plan = Plan::parse(&bytes)
            .with_context(|| format!("{} cannot be used; write it anew with `ocellus export`", path.display()))?;
        names::check_all(plan.labels().filter(|label| !label.is_empty())).with_context(|| view::name(path))?;
        self.check_one_export()?;
        self.warn_if_stale(path, &hex::encode(plan.digest()));
        Ok(bytes)
    }

    /// The int8 ONNX file, ready to run in tract.
    ///
    /// # Errors
    /// As for [`ModelFiles::read_plan`].
    pub fn load_tract(&self) -> Result<TractModel> {
        let (path, bytes) = self.read(self.int8_onnx.as_deref(), INT8_ONNX)?;
        self.check_one_export()?;
        TractModel::load(&bytes).with_context(|| path.display().to_string())
    }

    /// The network before quantization: from the checkpoint where there is one, else from the float ONNX file; or the ensemble.
    ///
    /// # Errors
    /// There is none of them, or it cannot be read.
    pub fn load_float(&self) -> Result<Evaluator> {
        if let Some(path) = &self.ensemble {
            let folder = path.parent().unwrap_or(Path::new(""));
            let opened = Manifest::load(path)?.open(folder);
            let ensemble = opened.with_context(|| format!("in the ensemble {}", path.display()))?;
            return Ok(Evaluator::Ensemble(Box::new(ensemble)));
        }
        if let Some(path) = &self.checkpoint {
            let checkpoint = Checkpoint::load(path)?;
            if checkpoint.recipe.transfer.backbone.is_some() {
                return headed(&checkpoint);
            }
            return Ok(Evaluator::Float(deploy::folded(&checkpoint)?));
        }
        ensure!(
            self.float_onnx.is_some(),
            "{} holds neither trained weights ({}) nor {FLOAT_ONNX}, of which float needs one",
            self.named.display(),
            checkpoint::BEST
        );
        let (path, bytes) = self.read(self.float_onnx.as_deref(), FLOAT_ONNX)?;
        self.check_one_export()?;
        FloatModel::load(&bytes).map(Evaluator::FloatOnnx).with_context(|| path.display().to_string())
    }

    /// The recipe: the one within the checkpoint that was named, the file beside, the one within the checkpoint that is
    /// there, or the default one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_recipe(&self) -> Result<Recipe> {
        let within = |path: &PathBuf| Ok(Checkpoint::load(path)?.recipe);
        if let Some(path) = &self.ensemble {
            return Ok(Manifest::load(path)?.recipe());
        }
        match (&self.recipe, &self.checkpoint) {
            (_, Some(checkpoint)) if self.is_named(Some(checkpoint)) => within(checkpoint),
            (Some(recipe), _) => Recipe::load(recipe),
            (None, Some(checkpoint)) => within(checkpoint),
            (None, None) => Ok(self.plain_recipe()),
        }
    }

    /// What the other files say where there is no recipe: how pictures become the input.
    fn plain_recipe(&self) -> Recipe {
        let mut recipe = Recipe::default();
        let plan = self.plan.as_deref().and_then(|path| std::fs::read(path).ok());
        let of_plan = plan.and_then(|bytes| Plan::parse(&bytes).ok().map(|plan| plan.crop()));
        let of_onnx = || {
            let files = [&self.int8_onnx, &self.float_onnx].into_iter().flatten();
            files.filter_map(|path| onnx::crop(&std::fs::read(path).ok()?)).next()
        };
        recipe.data.crop = of_plan.or_else(of_onnx).unwrap_or_default();
        recipe
    }

    fn read<'a>(&self, path: Option<&'a Path>, name: &str) -> Result<(&'a Path, Vec<u8>)> {
        ensure!(
            self.ensemble.is_none(),
            "{} is an ensemble, which has no {name}: a board runs one network; train one to agree with it by `ocellus train \
             --teacher {0}`",
            self.named.display()
        );
        let path = path.with_context(|| {
            format!("no {name} at {}: write it with `ocellus export`, or name the file", self.named.display())
        })?;
        Ok((path, std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
    }
}

/// Whether the ONNX file at `path` is a network before quantization: by what it says, or by its name where it says nothing.
fn is_float(path: &Path) -> bool {
    let said = std::fs::read(path).ok().and_then(|bytes| onnx::kind(&bytes));
    said.map_or_else(|| path.file_name().is_some_and(|name| name == FLOAT_ONNX), |kind| kind == "float")
}

/// A trained head together with the backbone that it was trained on.
fn headed(checkpoint: &Checkpoint) -> Result<Evaluator> {
    let transfer = &checkpoint.recipe.transfer;
    let backbone = Box::new(OnnxBackbone::load(transfer, Some(checkpoint.input.h))?);
    let network = net::foreign::build(transfer, backbone.width(), checkpoint.classes.len())?;
    Ok(Evaluator::Headed { backbone, head: fold(graph::lower(&network, checkpoint)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_each_of_its_files_lead_to_the_same_model() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [PLAN, INT8_ONNX, FLOAT_ONNX, RECIPE] {
            std::fs::write(at(name), name).unwrap();
        }
        let whole = ModelFiles::find(folder.path()).unwrap();
        let damaged = format!("{:#}", whole.read_plan().unwrap_err());
        assert!(damaged.contains("model.plan cannot be used") && damaged.contains("truncated"), "{damaged}");
        assert_eq!(whole.checkpoint, None);
        for name in [PLAN, INT8_ONNX, FLOAT_ONNX] {
            let one = ModelFiles::find(&at(name)).unwrap();
            assert_eq!(ModelFiles { named: whole.named.clone(), ..one }, whole, "{name}");
        }
    }

    #[test]
    fn a_checkpoint_has_its_own_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::default();
        recipe.data.seed = 5;
        let checkpoint = Checkpoint {
            recipe: recipe.clone(),
            classes: vec!["a".into(), "b".into()],
            input: ocellus_shared::Shape::new(8, 8, 3),
            dataset_hash: "abc".into(),
            weights: net::Weights::default(),
            resume: None,
        };
        let file = folder.path().join(checkpoint::BEST);
        checkpoint.save(&file).unwrap();
        let seed = |path: &Path| ModelFiles::find(path).unwrap().read_recipe().unwrap().data.seed;
        assert_eq!(seed(folder.path()), 5);
        recipe.data.seed = 6;
        std::fs::write(folder.path().join(RECIPE), recipe.to_toml()).unwrap();
        assert_eq!((seed(folder.path()), seed(&file)), (6, 5));
        let origin = ModelFiles::find(folder.path()).unwrap().origin();
        assert_eq!((origin.dataset.as_str(), origin.weights), ("abc", checkpoint.weights_hash()));
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| ModelFiles::find(path).unwrap_err().to_string();
        assert!(message(folder.path()).contains("holds no model: expected model.plan"));
        assert!(message(&folder.path().join("gone.plan")).contains("does not exist"));
        let photo = folder.path().join("cat.jpg");
        std::fs::write(&photo, "").unwrap();
        assert!(message(&photo).contains("is no model"));
    }
}
