//! Datasets that requests look at, kept while they are in use.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use super::FindDataset;
use super::library::Loaded;
use super::message::Fault;
use crate::data::{self, Dataset, Part, Split, shapes};
use crate::eval::Evaluator;
use crate::recipe::DataRecipe;

/// Datasets that stay in memory: a model's, and the one that is looked at beside it.
const KEPT: usize = 2;

/// Which dataset is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The folder that `--data` named.
    Given,
    /// What was captured.
    Photos,
    /// The built-in one.
    Shapes,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Given, Self::Photos, Self::Shapes];

    /// Its name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Photos => "photos",
            Self::Shapes => "shapes",
        }
    }

    /// The source of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, Fault> {
        Self::ALL.into_iter().find(|source| source.name() == name).ok_or_else(|| Fault::missing("dataset"))
    }
}

/// What a dataset was read for.
#[derive(Clone, Debug, PartialEq)]
enum Key {
    /// A model, by its name and the digest of its plan.
    Model(String, [u8; 8]),
    /// A source, and the side of its images.
    Source(Source, u16),
}

/// Where datasets are, and those that were read.
pub struct Shelf {
    given: Option<PathBuf>,
    photos: PathBuf,
    find: FindDataset,
    /// The one that was used last comes last.
    kept: Mutex<Vec<(Key, Arc<Dataset>)>>,
}

impl Shelf {
    /// The folder that was named, the folder of captured photos, and how to find a model's dataset.
    pub fn new(given: Option<PathBuf>, photos: PathBuf, find: FindDataset) -> Self {
        Self { given, photos, find, kept: Mutex::default() }
    }

    /// Folder of captured photos.
    pub fn photos(&self) -> &PathBuf {
        &self.photos
    }

    /// Whether there is such a dataset.
    pub fn has(&self, source: Source) -> bool {
        match source {
            Source::Given => self.given.is_some(),
            Source::Photos => self.photos.is_dir(),
            Source::Shapes => true,
        }
    }

    /// The folder of a source; nothing for the built-in one.
    ///
    /// # Errors
    /// It is not there.
    pub fn path(&self, source: Source) -> Result<Option<PathBuf>, Fault> {
        match source {
            Source::Given => {
                self.given.clone().map(Some).ok_or_else(|| Fault::new(404, "no folder was given with --data"))
            }
            Source::Photos if self.has(source) => Ok(Some(self.photos.clone())),
            Source::Photos => Err(Fault::new(404, "nothing was captured yet")),
            Source::Shapes => Ok(None),
        }
    }

    /// The dataset to judge a model with.
    ///
    /// # Errors
    /// There is none with its classes, or it cannot be read.
    pub fn of_model(&self, model: &Loaded) -> Result<Arc<Dataset>> {
        self.keep(Key::Model(model.id.clone(), model.digest()), || {
            let (input, classes) = Evaluator::Engine(model.plan_bytes().to_vec()).signature()?;
            (self.find)(&model.files.read_recipe()?.data, self.given.as_deref(), input, &classes)
        })
    }

    /// The images of a source, `side` pixels high and wide.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_source(&self, source: Source, side: u16) -> Result<Arc<Dataset>> {
        let path = self.path(source).map_err(|fault| anyhow::anyhow!(fault.message))?;
        let recipe = DataRecipe { path, img_size: Some(side), ..DataRecipe::default() };
        self.keep(Key::Source(source, side), || data::load(&recipe, &|_, _| ()))
    }

    /// What is to be read again: photos were added.
    pub fn forget(&self, source: Source) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(key, _)| !matches!(key, Key::Source(known, _) if *known == source));
    }

    /// The dataset that was read for `key`, or is read now: by one request, while others wait for it.
    fn keep(&self, key: Key, read: impl FnOnce() -> Result<Dataset>) -> Result<Arc<Dataset>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match kept.iter().position(|(known, _)| *known == key) {
            Some(at) => kept.remove(at).1,
            None => {
                // Room is made before.
                let surplus = (kept.len() + 1).saturating_sub(KEPT);
                kept.drain(..surplus);
                Arc::new(read()?)
            }
        };
        kept.push((key, Arc::clone(&found)));
        Ok(found)
    }
}

/// The part of this name.
///
/// # Errors
/// There is none.
pub fn part(name: &str) -> Result<Part, Fault> {
    let parts = [Part::Train, Part::Val, Part::Test];
    parts.into_iter().find(|part| part.name() == name).ok_or_else(|| Fault::missing("split: train, val and test are"))
}

/// The images of a part.
pub fn split(dataset: &Dataset, part: Part) -> &Split {
    match part {
        Part::Train => &dataset.train,
        Part::Val => &dataset.val,
        Part::Test => &dataset.test,
    }
}

/// Image `index` of a split as a PNG file.
///
/// # Errors
/// There are fewer.
pub fn png(split: &Split, index: usize) -> Result<Vec<u8>> {
    ensure!(index < split.len(), "there are {} images", split.len());
    let side = |side: usize| u16::try_from(side).context("the image is too large");
    let picture = data::picture::Picture {
        width: side(split.width)?,
        height: side(split.height)?,
        pixels: split.image(index).to_vec(),
    };
    picture.to_png()
}

/// The side of thumbnails: what the built-in pictures have is not enlarged.
pub const THUMBNAIL: u16 = 64;

/// The side at which a source's images are shown.
pub fn side(source: Source) -> u16 {
    if source == Source::Shapes { shapes::SIDE as u16 } else { THUMBNAIL }
}
