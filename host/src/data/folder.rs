//! Folders of pictures, one folder per class:
//!
//! ```text
//! photos/cat/*.jpg                 photos/train/cat/*.jpg
//! photos/dog/*.png                 photos/val/cat/*.jpg        (also valid/ or validation/)
//!                                  photos/test/cat/*.jpg
//! ```
//!
//! On the left the test and validation sets are drawn. On the right they are what the folders say; where only `test/`
//! exists, the validation set is drawn out of `train/`; where only `val/` exists, it becomes the test set (it is what
//! people report) and a validation set is drawn out of `train/`. Classes and pictures are taken in the order of their
//! names. Hidden files are passed over, and so is whatever is no jpg, jpeg or png.

use super::picture::{Picture, has_picture_name};
use super::split::{Part, carve};
use super::{Dataset, Inventory, Progress};
use crate::recipe::DataRecipe;
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
            unreadable.lock().expect("nobody panics here").insert(i, format!("{} {error:#}", files[i].display()));
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
            notes: top.note(root).into_iter().chain(passed_over).collect(),
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
        self.classes = class_names(&top.folders)?;
        for (label, class) in top.folders.iter().enumerate() {
            self.add_class(class, label as u16, Part::Train)?;
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
            self.notes.extend(listing.note(path).into_iter().chain(listing.note_strays(path)));
            let names = class_names(&listing.folders)?;
            if *part == Part::Train {
                self.classes = names;
            } else {
                self.compare_classes(path, &names);
            }
            for class in &listing.folders {
                let label =
                    self.classes.iter().position(|name| OsStr::new(name) == class.file_name().unwrap_or_default());
                if let Some(label) = label {
                    self.add_class(class, label as u16, *part)?;
                }
            }
        }
        Ok(())
    }

    /// Notes how the classes of the part at `path` differ from those of `train/`.
    fn compare_classes(&mut self, path: &Path, names: &[String]) {
        let (train, part): (BTreeSet<_>, BTreeSet<_>) = (self.classes.iter().collect(), names.iter().collect());
        let list = |names: Vec<&&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        let (missing, extra) =
            (train.difference(&part).collect::<Vec<_>>(), part.difference(&train).collect::<Vec<_>>());
        if !missing.is_empty() {
            let problem =
                format!("{} has no folder for {}: add it, or remove it from train", path.display(), list(missing));
            self.problems.push(problem);
        }
        if !extra.is_empty() {
            let problem = format!("{} has folders that train does not have: {}", path.display(), list(extra));
            self.problems.push(format!("{problem}: add them to train, or remove them"));
        }
    }

    /// Takes the pictures in `path`.
    fn add_class(&mut self, path: &Path, label: u16, part: Part) -> Result<()> {
        let listing = Listing::read(path)?;
        self.notes.extend(listing.note(path));
        let shown = path.display();
        match (listing.pictures.is_empty(), listing.folders.is_empty()) {
            (true, true) => self.problems.push(format!(
                "the class folder {shown} holds no pictures (jpg, jpeg, png): add some, or remove the folder"
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
    match path.file_name()?.to_str()?.to_ascii_lowercase().as_str() {
        "train" => Some(Part::Train),
        "val" | "valid" | "validation" => Some(Part::Val),
        "test" => Some(Part::Test),
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
}

impl Listing {
    fn read(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot list the folder {}", path.display());
        let mut listing = Self { pictures: Vec::new(), folders: Vec::new(), others: 0 };
        for entry in fs::read_dir(path).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                continue;
            }
            // A dangling link counts as a picture, so that it is reported as unreadable.
            match fs::metadata(&path) {
                Ok(kind) if kind.is_dir() => listing.folders.push(path),
                Ok(kind) if !kind.is_file() || !has_picture_name(&path) => listing.others += 1,
                Ok(_) => listing.pictures.push(path),
                Err(_) if has_picture_name(&path) => listing.pictures.push(path),
                Err(_) => listing.others += 1,
            }
        }
        listing.pictures.sort();
        listing.folders.sort();
        Ok(listing)
    }

    fn note(&self, path: &Path) -> Option<String> {
        let others = self.others;
        (others > 0).then(|| format!("{others} files in {} are no jpg, jpeg or png: passed over", path.display()))
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

fn class_names(folders: &[PathBuf]) -> Result<Vec<String>> {
    ensure!(folders.len() <= usize::from(u16::MAX), "{} classes are too many: at most 65535", folders.len());
    let name = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.with_context(|| format!("the name of {} is not UTF-8: rename it", path.display()))?;
        // In a model's file each class has a line.
        ensure!(!name.contains(['\n', '\r']), "the name of the class folder {path:?} holds a line break: rename it");
        Ok(name.to_owned())
    };
    folders.iter().map(name).collect()
}

/// What a dataset in `root` is called.
pub(super) fn folder_name(root: &Path) -> String {
    let absolute = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    absolute.file_name().map_or_else(|| "folder".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn shortened(lines: &[String]) -> String {
    let mut text = lines[..lines.len().min(LISTED)].join("\n");
    if lines.len() > LISTED {
        text += &format!("\nand {} more", lines.len() - LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::load;
    use tempfile::TempDir;

    /// A folder with the files of `names`; one that ends in png holds a grey picture that differs from the others.
    fn folder(names: &[&str]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (i, name) in names.iter().enumerate() {
            let path = dir.path().join(name);
            fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if has_picture_name(&path) {
                let grey = image::ImageBuffer::from_pixel(12, 10, image::Luma([i as u8]));
                grey.save_with_format(path, image::ImageFormat::Png).unwrap();
            } else if !name.ends_with('/') {
                fs::write(path, "text").unwrap();
            }
        }
        dir
    }

    fn recipe(dir: &TempDir) -> DataRecipe {
        DataRecipe { path: Some(dir.path().to_owned()), img_size: Some(8), ..DataRecipe::default() }
    }

    fn error(names: &[&str]) -> String {
        format!("{:#}", load(&recipe(&folder(names)), &|_, _| ()).unwrap_err())
    }

    fn sizes(names: &[&str]) -> [usize; 3] {
        let dataset = load(&recipe(&folder(names)), &|_, _| ()).unwrap();
        [dataset.train.len(), dataset.val.len(), dataset.test.len()]
    }

    /// `count` names of pictures in `prefix`.
    fn many(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{prefix}/{i:02}.png")).collect()
    }

    fn refs(names: &[Vec<String>]) -> Vec<&str> {
        names.iter().flatten().map(String::as_str).collect()
    }

    #[test]
    fn a_folder_without_parts_is_split() {
        let names = [many("cat", 20), many("dog", 10)];
        let dir = folder(&refs(&names));
        let dataset = load(&recipe(&dir), &|_, _| ()).unwrap();
        assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (14 + 7, 2 + 1, 4 + 2));
        assert_eq!(dataset.classes, ["cat", "dog"]);
        assert_eq!(dataset.test.labels, [0, 0, 0, 0, 1, 1]);
        let mut greys: Vec<u8> = [&dataset.train, &dataset.val, &dataset.test]
            .into_iter()
            .flat_map(|split| (0..split.len()).map(|i| split.image(i)[0]))
            .collect();
        greys.sort();
        assert_eq!(greys, (0..30).collect::<Vec<u8>>(), "every picture is in one part");
        assert_eq!(dataset.hash, load(&recipe(&dir), &|_, _| ()).unwrap().hash);
    }

    #[test]
    fn parts_are_taken_as_given_and_drawn_where_missing() {
        let part = |part: &str, count| refs_of(part, count);
        let (train, val, test) = (part("train", 10), part("Validation", 4), part("test", 3));
        let all = |lists: &[&Vec<String>]| lists.iter().flat_map(|list| list.iter().cloned()).collect::<Vec<_>>();
        let sizes = |names: Vec<String>| sizes(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(sizes(all(&[&train, &val, &test])), [20, 8, 6]);
        assert_eq!(sizes(all(&[&train, &test])), [18, 2, 6]);
        assert_eq!(sizes(all(&[&train, &val])), [18, 2, 8], "val becomes the test set");
        assert_eq!(sizes(train), [14, 2, 4]);
    }

    fn refs_of(part: &str, count: usize) -> Vec<String> {
        [many(&format!("{part}/a"), count), many(&format!("{part}/b"), count)].concat()
    }

    #[test]
    fn classes_of_a_few_pictures_are_in_every_part_or_refused() {
        let of = |count: usize| [many("a", count), many("b", 30)];
        for (count, expected) in [(1, "class a has only 1 picture ("), (2, "class a has only 2 pictures (")] {
            let message = error(&refs(&of(count)));
            assert!(message.contains(expected) && message.contains("at least 3 are needed"), "{message}");
        }
        // Of 30 pictures, 6 are for the test, and of the rest 2 for validation.
        for (count, a) in [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1])] {
            assert_eq!(sizes(&refs(&of(count))), [22 + a[0], 2 + a[1], 6 + a[2]], "{count}");
        }
        // With a test folder, two are enough.
        let test = [many("train/a", 2), many("train/b", 9), many("test/a", 1), many("test/b", 1)];
        assert_eq!(sizes(&refs(&test)), [1 + 8, 1 + 1, 2]);
    }

    #[test]
    fn a_class_may_be_called_train() {
        let dataset = load(&recipe(&folder(&refs(&[many("train", 3), many("car", 3)]))), &|_, _| ()).unwrap();
        assert_eq!(dataset.classes, ["car", "train"]);
    }

    fn notes(names: &[&str]) -> String {
        let dir = folder(names);
        let found = Folder::scan(dir.path(), &recipe(&dir)).unwrap();
        assert_eq!((found.classes.join(" "), found.problems), ("a b".to_owned(), vec![]));
        found.notes.join("\n")
    }

    #[test]
    fn pictures_beside_class_folders_are_passed_over_in_every_part() {
        let parts = [refs_of("train", 10), refs_of("val", 4), refs_of("test", 3)];
        let with = |strays: &[&'static str]| [refs(&parts), strays.to_vec()].concat();
        for strays in [&["train/cover.png"][..], &["val/x.png"], &["train/x.png", "val/x.png", "test/x.png"]] {
            assert_eq!(sizes(&with(strays)), [20, 8, 6], "{strays:?}");
            assert!(notes(&with(strays)).contains("1 pictures in "), "{strays:?}");
        }
        assert!(notes(&with(&["cover.png"])).contains("1 pictures in "));
        // Beside another class, it is one itself.
        let dataset =
            load(&recipe(&folder(&refs(&[many("train", 3), many("train/old", 3), many("car", 3)]))), &|_, _| ());
        assert_eq!(dataset.unwrap().classes, ["car", "train"]);
    }

    #[test]
    fn a_part_without_classes_is_told_from_another_folder() {
        let parts = [refs_of("train", 10), refs_of("val", 4)];
        let with = |more: &[&str]| notes(&[refs(&parts), more.to_vec()].concat());
        let empty = with(&["test/", "extra/"]);
        assert!(empty.contains("test is empty: passed over") && empty.contains("val is the test set"), "{empty}");
        assert!(empty.contains("extra is none of train, val and test"), "{empty}");
        let unsorted = with(&["test/0.png"]);
        assert!(unsorted.contains("test holds pictures but no folders: passed over"), "{unsorted}");
    }

    #[test]
    fn other_and_hidden_files_are_passed_over() {
        let mut names = refs(&[many("a", 3), many("b", 3)]).into_iter().map(str::to_owned).collect::<Vec<_>>();
        names.extend(["README.txt", "a/notes.txt", "a/.hidden.png", ".git/x.png", "b/UPPER.PNG"].map(str::to_owned));
        assert_eq!(sizes(&names.iter().map(String::as_str).collect::<Vec<_>>()), [3, 2, 2]);
    }

    #[test]
    fn what_cannot_be_trained_on_is_named() {
        let b = many("b", 5);
        let with_b = |names: &[&str]| {
            let all: Vec<&str> = names.iter().copied().chain(b.iter().map(String::as_str)).collect();
            error(&all)
        };
        let cases = [
            (with_b(&["empty/"]), "empty holds no pictures"),
            (with_b(&["a/0.png", "a/1.png"]), "class a has only 2 pictures"),
            (with_b(&["a/deep/0.png"]), "a holds folders instead of pictures"),
            (with_b(&[]), "only one class"),
            (error(&["0.png"]), "one folder per class"),
            (error(&["notes.txt"]), "holds no dataset"),
            (error(&refs(&[refs_of("train", 4), many("test/a", 2)])), "test has no folder for b"),
            (error(&refs(&[refs_of("train", 4), refs_of("val", 2), many("val/c", 2)])), "train does not have: c"),
            (error(&refs(&[refs_of("test", 4)])), "no folder train beside it"),
            (error(&refs(&[refs_of("val", 4), many("train", 2)])), "train holds pictures but no folders, while"),
            (error(&refs(&[refs_of("val", 4), vec!["train/".into()]])), "train is empty, while"),
            (with_b(&["a\nb/0.png"]), "a\\nb\" holds a line break: rename it"),
            (error(&refs(&[refs_of("train", 4), many("train/a\rb", 4)])), "a\\rb\" holds a line break: rename it"),
            (error(&refs(&[refs_of("train", 4), refs_of("val", 2), refs_of("valid", 2)])), "are both for val"),
        ];
        for (message, expected) in cases {
            assert!(message.contains(expected), "expected {expected:?} in: {message}");
        }
    }

    #[test]
    fn unreadable_pictures_are_all_listed() {
        let dir = folder(&refs(&[many("a", 5), many("b", 5)]));
        fs::write(dir.path().join("a/02.png"), "no picture").unwrap();
        fs::write(dir.path().join("b/04.png"), "").unwrap();
        let message = format!("{:#}", load(&recipe(&dir), &|_, _| ()).unwrap_err());
        assert!(message.contains("2 pictures") && message.contains("a/02.png is no JPEG"), "{message}");
        assert!(message.contains("b/04.png is empty"), "{message}");
    }
}
