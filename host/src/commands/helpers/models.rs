//! A model with whatever of it there is to evaluate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ocellus_shared::Shape;

use crate::eval::Evaluator;
use crate::eval::view::View;
use crate::model::ModelFiles;
use crate::recipe::Recipe;

/// A model that was opened, not yet evaluated.
pub struct Candidate {
    /// As the user named it.
    pub path: PathBuf,
    /// Its files.
    pub files: ModelFiles,
    /// Its recipe.
    pub recipe: Recipe,
    /// The bytes of its plan, where it was exported.
    pub plan: Option<Vec<u8>>,
    /// The network before quantization, where there is one.
    pub float: Option<Evaluator>,
    /// Shape of its images.
    pub input: Shape,
    /// Its classes.
    pub classes: Vec<String>,
}

impl Candidate {
    /// Opens the model at `path`.
    ///
    /// # Errors
    /// It has neither a plan nor trained weights, or they cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let files = ModelFiles::find(path)?;
        let plan = files.plan.is_some().then(|| files.read_plan()).transpose()?;
        let has_float = files.checkpoint.is_some() || files.float_onnx.is_some() || files.ensemble.is_some();
        let float = has_float.then(|| files.load_float()).transpose()?;
        let of_plan = plan.as_ref().map(|plan| Evaluator::Engine(plan.clone()).signature());
        let signature = of_plan.or_else(|| float.as_ref().map(Evaluator::signature));
        let (input, classes) = signature.with_context(|| {
            format!("{} has neither a plan nor trained weights: write a plan with `ocellus export`", path.display())
        })??;
        let recipe = files.read_recipe()?;
        Ok(Self { path: path.to_owned(), files, recipe, plan, float, input, classes })
    }

    /// How it takes images.
    ///
    /// # Errors
    /// It does not take square colour images.
    pub fn views(&self) -> Result<Vec<View>> {
        match &self.float {
            Some(ensemble @ Evaluator::Ensemble(_)) => ensemble.views(&self.recipe.data),
            _ => Ok(vec![View::of(&self.recipe.data, self.input)?]),
        }
    }

    /// The folder that it is, or lies in.
    pub fn folder(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { self.path.parent().unwrap_or(Path::new(".")) }
    }
}
