//! The comparison as a picture: what accuracy costs.

use super::table::Entry;
use crate::plot::scatter::{Point, Scatter};
use crate::plot::{Axis, Drawing, Unit};
use crate::view;

/// Width of the picture and height of each chart, in pixels.
const SIZE: (f64, f64) = (720.0, 240.0);

/// Accuracy against flash, RAM and the instructions of `cpu`, below each other. A model whose figure is not known is left out.
pub fn drawing(entries: &[Entry], cpu: &str) -> Drawing {
    let chart = |cost: &str, unit: Unit, figure: fn(&Entry) -> Option<u64>| {
        let point =
            |entry: &Entry| Some(Point { name: name(entry), x: figure(entry)? as f64, y: entry.metrics().accuracy });
        let (x, y) = (Axis::new(cost, unit).from_zero(), Axis::new("accuracy", Unit::Percent));
        Scatter { title: String::new(), x, y, points: entries.iter().filter_map(point).collect() }
            .drawing(SIZE.0, SIZE.1)
    };
    let images = entries.first().map_or(0, |entry| entry.metrics().images);
    let charts = vec![
        chart("plan in flash", Unit::Bytes, |entry| entry.cost.plan_bytes),
        chart("feature maps and scratch memory in RAM", Unit::Bytes, |entry| entry.cost.arena_bytes),
        chart(&format!("instructions of one inference on {cpu}"), Unit::Count, |entry| entry.cost.instructions),
    ];
    Drawing::stacked(&format!("Accuracy on {images} images, and what it costs"), charts)
}

/// The last part of a model's path, and that before it where it is a file.
fn name(entry: &Entry) -> String {
    let path = std::path::Path::new(&entry.model);
    let named = if path.extension().is_some() {
        path.parent().filter(|p| p.file_name().is_some()).unwrap_or(path)
    } else {
        path
    };
    named.file_name().map_or_else(|| entry.model.clone(), view::name)
}
