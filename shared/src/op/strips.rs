//! Operators a few rows at a time.
//!
//! Most operators read their input from top to bottom while they write their output. Computed in *strips* of a few rows of
//! the output, a step does not need the rows of its input above the current strip any more, and the output may lie over
//! them. Planner, parser and engine share the rules of this file: which rows a strip reads, how far the output must lie
//! below an input that it overlaps, and how much scratch memory a strip needs.

use super::Op;
use crate::shape::Shape;
use core::ops::Range;

/// Some rows of an operator's output, computed by an operator of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strip {
    /// The operator that makes them of the rows of `input` alone: of the padding, it has what falls into these rows.
    pub op: Op,
    /// The rows that it reads of every map; an input of which [`Op::reads_rows`] is false is read whole.
    pub input: Range<u16>,
    /// The rows that it writes.
    pub output: Range<u16>,
}

impl Op {
    /// How the output rows `rows`, at least one, are made of the rows of an `input` that the operator takes; nothing where
    /// it needs its input whole.
    pub fn strip(&self, input: Shape, rows: Range<u16>) -> Option<Strip> {
        if !self.reads_rows(0) {
            return None;
        }
        let Some(window) = self.window() else { return Some(Strip { op: *self, input: rows.clone(), output: rows }) };
        let (window, input) = window.rows(input.h, &rows);
        Some(Strip { op: self.with_window(window), input, output: rows })
    }

    /// How many bytes the output must begin before input `index`, of shape `input`, where it overlaps that input and is
    /// computed in strips of `strip_rows` rows, 0 standing for all; at most the output's length, which is as good as lying
    /// apart. The output may overlap the input where, and only where, it begins at least as many bytes before it.
    ///
    /// The largest of `end * out_row_bytes - first * in_row_bytes` over the strips, which write up to output row `end` and
    /// read from input row `first` on: then no strip, nor one before it, writes to what it reads.
    ///
    /// `end` grows by the same number of rows from strip to strip but for the last, and `first` but for those that begin on
    /// padding: the difference bends downwards there and nowhere else, so that it is largest beside a bend or at an end, and
    /// five strips tell it of any number.
    pub fn strip_lead(&self, index: usize, input: Shape, output: Shape, strip_rows: u16) -> usize {
        if !self.reads_rows(index) {
            return output.len();
        }
        let row_bytes = |shape: Shape| usize::from(shape.w) * usize::from(shape.c);
        let each = strip_height(output.h, strip_rows);
        let last = output.h.div_ceil(each).saturating_sub(1);
        let on_padding = self.rows_on_padding() / each;
        let mut lead = 0;
        for k in [0, on_padding, on_padding.saturating_add(1), last.saturating_sub(1), last] {
            let Some(strip) = self.strip(input, strip_range(output.h, each, k.min(last))) else { return output.len() };
            let written = usize::from(strip.output.end) * row_bytes(output);
            lead = lead.max(written.saturating_sub(usize::from(strip.input.start) * row_bytes(input)));
        }
        lead
    }

    /// The last row of the output whose window begins on padding or on the first row of the input.
    fn rows_on_padding(&self) -> u16 {
        match self {
            Self::Conv { window, .. }
            | Self::Winograd { window, .. }
            | Self::Depthwise { window }
            | Self::MaxPool { window }
            | Self::AvgPool { window } => (window.pad[0] / window.stride[0].max(1)).into(),
            _ => 0,
        }
    }

    /// [`Self::scratch_bytes`] where `output` is computed in strips of `strip_rows` rows, 0 standing for all.
    pub fn strip_scratch_bytes(&self, input: Shape, output: Shape, strip_rows: u16) -> usize {
        // No strip has more rows than the first.
        let first = strip_ranges(output.h, strip_rows).next().filter(|_| strip_rows > 0);
        match first.and_then(|rows| self.strip(input, rows)) {
            Some(Strip { op, input: reads, output: rows }) => {
                let part = |rows: Range<u16>, whole| Shape { h: rows.end - rows.start, ..whole };
                op.scratch_bytes(part(reads, input), part(rows, output))
            }
            None => self.scratch_bytes(input, output),
        }
    }
}

/// The rows of each strip of an output of `height` rows, from top to bottom.
pub fn strip_ranges(height: u16, strip_rows: u16) -> impl Iterator<Item = Range<u16>> + Clone {
    let each = strip_height(height, strip_rows);
    (0..height.div_ceil(each)).map(move |k| strip_range(height, each, k))
}

