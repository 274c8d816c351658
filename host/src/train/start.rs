//! The weights that training starts from.

use super::batches::{self, upload};
use crate::data::{Dataset, Split};
use crate::net::module::{Arrays, Module};
use crate::net::{self, statistics};
use crate::recipe::{BnStatistics, Freeze, Recipe};
use crate::view;
use crate::weights::{self, Target};
use anyhow::Result;
use burn::tensor::Device;

/// Training images that statistics of normalisations are measured on, and how many of them together.
const MEASURED: usize = 512;
const BATCH: usize = 64;

/// Random weights, or those of the recipe's pretrained file, or of the best checkpoint of its run folder. A run that goes
/// on has its own, so the file is not needed.
///
/// # Errors
/// The file cannot be read, or is of another network; see [`weights::load`].
pub(super) fn arrays(
    recipe: &Recipe,
    module: &Module,
    dataset: &Dataset,
    device: &Device,
    resume: bool,
) -> Result<Arrays> {
    let mut start = module.initial(recipe.train.seed);
    let Some(path) = recipe.net.pretrained.as_ref().filter(|_| !resume) else {
        if recipe.transfer.freeze != Freeze::None && !resume {
            view::note(
                "what is frozen keeps random weights, which know nothing of images: start from --pretrained FILE",
            );
        }
        return module.upload(&start, device);
    };
    let cut_off = net::cut_off(recipe, module.input(), dataset.classes.len())?;
    let target = Target { model: recipe.model, parameters: module.parameters(), cut_off: &cut_off };
    let found = weights::load(path, target, &dataset.classes)?;
    let (count, all) = (found.weights.len(), module.parameters().len());
    view::note(&format!("{}: {count} of {all} arrays, by {}'s names", path.display(), found.scheme));
    found.notes.iter().for_each(|note| view::note(note));
    if let Some(difference) = found.differs_from(recipe) {
        view::warn(&difference);
    }
    let is_measured = match recipe.net.bn_statistics {
        BnStatistics::Auto => found.is_folded(module.parameters()),
        BnStatistics::Kept => false,
        BnStatistics::Measured => true,
    };
    start.extend(found.weights);
    let arrays = module.upload(&start, device)?;
    if !is_measured {
        return Ok(arrays);
    }
    let split = &dataset.train;
    let images = MEASURED.min(split.len());
    view::note(&format!("measuring the statistics of normalisations on {images} training images"));
    Ok(statistics::measure(module, &arrays, spread(split, images).map(|batch| upload(&batch, module.input(), device))))
}

/// Batches of `count` images from all over a split, whose order may be by class.
fn spread(split: &Split, count: usize) -> impl Iterator<Item = batches::Batch> {
    let part = |chosen: &[usize]| batches::plain(&split.only(chosen), 0..chosen.len());
    split.spread(count).chunks(BATCH).map(part).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{BEST, Checkpoint};
    use crate::recipe::Model;
    use ocellus_shared::Shape;

    #[test]
    fn a_run_folder_stands_for_its_best_checkpoint() {
        let (folder, input) = (tempfile::tempdir().unwrap(), Shape::new(8, 8, 3));
        let mut recipe = Recipe { model: Model::Linear, ..Recipe::default() };
        let module = Module::new(net::build(&recipe, input, 2).unwrap()).unwrap();
        let weights = module.initial(recipe.train.seed + 1);
        let classes: Vec<String> = ["cat", "dog"].map(String::from).into();
        let (mut dataset, hash) = (Dataset { classes: classes.clone(), ..empty() }, String::new());
        let own = Checkpoint {
            recipe: recipe.clone(),
            classes,
            input,
            dataset_hash: hash,
            weights: weights.clone(),
            resume: None,
        };
        own.save(&folder.path().join(BEST)).unwrap();
        recipe.net.pretrained = Some(folder.path().to_owned());
        let start = |dataset: &Dataset| arrays(&recipe, &module, dataset, &Device::flex(), false).unwrap();
        assert_eq!(module.download(&start(&dataset)), weights, "the same classes keep their classifier");
        dataset.classes[1] = "cow".into();
        assert_eq!(module.download(&start(&dataset)), module.initial(recipe.train.seed));
    }

    fn empty() -> Dataset {
        let none = Split::default;
        Dataset {
            name: "pets".into(),
            classes: Vec::new(),
            train: none(),
            val: none(),
            test: none(),
            hash: String::new(),
        }
    }
}
