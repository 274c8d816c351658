//! What an evaluation found as pictures.

use super::Metrics;
use super::calibration::Calibration;
use super::sqnr::{LayerNoise, Report};
use crate::plot::bars::Bars;
use crate::plot::heatmap::Heatmap;
use crate::plot::lines::{Lines, Series, Stroke};
use crate::plot::{Axis, Drawing, Unit};

/// Width of a picture, in pixels.
const WIDTH: f64 = 720.0;
/// Height of the plane of a square one.
const HEIGHT: f64 = 300.0;

/// Which class is taken for which.
pub fn confusion(title: &str, metrics: &Metrics) -> Drawing {
    let classes: Vec<String> = metrics.per_class.iter().map(|class| class.label.clone()).collect();
    Heatmap::confusion(title, &classes, &metrics.confusion).drawing()
}

/// Precision, recall and F1 of every class.
pub fn classes(title: &str, metrics: &Metrics) -> Drawing {
    let series = ["precision", "recall", "F1"].map(str::to_owned).to_vec();
    let rows = metrics.per_class.iter();
    let rows = rows.map(|c| (c.label.clone(), [c.precision, c.recall, c.f1].map(Some).to_vec())).collect();
    let axis = Axis { to: Some(1.0), ..Axis::new("part of the images", Unit::Percent) };
    Bars { title: title.to_owned(), axis, series, rows }.drawing(WIDTH)
}

/// A point for each bin of confidences: what a classifier that knows how sure it is has on the diagonal.
pub fn reliability(title: &str, sides: &[(&str, &Calibration)]) -> Drawing {
    let ideal = Series {
        name: "as confident as right".into(),
        points: vec![(0.0, 0.0), (1.0, 1.0)],
        stroke: Stroke::Reference,
    };
    let side = |(name, found): &(&str, &Calibration)| Series {
        name: format!("{name}, ECE {:.1} %", 100.0 * found.ece),
        points: found.bins.iter().filter_map(|bin| Some((bin.confidence?, bin.accuracy?))).collect(),
        stroke: Stroke::Solid,
    };
    let whole = |label: &str| Axis { from: Some(0.0), to: Some(1.0), ..Axis::new(label, Unit::Percent) };
    let series = sides.iter().map(side).chain([ideal]).collect();
    let (x, y) = (whole("confidence"), whole("accuracy"));
    Lines { title: title.to_owned(), x, y, series }.drawing(WIDTH, HEIGHT)
}

/// How many answers are right of those that are left above a confidence.
pub fn coverage(title: &str, sides: &[(&str, &Calibration)]) -> Drawing {
    let side = |(name, found): &(&str, &Calibration)| Series {
        name: (*name).to_owned(),
        points: found.thresholds.iter().filter_map(|kept| Some((kept.coverage?, kept.accuracy?))).collect(),
        stroke: Stroke::Solid,
    };
    let series = sides.iter().map(side).collect();
    let x = Axis { to: Some(1.0), ..Axis::new("images above the threshold", Unit::Percent) };
    let y = Axis { to: Some(1.0), ..Axis::new("accuracy of these", Unit::Percent) };
    Lines { title: title.to_owned(), x, y, series }.drawing(WIDTH, 0.8 * HEIGHT)
}

/// The signal-to-quantization-noise ratio of each layer, alone and with those before it.
pub fn layers(title: &str, found: &Report) -> Drawing {
    let series = ["this layer alone", "with all before it"].map(str::to_owned).to_vec();
    let row = |l: &LayerNoise| (format!("{} ({})", l.name, l.op), vec![l.own_db, l.accumulated_db]);
    let axis = Axis::new("SQNR in dB: more is better, a layer without a bar is exact", Unit::Number);
    Bars { title: title.to_owned(), axis, series, rows: found.layers.iter().map(row).collect() }.drawing(WIDTH)
}