/// Rows of all strips but the last, at least one.
fn strip_height(height: u16, strip_rows: u16) -> u16 {
    if strip_rows == 0 { height } else { strip_rows }.max(1)
}

/// The rows of strip `k`, which begins within the `height`, so that its start does not overflow.
fn strip_range(height: u16, each: u16, k: u16) -> Range<u16> {
    let start = k * each;
    start..start.saturating_add(each).min(height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Window;

    /// Every window, stride and padding on small maps, cut into strips of all heights: the rows that a strip reads are those
    /// under its windows, its operator makes as many rows as it should, and the lead leaves unwritten what is still read.
    #[test]
    fn strips_read_what_lies_under_their_windows() {
        let mut checked = 0;
        for (height, kernel, stride) in (1..9).flat_map(|h| (1..5u8).flat_map(move |k| (1..4).map(move |s| (h, k, s))))
        {
            for (top, bottom) in (0..kernel).flat_map(|top| (0..kernel).map(move |bottom| (top, bottom))) {
                let window = Window { kernel: [kernel, 1], stride: [stride, 1], pad: [top, 0, bottom, 0] };
                for (op, channels) in [
                    (Op::MaxPool { window }, 3),
                    // Rows of the output that are longer or shorter than those of the input, so that any strip may decide.
                    (Op::Conv { window, out_channels: 1 }, 1),
                    (Op::Conv { window, out_channels: 7 }, 7),
                ] {
                    let input = Shape::new(height, 2, 3);
                    let Ok(output) = op.out_shape(&[input]) else { continue };
                    assert_eq!(output.c, channels);
                    for strip_rows in 0..=output.h {
                        check(&op, window, input, output, strip_rows);
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 1000);
    }

    fn check(op: &Op, window: Window, input: Shape, output: Shape, strip_rows: u16) {
        let lead = op.strip_lead(0, input, output, strip_rows) as i64;
        let (mut next, mut most) = (0, 0);
        for rows in strip_ranges(output.h, strip_rows) {
            let strip = op.strip(input, rows.clone()).unwrap();
            let part = Shape { h: strip.input.end - strip.input.start, ..input };
            assert_eq!(strip.op.out_shape(&[part]), Ok(Shape { h: rows.end - rows.start, ..output }));
            // The rows of the input under output row `y`.
            let under = |y: u16| {
                let first = i64::from(y) * i64::from(window.stride[0]) - i64::from(window.pad[0]);
                (first.max(0), (first + i64::from(window.kernel[0])).min(input.h.into()))
            };
            assert_eq!(i64::from(strip.input.start), under(rows.start).0);
            assert_eq!(i64::from(strip.input.end), under(rows.end - 1).1);
            let row_bytes = |shape: Shape| i64::from(shape.w) * i64::from(shape.c);
            let need = i64::from(rows.end) * row_bytes(output) - i64::from(strip.input.start) * row_bytes(input);
            most = most.max(need);
            assert_eq!(rows.start, next);
            next = rows.end;
        }
        assert!(most == lead && next == output.h && lead <= output.len() as i64, "{op:?} {input} {strip_rows}");
    }

    #[test]
    fn an_operator_that_needs_its_whole_input_has_no_strips() {
        let map = Shape::new(4, 4, 2);
        for op in [Op::Dense { out_channels: 3 }, Op::GlobalAvgPool, Op::Flatten] {
            assert_eq!(op.strip(map, 0..1), None);
            assert_eq!(op.strip_lead(0, map, op.out_shape(&[map]).unwrap(), 1), op.out_shape(&[map]).unwrap().len());
        }
        // The factors of a product are needed for every row.
        assert_eq!(Op::Mul.strip_lead(0, map, map, 1), 8);
        assert_eq!(Op::Mul.strip_lead(1, Shape::vector(2), map, 1), map.len());
    }

    #[test]
    fn a_strip_needs_no_more_scratch_than_the_whole() {
        let (window, input) = (Window::same(3), Shape::new(48, 48, 16));
        for op in [Op::Depthwise { window }, Op::Conv { window, out_channels: 16 }] {
            let needs = |strip_rows| op.strip_scratch_bytes(input, input, strip_rows);
            assert_eq!(needs(0), op.scratch_bytes(input, input));
            assert!((1..48).all(|rows| needs(rows) <= needs(rows + 1) && needs(rows) <= needs(0)));
        }
    }
}
