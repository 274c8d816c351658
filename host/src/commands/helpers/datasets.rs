//! The dataset that a command works on.

use std::cell::Cell;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use ocellus_shared::Shape;

use crate::cli::ImageCount;
use crate::data::{self, Dataset, Split, names};
use crate::eval;
use crate::eval::view::View;
use crate::model::ModelFiles;
use crate::recipe::DataRecipe;
use crate::view;

/// The dataset to judge a model with: `data` where it is given; else the first of these whose classes are the model's:
/// the one of its recipe, one that was fetched, the built-in one. Images have the model's size.
///
/// # Errors
/// The model does not take square colour images, or no dataset has its classes.
pub fn labelled_dataset(recipe: &DataRecipe, data: Option<&Path>, input: Shape, classes: &[String]) -> Result<Dataset> {
    labelled_source(recipe, data, input, classes).map(|(dataset, _)| dataset)
}

/// As [`labelled_dataset`], and the recipe that it was read by.
///
/// # Errors
/// As for that.
pub fn labelled_source(
    recipe: &DataRecipe,
    data: Option<&Path>,
    input: Shape,
    classes: &[String],
) -> Result<(Dataset, DataRecipe)> {
    let recipe = sized(recipe, input)?;
    if let Some(path) = data {
        let source = DataRecipe { path: Some(path.to_owned()), ..recipe };
        let mut dataset = load(&source)?;
        // All splits have the same classes: one of them says what there is to say.
        let said = Cell::new(false);
        let warn = |text: &str| {
            if !said.replace(true) {
                view::warn(text)
            }
        };
        for split in [&mut dataset.train, &mut dataset.val, &mut dataset.test] {
            eval::relabel(&mut split.labels, &dataset.classes, classes, &warn)?;
        }
        dataset.classes = classes.to_vec();
        return Ok((dataset, source));
    }
    let mut recipes_own = match &recipe.path {
        Some(path) if !path.exists() => format!("; the recipe's, {}, is not here", path.display()),
        _ => String::new(),
    };
    for candidate in candidates(&recipe) {
        match load(&candidate) {
            Ok(dataset) if names::are_same(&dataset.classes, classes) => return Ok((dataset, candidate)),
            Ok(dataset) if candidate.path.is_some() && candidate.path == recipe.path => {
                let difference = eval::class_difference(("it", &dataset.classes), ("the model", classes));
                let path = candidate.path.unwrap_or_default();
                let what = "has other classes; was a folder renamed?";
                recipes_own = format!("; the recipe's, {}, {what} ({difference})", path.display());
            }
            // The built-in pictures may have no such size: they are not what was meant, either.
            Err(error) if candidate.path.is_some() => return Err(error),
            _ => {}
        }
    }
    bail!(
        "no dataset with the model's classes ({}) was found{recipes_own}: give its folder with --data",
        classes.join(", ")
    )
}

/// As [`labelled_dataset`] for each of the `views` of the same images, in their order.
///
/// # Errors
/// As for that, or the datasets that were found for two views hold other images.
pub fn labelled_views(
    recipe: &DataRecipe,
    data: Option<&Path>,
    views: &[View],
    classes: &[String],
) -> Result<Vec<Dataset>> {
    let of = |view: &View| labelled_dataset(&view.of_dataset(recipe), data, view.shape(), classes);
    let datasets = views.iter().map(of).collect::<Result<Vec<_>>>()?;
    let labels = |dataset: &Dataset| [&dataset.train, &dataset.val, &dataset.test].map(|split| split.labels.clone());
    for other in datasets.iter().skip(1) {
        ensure!(
            other.name == datasets[0].name && labels(other) == labels(&datasets[0]),
            "the members take images of other sizes, for which different datasets were found, {} and {}: give one with --data",
            datasets[0].name,
            other.name
        );
    }
    Ok(datasets)
}

/// Warns where `dataset` is not what a model was trained on, as far as its files say.
pub fn warn_if_other(dataset: &Dataset, files: &ModelFiles) {
    let trained_on = files.origin().dataset;
    if !trained_on.is_empty() && trained_on != dataset.hash {
        view::warn(&format!(
            "{} holds other images than {} was trained with, or divides them otherwise: where test images are drawn from all, \
             it may have been trained on some of them",
            dataset.name,
            files.named.display()
        ));
    }
}

/// Images of the model's size to compare two sides with, whatever they show: as [`labelled_dataset`], but any dataset
/// will do.
pub fn any_dataset(recipe: &DataRecipe, data: Option<&Path>, input: Shape) -> Result<Dataset> {
    let recipe = sized(recipe, input)?;
    match data {
        Some(path) => load(&DataRecipe { path: Some(path.to_owned()), ..recipe }),
        None => load(&candidates(&recipe)[0]),
    }
}

fn sized(recipe: &DataRecipe, input: Shape) -> Result<DataRecipe> {
    ensure!(
        input.h == input.w && input.c == 3,
        "the model takes images of {input}; datasets hold square colour images"
    );
    Ok(DataRecipe { img_size: Some(input.h), ..recipe.clone() })
}

/// Where to look when no dataset is named; at least one.
fn candidates(recipe: &DataRecipe) -> Vec<DataRecipe> {
    let own = recipe.path.clone().filter(|path| path.exists());
    let fetched = data::fetch::SOURCES.iter().filter_map(|source| source.cached());
    let built_in = DataRecipe { path: None, ..recipe.clone() };
    own.into_iter()
        .chain(fetched)
        .map(|path| DataRecipe { path: Some(path), ..recipe.clone() })
        .chain([built_in])
        .collect()
}

/// Reads a dataset behind a progress bar.
pub fn load(recipe: &DataRecipe) -> Result<Dataset> {
    let bar = view::bar(0, "reading images");
    let dataset = data::load(recipe, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    Ok(dataset)
}

/// The first images of `split`, as many as `count` says.
pub fn take(split: &Split, count: ImageCount) -> Split {
    let count = count.of(split.len());
    let bytes = count * split.height * split.width * 3;
    Split { images: split.images[..bytes].to_vec(), labels: split.labels[..count].to_vec(), ..*split }
}
