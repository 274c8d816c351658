//! Looks for what could be wrong with a dataset before somebody trains on it.

use super::picture::Picture;
use super::split::Part;
use super::{Layout, Progress, check_recipe, cifar, folder, shapes};
use crate::recipe::DataRecipe;
use crate::view;
use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A class that has this many times the images of another is worth a warning.
const IMBALANCE: f64 = 5.0;

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The dataset's name.
    pub name: String,
    /// Which layout it has: `cifar10`, `cifar100`, `folder` or `shapes`.
    pub layout: &'static str,
    /// Images in all, the unreadable ones included.
    pub images: usize,
    /// Images of each class.
    pub classes: Vec<ClassCounts>,
    /// Images of the largest class for each one of the smallest that has any.
    pub imbalance: f64,
    /// Columns of the readable images.
    pub width: Extent,
    /// Rows of the readable images.
    pub height: Extent,
    /// Images that cannot be decoded.
    pub unreadable: Vec<Unreadable>,
    /// Groups of images with the same pixels.
    pub duplicates: Vec<Duplicates>,
    /// What was passed over.
    pub notes: Vec<String>,
    /// What makes a model worse, or its figures better than it is.
    pub warnings: Vec<String>,
    /// What makes training impossible.
    pub problems: Vec<String>,
}

/// Images of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub name: String,
    /// For fitting weights.
    pub train: usize,
    /// For choosing between checkpoints.
    pub val: usize,
    /// For the final figures.
    pub test: usize,
}

impl ClassCounts {
    /// Images in all parts.
    pub fn total(&self) -> usize {
        self.train + self.val + self.test
    }
}

/// Sizes in pixels along one axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The smallest.
    pub min: u16,
    /// Half of the images have at most this.
    pub median: u16,
    /// The largest.
    pub max: u16,
}

impl Extent {
    fn of(mut sizes: Vec<u16>) -> Self {
        sizes.sort();
        let at = |i: usize| sizes.get(i).copied().unwrap_or_default();
        Self { min: at(0), median: at(sizes.len() / 2), max: at(sizes.len().saturating_sub(1)) }
    }
}

/// An image that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Where it is.
    pub image: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Images with the same pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Where they are.
    pub images: Vec<String>,
    /// They have different labels, so that one at least is wrong.
    pub across_classes: bool,
    /// They are in different parts, so that figures say more about memory than about understanding.
    pub across_splits: bool,
}

impl Report {
    /// Whether a model can be trained on the dataset as it is.
    pub fn is_usable(&self) -> bool {
        self.problems.is_empty() && self.unreadable.is_empty()
    }
}

/// One image, looked at.
struct Item {
    place: String,
    label: u16,
    part: Part,
    /// Width, height, and SHA-256 of the pixels; or why it is unreadable.
    facts: Result<(u16, u16, [u8; 32]), String>,
}

impl Item {
    fn facts(width: u16, height: u16, pixels: &[u8]) -> (u16, u16, [u8; 32]) {
        (width, height, Sha256::digest(pixels).into())
    }
}

/// Looks at every image of the recipe's dataset, split as the recipe says. Whatever is wrong is in the report, not an
/// error.
pub fn check(recipe: &DataRecipe, progress: Progress) -> Report {
    match survey(recipe, progress) {
        Ok((mut report, items)) => {
            report.count(&items);
            report
        }
        Err(error) => Report { problems: vec![format!("{error:#}")], ..Report::default() },
    }
}

fn survey(recipe: &DataRecipe, progress: Progress) -> Result<(Report, Vec<Item>)> {
    check_recipe(recipe)?;
    match Layout::detect(recipe.path.as_deref())? {
        Layout::Cifar10(dir) => survey_cifar(&cifar::TEN, &dir, recipe, progress),
        Layout::Cifar100(dir) => survey_cifar(&cifar::HUNDRED, &dir, recipe, progress),
        Layout::Folder(dir) => survey_folder(&dir, recipe, progress),
        Layout::Shapes => survey_shapes(recipe, progress),
    }
}

