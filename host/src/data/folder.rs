//! Folders of pictures, one folder per class:
//!
//! ```text
//! photos/cat/*.jpg                 photos/train/cat/*.jpg
//! photos/dog/*.png                 photos/val/cat/*.jpg
//!                                  photos/test/cat/*.jpg
//! ```
//!
//! On the left the test and validation sets are drawn. On the right they are what the folders say; where only `test/`
//! exists, the validation set is drawn out of `train/`; where only `val/` exists, it becomes the test set (it is what
//! people report) and a validation set is drawn out of `train/`. `training/`, `valid/`, `validation/` and `testing/` are other names of
//! them, and each may end with `_set`. A class need not have pictures in `val/` and `test/`. Classes and pictures are taken in
//! the order of their names. Hidden files are passed over, and so are files that are no JPEG or PNG, folders of the system, and
//! runs and models of Ocellus.

use super::picture::{self, Picture, has_picture_name};
use super::split::{Part, carve};
use super::{Dataset, Inventory, Progress, ignored, names};
use crate::recipe::DataRecipe;
use crate::view;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Rows and columns where a recipe names no size.
const SIDE: u16 = 96;
/// How many of many things an error message lists.
const LISTED: usize = 10;

/// The pictures of a folder, not yet decoded.
pub(super) struct Folder {
    /// The folder itself.
    pub root: PathBuf,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// One for each picture, in the order of parts, classes and file names.
    pub files: Vec<PathBuf>,
    /// Class of each picture.
    pub labels: Vec<u16>,
    /// Part of each picture.
    pub parts: Vec<Part>,
    /// What was passed over.
    pub notes: Vec<String>,
    /// What makes training impossible, each with its remedy.
    pub problems: Vec<String>,
}

/// Reads the pictures below `root`, each cut or stretched to a square.
///
/// # Errors
/// Whatever [`check`](super::check) calls a problem, and pictures that cannot be decoded.
pub(super) fn load(root: &Path, recipe: &DataRecipe, most: usize, progress: Progress) -> Result<Dataset> {
    let Folder { root, classes, files, labels, parts, notes, problems } = Folder::scan(root, recipe)?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    let side = recipe.img_size.unwrap_or(SIDE);
    let unreadable = Mutex::new(BTreeMap::new());
    let paint = |i: usize, image: &mut [u8]| match Picture::open(&files[i]) {
        Ok(picture) => picture.square(side, recipe.fit(), image),
        Err(error) => {
            let unreadable = &mut unreadable.lock().expect("nobody panics here");
            unreadable.insert(i, format!("{} {error:#}", view::name(&files[i])));
        }
    };
    let inventory = Inventory { name: folder_name(&root), classes, labels, parts };
    let dataset = inventory.collect(usize::from(side), most, progress, paint)?;
    let unreadable: Vec<String> = unreadable.into_inner().expect("nobody panics here").into_values().collect();
    ensure!(
        unreadable.is_empty(),
        "{} pictures cannot be used:\n{}\nreplace or remove them; `ocellus data check {}` lists all",
        unreadable.len(),
        shortened(&unreadable),
        root.display()
    );
    Ok(dataset)
}

impl Folder {
    /// Lists the pictures below `root` and draws the parts that its folders do not give.
    ///
    /// # Errors
    /// A folder that cannot be listed, or one without classes.
    pub fn scan(root: &Path, recipe: &DataRecipe) -> Result<Self> {
        let top = Listing::read(root)?;
        let (parts, passed_over) = part_folders(&top)?;
        let mut folder = Self {
            root: root.to_owned(),
            classes: Vec::new(),
            files: Vec::new(),
            labels: Vec::new(),
            parts: Vec::new(),
            notes: top.notes(root).into_iter().chain(passed_over).collect(),
            problems: Vec::new(),
        };
        match &parts {
            Some(parts) => folder.add_parts(parts, &top)?,
            None => folder.add_whole(top)?,
        }
        folder.draw_parts(parts.is_some(), recipe);
        Ok(folder)
    }

