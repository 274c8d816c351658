//! From a file, flags and keys to the recipe that is trained by: one order, and one place for what depends on the model.

use super::{Enlarge, Normalise, Recipe};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Variations of each image that an external backbone's features are computed of, where the recipe says no number.
const BACKBONE_VIEWS: u32 = 4;

impl Recipe {
    /// The recipe of a command line: the one in `file`, or the default one; `flags` beat it, and `changes`, as for
    /// [`Recipe::with`], beat both.
    ///
    /// # Errors
    /// The file cannot be read, or all of it together makes no recipe; names the key.
    pub fn of_command_line(file: Option<&Path>, flags: impl FnOnce(&mut Self), changes: &[String]) -> Result<Self> {
        let mut recipe = file.map_or_else(|| Ok(Self::default()), Self::load)?;
        flags(&mut recipe);
        recipe.with(changes).context("in the recipe with the flags of the command line")
    }

    /// The recipe with everything written out whose default depends on the model or the backbone, so that it holds
    /// whatever these defaults become:
    ///
    /// | key | EfficientNets, MobileNetV2 | external ONNX backbones |
    /// |---|---|---|
    /// | `data.img-size` | what the model was published for | |
    /// | `data.enlarge` | `smooth` | `smooth` |
    /// | `data.mean`, `data.std` | what the published weights were trained with | |
    /// | `net.padding`, `net.bn-epsilon` | the same | |
    /// | `transfer.cache-views` | | 4, or as many as a teacher sees, where images are varied: features are computed once |
    pub fn resolved(mut self) -> Self {
        let is_photographic = self.model.has_imagenet_weights() || self.transfer.backbone.is_some();
        if is_photographic {
            self.data.enlarge.get_or_insert(Enlarge::Smooth);
        }
        if self.transfer.backbone.is_some() && self.transfer.cache_views == 0 && !self.augment.leaves_images() {
            self.transfer.cache_views = if self.distill.is_on() { self.distill.views } else { BACKBONE_VIEWS };
        }
        self.resolved_for_resume()
    }

    /// The same for a run that goes on, with the images that it began with: what its own recipe leaves open stays as it was
    /// when the run began, which an older version may have done.
    pub fn resolved_for_resume(mut self) -> Self {
        // An external backbone has its own size and normalisation.
        if self.transfer.backbone.is_some() {
            return self;
        }
        if self.model.has_imagenet_weights() {
            self.data.img_size.get_or_insert(self.model.img_size());
            (self.net.padding, self.net.bn_epsilon) = (Some(self.padding()), Some(self.bn_epsilon()));
        }
        let normalise = self.normalise();
        if normalise != Normalise::NONE {
            (self.data.mean, self.data.std) = (Some(normalise.mean), Some(normalise.std));
        }
        self
    }

    /// Height and width of its images where no dataset says them: the recipe's, or what the model was published for.
    pub fn img_size(&self) -> u16 {
        self.data.img_size.unwrap_or(self.model.img_size())
    }

    /// Dotted names of the keys that are set and have no effect, because only a head on the features of `transfer.backbone` is
    /// trained; none where there is no such backbone.
    pub fn ignored_keys(&self) -> Vec<String> {
        if self.transfer.backbone.is_none() {
            return Vec::new();
        }
        let default = Self::default();
        let mut plain = self.clone();
        (plain.model, plain.net, plain.transfer.layer_decay) =
            (default.model, default.net, default.transfer.layer_decay);
        // What the recipe leaves open would differ by the model.
        plain.net.padding = self.net.padding.is_none().then(|| self.padding());
        plain.net.bn_epsilon = self.net.bn_epsilon.is_none().then(|| self.bn_epsilon());
        self.differing_keys(&plain).into_iter().filter(|key| !key.starts_with("data.")).collect()
    }

    /// Looks for the files that the recipe names beside it, in `folder`, where they are not where the command was called
    /// from.
    pub(super) fn look_beside(&mut self, folder: &Path) {
        for path in self.files() {
            let beside: PathBuf = folder.join(&*path);
            if path.is_relative() && !path.exists() && beside.exists() {
                *path = beside;
            }
        }
    }

    /// The recipe with absolute paths: a run's recipe leads to its data from any folder.
    pub fn with_absolute_paths(mut self) -> Self {
        for path in self.files() {
            // The text of a recipe cannot hold names that are not UTF-8: the path stays what it was.
            if let Some(whole) = std::path::absolute(&*path).ok().filter(|whole| whole.to_str().is_some()) {
                *path = whole;
            }
        }
        self
    }

    /// The files and folders that it names.
    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { data, net, transfer, distill, .. } = self;
        let files = [
            &mut data.path,
            &mut net.pretrained,
            &mut transfer.backbone,
            &mut distill.teacher,
            &mut distill.soft_labels,
        ];
        files.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{AugmentRecipe, Model, Padding};

    fn model(model: Model) -> Recipe {
        Recipe { model, ..Recipe::default() }
    }

    fn on_backbone() -> Recipe {
        let mut recipe = Recipe::default();
        recipe.transfer.backbone = Some("b.onnx".into());
        recipe
    }

