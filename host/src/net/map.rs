//! A feature map in this process's memory.

use super::memory::Buffer;
use std::rc::Rc;

/// A feature map with its channels innermost.
#[derive(Clone, Debug)]
pub struct Map {
    /// Images, rows, columns, channels: `(n, h, w, c)`.
    pub dims: [usize; 4],
    /// The values. Several holders share them until one wants to change them.
    pub values: Rc<Buffer>,
}

impl Map {
    /// A map of these values.
    pub fn new(dims: [usize; 4], values: Buffer) -> Self {
        debug_assert_eq!(values.len(), dims.iter().product::<usize>());
        Self { dims, values: Rc::new(values) }
    }

    /// Of values `(n, c, h, w)`.
    pub fn from_planes(planes: &[f32], [n, c, h, w]: [usize; 4]) -> Self {
        let mut values = Buffer::any(planes.len());
        let images = planes.chunks_exact((c * h * w).max(1)).zip(values.chunks_exact_mut((c * h * w).max(1)));
        images.for_each(|(from, to)| transpose(from, h * w, to));
        Self::new([n, h, w, c], values)
    }

    /// Its values as `(n, c, h, w)`.
    pub fn to_planes(&self) -> Vec<f32> {
        let [_, h, w, c] = self.dims;
        let mut planes = vec![0.0; self.values.len()];
        let images = self.values.chunks_exact((c * h * w).max(1)).zip(planes.chunks_exact_mut((c * h * w).max(1)));
        images.for_each(|(from, to)| transpose(from, c, to));
        planes
    }

    /// The values, to be changed: a copy of them where somebody else needs them too.
    pub fn into_buffer(self) -> Buffer {
        Rc::unwrap_or_clone(self.values)
    }

    /// The sum of two maps.
    pub fn plus(self, other: Self) -> Self {
        // Whoever is the only holder is written over.
        let (to, from) = if Rc::strong_count(&self.values) == 1 { (self, other) } else { (other, self) };
        let dims = to.dims;
        let mut values = to.into_buffer();
        values.iter_mut().zip(from.values.iter()).for_each(|(a, b)| *a += b);
        Self::new(dims, values)
    }
}

/// Writes a matrix with rows of `columns` values with its columns as rows.
fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    /// Rows that are read side by side: what is written then fills whole lines of the cache.
    const ROWS: usize = 16;
    let rows = from.len() / columns.max(1);
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        for column in 0..columns {
            let to = &mut to[column * rows + first..][..count];
            to.iter_mut().enumerate().for_each(|(i, to)| *to = from[(first + i) * columns + column]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_pixels_and_planes_again() {
        let planes: Vec<f32> = (0..2 * 3 * 5 * 7).map(|i| i as f32).collect();
        let map = Map::from_planes(&planes, [2, 3, 5, 7]);
        assert_eq!(map.dims, [2, 5, 7, 3]);
        let at = |n: usize, c: usize, y: usize, x: usize| planes[((n * 3 + c) * 5 + y) * 7 + x];
        assert_eq!(map.values[((5 + 4) * 7 + 6) * 3 + 2], at(1, 2, 4, 6));
        assert_eq!(map.to_planes(), planes);
    }

    #[test]
    fn a_sum_leaves_what_others_hold() {
        let map = |value: f32| Map::new([1, 1, 1, 2], Buffer::filled(2, value));
        let (a, b) = (map(1.0), map(2.0));
        let sum = a.clone().plus(b);
        assert_eq!((&**a.values, &**sum.values), (&[1.0, 1.0][..], &[3.0, 3.0][..]));
    }
}