    /// Takes the classes of a folder without parts, all of them for training at first.
    fn add_whole(&mut self, top: Listing) -> Result<()> {
        let root = self.root.display();
        if top.folders.is_empty() && !top.pictures.is_empty() {
            bail!("{root} holds pictures but no folders: sort them into one folder per class");
        }
        ensure!(
            !top.folders.is_empty(),
            "{root} holds no dataset: expected CIFAR's binary files, or one folder of pictures per class"
        );
        self.notes.extend(top.note_strays(&self.root));
        let classes = classes(&top.folders)?;
        for (label, (name, path)) in classes.into_iter().enumerate() {
            self.classes.push(name);
            self.add_class(&path, label as u16, Part::Train)?;
        }
        Ok(())
    }

    /// Takes the classes of `train/`, `val/` and `test/`, which must be the same.
    fn add_parts(&mut self, parts: &[(Part, PathBuf)], top: &Listing) -> Result<()> {
        self.notes.extend(top.note_strays(&self.root));
        for other in top.folders.iter().filter(|path| part_named(path).is_none()) {
            self.notes.push(format!("{} is none of train, val and test: passed over", other.display()));
        }
        for (part, path) in parts {
            let listing = Listing::read(path)?;
            self.notes.extend(listing.notes(path).into_iter().chain(listing.note_strays(path)));
            let classes = classes(&listing.folders)?;
            if *part == Part::Train {
                self.classes.extend(classes.iter().map(|(name, _)| name.clone()));
            } else {
                self.compare_classes(path, &classes);
            }
            for (name, class) in &classes {
                if let Some(label) = self.classes.iter().position(|known| known == name) {
                    self.add_class(class, label as u16, *part)?;
                }
            }
        }
        Ok(())
    }

    /// Notes how the classes of the part at `path` differ from those of `train/`.
    fn compare_classes(&mut self, path: &Path, classes: &[(String, PathBuf)]) {
        let (train, part): (BTreeSet<_>, BTreeSet<_>) =
            (self.classes.iter().collect(), classes.iter().map(|(name, _)| name).collect());
        let list = |names: Vec<&&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let (missing, extra) =
            (train.difference(&part).collect::<Vec<_>>(), part.difference(&train).collect::<Vec<_>>());
        if !missing.is_empty() {
            self.notes.push(format!(
                "{} has no pictures of {}: its figures will say nothing of them",
                path.display(),
                list(missing)
            ));
        }
        if !extra.is_empty() {
            let problem = format!("{} has folders that train does not have: {}", path.display(), list(extra));
            self.problems.push(format!("{problem}: add them to train, or remove them"));
        }
    }

    /// Takes the pictures in `path`.
    fn add_class(&mut self, path: &Path, label: u16, part: Part) -> Result<()> {
        let listing = Listing::read(path)?;
        self.notes.extend(listing.notes(path));
        let shown = path.display();
        match (listing.pictures.is_empty(), listing.folders.is_empty()) {
            (true, true) if part != Part::Train => {
                self.notes
                    .push(format!("{shown} holds no pictures: the figures of {} will say nothing of it", part.name()));
            }
            (true, true) => self.problems.push(format!(
                "the class folder {shown} holds no pictures ({}): add some, or remove the folder",
                picture::EXTENSIONS.join(", ")
            )),
            (true, false) => self.problems.push(format!(
                "{shown} holds folders instead of pictures: give the folder right above the class folders (perhaps \
                 {shown}), or move the pictures up"
            )),
            (false, false) => {
                self.notes.push(format!("{} folders within {shown} are passed over", listing.folders.len()))
            }
            (false, true) => {}
        }
        self.labels.extend(vec![label; listing.pictures.len()]);
        self.parts.extend(vec![part; listing.pictures.len()]);
        self.files.extend(listing.pictures);
        Ok(())
    }

