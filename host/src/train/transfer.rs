//! The part of a network that stays as it is, and what is saved by that.

use super::Interrupted;
use super::batches::{self, Batch, Loader, upload};
use super::parts::{self, Groups};
use super::workers::Workers;
use crate::data::{self, Dataset, Split};
use crate::features::{Extractor, Features, Key, cached};
use crate::net::module::{Arrays, Module, to_vec};
use crate::net::{Network, foreign};
use crate::recipe::{Freeze, Recipe, Statistics};
use crate::view;
use anyhow::{Result, ensure};
use burn::tensor::{Device, Tensor};
use ocellus_shared::Shape;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Images whose features are computed together.
const BATCH: usize = 64;

/// How training treats the parts of a network differently.
pub(super) struct Transfer<'a> {
    /// What each layer's learning rate is multiplied by, where the recipe has that.
    rates: BTreeMap<String, f64>,
    /// The layers that are frozen at first.
    pub frozen: Option<Frozen>,
    /// A backbone that is never trained, in front of the whole network.
    pub extractor: Option<&'a dyn Extractor>,
    /// What training reads instead of images while everything below is frozen.
    pub cache: Option<Arc<CachedFeatures>>,
    /// Where features are kept.
    folder: Option<PathBuf>,
}

/// A network in two parts.
pub(super) struct Frozen {
    /// What stays as it is.
    pub backbone: Module,
    /// What is trained on its features.
    pub head: Module,
    /// Names of the backbone's parameters.
    names: BTreeSet<String>,
}

/// Features of the splits that training sees again and again.
pub(super) struct CachedFeatures {
    pub train: Features,
    pub val: Features,
}

impl<'a> Transfer<'a> {
    /// As `recipe` has it for `network`, which stands on `extractor` if there is one.
    ///
    /// # Errors
    /// The network has no such parts.
    pub(super) fn new(recipe: &Recipe, network: &Network, extractor: Option<&'a dyn Extractor>) -> Result<Self> {
        let groups = Groups::of(network);
        let rate = |(name, rate): (&str, f64)| (rate < 1.0).then(|| (name.to_owned(), rate));
        let rates = groups.rates(recipe.transfer.layer_decay).into_iter().filter_map(rate).collect();
        let frozen = match groups.frozen_layers(recipe.transfer.freeze)? {
            0 => None,
            count => Some(Frozen::new(network, count)?),
        };
        if let Some(Frozen { backbone, head, .. }) = &frozen {
            let [stay, rest] = [backbone, head].map(|part| part.parameters().len());
            view::note(&format!("{stay} of {} parameter tensors are frozen", stay + rest));
        }
        Ok(Self { rates, frozen, extractor, cache: None, folder: None })
    }

    /// What the learning rate of the parameter `name` is multiplied by.
    pub(super) fn rate(&self, name: &str) -> f64 {
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        self.rates.get(layer).copied().unwrap_or(1.0)
    }

    /// Whether the parameter `name` was frozen at first.
    pub(super) fn was_frozen(&self, name: &str) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| frozen.names.contains(name))
    }

    /// Computes the features that spare training the backbone, or reads them from `folder`, if the recipe allows it.
    ///
    /// # Errors
    /// The extractor fails.
    pub(super) fn fill(&mut self, extraction: &FeatureExtraction<'_>, folder: Option<&Path>) -> Result<()> {
        let FeatureExtraction { recipe, dataset, .. } = *extraction;
        if self.extractor.is_none() && !keeps_features(recipe) {
            return Ok(());
        }
        let Some(backbone) = self.backbone() else { return Ok(()) };
        let folder = folder.filter(|_| recipe.transfer.cache);
        let train = extraction.features(&backbone, &dataset.train, "train", folder)?;
        let val = extraction.features(&backbone, &dataset.val, "val", folder)?;
        self.folder = folder.map(Path::to_owned);
        self.cache = Some(Arc::new(CachedFeatures { train, val }));
        Ok(())
    }

    fn backbone(&self) -> Option<Backbone<'_>> {
        let foreign = self.extractor.map(Backbone::Foreign);
        foreign.or_else(|| self.frozen.as_ref().map(|frozen| Backbone::Own(&frozen.backbone)))
    }

    /// The features of `split`, called `name`, where a trained network has the backbone of before: what stands on them
    /// then gives the network's own results.
    ///
    /// # Errors
    /// The extractor fails.
    pub(super) fn features(
        &self,
        extraction: &FeatureExtraction<'_>,
        split: &Split,
        name: &str,
    ) -> Result<Option<Features>> {
        let stayed = self.extractor.is_some() || (self.cache.is_some() && extraction.recipe.transfer.unfreeze_at == 0);
        let backbone = self.backbone().filter(|_| stayed);
        backbone.map(|backbone| extraction.features(&backbone, split, name, self.folder.as_deref())).transpose()
    }
}

/// The head that `recipe` has on the features of `extractor`.
///
/// # Errors
/// The images have another size than the extractor takes, or would look different in each epoch.
pub(super) fn head_on(extractor: &dyn Extractor, recipe: &Recipe, input: Shape, classes: usize) -> Result<Network> {
    let wanted = extractor.input();
    ensure!(input == wanted, "the images are {input}, the backbone takes {wanted}: set --img-size {}", wanted.h);
    ensure!(
        recipe.augment.leaves_images() || recipe.transfer.cache_views > 0,
        "a backbone's features are computed once, but images are to be varied anew in each epoch: \
         draw some variations once by --set transfer.cache-views=4, or switch off what [augment] has"
    );
    foreign::build(&recipe.transfer, extractor.width(), classes)
}

