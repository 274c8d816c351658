//! A model, or an ensemble, that a student is trained to agree with.

use super::ModelFiles;
use super::ensemble::{Manifest, Source};
use crate::data::picture::Picture;
use crate::data::{Dataset, Split};
use crate::eval::Evaluator;
use crate::eval::ensemble::check_classes;
use crate::eval::view::View;
use crate::features::Teacher;
use crate::recipe::{DataRecipe, Fit};
use crate::view;
use anyhow::{Context, Result, ensure};
use ocellus_shared::plan::Crop;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What a network was trained on.
struct TrainedOn {
    name: String,
    /// Hash of the dataset; empty where its files do not say.
    dataset: String,
    data: DataRecipe,
    view: View,
}

/// A teacher, ready to be asked. It sees the student's pictures, resized where it takes another size: shrunk by areas, enlarged as its
/// own training pictures were.
pub struct ModelTeacher {
    path: PathBuf,
    evaluator: Evaluator,
    sha256: [u8; 32],
    classes: Vec<String>,
    views: Vec<View>,
    networks: Vec<TrainedOn>,
}

impl ModelTeacher {
    /// The teacher at `path`: an ensemble; or a model, of a folder the trained network before quantization if it is there.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let files = ModelFiles::find(path).context("the teacher")?;
        let (evaluator, sha256, networks) = match &files.ensemble {
            Some(file) => {
                let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                let members = Manifest::load(file)?.sources(file.parent().unwrap_or(Path::new("")))?;
                (files.load_float()?, Sha256::digest(&bytes).into(), members)
            }
            None => {
                let (source, evaluator) = Source::open(path).context("the teacher")?;
                let sha256 = hex::decode(&source.sha256)?.try_into().ok().context("a SHA-256 has 32 bytes")?;
                (evaluator, sha256, vec![source])
            }
        };
        let (_, classes) = evaluator.signature()?;
        let views = evaluator.views(&networks[0].data)?;
        let networks = networks.into_iter().map(|Source { named, dataset, data, view, .. }| TrainedOn {
            name: named.display().to_string(),
            dataset,
            data,
            view,
        });
        Ok(Self { path: path.to_owned(), sha256, classes, views, networks: networks.collect(), evaluator })
    }

    /// SHA-256 in hex of the file that it is.
    pub fn sha256(&self) -> String {
        hex::encode(self.sha256)
    }

    /// Makes sure that it can teach what a student learns from `dataset`, which was read by `recipe`.
    ///
    /// # Errors
    /// It has other classes, or the same in another order; or it was trained on another dataset, or on another division of it, so that it
    /// may know the student's validation and test images.
    pub fn check(&self, dataset: &Dataset, recipe: &DataRecipe) -> Result<()> {
        let teacher = format!("the teacher {}", self.path.display());
        check_classes((&dataset.name, &dataset.classes), (&teacher, &self.classes))?;
        let side = u16::try_from(dataset.train.width).unwrap_or(u16::MAX);
        let own = View { side, fit: recipe.fit() };
        for network in &self.networks {
            let is_known = !network.dataset.is_empty();
            if !is_known {
                view::warn(&format!("nothing says what {} was trained on: it may know the test images", network.name));
            }
            let is_same =
                if network.view == own { network.dataset == dataset.hash } else { is_alike(&network.data, recipe) };
            ensure!(
                !is_known || is_same,
                "{} was trained on another dataset than {}, or with another division of it: it may have been trained on the validation and \
                 test images. Train it on the same --data with the same data.seed, data.val-fraction and data.test-fraction",
                network.name,
                dataset.name
            );
        }
        Ok(())
    }
}

/// Whether two recipes mean the same images in the same splits, whatever their size.
fn is_alike(one: &DataRecipe, other: &DataRecipe) -> bool {
    let split = |recipe: &DataRecipe| (recipe.labels, recipe.seed, recipe.val_fraction, recipe.test_fraction);
    // A dataset may have been moved: only two that are both there can be told apart.
    let place = |recipe: &DataRecipe| recipe.path.as_deref().and_then(|path| path.canonicalize().ok());
    let is_elsewhere = place(one).zip(place(other)).is_some_and(|(one, other)| one != other);
    split(one) == split(other) && one.path.is_some() == other.path.is_some() && !is_elsewhere
}

impl Teacher for ModelTeacher {
    fn digest(&self) -> [u8; 32] {
        self.sha256
    }

    fn logits(&self, images: &Split) -> Result<Vec<f32>> {
        let seen: Vec<Split> = self.views.iter().map(|view| resized(images, view)).collect();
        Ok(self.evaluator.scores_of_views(&seen, &|| ())?.logits(self.evaluator.score_scale()?))
    }
}

/// Square `images` in the size that `view` has. They are whole already: nothing is cut off.
fn resized(images: &Split, view: &View) -> Split {
    let side = usize::from(view.side);
    if images.width == side {
        return images.clone();
    }
    let fit = Fit { crop: Crop::Stretch, ..view.fit };
    let mut pixels = vec![0; images.len() * side * side * 3];
    pixels.par_chunks_exact_mut(side * side * 3).enumerate().for_each(|(i, image)| {
        let (width, height) = (images.width as u16, images.height as u16);
        Picture { width, height, pixels: images.image(i).to_vec() }.square(view.side, fit, image);
    });
    Split { images: pixels, labels: images.labels.clone(), height: side, width: side }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Enlarge;

    #[test]
    fn pictures_are_resized_for_the_teacher() {
        let images =
            Split { images: (0..96).map(|i| (i * 2) as u8).collect(), labels: vec![0, 1], height: 4, width: 4 };
        let view = |side| View { side, fit: Fit { crop: Crop::Centre, enlarge: Enlarge::Area } };
        assert_eq!(resized(&images, &view(4)), images);
        let small = resized(&images, &view(2));
        assert_eq!((small.height, small.width, small.len()), (2, 2, 2));
        // The mean of the first four red values: 0, 6, 24, 30.
        assert_eq!(small.images[0], 15);
        assert_eq!(resized(&resized(&images, &view(8)), &view(4)), images);
    }

    #[test]
    fn datasets_of_two_sizes_are_compared_by_what_says_how_they_are_divided() {
        let recipe = DataRecipe::default();
        assert!(is_alike(&recipe, &DataRecipe { img_size: Some(96), ..recipe.clone() }));
        assert!(!is_alike(&recipe, &DataRecipe { seed: 1, ..recipe.clone() }));
        assert!(!is_alike(&recipe, &DataRecipe { val_fraction: 0.2, ..recipe.clone() }));
        let at = |path: &Path| DataRecipe { path: Some(path.to_owned()), ..recipe.clone() };
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        assert!(!is_alike(&recipe, &at(one.path())) && !is_alike(&at(one.path()), &at(two.path())));
        assert!(is_alike(&at(one.path()), &at(one.path())) && is_alike(&at(one.path()), &at(Path::new("moved/away"))));
    }
}
