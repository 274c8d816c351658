//! A study as pictures.

use super::importance::Importance;
use super::study::{Objective, Plan};
use super::trials::{State, Trial, best};
use crate::plot::bars::Bars;
use crate::plot::lines::{Lines, Series, Stroke};
use crate::plot::parallel::{Parallel, Thread, Upright};
use crate::plot::scatter::{Point, Scatter};
use crate::plot::{Axis, Drawing, Unit};

/// Width of a picture in pixels.
const WIDTH: f64 = 760.0;

/// Accuracies in the order of the trials, and the best so far.
pub fn history(plan: &Plan, trials: &[Trial]) -> Drawing {
    let known = |trial: &Trial| Some((f64::from(trial.number), trial.accuracy()?));
    let of =
        |is_wanted: fn(&Trial) -> bool| trials.iter().filter(|t| is_wanted(t)).filter_map(known).collect::<Vec<_>>();
    let finished = of(Trial::is_finished);
    let mut top = f64::NEG_INFINITY;
    let mut rise = Vec::new();
    for &(number, accuracy) in &finished {
        rise.extend(rise.last().map(|&(_, before): &(f64, f64)| (number, before)));
        top = top.max(accuracy);
        rise.push((number, top));
    }
    let series = [
        ("best so far", rise, Stroke::Reference),
        ("trained to the end", finished, Stroke::Dots),
        ("stopped early", of(|trial| matches!(trial.state, State::Stopped { .. })), Stroke::Dots),
    ];
    let series = series.into_iter().filter(|(_, points, _)| !points.is_empty());
    let series = series.map(|(name, points, stroke)| Series { name: name.to_owned(), points, stroke }).collect();
    let (x, y) = (Axis::new("trial", Unit::Whole), Axis::new("validation accuracy", Unit::Percent));
    Lines { title: format!("{}: trials", plan.study.name), x, y, series }.drawing(WIDTH, 220.0)
}

/// What each trial that was trained has for each key, and how good it is; the best stands out.
pub fn parallel(plan: &Plan, trials: &[Trial]) -> Drawing {
    let keys = plan.space.keys();
    let mut axes: Vec<Upright> =
        keys.iter().map(|key| Upright { name: key.name.clone(), labels: key.range.labels() }).collect();
    let accuracies: Vec<f64> = trials.iter().filter_map(Trial::accuracy).collect();
    let (low, high) = accuracies.iter().fold((f64::INFINITY, 0.0f64), |(low, high), x| (low.min(*x), high.max(*x)));
    let part = |accuracy: f64| if high > low { (accuracy - low) / (high - low) } else { 0.5 };
    let ends = if accuracies.is_empty() { Vec::new() } else { vec![low, high] };
    let labels = ends.into_iter().map(|end| (part(end), Unit::Percent.short(end))).collect();
    axes.push(Upright { name: Objective::Accuracy.name().to_owned(), labels });
    let best = best(trials).map(|trial| trial.number);
    let thread = |trial: &Trial| {
        let (accuracy, point) = (trial.accuracy()?, plan.space.point(&trial.set).ok()?);
        let parts = keys.iter().zip(&point).map(|(key, at)| key.range.part(*at)).chain([part(accuracy)]).collect();
        Some(Thread { parts, strength: part(accuracy), stands_out: best == Some(trial.number) })
    };
    let threads = trials.iter().filter_map(thread).collect();
    let title = format!("{}: values and accuracy of every trial", plan.study.name);
    Parallel { title, axes, threads }.drawing(WIDTH.max(95.0 * (keys.len() + 1) as f64), 260.0)
}

/// How much each key matters.
pub fn importance(plan: &Plan, importance: &Importance) -> Drawing {
    let axis = Axis::new("part of the variance of the accuracy", Unit::Percent);
    let pairs =
        importance.pairs.iter().take(5).map(|(one, other, part)| (format!("{one} with {other}"), vec![Some(*part)]));
    let rows = importance.keys.iter().map(|(key, part)| (key.clone(), vec![Some(*part)])).chain(pairs).collect();
    Bars { title: format!("{}: importance of keys", plan.study.name), axis, series: vec!["part".to_owned()], rows }
        .drawing(WIDTH)
}

/// Accuracy against what a network costs: what the study's second objective says, or its flash.
pub fn pareto(plan: &Plan, trials: &[Trial]) -> Drawing {
    let cost = plan.study.objectives.iter().find(|objective| **objective != Objective::Accuracy);
    let cost = cost.copied().unwrap_or(Objective::Flash);
    let (label, unit) = match cost {
        Objective::Accuracy | Objective::Flash => ("bytes of flash", Unit::Bytes),
        Objective::Ram => ("bytes of RAM", Unit::Bytes),
        Objective::Macs => ("multiply-accumulates", Unit::Count),
        Objective::Instructions => ("predicted instructions", Unit::Count),
    };
    let point = |trial: &Trial| {
        let values = trial.values(&[cost, Objective::Accuracy]).filter(|_| trial.is_finished())?;
        Some(Point { name: trial.number.to_string(), x: values[0], y: values[1] })
    };
    let (x, y) = (Axis::new(label, unit), Axis::new("validation accuracy", Unit::Percent));
    let title = format!("{}: accuracy and {label}", plan.study.name);
    Scatter { title, x, y, points: trials.iter().filter_map(point).collect() }.drawing(WIDTH, 260.0)
}
