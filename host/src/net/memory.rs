//! Memory of feature maps, which goes from one use to the next instead of back to the system.
//!
//! A training step writes hundreds of megabytes. Fresh memory would have the kernel clear every page of it again in every
//! step, so that each thread keeps what its passes give back. The next pass asks for the same sizes in the same order, and
//! gets them; what some passes one after the other did not use is given up.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// A kept piece may be larger than what is asked for by this factor, or by [`SMALL`] values.
const WASTE: usize = 2;
const SMALL: usize = 1 << 10;

/// Passes that a piece is kept for without being used: a step may be several, of networks of different sizes.
const PASSES: u64 = 6;

/// What a thread keeps.
#[derive(Default)]
struct Pool {
    /// Pieces that nobody uses, and the number of the pass that gave each back.
    free: Vec<(Vec<f32>, u64)>,
    /// Passes that have ended.
    passes: u64,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

impl Pool {
    /// The smallest piece that holds `len` values and does not waste too much.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let fits = |piece: &Vec<f32>| piece.len() >= len && piece.len() <= WASTE * len + SMALL;
        let pieces = self.free.iter().enumerate().filter(|(_, (piece, _))| fits(piece));
        let (best, _) = pieces.min_by_key(|(_, (piece, _))| piece.len())?;
        Some(self.free.swap_remove(best).0)
    }
}

/// Values in memory that is kept for the next buffer.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// Room for `len` values, which are any numbers.
    pub fn any(len: usize) -> Self {
        let kept = POOL.with_borrow_mut(|pool| pool.take(len));
        Self { memory: kept.unwrap_or_else(|| vec![0.0; len]), len }
    }

    /// `len` values that are all `value`.
    pub fn filled(len: usize, value: f32) -> Self {
        let mut buffer = Self::any(len);
        buffer.fill(value);
        buffer
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self::filled(len, 0.0)
    }
}

/// Gives up what neither the pass that ends here nor those just before it used.
pub fn end_pass() {
    POOL.with_borrow_mut(|pool| {
        let pass = pool.passes;
        pool.free.retain(|(_, last)| last + PASSES > pass);
        pool.passes += 1;
    });
}

impl From<&[f32]> for Buffer {
    fn from(values: &[f32]) -> Self {
        let mut buffer = Self::any(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // A thread that ends has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let pass = pool.passes;
            pool.free.push((memory, pass));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        POOL.with_borrow(|pool| pool.free.iter().map(|(piece, _)| piece.len()).sum())
    }

    #[test]
    fn memory_is_used_again_and_given_up_when_it_is_not() {
        std::thread::spawn(|| {
            let first = Buffer::filled(5000, 1.0);
            let place = first.as_ptr();
            drop(first);
            assert_eq!(kept(), 5000);
            // A smaller one may have it, a much smaller one may not.
            assert_ne!(Buffer::any(100).as_ptr(), place);
            let second = Buffer::any(4000);
            assert_eq!((second.as_ptr(), second.len(), kept()), (place, 4000, 100));
            assert!(Buffer::zeros(4000).iter().all(|v| *v == 0.0));
            drop(second);
            for _ in 0..=PASSES {
                assert_eq!(kept(), 9100);
                drop(Buffer::any(100));
                end_pass();
            }
            assert_eq!(kept(), 100);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_copy_has_memory_of_its_own() {
        let first = Buffer::from(&[1.0, 2.0][..]);
        let mut second = first.clone();
        second[0] = 3.0;
        assert_eq!((&*first, &*second), (&[1.0, 2.0][..], &[3.0, 2.0][..]));
    }
}
