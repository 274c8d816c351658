//! Max pooling while training.

use super::{Kernel, Map};
use crate::net::conv::output_size;
use ocellus_shared::Window;

/// Which value of each plane won each window.
#[derive(Debug)]
pub struct Chosen {
    /// Values of an input plane.
    plane: usize,
    /// Values of an output plane.
    places: usize,
    /// Of every output, the place of its value in the input's plane.
    winners: Vec<u32>,
}

impl Kernel {
    /// The largest value under each window on `x`; padding never wins.
    pub fn max_pool(x: &Map, window: &Window) -> (Self, Map) {
        let [n, c, h, w] = x.dims;
        let [top, left, ..] = window.pad.map(usize::from);
        let [oh, ow] = output_size([h, w], window);
        // Rows or columns of the input under each output's window.
        let reach = |i: usize, outputs: usize, size: usize, before: usize| -> Vec<std::ops::Range<usize>> {
            let from = |o: usize| o * usize::from(window.stride[i]);
            let inside = |at: usize| at.saturating_sub(before).min(size);
            (0..outputs).map(|o| inside(from(o))..inside(from(o) + usize::from(window.kernel[i]))).collect()
        };
        let (rows, columns) = (reach(0, oh, h, top), reach(1, ow, w, left));
        let mut y = Vec::with_capacity(n * c * oh * ow);
        let mut winners = Vec::with_capacity(n * c * oh * ow);
        for plane in x.values.chunks_exact(h * w) {
            if *window == Window::valid(2, 2) {
                halve(plane, w, [oh, ow], &mut y, &mut winners);
                continue;
            }
            for rows in &rows {
                for columns in &columns {
                    let winner = largest(plane, w, rows, columns);
                    winners.push(winner as u32);
                    y.push(plane[winner]);
                }
            }
        }
        (Self::MaxPool(Chosen { plane: h * w, places: oh * ow, winners }), Map::new([n, c, oh, ow], y))
    }
}

/// The place of the largest value; of equals the first, and what is not a number before all.
fn largest(plane: &[f32], width: usize, rows: &std::ops::Range<usize>, columns: &std::ops::Range<usize>) -> usize {
    let mut best = rows.start * width + columns.start;
    for row in rows.clone() {
        for at in row * width + columns.start..row * width + columns.end {
            if plane[at] > plane[best] || plane[at].is_nan() {
                best = at;
            }
        }
    }
    best
}

/// Appends the largest values of all windows of two rows and columns, side by side, and their places: as [`largest`], but
/// without branches, which would be guessed wrong half of the time.
fn halve(plane: &[f32], width: usize, [oh, ow]: [usize; 2], y: &mut Vec<f32>, winners: &mut Vec<u32>) {
    for row in 0..oh {
        let from = 2 * row * width;
        let (above, below) = (&plane[from..from + width], &plane[from + width..from + 2 * width]);
        let pairs = above.as_chunks().0.iter().zip(below.as_chunks().0).take(ow);
        for (column, (&[a, b], &[c, d])) in pairs.enumerate() {
            let (mut best, mut at) = (a, 0);
            for (value, offset) in [(b, 1), (c, width), (d, width + 1)] {
                let wins = (value > best) | value.is_nan();
                (best, at) = if wins { (value, offset) } else { (best, at) };
            }
            y.push(best);
            winners.push((from + 2 * column + at) as u32);
        }
    }
}

impl Chosen {
    /// The gradient of the input for the output's.
    pub(super) fn backward(&self, dy: &[f32]) -> Vec<f32> {
        let mut dx = vec![0.0; dy.len() / self.places * self.plane];
        let outputs = dy.chunks_exact(self.places).zip(self.winners.chunks_exact(self.places));
        for (dx, (dy, winners)) in dx.chunks_exact_mut(self.plane).zip(outputs) {
            winners.iter().zip(dy).for_each(|(&at, dy)| dx[at as usize] += dy);
        }
        dx
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_two_by_two_choose_as_any_window() {
        // Equal values, numbers that are none, and a row and a column under no window.
        let plane = [1.0, 1.0, 0.0, f32::NAN, 5.0, 1.0, 2.0, f32::NAN, 3.0, 5.0, -1.0, -1.0, -2.0, -1.0, 5.0];
        let (mut y, mut winners) = (Vec::new(), Vec::new());
        halve(&plane, 5, [1, 2], &mut y, &mut winners);
        let expected = [0..2, 2..4].map(|columns| largest(&plane, 5, &(0..2), &columns) as u32);
        assert_eq!(winners, expected);
        assert_eq!(winners, [6, 7]);
        assert_eq!((y[0], y[1].is_nan()), (2.0, true));
    }
}
