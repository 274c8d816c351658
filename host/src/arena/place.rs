//! Placing buffers in the least memory.
//!
//! An NP-hard packing problem once more than a few buffers live at a time. First-fit in a good order finds the best
//! placement of most networks: several orders that follow from sizes and lifetimes are tried, and the best of them is
//! varied at random, from one seed, for as long as there is a gap to the lower bound.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::ops::RangeInclusive;

/// Buffers start at multiples of this many bytes, so that kernels may load whole words.
pub const ALIGN: usize = 8;

/// Variations of the best order that are tried.
const TRIES: usize = 1000;

/// Something that needs memory for some of the steps.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Its size.
    pub bytes: usize,
    /// First and last step that it is needed for.
    pub steps: RangeInclusive<usize>,
    /// Buffers that it may overlap all the same, from that many bytes before their start on: the inputs that nobody needs
    /// after the step that writes this one.
    pub over: Vec<(usize, usize)>,
}

impl Buffer {
    fn meets(&self, other: &Self) -> bool {
        self.steps.start() <= other.steps.end() && other.steps.start() <= self.steps.end()
    }

    /// How many bytes this buffer must begin before `other`, if it begins before it.
    fn before(&self, other: usize) -> usize {
        self.over.iter().find(|(input, _)| *input == other).map_or(self.bytes, |(_, lead)| *lead)
    }
}

/// Buffers, and which of them live at the same time.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The buffers.
    pub buffers: Vec<Buffer>,
    near: Vec<Vec<usize>>,
}

/// Where the buffers lie.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Offset of each.
    pub offsets: Vec<usize>,
    /// Size of the whole.
    pub bytes: usize,
    /// The order that first-fit placed them in.
    pub order: Vec<usize>,
}

impl Problem {
    /// The problem of these buffers.
    pub fn new(buffers: Vec<Buffer>) -> Self {
        let near = |b: usize| (0..buffers.len()).filter(|&o| o != b && buffers[o].meets(&buffers[b])).collect();
        let near = (0..buffers.len()).map(near).collect();
        Self { buffers, near }
    }

    /// Whether buffer `b` at `at` leaves alone what lives with it and has an offset.
    fn is_free(&self, b: usize, at: usize, offset: impl Fn(usize) -> Option<usize>) -> bool {
        self.near[b]
            .iter()
            .filter_map(|&o| Some((o, offset(o)?)))
            .all(|(o, there)| at + self.buffers[b].before(o) <= there || there + self.buffers[o].before(b) <= at)
    }

    /// Whether buffer `b` leaves alone what lives with it.
    pub fn is_sound(&self, b: usize, offsets: &[usize]) -> bool {
        self.is_free(b, offsets[b], |o| Some(offsets[o]))
    }

    /// Puts each buffer, in this order, at the lowest offset that is free while it lives.
    pub fn first_fit(&self, order: Vec<usize>) -> Placement {
        let mut offsets: Vec<Option<usize>> = vec![None; self.buffers.len()];
        for &b in &order {
            // It begins at the start, or where another has gone far enough.
            let ends = self.near[b].iter().filter_map(|&o| Some(offsets[o]? + self.buffers[o].before(b)));
            let mut candidates: Vec<usize> = ends.map(|end| end.next_multiple_of(ALIGN)).chain([0]).collect();
            candidates.sort_unstable();
            offsets[b] = candidates.into_iter().find(|&at| self.is_free(b, at, |o| offsets[o]));
        }
        let offsets: Vec<usize> = offsets.into_iter().map(|at| at.expect("the end of all is always free")).collect();
        let bytes = offsets.iter().zip(&self.buffers).map(|(at, b)| at + b.bytes).max().unwrap_or(0);
        Placement { offsets, bytes, order }
    }

    /// The best placement that was found; `lower_bound` is one that needs no improvement.
    pub fn place(&self, lower_bound: usize) -> Placement {
        let lifetime = |b: &Buffer| b.steps.end() - b.steps.start() + 1;
        let first = [
            self.by(|b| (b.bytes, lifetime(b))),
            self.by(|b| (lifetime(b), b.bytes)),
            self.by(|b| (b.bytes * lifetime(b), b.bytes)),
            self.by(|b| (usize::MAX - b.steps.start(), b.bytes)),
            self.by(|b| (*b.steps.end(), b.bytes)),
            // From the last to the first, each after what lies over it.
            self.by(|b| (*b.steps.start(), b.bytes)),
        ];
        let best = first.into_iter().min_by_key(|p| p.bytes).expect("there are several orders");
        self.vary(best, lower_bound, TRIES)
    }

    /// The best of `best` and so many variations of its order, until one needs no more than `enough`.
    pub fn vary(&self, mut best: Placement, enough: usize, tries: usize) -> Placement {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for _ in 0..tries {
            if best.bytes <= enough {
                break;
            }
            let next = self.first_fit(self.varied(&best, &mut random));
            if next.bytes <= best.bytes {
                best = next;
            }
        }
        best
    }

    /// First-fit from the largest `key` on.
    fn by<K: Ord>(&self, key: impl Fn(&Buffer) -> K) -> Placement {
        let mut order: Vec<usize> = (0..self.buffers.len()).collect();
        order.sort_by_key(|&b| Reverse(key(&self.buffers[b])));
        self.first_fit(order)
    }

    /// The order of `best` with one buffer elsewhere: any, or the one that reaches furthest, which goes to the front.
    fn varied(&self, best: &Placement, random: &mut ChaCha8Rng) -> Vec<usize> {
        let mut order = best.order.clone();
        let end = |b: usize| best.offsets[b] + self.buffers[b].bytes;
        let last = (0..order.len()).max_by_key(|&at| end(order[at])).unwrap_or(0);
        let (from, to) = match random.random::<bool>() {
            true => (last, random.random_range(0..=last)),
            false => (random.random_range(0..order.len()), random.random_range(0..order.len())),
        };
        let moved = order.remove(from);
        order.insert(to, moved);
        order
    }
}