    #[test]
    fn keys_beat_flags_and_flags_beat_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recipe.toml");
        std::fs::write(&file, "[train]\nlr = 0.25\nepochs = 7\nbatch-size = 5\n").unwrap();
        let flags = |recipe: &mut Recipe| (recipe.train.epochs, recipe.train.batch_size) = (3, 9);
        let recipe = Recipe::of_command_line(Some(&file), flags, &["train.batch-size=11".into()]).unwrap();
        assert_eq!((recipe.train.lr, recipe.train.epochs, recipe.train.batch_size), (0.25, 3, 11));
        // With no file and no key set, flags are checked all the same.
        let error = Recipe::of_command_line(None, |recipe| recipe.train.lr = -1.0, &[]).unwrap_err();
        assert!(format!("{error:#}").contains("train.lr = -1"), "{error:#}");
    }

    #[test]
    fn an_efficientnet_has_its_published_image_size_and_smooth_pictures_unless_told() {
        let recipe = model(Model::EfficientNetB2).resolved();
        assert_eq!((recipe.data.img_size, recipe.data.enlarge), (Some(260), Some(Enlarge::Smooth)));
        assert_eq!(recipe.data.mean, Some(Normalise::IMAGENET.mean));
        let mut told = model(Model::EfficientNetB2);
        (told.data.img_size, told.data.enlarge) = (Some(96), Some(Enlarge::Area));
        let told = told.resolved();
        assert_eq!((told.data.img_size, told.data.enlarge), (Some(96), Some(Enlarge::Area)));
        assert_eq!(Recipe::default().resolved(), Recipe::default());
    }

    #[test]
    fn networks_are_padded_and_normalised_as_published_unless_told() {
        let of = |recipe: Recipe| (recipe.net.padding, recipe.net.bn_epsilon);
        assert_eq!(of(model(Model::MobileNetV2W035).resolved()), (Some(Padding::Symmetric), Some(1e-5)));
        assert_eq!(of(model(Model::EfficientNetB0).resolved()), (Some(Padding::Same), Some(1e-3)));
        let keras = model(Model::MobileNetV2W035).with(&["net.padding=same".into(), "net.bn-epsilon=1e-3".into()]);
        assert_eq!(of(keras.unwrap().resolved()), (Some(Padding::Same), Some(1e-3)));
        // A run whose recipe was written before these keys were.
        assert!(
            model(Model::ResNet8)
                .differing_keys(&model(Model::ResNet8).with(&["net.padding=same".into()]).unwrap())
                .is_empty()
        );
    }

    #[test]
    fn a_run_goes_on_with_the_images_it_began_with() {
        let recipe = model(Model::EfficientNetLite0).resolved_for_resume();
        assert_eq!((recipe.data.img_size, recipe.data.enlarge), (Some(224), None));
        assert_eq!(on_backbone().resolved_for_resume(), on_backbone());
    }

    #[test]
    fn a_backbone_sees_variations_whose_features_can_be_kept() {
        let recipe = on_backbone().resolved();
        assert_eq!((recipe.transfer.cache_views, recipe.data.enlarge), (BACKBONE_VIEWS, Some(Enlarge::Smooth)));
        assert_eq!((recipe.data.img_size, recipe.data.mean), (None, None));
        let mut told = on_backbone();
        told.transfer.cache_views = 9;
        assert_eq!(told.resolved().transfer.cache_views, 9);
        let same = Recipe { augment: AugmentRecipe::none(), ..on_backbone() };
        assert_eq!(same.resolved().transfer.cache_views, 0);
        // A network's own frozen backbone may see another variation in each epoch.
        let mut frozen = model(Model::EfficientNetLite0);
        frozen.transfer.freeze = crate::recipe::Freeze::All;
        assert_eq!(frozen.resolved().transfer.cache_views, 0);
    }

    #[test]
    fn keys_of_our_own_networks_are_ignored_with_a_backbone() {
        assert_eq!(on_backbone().ignored_keys(), Vec::<String>::new());
        let mut recipe = Recipe { model: Model::EfficientNetLite0, ..on_backbone() };
        assert_eq!(recipe.ignored_keys(), ["model"]);
        recipe.net.dense = 8;
        recipe.transfer.layer_decay = 0.5;
        assert_eq!(recipe.ignored_keys(), ["model", "net.dense", "transfer.layer-decay"]);
        let mut other = Recipe { model: Model::MobileNetV2W100, ..on_backbone() };
        assert_eq!(other.ignored_keys(), ["model"]);
        other.net.padding = Some(Padding::Symmetric);
        assert_eq!(other.ignored_keys(), ["model", "net.padding"]);
        recipe.transfer.backbone = None;
        assert_eq!(recipe.ignored_keys(), Vec::<String>::new());
    }

    #[test]
    fn files_are_also_looked_for_beside_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recipe.toml");
        std::fs::write(&file, "[data]\npath = \"photos\"\n[net]\npretrained = \"src\"\n").unwrap();
        let load = || Recipe::load(&file).unwrap();
        assert_eq!(load().data.path, Some("photos".into()), "it is nowhere");
        for beside in ["photos", "src"] {
            std::fs::create_dir(folder.path().join(beside)).unwrap();
        }
        assert_eq!(load().data.path, Some(folder.path().join("photos")));
        // Tests run in the package's folder, where there is one: that is what a command line means, too.
        assert_eq!(load().net.pretrained, Some("src".into()));
        let whole = load().with_absolute_paths();
        assert_eq!(whole.net.pretrained, Some(std::env::current_dir().unwrap().join("src")));
        assert_eq!((whole.data.path, whole.distill.teacher), (Some(folder.path().join("photos")), None));
    }
}
