//! Finds the range of real values that each value of a graph should be able to store in int8.
//!
//! The graph runs twice over the calibration images: once for the extremes, once to count values in a histogram
//! between them. Memory does not grow with the number of images.

mod channels;
mod equalise;

pub use channels::{Channels, channels};
pub use equalise::equalise;

use crate::data::Split;
use crate::graph::{Graph, run};
use crate::recipe::{CalibrationMethod, QuantRecipe};
use crate::view;
use anyhow::{Result, bail, ensure};
use ocellus_shared::quant::QuantParams;
use rayon::prelude::*;

/// Bins of a histogram.
const BINS: usize = 2048;
/// How many bounds the search for the smallest squared error tries on each side.
const CANDIDATES: usize = 40;
/// The narrowest range that the search tries, as a part of what was seen.
const NARROWEST: f32 = 0.2;
/// A range below this is one of rounding errors around zero.
const SMALLEST_SPAN: f32 = 1e-6;

/// Real values from `lo` to `hi`; zero is always among them, because padding and ReLU need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest, at most 0.
    pub lo: f32,
    /// The largest, at least 0.
    pub hi: f32,
}

impl Range {
    /// The smallest range that holds zero, `lo` and `hi`.
    pub fn new(lo: f32, hi: f32) -> Self {
        Self { lo: lo.min(0.0), hi: hi.max(0.0) }
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// The scale and zero point that store this range in int8. A value that was always zero gets a scale of 1/255.
    pub fn params(self) -> QuantParams {
        let span = self.hi - self.lo;
        let scale = if span < SMALLEST_SPAN { 1.0 / 255.0 } else { span / 255.0 };
        let zero = (-128.0 - self.lo / scale).round_ties_even().clamp(-128.0, 127.0);
        QuantParams { scale, zero: zero as i8 }
    }
}

/// Ranges of a graph's values, the image's first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges(pub Vec<Range>);

/// Runs `graph` over `recipe.images` images, evenly spread over `split`, and chooses a range for every value.
///
/// # Errors
/// As for [`observe`].
pub fn ranges(graph: &Graph, split: &Split, recipe: &QuantRecipe) -> Result<Ranges> {
    Ok(observe(graph, split, recipe)?.ranges(recipe.method, recipe.percentile))
}

/// What calibration saw of a graph's values, the image's first.
#[derive(Clone, Debug)]
pub struct Observed {
    extremes: Vec<Range>,
    histograms: Vec<Histogram>,
}

impl Observed {
    /// The range of every value by one method; `percentile` is the part of the values in percent that
    /// [`CalibrationMethod::Percentile`] keeps. [`CalibrationMethod::Auto`] is for whoever can compare what ranges cost:
    /// here it is [`CalibrationMethod::Mse`].
    pub fn ranges(&self, method: CalibrationMethod, percentile: f64) -> Ranges {
        let choose = |h: &Histogram| match method {
            CalibrationMethod::Percentile => h.percentile(percentile),
            _ => h.least_squares(),
        };
        match method {
            CalibrationMethod::MinMax => Ranges(self.extremes.clone()),
            _ => Ranges(self.histograms.par_iter().map(choose).collect()),
        }
    }
}

/// Runs `graph` over `recipe.images` images, evenly spread over `split`.
///
/// # Errors
/// There are no images, they are of another size than the graph's input, or a layer's result is not finite.
pub fn observe(graph: &Graph, split: &Split, recipe: &QuantRecipe) -> Result<Observed> {
    ensure!(!split.is_empty(), "no images to calibrate with: the training and validation splits are empty");
    let (h, w) = (graph.input.h.into(), graph.input.w.into());
    ensure!(
        (split.height, split.width) == (h, w),
        "the calibration images are {}x{}, the model takes {h}x{w}",
        split.height,
        split.width
    );
    let chosen = split.spread(recipe.images);
    let bar = view::bar(2 * chosen.len() as u64, "calibrate");
    let run = |&i: &usize| {
        bar.inc(1);
        run::values(graph, &run::input(graph, split.image(i)))
    };
    let extremes = chosen.par_iter().map(run).map(|values| values.iter().map(|v| extremes(v)).collect());
    let extremes: Vec<Range> = extremes.reduce_with(merge_extremes).unwrap_or_default();
    if let Some(v) = extremes.iter().position(|r| !(r.lo.is_finite() && r.hi.is_finite())) {
        bail!("layer `{}` gives values that are not finite: the training diverged", graph.value_name(v));
    }
    if recipe.method == CalibrationMethod::MinMax {
        return Ok(Observed { extremes, histograms: Vec::new() });
    }
    let empty = || extremes.iter().map(|&range| Histogram::new(range)).collect();
    let histograms: Vec<Histogram> = chosen.par_iter().map(run).fold(empty, count_values).reduce(empty, merge_counts);
    bar.finish_and_clear();
    Ok(Observed { extremes, histograms })
}

/// The extremes of `values`; not finite if one of them is not.
fn extremes(values: &[f32]) -> Range {
    let sum: f32 = values.iter().map(|v| v * 0.0).sum();
    let (lo, hi) = values.iter().fold((sum, sum), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    if sum.is_nan() { Range { lo: sum, hi: sum } } else { Range { lo, hi } }
}

fn merge_extremes(mut a: Vec<Range>, b: Vec<Range>) -> Vec<Range> {
    for (a, b) in a.iter_mut().zip(b) {
        let is_finite = a.lo.is_finite() && a.hi.is_finite();
        *a = if is_finite && !b.lo.is_nan() { a.union(b) } else { Range { lo: f32::NAN, hi: f32::NAN } };
    }
    a
}

fn count_values(mut histograms: Vec<Histogram>, values: Vec<Vec<f32>>) -> Vec<Histogram> {
    for (histogram, values) in histograms.iter_mut().zip(&values) {
        values.iter().for_each(|&v| histogram.count(v));
    }
    histograms
}

fn merge_counts(mut a: Vec<Histogram>, b: Vec<Histogram>) -> Vec<Histogram> {
    for (a, b) in a.iter_mut().zip(&b) {
        a.bins.iter_mut().zip(&b.bins).for_each(|(a, b)| *a += b);
    }
    a
}

/// How often values occurred, in bins of one width over a range.
#[derive(Clone, Debug)]
struct Histogram {
    range: Range,
    width: f32,
    bins: Vec<u64>,
}

impl Histogram {
    fn new(range: Range) -> Self {
        Self { range, width: (range.hi - range.lo) / BINS as f32, bins: vec![0; BINS] }
    }

    fn count(&mut self, value: f32) {
        let bin = if self.width > 0.0 { ((value - self.range.lo) / self.width) as usize } else { 0 };
        self.bins[bin.min(BINS - 1)] += 1;
    }

    /// The middle of bin `i`.
    fn centre(&self, i: usize) -> f32 {
        self.range.lo + (i as f32 + 0.5) * self.width
    }

    /// The range that keeps `percent` of the values, cutting as many below as above; only above where none is negative.
    fn percentile(&self, percent: f64) -> Range {
        let total: u64 = self.bins.iter().sum();
        let cut = total as f64 * (1.0 - percent / 100.0);
        let sides = if self.range.lo < 0.0 { 2.0 } else { 1.0 };
        let skip = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            bins.take_while(|&&n| {
                seen += n;
                (seen as f64) <= cut / sides
            })
            .count() as f32
        };
        let (below, above) = (skip(&mut self.bins.iter()), skip(&mut self.bins.iter().rev()));
        let below = if self.range.lo < 0.0 { below } else { 0.0 };
        Range::new(self.range.lo + below * self.width, self.range.hi - above * self.width)
    }

    /// The range whose int8 values have the smallest squared error.
    fn least_squares(&self) -> Range {
        let part = |k: usize| NARROWEST + (1.0 - NARROWEST) * k as f32 / (CANDIDATES - 1) as f32;
        let parts = || (0..CANDIDATES).rev().map(part);
        let highs = parts().filter(|&p| p == 1.0 || self.range.hi > 0.0);
        let candidates = highs.flat_map(|hi| {
            let lows = parts().filter(|&p| p == 1.0 || self.range.lo < 0.0);
            lows.map(move |lo| Range { lo: lo * self.range.lo, hi: hi * self.range.hi })
        });
        let scored = candidates.map(|range| (self.squared_error(range.params()), range));
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(self.range, |(_, range)| range)
    }

    fn squared_error(&self, params: QuantParams) -> f64 {
        let error = |(i, &n): (usize, &u64)| {
            if n == 0 {
                return 0.0;
            }
            let x = self.centre(i);
            n as f64 * f64::from(x - params.dequantize(params.quantize(x))).powi(2)
        };
        self.bins.iter().enumerate().map(error).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::new(extremes(values));
        values.iter().for_each(|&v| histogram.count(v));
        histogram
    }

    /// A thousand values in `[-1, 1]` and one far away.
    fn with_outlier() -> Vec<f32> {
        (0..1000).map(|i| i as f32 / 500.0 - 1.0).chain([40.0]).collect()
    }

    #[test]
    fn zero_is_exact_in_every_range() {
        for range in [Range::new(-1.0, 2.0), Range::new(0.3, 0.4), Range::new(-7.0, -6.0), Range::new(0.0, 0.0)] {
            let params = range.params();
            assert_eq!(params.dequantize(params.quantize(0.0)), 0.0, "{range:?}");
        }
        assert_eq!(Range::new(0.1, 5.0).params().zero, -128);
        assert_eq!(Range::new(-5.0, -0.1).params().zero, 127);
    }

    #[test]
    fn percentile_cuts_an_outlier_and_keeps_the_rest() {
        let range = histogram(&with_outlier()).percentile(99.5);
        assert!(range.hi < 1.1 && range.hi > 0.9, "{range:?}");
        assert!(range.lo <= -0.95, "{range:?}");
    }

    #[test]
    fn all_values_count_at_100_percent() {
        let range = histogram(&with_outlier()).percentile(100.0);
        assert_eq!(range, Range { lo: -1.0, hi: 40.0 });
    }

    #[test]
    fn least_squares_beats_the_extremes_on_a_long_tail() {
        let values: Vec<f32> = (1..20_000).map(|i| (i as f32 / 20_000.0).ln().powi(2)).collect();
        let histogram = histogram(&values);
        let best = histogram.least_squares();
        assert!(best.hi < histogram.range.hi);
        assert!(histogram.squared_error(best.params()) < histogram.squared_error(histogram.range.params()));
    }

    #[test]
    fn a_value_that_is_not_finite_is_noticed() {
        assert!(extremes(&[1.0, f32::NAN, 2.0]).lo.is_nan());
        assert!(extremes(&[1.0, f32::INFINITY]).hi.is_nan());
        assert_eq!(extremes(&[3.0, -2.0]), Range { lo: -2.0, hi: 3.0 });
    }
}