/// Whether the features of a network's own backbone are the same whenever an image is seen, and wanted.
fn keeps_features(recipe: &Recipe) -> bool {
    let transfer = &recipe.transfer;
    if transfer.freeze != Freeze::All || transfer.statistics != Statistics::Frozen || !transfer.cache {
        return false;
    }
    let stays = recipe.augment.leaves_images() || transfer.cache_views > 0;
    if !stays {
        view::note(
            "the backbone is frozen, but images are varied anew in each epoch: its features cannot be kept. \
             --set transfer.cache-views=4 draws four variations of each image once, and trains in seconds",
        );
    }
    stays
}

impl Frozen {
    fn new(network: &Network, count: usize) -> Result<Self> {
        let [below, above] = parts::split(network, count)?.map(Module::new);
        let (backbone, head) = (below?, above?);
        ensure!(!head.parameters().is_empty(), "nothing is left to train");
        let names = backbone.parameters().iter().map(|parameter| parameter.name.clone()).collect();
        Ok(Self { backbone, head, names })
    }
}

fn output_len(module: &Module) -> Result<usize> {
    let shapes = module.network().shapes()?;
    Ok(shapes.last().map_or(0, |shape| shape.len()))
}

/// What features are computed by.
enum Backbone<'a> {
    Own(&'a Module),
    Foreign(&'a dyn Extractor),
}

/// What features are computed from.
pub(super) struct FeatureExtraction<'a> {
    pub recipe: &'a Recipe,
    pub dataset: &'a Dataset,
    pub arrays: &'a Arrays,
    pub device: &'a Device,
    pub workers: &'a Workers,
    /// Set by whoever does not want to wait for them.
    pub stop: &'a AtomicBool,
}

impl FeatureExtraction<'_> {
    /// The features of `split`, in as many views as the recipe has if it is the training split.
    fn features(&self, backbone: &Backbone<'_>, split: &Split, name: &str, folder: Option<&Path>) -> Result<Features> {
        let varied = name == "train" && !self.recipe.augment.leaves_images();
        let views = if varied { self.recipe.transfer.cache_views.max(1) as usize } else { 1 };
        let len = match backbone {
            Backbone::Own(module) => output_len(module)?,
            Backbone::Foreign(extractor) => extractor.width(),
        };
        let mut key = self.key(backbone).add("split", name.as_bytes());
        if varied {
            let augment = toml::to_string(&self.recipe.augment)?;
            let seed = self.recipe.augment_seed();
            key = key.add("augment", augment.as_bytes()).add("seed", &seed.to_le_bytes());
        }
        let count = views.saturating_mul(split.len() * len);
        // Each batch's, and all of them together.
        let needed = count.saturating_mul(2 * size_of::<f32>());
        let what = || format!("{len} features of {} images in {views} views", split.len());
        data::ensure_memory(needed, what, "set transfer.cache-views to less")?;
        let values = cached(folder, &key.add("views", &views.to_le_bytes()), count, || {
            self.compute(backbone, split, varied, views)
        })?;
        ensure!(values.len() == count, "the backbone gave {} values for {} images", values.len(), split.len());
        Ok(Features { len, values, labels: split.labels.clone() })
    }

    /// Everything that the features of any split follow from.
    fn key(&self, backbone: &Backbone<'_>) -> Key {
        let key = Key::default()
            .add("version", env!("CARGO_PKG_VERSION").as_bytes())
            .add("dataset", self.dataset.hash.as_bytes())
            .add("device", format!("{:?}", self.recipe.train.device).as_bytes());
        match backbone {
            Backbone::Foreign(extractor) => key.add("backbone", &extractor.digest()),
            Backbone::Own(module) => {
                let network = key.add("network", format!("{:?}", module.network()).as_bytes());
                module.download(self.arrays).iter().fold(network, |key, (name, array)| {
                    let bytes: Vec<u8> = array.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    key.add(name, &bytes)
                })
            }
        }
    }

    fn compute(&self, backbone: &Backbone<'_>, split: &Split, varied: bool, views: usize) -> Result<Vec<f32>> {
        let loader = Loader::new(self.recipe, split, self.dataset.classes.len(), 1)?;
        let bar = view::bar((views * split.len()) as u64, "features");
        let batch = |start: usize| split.len().min(start + BATCH);
        let parts: Vec<(u32, Range<usize>)> = (0..views as u32)
            .flat_map(|view| (0..split.len()).step_by(BATCH).map(move |start| (view, start..batch(start))))
            .collect();
        let rows = self.workers.map(&parts, |_, (view, range)| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Interrupted.into());
            }
            let batch = if varied {
                loader.varied(*view, *view, &range.clone().collect::<Vec<_>>())
            } else {
                batches::plain(split, range.clone())
            };
            let features = self.run(backbone, &batch);
            bar.inc(range.len() as u64);
            features
        });
        bar.finish_and_clear();
        Ok(rows.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    fn run(&self, backbone: &Backbone<'_>, batch: &Batch) -> Result<Vec<f32>> {
        match backbone {
            Backbone::Own(module) => {
                let images: Tensor<4> = upload(batch, module.input(), self.device);
                Ok(to_vec(module.forward(self.arrays, images, None)))
            }
            Backbone::Foreign(extractor) => {
                let image = batch.images.len() / batch.labels.len();
                let rows = batch.images.chunks_exact(image).map(|image| extractor.features(image));
                Ok(rows.collect::<Result<Vec<_>>>()?.concat())
            }
        }
    }
}
