//! Class folders that fill with photos, no two of them alike.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::data::album::{Album, Verdict};
use crate::data::picture::{self, Picture};
use crate::view;

/// Mean difference in grey levels below which a photo is a duplicate, as for `ocellus capture`.
const DIFFERENCE: f32 = 4.0;
/// Classes at most.
const MOST_CLASSES: usize = 200;

/// The class folders, of which those that photos were added to are open.
#[derive(Debug)]
pub struct Albums {
    folder: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    albums: BTreeMap<String, Album>,
    /// Photos that were added or taken back.
    changes: usize,
}

impl Albums {
    /// The class folders in `folder`, which need not be there.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// A number that changes whenever a photo is added or taken back.
    pub fn version(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Adds a photo to a class unless there is one like it: what became of it, and how many photos the class has now.
    ///
    /// # Errors
    /// The folder cannot be written, or there are too many classes.
    pub fn offer(&self, class: &str, photo: &Picture) -> Result<(Verdict, usize)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A folder that was taken away is begun anew.
        open.albums.retain(|_, album| album.folder().is_dir());
        if !open.albums.contains_key(class) {
            let is_new = !self.folder.join(class).is_dir();
            ensure!(!is_new || self.classes().len() < MOST_CLASSES, "there are {MOST_CLASSES} classes already");
            open.albums.insert(class.to_owned(), Album::open(&self.folder, class, DIFFERENCE)?);
        }
        let album = open.albums.get_mut(class).expect("it was just opened");
        let verdict = album.offer(photo)?;
        let count = count(album.folder());
        open.changes += usize::from(matches!(verdict, Verdict::Kept(_)));
        Ok((verdict, count))
    }

    /// Takes the newest `most` photos of a class away again that were added here: how many there were, and how many are left.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn take_back(&self, class: &str, most: usize) -> Result<(usize, usize)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(album) = open.albums.get_mut(class) else { return Ok((0, 0)) };
        let mut removed = 0;
        while removed < most && album.take_back()? {
            removed += 1;
        }
        let left = count(album.folder());
        open.changes += removed;
        Ok((removed, left))
    }

    /// The classes, and how many photos each has.
    pub fn counts(&self) -> Vec<Value> {
        let classes = self.classes();
        classes.iter().map(|path| json!({ "name": path.file_name().map(view::name), "count": count(path) })).collect()
    }

    fn classes(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir() && !is_hidden(path)).collect();
        found.sort();
        found
    }
}

/// Pictures in a folder.
fn count(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| picture::has_picture_name(&entry.path())).count()
}
