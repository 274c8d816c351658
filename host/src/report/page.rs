//! A report as one HTML file that needs nothing else: pictures are in it, and no script.

mod parts;
pub mod study;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::{FLOAT, Figures, INT8, Report};
use crate::plot::scatter::{Point, Scatter};
use crate::plot::{Axis, Drawing, Unit};
use crate::report::{percent, thousands};
use crate::view;

/// See the file.
const STYLE: &str = include_str!("page.css");

/// The file.
///
/// # Errors
/// A picture cannot be encoded.
pub fn html(report: &Report) -> Result<String> {
    let title = match report.models.as_slice() {
        [one] => format!("Report of {}", shown(&one.title)),
        several => format!("Comparison of {} models", several.len()),
    };
    let several = report.models.len() > 1;
    let comparison = if several {
        comparison(report)?
    } else {
        html! {}
    };
    let models: Vec<Markup> =
        report.models.iter().enumerate().map(|(i, figures)| model(i, figures, several)).collect::<Result<_>>()?;
    let content = html! {
        (comparison)
        @for model in &models { (model) }
    };
    Ok(page(&title, [report.version, &report.machine, &report.command], &content))
}

/// A whole file that needs no other: `content` below its title, and what made it: version, machine and command.
fn page(title: &str, [version, machine, command]: [&str; 3], content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.muted { "Made by ocellus " (version) " on " (machine) ". To make it again:" }
                    pre { (command) }
                }
                (content)
            }
        }
    };
    page.into_string()
}

/// All models side by side.
fn comparison(report: &Report) -> Result<Markup> {
    let accuracy =
        |figures: &Figures, name: &str| figures.side(name).map_or("-".into(), |side| percent(side.metrics.accuracy));
    Ok(html! {
        h2 id="comparison" { "Comparison" }
        div.scroll { table {
            thead { tr {
                th { "model" } th { "images" } th { "float" } th { "int8" } th { "ECE" } th { "corrupted, int8" }
                th { "flash of the plan" } th { "RAM of the maps" } th { "MACs" }
            } }
            tbody { @for (i, figures) in report.models.iter().enumerate() { tr {
                td.name { a href=(format!("#model-{i}")) { (shown(&figures.model)) } }
                td { (figures.main().map_or("-".into(), |side| side.metrics.images.to_string())) }
                td { (accuracy(figures, FLOAT)) }
                td { (accuracy(figures, INT8)) }
                td { (figures.main().map_or("-".into(), |side| percent(side.calibration.ece))) }
                td { (figures.robustness.as_ref().and_then(|r| r.mean()[1]).map_or("-".into(), percent)) }
                @match figures.boards.first() {
                    Some(board) => {
                        td { (thousands(board.plan_bytes)) } td { (thousands(board.arena_bytes)) } td { (thousands(board.macs)) }
                    }
                    None => { td { "-" } td { "-" } td { "-" } }
                }
            } } }
        } }
        div.plots {
            (parts::chart(&pareto(report, "plan in flash", Unit::Bytes, |board| board.plan_bytes))?)
            (parts::chart(&pareto(report, "multiply-accumulates", Unit::Count, |board| board.macs))?)
        }
    })
}

/// Accuracy against a cost.
fn pareto(report: &Report, cost: &str, unit: Unit, figure: fn(&crate::analysis::Analysis) -> u64) -> Drawing {
    let point = |figures: &Figures| {
        let (board, side) = (figures.boards.first()?, figures.main()?);
        Some(Point { name: figures.title.clone(), x: figure(board) as f64, y: side.metrics.accuracy })
    };
    let (x, y) = (Axis::new(cost, unit).from_zero(), Axis::new("accuracy", Unit::Percent));
    let title = format!("Accuracy and {cost}");
    Scatter { title, x, y, points: report.models.iter().filter_map(point).collect() }.drawing(560.0, 240.0)
}

/// One model, from its summary to its recipe.
fn model(number: usize, figures: &Figures, several: bool) -> Result<Markup> {
    let id = format!("model-{number}");
    let sections: Vec<(&str, Markup)> = [
        ("Summary", parts::summary(figures)),
        ("Training", parts::training(figures)?),
        ("Classes", parts::classes(figures)?),
        ("Confusion", parts::confusion(figures)?),
        ("Mistakes", parts::mistakes(figures)?),
        ("Confidence", parts::confidence(figures)?),
        ("Robustness", parts::robustness(figures)?),
        ("Cost of int8", parts::layers(figures)?),
        ("Boards", parts::boards(figures)?),
        ("Data", parts::data(figures)),
        ("Recipe", parts::recipe(figures)),
    ]
    .into_iter()
    .filter(|(_, section)| !section.0.is_empty())
    .collect();
    let anchor = |name: &str| format!("{id}-{}", name.to_lowercase().replace(' ', "-"));
    Ok(html! {
        section id=(id) {
            @if several { h1 style="margin-top: 3rem" { (shown(&figures.model)) } }
            nav { @for (name, _) in &sections { a href=(format!("#{}", anchor(name))) { (name) } } }
            @for (name, section) in &sections {
                h2 id=(anchor(name)) { (name) }
                (section)
            }
        }
    })
}

/// A name in one line, with nothing in it that turns the direction of writing.
fn shown(name: &str) -> String {
    view::plain(name).into_owned()
}
