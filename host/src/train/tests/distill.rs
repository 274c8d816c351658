//! Runs that learn from a teacher.

use super::*;
use crate::features::Teacher;
use crate::recipe::AugmentRecipe;
use std::sync::atomic::AtomicUsize;

/// Names the brightest stripe; counts the images that it is asked about.
#[derive(Default)]
struct Stripes(AtomicUsize);

impl Teacher for Stripes {
    fn digest(&self) -> [u8; 32] {
        [9; 32]
    }

    fn logits(&self, images: &Split) -> Result<Vec<f32>> {
        self.0.fetch_add(images.len(), Ordering::Relaxed);
        let row = |i: usize, row: usize| images.image(i)[row * 24..][..24].iter().map(|&p| f32::from(p)).sum::<f32>();
        Ok((0..images.len()).flat_map(|i| [1, 3, 5].map(|at| row(i, at) / 300.0)).collect())
    }
}

impl Stripes {
    fn asked(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn taught() -> Recipe {
    let mut recipe = recipe();
    // Only training learns of a teacher by its path: here it is none.
    recipe.distill.teacher = Some("stripes".into());
    recipe.distill.views = 2;
    recipe
}

struct Place {
    cache: TempDir,
    threads: usize,
}

impl Place {
    fn new() -> Self {
        Self { cache: tempfile::tempdir().unwrap(), threads: THREADS }
    }

    fn go(
        &self,
        teacher: Option<&Stripes>,
        recipe: &Recipe,
        dataset: &Dataset,
        out: &TempDir,
        (resume, stop): (bool, bool),
    ) -> Result<Outcome> {
        let cache = Some(self.cache.path());
        let options = RunOptions { out: out.path(), resume, threads: self.threads, cache, devices: &[], watch: None };
        let teacher = teacher.map(|teacher| teacher as &dyn Teacher);
        run_on(Pretrained { extractor: None, teacher }, recipe, dataset, &options, &AtomicBool::new(stop))
    }

    /// The only file in the cache.
    fn kept(&self) -> PathBuf {
        let files: Vec<PathBuf> = std::fs::read_dir(self.cache.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        files[0].clone()
    }
}

const STRAIGHT: (bool, bool) = (false, false);

#[test]
fn a_teacher_is_asked_once_whoever_learns_from_it() {
    let (place, teacher) = (Place::new(), Stripes::default());
    let [one, two, three] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    finished(place.go(Some(&teacher), &taught(), &dataset(), &one, STRAIGHT).unwrap());
    assert_eq!(teacher.asked(), 2 * 50, "two views of each training image");
    let mut other = taught();
    (other.train.seed, other.net.dense, other.distill.temperature) = (5, 4, 2.0);
    (other.distill.standardise, other.augment.cutmix) = (true, 0.5);
    finished(place.go(Some(&teacher), &other, &dataset(), &two, STRAIGHT).unwrap());
    assert_eq!(teacher.asked(), 2 * 50, "another student reads them");
    assert!(std::fs::read(place.kept()).unwrap().windows(9).any(|bytes| bytes == b"views = 2"));

    other.distill.seed = 1;
    finished(place.go(Some(&teacher), &other, &dataset(), &three, STRAIGHT).unwrap());
    assert_eq!(teacher.asked(), 4 * 50, "other variations are other images");
    // What was learnt from is written down.
    let recipe = Recipe::load(&one.path().join("recipe.toml")).unwrap();
    let saved = Checkpoint::load(one.path()).unwrap().recipe;
    assert_eq!(recipe.distill.soft_labels_sha256.len(), 64);
    assert_eq!(saved.distill, recipe.distill);
}

#[test]
fn a_student_learns_from_a_teacher_what_labels_do_not_say() {
    let mut recipe = taught();
    (recipe.train.epochs, recipe.augment) = (25, AugmentRecipe::none());
    recipe.net.block_dropout = vec![0.0, 0.0];
    (recipe.distill.label_weight, recipe.distill.teacher_weight) = (0.0, 1.0);
    let mut dataset = dataset();
    // All of them are wrong.
    dataset.train.labels.iter_mut().for_each(|label| *label = (*label + 1) % 3);
    for standardise in [false, true] {
        recipe.distill.standardise = standardise;
        let (place, out, teacher) = (Place::new(), tempfile::tempdir().unwrap(), Stripes::default());
        let metrics = finished(place.go(Some(&teacher), &recipe, &dataset, &out, STRAIGHT).unwrap());
        assert!(metrics.test_accuracy > 0.85, "{standardise}: {metrics:?}");
        assert_eq!(teacher.asked(), 50, "images that stay as they are have one view");
    }
}

#[test]
fn a_resumed_student_has_the_same_weights_on_any_number_of_threads() {
    let mut recipe = taught();
    (recipe.augment.cutmix, recipe.distill.standardise) = (1.0, true);
    let (mut place, teacher) = (Place::new(), Stripes::default());
    let [whole, pieces] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    finished(place.go(Some(&teacher), &recipe, &dataset(), &whole, STRAIGHT).unwrap());
    let mut outcome = place.go(Some(&teacher), &recipe, &dataset(), &pieces, (false, true)).unwrap();
    let mut stops = 0;
    while let Outcome::Stopped = outcome {
        stops += 1;
        place.threads = 1 + stops % 3;
        outcome = place.go(Some(&teacher), &recipe, &dataset(), &pieces, (true, true)).unwrap();
    }
    assert_eq!((stops, teacher.asked()), (9, 2 * 50), "3 epochs of 3 steps");
    // Nothing is kept there yet.
    let (elsewhere, alone) = (Place { threads: 3, ..Place::new() }, tempfile::tempdir().unwrap());
    finished(elsewhere.go(Some(&teacher), &recipe, &dataset(), &alone, STRAIGHT).unwrap());
    for file in [BEST, LAST] {
        assert!(tensors(&whole, file) == tensors(&pieces, file), "{file} differs");
        assert!(tensors(&whole, file) == tensors(&alone, file), "{file} differs");
    }
}

#[test]
fn a_stop_while_the_teacher_is_asked_can_go_on() {
    let (place, teacher, out) = (Place::new(), Stripes::default(), tempfile::tempdir().unwrap());
    let stopped = place.go(Some(&teacher), &taught(), &dataset(), &out, (false, true)).unwrap();
    assert!(matches!(stopped, Outcome::Stopped) && teacher.asked() == 0);
    finished(place.go(Some(&teacher), &taught(), &dataset(), &out, (true, false)).unwrap());
    assert_eq!(teacher.asked(), 2 * 50);
}

#[test]
fn stored_soft_labels_need_no_teacher_and_are_of_these_images_only() {
    let (place, teacher) = (Place::new(), Stripes::default());
    let [one, two, three] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    finished(place.go(Some(&teacher), &taught(), &dataset(), &one, STRAIGHT).unwrap());
    let file = place.kept();
    let mut recipe = taught();
    (recipe.distill.teacher, recipe.distill.soft_labels) = (None, Some(file.clone()));
    finished(place.go(None, &recipe, &dataset(), &two, STRAIGHT).unwrap());
    assert!(tensors(&one, LAST) == tensors(&two, LAST));

    let refused = |recipe: &Recipe, dataset: &Dataset| {
        let message = error(place.go(None, recipe, dataset, &three, STRAIGHT));
        assert_eq!(std::fs::read_dir(three.path()).unwrap().count(), 0, "nothing is written");
        message
    };
    let images = Dataset { hash: "stripes-2".into(), ..dataset() };
    assert!(refused(&recipe, &images).contains("computed from another dataset"));
    let with = |change: &dyn Fn(&mut Recipe)| {
        let mut changed = recipe.clone();
        change(&mut changed);
        refused(&changed, &dataset())
    };
    assert!(with(&|recipe| recipe.augment.zoom = 0.2).contains("another augmentation"));
    assert!(with(&|recipe| recipe.distill.seed = 3).contains("another seed"));
    assert!(with(&|recipe| recipe.distill.views = 3).contains("another number of views"));
    assert!(with(&|recipe| recipe.distill.teacher_sha256 = "ab".repeat(32)).contains("another teacher"));
    assert!(with(&|recipe| recipe.distill.soft_labels_sha256 = "ab".repeat(32)).contains("the recipe says abab"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(with(&|_| ()).contains("is damaged"));
    std::fs::remove_file(&file).unwrap();
    assert!(with(&|_| ()).contains("cannot read"));
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let (place, teacher) = (Place::new(), Stripes::default());
    let [before, out] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    // A run that is to stop after its first step does not wait for a teacher.
    finished(place.go(Some(&teacher), &taught(), &dataset(), &before, STRAIGHT).unwrap());
    for resume in [false, true, true] {
        place.go(Some(&teacher), &taught(), &dataset(), &out, (resume, true)).unwrap();
    }
    let message = |recipe: &Recipe| error(place.go(Some(&teacher), recipe, &dataset(), &out, (true, false)));
    let mut other = taught();
    other.distill.temperature = 2.0;
    assert!(message(&other).contains("distill.temperature"));
    assert!(message(&recipe()).contains("distill.teacher"));
    // The same recipe, and a teacher that says something else under the same name.
    let mut saved = Checkpoint::load(&out.path().join(LAST)).unwrap();
    saved.recipe.distill.soft_labels_sha256 = "cd".repeat(32);
    saved.save(&out.path().join(LAST)).unwrap();
    assert!(message(&taught()).contains("the recipe says cdcd"));
}

#[test]
fn a_head_on_kept_features_learns_from_a_teacher_too() {
    let mut recipe = taught();
    recipe.augment = AugmentRecipe { shift: 1, ..AugmentRecipe::none() };
    recipe.transfer.freeze = crate::recipe::Freeze::All;
    recipe.transfer.cache_views = 2;
    let mut by_labels = recipe.clone();
    by_labels.distill = crate::recipe::DistillRecipe::default();
    let (place, teacher) = (Place::new(), Stripes::default());
    let [kept, fresh, plain] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    finished(place.go(Some(&teacher), &recipe, &dataset(), &kept, STRAIGHT).unwrap());
    recipe.transfer.cache_views = 0;
    finished(place.go(Some(&teacher), &recipe, &dataset(), &fresh, STRAIGHT).unwrap());
    finished(place.go(None, &by_labels, &dataset(), &plain, STRAIGHT).unwrap());
    let far = |a: &TempDir, b: &TempDir| {
        let [a, b] = [a, b].map(|out| tensors(out, LAST).0);
        let pairs =
            a.iter().flat_map(|(name, array)| array.values.iter().zip(&b[name].values).map(|(a, b)| (a - b).abs()));
        pairs.fold(0.0, f32::max)
    };
    // Features computed beforehand are rounded in another order.
    assert!(far(&kept, &fresh) < 1e-3, "{}", far(&kept, &fresh));
    assert!(far(&kept, &plain) > 1e-2, "{}", far(&kept, &plain));
}
