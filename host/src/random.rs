//! Reproducible random numbers.
//!
//! Whatever is random draws from a stream of its own, named by the seed, a purpose and a counter (an epoch's image, a
//! step). So nothing depends on how work is spread over threads, and a resumed run needs no generator's state.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What random numbers are for; each purpose has streams of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// First weights of a network.
    Weights = 1,
    /// Order of the images in an epoch.
    Shuffle = 2,
    /// Variation of one image in one epoch.
    Augment = 3,
    /// What dropout drops in one step.
    Dropout = 4,
    /// What one image takes from another of its batch.
    Mix = 5,
    /// Images to measure speed on.
    Noise = 6,
    /// What happens to an image whose robustness is measured.
    Corrupt = 7,
    /// Points of a study.
    Search = 8,
}

/// The stream number `index`, below 2^56, of this purpose.
pub fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    debug_assert!(index < 1 << 56);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream((purpose as u64) << 56 | index);
    random
}