    /// Draws the parts that are missing, out of the training pictures.
    fn draw_parts(&mut self, given: bool, recipe: &DataRecipe) {
        if self.classes.len() < 2 {
            let root = self.root.display();
            self.problems
                .push(format!("{root} has only one class: a classifier needs a folder for each of two or more"));
        }
        let has = |parts: &[Part], part| parts.contains(&part);
        let (has_val, has_test) = (has(&self.parts, Part::Val), has(&self.parts, Part::Test));
        if has_val && !has_test {
            self.notes.push(
                "there is no test folder of classes: val is the test set, and a validation set is drawn from train"
                    .into(),
            );
            self.parts.iter_mut().filter(|part| **part == Part::Val).for_each(|part| *part = Part::Test);
        }
        let (draw_test, draw_val) = (!has_val && !has_test, !(has_val && has_test));
        self.check_counts(1 + usize::from(draw_test) + usize::from(draw_val), given);
        if draw_test {
            carve(&mut self.parts, &self.labels, Part::Test, recipe.test_fraction, recipe.seed);
        }
        if draw_val {
            carve(&mut self.parts, &self.labels, Part::Val, recipe.val_fraction, recipe.seed);
        }
    }

    /// Notes the classes that cannot give each drawn part a picture and keep one.
    fn check_counts(&mut self, least: usize, given: bool) {
        let mut counts = vec![0; self.classes.len()];
        for (&label, &part) in self.labels.iter().zip(&self.parts) {
            counts[usize::from(label)] += usize::from(part == Part::Train);
        }
        for (name, count) in self.classes.iter().zip(counts).filter(|&(_, count)| (1..least).contains(&count)) {
            let place = if given { "in train " } else { "" };
            self.problems.push(format!(
                "class {name} has only {count} picture{} {place}({}): at least {least} are needed, one for each part; add \
                 more, or remove the class",
                if count == 1 { "" } else { "s" },
                self.root.display()
            ));
        }
    }
}

/// Which part a folder is called.
fn part_named(path: &Path) -> Option<Part> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    // As in `training_set`.
    let name = name.strip_suffix("set").map_or(&*name, |name| name.trim_end_matches(['_', '-', ' ']));
    match name {
        "train" | "training" => Some(Part::Train),
        "val" | "valid" | "validation" => Some(Part::Val),
        "test" | "testing" => Some(Part::Test),
        _ => None,
    }
}

/// The folders of parts.
type Parts = Vec<(Part, PathBuf)>;

/// `train`, `val` and `test` where `top` has them, and notes on folders of these names that are none. A folder `train` of
/// pictures is a class: somebody may tell vehicles apart. Where it holds folders too, it is a part if its neighbours are.
///
/// # Errors
/// Two folders are for one part, or there is none to train on.
fn part_folders(top: &Listing) -> Result<(Option<Parts>, Vec<String>)> {
    let mut named = Vec::new();
    for path in &top.folders {
        if let Some(part) = part_named(path) {
            named.push((part, path.clone(), Listing::read(path)?));
        }
    }
    let holds_classes = |inside: &Listing| !inside.folders.is_empty();
    let is_part = |inside: &Listing| holds_classes(inside) && inside.pictures.is_empty();
    let all_alike =
        !named.is_empty() && named.len() == top.folders.len() && named.iter().all(|(.., inside)| holds_classes(inside));
    if !all_alike && !named.iter().any(|(.., inside)| is_part(inside)) {
        return Ok((None, Vec::new()));
    }
    named.sort_by_key(|(part, ..)| *part);
    let (parts, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|(.., inside)| holds_classes(inside));
    let parts: Parts = parts.into_iter().map(|(part, path, _)| (part, path)).collect();
    if let Some([(_, one), (part, other)]) = parts.array_windows().find(|[(a, _), (b, _)]| a == b) {
        bail!("{} and {} are both for {}: keep one of them", one.display(), other.display(), part.name());
    }
    if let Some((_, path)) = parts.first().filter(|(part, _)| *part != Part::Train) {
        match others.iter().find(|(part, ..)| *part == Part::Train) {
            Some((_, train, inside)) => bail!(
                "{} {}, while {} holds class folders: sort the pictures to train on into one folder per class",
                train.display(),
                inside.without_classes(),
                path.display()
            ),
            None => bail!("{} has no folder train beside it: add one", path.display()),
        }
    }
    let notes =
        others.iter().map(|(_, path, inside)| format!("{} {}: passed over", path.display(), inside.without_classes()));
    Ok((Some(parts), notes.collect()))
}