fn survey_cifar(
    variant: &'static cifar::Variant,
    dir: &Path,
    recipe: &DataRecipe,
    progress: Progress,
) -> Result<(Report, Vec<Item>)> {
    let records = cifar::Records::read(variant, dir, recipe)?;
    let items = look(records.labels.len(), progress, |i| {
        let mut pixels = vec![0; usize::from(cifar::SIDE) * usize::from(cifar::SIDE) * 3];
        records.paint(i, &mut pixels);
        let facts = Ok(Item::facts(cifar::SIDE, cifar::SIDE, &pixels));
        Item { place: records.place(i), label: records.labels[i], part: records.parts[i], facts }
    });
    Ok((Report::new(variant.name.to_owned(), variant.name, records.classes), items))
}

fn survey_folder(dir: &Path, recipe: &DataRecipe, progress: Progress) -> Result<(Report, Vec<Item>)> {
    let folder = folder::Folder::scan(dir, recipe)?;
    let items = look(folder.files.len(), progress, |i| {
        let path = &folder.files[i];
        let facts = Picture::open(path)
            .map(|picture| Item::facts(picture.width, picture.height, &picture.pixels))
            .map_err(|error| format!("{error:#}"));
        let place = view::name(path.strip_prefix(&folder.root).unwrap_or(path));
        Item { place, label: folder.labels[i], part: folder.parts[i], facts }
    });
    let report = Report::new(folder::folder_name(dir), "folder", folder.classes);
    Ok((Report { notes: folder.notes, problems: folder.problems, ..report }, items))
}

fn survey_shapes(recipe: &DataRecipe, progress: Progress) -> Result<(Report, Vec<Item>)> {
    let dataset = shapes::load(recipe, usize::MAX, progress)?;
    let parts = [(Part::Train, &dataset.train), (Part::Val, &dataset.val), (Part::Test, &dataset.test)];
    let items = parts.into_iter().flat_map(|(part, split)| {
        (0..split.len()).map(move |i| Item {
            place: format!("{} picture {i}", part.name()),
            label: split.labels[i],
            part,
            facts: Ok(Item::facts(split.width as u16, split.height as u16, split.image(i))),
        })
    });
    let items = items.collect();
    Ok((Report::new(dataset.name, shapes::NAME, dataset.classes), items))
}

/// Looks at `count` images in parallel.
fn look(count: usize, progress: Progress, item: impl Fn(usize) -> Item + Sync) -> Vec<Item> {
    let done = AtomicUsize::new(0);
    let one = |i| {
        let item = item(i);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(100) || done == count {
            progress(done, count);
        }
        item
    };
    (0..count).into_par_iter().map(one).collect()
}

impl Report {
    fn new(name: String, layout: &'static str, classes: Vec<String>) -> Self {
        let empty = |name| ClassCounts { name, train: 0, val: 0, test: 0 };
        Self { name, layout, classes: classes.into_iter().map(empty).collect(), ..Self::default() }
    }

    /// Fills in everything that follows from the images.
    fn count(&mut self, items: &[Item]) {
        self.images = items.len();
        let (mut widths, mut heights) = (Vec::new(), Vec::new());
        let mut same: BTreeMap<_, Vec<&Item>> = BTreeMap::new();
        for item in items {
            let counts = &mut self.classes[usize::from(item.label)];
            match item.part {
                Part::Train => counts.train += 1,
                Part::Val => counts.val += 1,
                Part::Test => counts.test += 1,
            }
            match &item.facts {
                Ok((width, height, hash)) => {
                    widths.push(*width);
                    heights.push(*height);
                    same.entry((*width, *height, *hash)).or_default().push(item);
                }
                Err(reason) => {
                    self.unreadable.push(Unreadable { image: item.place.clone(), reason: reason.clone() });
                }
            }
        }
        (self.width, self.height) = (Extent::of(widths), Extent::of(heights));
        self.duplicates = same.values().filter(|items| items.len() > 1).map(|items| Duplicates::of(items)).collect();
        self.duplicates.sort_by(|a, b| a.images.cmp(&b.images));
        self.judge();
    }

