//! Seeded, stratified splits.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Fitting weights.
    Train,
    /// Choosing between checkpoints.
    Val,
    /// The final figures.
    Test,
}

impl Part {
    /// Its name in folders and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// Moves about `fraction` of each class's training images to the part `to`.
///
/// A class with two or more training images gives at least one and keeps at least one; a smaller one gives none. Which
/// ones depends on the seed, the part, and the order of the class's own images only.
pub fn carve(parts: &mut [Part], labels: &[u16], to: Part, fraction: f64, seed: u64) {
    let classes = labels.iter().max().map_or(0, |&most| usize::from(most) + 1);
    let mut members = vec![Vec::new(); classes];
    for (image, &label) in labels.iter().enumerate() {
        if parts[image] == Part::Train {
            members[usize::from(label)].push(image);
        }
    }
    let draw = match to {
        Part::Train | Part::Val => 0,
        Part::Test => 1 << 32,
    };
    for (class, mut images) in members.into_iter().enumerate() {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(draw | class as u64);
        images.shuffle(&mut random);
        let share = share(images.len(), fraction);
        images[..share].iter().for_each(|&image| parts[image] = to);
    }
}

/// How many of a class's `images` a draw of `fraction` takes.
fn share(images: usize, fraction: f64) -> usize {
    if images < 2 { 0 } else { ((images as f64 * fraction).round() as usize).clamp(1, images - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carved(to: Part, fraction: f64, seed: u64) -> (Vec<u16>, Vec<Part>) {
        let labels: Vec<u16> = (0..1000).map(|i| i % 7).collect();
        let mut parts = vec![Part::Train; labels.len()];
        carve(&mut parts, &labels, to, fraction, seed);
        (labels, parts)
    }

    #[test]
    fn every_class_gives_its_share() {
        let (labels, parts) = carved(Part::Val, 0.1, 3);
        for class in 0..7 {
            let of_class = labels.iter().zip(&parts).filter(|&(&label, _)| label == class);
            let (given, all) =
                of_class.fold((0, 0), |(given, all), (_, &p)| (given + usize::from(p == Part::Val), all + 1));
            assert_eq!(given, (f64::from(all) * 0.1).round() as usize, "class {class}");
        }
    }

    #[test]
    fn seed_and_part_decide() {
        assert_eq!(carved(Part::Val, 0.2, 1), carved(Part::Val, 0.2, 1));
        assert_ne!(carved(Part::Val, 0.2, 1), carved(Part::Val, 0.2, 2));
        let is = |(_, parts): (Vec<u16>, Vec<Part>), part| parts.iter().map(|&p| p == part).collect::<Vec<_>>();
        assert_ne!(is(carved(Part::Val, 0.2, 1), Part::Val), is(carved(Part::Test, 0.2, 1), Part::Test));
    }

    #[test]
    fn only_training_images_move() {
        let labels = [0; 20];
        let mut parts = [[Part::Test; 10], [Part::Train; 10]].concat();
        carve(&mut parts, &labels, Part::Val, 0.99, 0);
        assert_eq!(parts[..10], [Part::Test; 10]);
        assert_eq!(parts[10..].iter().filter(|&&part| part == Part::Val).count(), 9);
    }

    #[test]
    fn small_classes_keep_an_image() {
        assert_eq!(share(0, 0.5), 0);
        assert_eq!(share(1, 0.9), 0);
        assert_eq!(share(2, 0.01), 1);
        assert_eq!(share(2, 0.99), 1);
        assert_eq!(share(3, 0.99), 2);
    }

    #[test]
    fn two_draws_leave_small_classes_something() {
        for (images, expected) in [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (4, [2, 1, 1]), (10, [7, 1, 2])] {
            let (labels, mut parts) = (vec![0; images], vec![Part::Train; images]);
            carve(&mut parts, &labels, Part::Test, 0.2, 7);
            carve(&mut parts, &labels, Part::Val, 0.1, 7);
            let count = |part| parts.iter().filter(|&&p| p == part).count();
            assert_eq!([Part::Train, Part::Val, Part::Test].map(count), expected, "{images} images");
        }
    }
}