/// What a folder holds, sorted by name, hidden things left out.
struct Listing {
    pictures: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    /// Files that are no pictures.
    others: usize,
    /// Folders that are no classes, each with the reason.
    ignored: Vec<(PathBuf, &'static str)>,
}

impl Listing {
    fn read(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot list the folder {}", path.display());
        let mut listing = Self { pictures: Vec::new(), folders: Vec::new(), others: 0, ignored: Vec::new() };
        for entry in fs::read_dir(path).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                if holds_pictures(&path) {
                    listing.ignored.push((path, "has a name that begins with a dot"));
                }
                continue;
            }
            // A dangling link counts as a picture, so that it is reported as unreadable.
            match fs::metadata(&path) {
                Ok(kind) if kind.is_dir() => match ignored::reason(&path) {
                    Some(reason) => listing.ignored.push((path, reason)),
                    None => listing.folders.push(path),
                },
                Ok(kind) if !kind.is_file() || !has_picture_name(&path) => listing.others += 1,
                Ok(_) => listing.pictures.push(path),
                Err(_) if has_picture_name(&path) => listing.pictures.push(path),
                Err(_) => listing.others += 1,
            }
        }
        listing.pictures.sort();
        listing.folders.sort();
        listing.ignored.sort();
        Ok(listing)
    }

    /// What was passed over.
    fn notes(&self, path: &Path) -> Vec<String> {
        let others = self.others;
        let files =
            (others > 0).then(|| format!("{others} files in {} are no JPEG or PNG: passed over", path.display()));
        let folders = self.ignored.iter().map(|(path, reason)| format!("{} {reason}: passed over", path.display()));
        folders.chain(files).collect()
    }

    /// What it is like instead of holding class folders.
    fn without_classes(&self) -> &'static str {
        if self.pictures.is_empty() { "is empty" } else { "holds pictures but no folders" }
    }

    /// Tells of pictures where class folders are.
    fn note_strays(&self, path: &Path) -> Option<String> {
        let strays = self.pictures.len();
        (strays > 0).then(|| format!("{strays} pictures in {} are in no class folder: passed over", path.display()))
    }
}

/// Whether the folder at `path` holds pictures that are not hidden.
fn holds_pictures(path: &Path) -> bool {
    let names = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| !name.as_encoded_bytes().starts_with(b".") && has_picture_name(Path::new(&name)))
}

/// The names of class folders, in the order of which they are labelled.
///
/// # Errors
/// One that cannot be a class's name, or two that look the same.
fn classes(folders: &[PathBuf]) -> Result<Vec<(String, PathBuf)>> {
    ensure!(folders.len() <= usize::from(u16::MAX), "{} classes are too many: at most 65535", folders.len());
    let mut classes = BTreeMap::new();
    for path in folders {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.with_context(|| format!("the name of {} is not UTF-8: rename it", view::name(path)))?;
        names::check(name).with_context(|| format!("in the name of the class folder {}", view::name(path)))?;
        if let Some(other) = classes.insert(names::composed(name).into_owned(), path.clone()) {
            bail!(
                "{} and {} have names that look the same, but are written differently ({} and {}): rename one of them, or move \
                 the pictures together",
                other.display(),
                path.display(),
                spelled(&other),
                spelled(path)
            );
        }
    }
    Ok(classes.into_iter().collect())
}

/// A name with everything beyond ASCII as its code points.
fn spelled(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// What a dataset in `root` is called.
pub(super) fn folder_name(root: &Path) -> String {
    let absolute = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    absolute.file_name().map_or_else(|| "folder".to_owned(), view::name)
}

fn shortened(lines: &[String]) -> String {
    let mut text = lines[..lines.len().min(LISTED)].join("\n");
    if lines.len() > LISTED {
        text += &format!("\nand {} more", lines.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests;