    fn judge(&mut self) {
        for part in [Part::Train, Part::Val, Part::Test] {
            let of_part = |counts: &ClassCounts| match part {
                Part::Train => counts.train,
                Part::Val => counts.val,
                Part::Test => counts.test,
            };
            if self.problems.is_empty() && self.classes.iter().all(|counts| of_part(counts) == 0) {
                self.problems.push(format!("there are too few images: none is left for {}", part.name()));
            }
        }
        // What has no images at all is a problem already.
        let totals = self.classes.iter().map(ClassCounts::total).filter(|&total| total > 0);
        let (least, most) = (totals.clone().min().unwrap_or_default(), totals.max().unwrap_or_default());
        self.imbalance = most as f64 / least.max(1) as f64;
        if self.imbalance > IMBALANCE {
            self.warnings.push(format!(
                "the largest class has {:.1} times the images of the smallest ({most} and {least}): accuracy will say \
                 little about the small one; look at the per-class figures",
                self.imbalance
            ));
        }
        let groups = |test: fn(&Duplicates) -> bool| self.duplicates.iter().filter(|d| test(d)).count();
        let (leaks, quarrels) = (groups(|d| d.across_splits), groups(|d| d.across_classes));
        if leaks > 0 {
            self.warnings.push(format!(
                "LEAKAGE: {leaks} groups of identical images lie in more than one of train, val and test: the figures \
                 will be too good; keep one of each group"
            ));
        }
        if quarrels > 0 {
            self.warnings.push(format!(
                "{quarrels} groups of identical images have different labels: keep the right one of each group"
            ));
        }
    }
}

impl Duplicates {
    fn of(items: &[&Item]) -> Self {
        let labels: BTreeSet<u16> = items.iter().map(|item| item.label).collect();
        let parts: BTreeSet<Part> = items.iter().map(|item| item.part).collect();
        let images = items.iter().map(|item| item.place.clone()).collect();
        Self { images, across_classes: labels.len() > 1, across_splits: parts.len() > 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(place: &str, label: u16, part: Part, pixel: u8) -> Item {
        Item { place: place.to_owned(), label, part, facts: Ok(Item::facts(1, 1, &[pixel])) }
    }

    fn report(items: &[Item]) -> Report {
        let mut report = Report::new("test".into(), "folder", vec!["a".into(), "b".into()]);
        report.count(items);
        report
    }

    #[test]
    fn duplicates_are_told_apart() {
        let report = report(&[
            item("a/1", 0, Part::Train, 1),
            item("a/2", 0, Part::Train, 1), // twice in one class and part
            item("a/3", 0, Part::Train, 2),
            item("b/1", 1, Part::Train, 2), // two classes
            item("b/2", 1, Part::Train, 3),
            item("b/3", 1, Part::Test, 3), // two parts
            item("b/4", 1, Part::Val, 4),
        ]);
        let kinds: Vec<_> = report.duplicates.iter().map(|d| (d.across_classes, d.across_splits)).collect();
        assert_eq!(kinds, [(false, false), (true, false), (false, true)]);
        assert_eq!(report.warnings.len(), 2);
        assert!(report.warnings[0].starts_with("LEAKAGE: 1 group"));
        assert!(report.is_usable());
    }

    #[test]
    fn an_unreadable_image_makes_it_unusable() {
        let broken = Item { facts: Err("is damaged".into()), ..item("b/1", 1, Part::Test, 0) };
        let report = report(&[item("a/1", 0, Part::Train, 1), broken]);
        assert_eq!(report.unreadable, [Unreadable { image: "b/1".into(), reason: "is damaged".into() }]);
        assert_eq!(report.images, 2);
        assert!(!report.is_usable());
    }

    #[test]
    fn imbalance_is_a_warning() {
        let items: Vec<Item> = (0..7).map(|i| item("x", u16::from(i == 0), Part::Train, i)).collect();
        let report = report(&items);
        assert_eq!(report.imbalance, 6.0);
        assert!(report.warnings[0].contains("6.0 times"), "{:?}", report.warnings);
        let report = self::report(&items[1..]);
        assert_eq!((report.imbalance, report.warnings.len()), (1.0, 0), "{:?}", report.warnings);
    }

    #[test]
    fn extents_are_order_statistics() {
        assert_eq!(Extent::of(vec![5, 1, 9, 2]), Extent { min: 1, median: 5, max: 9 });
        assert_eq!(Extent::of(vec![]), Extent::default());
    }

    #[test]
    fn what_cannot_be_found_is_a_problem() {
        let recipe = DataRecipe { path: Some("/nowhere/at/all".into()), ..DataRecipe::default() };
        let report = check(&recipe, &|_, _| ());
        assert!(report.problems[0].contains("does not exist"), "{:?}", report.problems);
    }
}
