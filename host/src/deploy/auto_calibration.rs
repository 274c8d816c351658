//! The calibration method `auto`: several are tried, and the one stays whose int8 scores are closest to the float ones.

use crate::data::Split;
use crate::eval::sqnr;
use crate::graph::Graph;
use crate::quantize::QuantGraph;
use crate::recipe::{CalibrationMethod, Optimize};
use crate::{pack, view};
use anyhow::Result;

/// A method, and the part of the values in percent that the percentile method keeps.
pub type Method = (CalibrationMethod, f64);

/// What `auto` chooses among. Least squares follow a few values that lie far out, which SiLU and squeeze-excitation can leave,
/// where percentiles cut them off.
const METHODS: [Method; 4] = [
    (CalibrationMethod::Mse, 100.0),
    (CalibrationMethod::Percentile, 99.99),
    (CalibrationMethod::Percentile, 99.9),
    (CalibrationMethod::Percentile, 99.8),
];
/// Images that `auto` compares scores on.
const COMPARED_IMAGES: usize = 64;

/// The one of [`METHODS`] whose scores have the best signal-to-noise ratio against those of `graph`, on some of `images`.
///
/// # Errors
/// A layer that cannot be quantized, by name.
pub fn quantize(graph: &Graph, images: &Split, quantized: &dyn Fn(Method) -> Result<QuantGraph>) -> Result<QuantGraph> {
    let some = images.only(&images.spread(COMPARED_IMAGES));
    let mut best: Option<(f64, Method, QuantGraph)> = None;
    for method in METHODS {
        let quantized = quantized(method)?;
        let plan = pack::pack(&quantized, Optimize::Size)?.plan;
        let report = sqnr::measure(graph, &quantized, &plan, &some)?;
        let ratio = report.layers.last().and_then(|layer| layer.accumulated_db).unwrap_or(f64::INFINITY);
        if best.as_ref().is_none_or(|(most, ..)| ratio > *most) {
            best = Some((ratio, method, quantized));
        }
    }
    let (ratio, (method, percentile), quantized) = best.expect("there is a method");
    let name = match method {
        CalibrationMethod::Percentile => format!("{percentile} % of the values"),
        _ => "least squares".to_owned(),
    };
    view::note(&format!("calibrated by {name}: {ratio:.1} dB between float and int8 scores"));
    Ok(quantized)
}
