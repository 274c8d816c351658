//! Compares pictures with the images that a network was trained on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;
use ocellus_shared::plan::{Crop, Plan};
use rayon::prelude::*;

use crate::commands::helpers::{camera_source, datasets};
use crate::data::dataset_shift::{self, Shift};
use crate::data::picture::Picture;
use crate::data::{Dataset, Split};
use crate::model::ModelFiles;
use crate::recipe::{DataRecipe, Enlarge, Fit};

/// Height and width at which both are measured.
const SIDE: u16 = 32;
/// Most images that are measured of either.
const MOST: usize = 5_000;

/// How the pictures below `photos` differ from the training images of `other`: a run, a model folder, or a dataset. Both are
/// seen as the network sees them: cut or stretched to a square.
///
/// # Errors
/// Nothing is there, or pictures that cannot be read.
pub fn shifts(photos: &Path, other: &Path) -> Result<Vec<Shift>> {
    let (images, crop) = training_images(other).with_context(|| format!("--against {}", other.display()))?;
    let (expected, fit) = (measures(&images), Fit { crop, enlarge: Enlarge::Area });
    let pictures = camera_source::pictures(photos)?;
    let found = pictures.par_iter().take(MOST).map(|path| {
        let picture = Picture::open(path).with_context(|| path.display().to_string())?;
        let mut image = vec![0; 3 * usize::from(SIDE) * usize::from(SIDE)];
        picture.square(SIDE, fit, &mut image);
        Ok(dataset_shift::measure(&image))
    });
    Ok(dataset_shift::compare(&expected, &found.collect::<Result<Vec<_>>>()?))
}

/// The images, and how they became squares.
fn training_images(other: &Path) -> Result<(Split, Crop)> {
    ensure!(other.exists(), "there is nothing");
    let recipe = match ModelFiles::find(other) {
        Ok(files) if files.plan.is_some() => return model_images(&files),
        Ok(files) => files.read_recipe()?.data,
        Err(_) => DataRecipe { path: Some(other.to_owned()), ..DataRecipe::default() },
    };
    let crop = recipe.crop;
    let Dataset { train, .. } = datasets::load(&DataRecipe { img_size: Some(SIDE), enlarge: None, ..recipe })?;
    Ok((train, crop))
}

/// The images of the dataset that has a model's classes.
fn model_images(files: &ModelFiles) -> Result<(Split, Crop)> {
    let bytes = files.read_plan()?;
    let plan = Plan::parse(&bytes)?;
    let classes = (0..plan.output().shape.len()).map_while(|class| plan.label(class).map(str::to_owned));
    let recipe = files.read_recipe()?.data;
    let input = Shape::new(SIDE, SIDE, 3);
    let dataset = datasets::labelled_dataset(&recipe, None, input, &classes.collect::<Vec<_>>())
        .context("its training images were not found, name their folder with --against instead")?;
    Ok((dataset.train, recipe.crop))
}

fn measures(split: &Split) -> Vec<[f64; 5]> {
    // Spread over all of them: a dataset may be sorted.
    split.spread(MOST).into_par_iter().map(|i| dataset_shift::measure(split.image(i))).collect()
}
