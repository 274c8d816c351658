//! The sections of a report.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::shown;
use crate::analysis::plots::instructions;
use crate::corruption::{self, STRENGTHS};
use crate::data::picture::Picture;
use crate::eval::calibration::{Calibration, Kept};
use crate::eval::plots;
use crate::eval::robustness::{Robustness, mean};
use crate::plot::Drawing;
use crate::plot::heatmap::Heatmap;
use crate::report::figures::{FLOAT, Figures, INT8, Mistake, Side};
use crate::report::{percent, thousands};
use crate::train::curves;

/// Images larger than this are shrunk before they go into the page, in pixels.
const PICTURE: u16 = 96;

/// A chart as a picture in the page.
pub fn chart(drawing: &Drawing) -> Result<Markup> {
    let address = format!("data:image/svg+xml;base64,{}", STANDARD.encode(drawing.to_svg()?));
    let (width, height) = drawing.size();
    Ok(html! { figure { img src=(address) width=(width.ceil()) height=(height.ceil()) alt=(shown(drawing.title())); } })
}

/// The address of a picture that is in the page.
fn embedded(picture: &Picture) -> Result<String> {
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(shrunk(picture).to_png()?)))
}

/// A picture that is large enough to be seen.
fn shrunk(picture: &Picture) -> Picture {
    if picture.width.max(picture.height) <= PICTURE || picture.width != picture.height {
        return picture.clone();
    }
    let mut pixels = vec![0; 3 * usize::from(PICTURE) * usize::from(PICTURE)];
    picture.square(PICTURE, crate::recipe::Fit::default(), &mut pixels);
    Picture { width: PICTURE, height: PICTURE, pixels }
}

pub fn tile(figure: &str, what: &str) -> Markup {
    html! { div.tile { b { (figure) } span { (what) } } }
}

/// The most important figures.
pub fn summary(figures: &Figures) -> Markup {
    let images = figures.main().map_or(0, |side| side.metrics.images);
    let board = figures.boards.first();
    html! {
        p {
            (shown(&figures.title)) " takes images of " (figures.input) " and tells " (figures.data.classes.len())
            " classes apart; tested on " (thousands(images as u64)) " images of " (shown(&figures.data.name)) "."
        }
        div.tiles {
            @for side in &figures.sides {
                (tile(&percent(side.metrics.accuracy), &format!("accuracy, {} on {} images", side.name, side.metrics.images)))
            }
            @if let Some(side) = figures.main() {
                (tile(&percent(side.metrics.macro_f1()), &format!("macro F1, {}", side.name)))
                (tile(&percent(side.calibration.ece), &format!("expected calibration error, {}", side.name)))
            }
            @if let Some(found) = &figures.robustness {
                @if let Some(part) = found.mean()[1].or(found.mean()[0]) {
                    (tile(&percent(part), &format!("on corrupted images, n = {}", found.images)))
                }
            }
            @if let Some(board) = board {
                (tile(&thousands(board.plan_bytes), "bytes of flash for the plan"))
                (tile(&thousands(board.arena_bytes), "bytes of RAM for maps and scratch"))
                (tile(&thousands(board.macs), "multiply-accumulates"))
            }
        }
        @if !figures.missing.is_empty() {
            h3 { "Not in this report" }
            ul { @for line in &figures.missing { li { (shown(line)) } } }
        }
    }
}

/// The curves, and what the training took.
pub fn training(figures: &Figures) -> Result<Markup> {
    let Figures { training, history, .. } = figures;
    if training.is_none() && history.is_empty() {
        return Ok(html! {});
    }
    let number = |key: &str| training.as_ref().and_then(|of| of[key].as_f64());
    let told = number("epochs").zip(number("seconds")).map(|(epochs, seconds)| {
        let best = number("best_epoch").unwrap_or_default();
        let accuracy = number("val_accuracy").map_or("-".into(), percent);
        format!("{epochs} epochs in {:.1} minutes; the weights are those of epoch {best}, with {accuracy} of the validation images right.", seconds / 60.0)
    });
    Ok(html! {
        @if let Some(told) = told { p { (told) } }
        @if history.is_empty() { p.muted { "The run's results.csv is not beside the model, so there are no curves." } }
        @else { div.plots { (chart(&curves::drawing("", history))?) } }
    })
}

/// Precision, recall and F1 of every class.
pub fn classes(figures: &Figures) -> Result<Markup> {
    let Some(side) = figures.main() else { return Ok(html! {}) };
    let float = figures.side(FLOAT).filter(|float| float.name != side.name);
    Ok(html! {
        div.plots {
            figure { div.scroll { table {
                thead { tr {
                    th { "class" } th { "precision" } th { "recall" } th { "F1" }
                    @if float.is_some() { th { "F1, float" } }
                    th { "images" }
                } }
                tbody { @for (i, class) in side.metrics.per_class.iter().enumerate() { tr {
                    td.name { (shown(&class.label)) }
                    td { (percent(class.precision)) } td { (percent(class.recall)) } td { (percent(class.f1)) }
                    @if let Some(float) = float { td { (percent(float.metrics.per_class[i].f1)) } }
                    td { (class.support) }
                } } }
            } } figcaption { (side.name) } }
            (chart(&plots::classes(&format!("Classes, {}", side.name), &side.metrics))?)
        }
    })
}

/// The confusion matrices beside each other, and how they differ.
pub fn confusion(figures: &Figures) -> Result<Markup> {
    let [float, int8] = [FLOAT, INT8].map(|name| figures.side(name));
    let matrix =
        |side: &Side| plots::confusion(&format!("{}, {} images", side.name, side.metrics.images), &side.metrics);
    let mut charts: Vec<Drawing> = figures.sides.iter().map(matrix).collect();
    if let (Some(float), Some(int8)) = (float, int8) {
        charts.push(difference("int8 less float", int8, &float.metrics.confusion));
    }
    let board = figures.board.as_ref().and_then(|board| Some((board, figures.side(&board.board)?)));
    if let Some((board, side)) = board {
        charts.push(difference(
            &format!("{} less int8, the same {} images", board.board, board.images),
            side,
            &board.same_images,
        ));
    }
    Ok(html! {
        @if let Some(changes) = &figures.changes {
            p {
                "int8 names another class than float for " (changes.lost + changes.won + changes.other) " of "
                (thousands(changes.images as u64)) " images: " (changes.lost) " that only float has right, " (changes.won)
                " that only int8 has right, " (changes.other) " that both have wrong."
            }
        }
        @if let Some((board, _)) = board {
            p {
                (board.board) ", emulated: " (board.different) " of " (thousands(board.scores as u64))
                " scores differ from those of the workstation, on the first " (board.images) " images."
            }
        }
        @if charts.len() > figures.sides.len() { p.muted { "In differences, blue is more images and red fewer." } }
        div.plots { @for drawing in &charts { (chart(drawing)?) } }
    })
}

/// How many more images `side` has in each cell.
fn difference(title: &str, side: &Side, than: &[Vec<usize>]) -> Drawing {
    let classes: Vec<String> = side.metrics.per_class.iter().map(|class| class.label.clone()).collect();
    Heatmap::difference(title, &classes, than, &side.metrics.confusion).drawing()
}

fn faces(mistakes: &[Mistake]) -> Result<Markup> {
    Ok(html! {
        div.faces { @for mistake in mistakes { figure {
            img src=(embedded(&mistake.picture)?) alt=(format!("image {}", mistake.image));
            figcaption {
                b { (shown(&mistake.label)) } " taken for " b { (shown(&mistake.taken)) } ", "
                (format!("{:.1} % sure, image {}", 100.0 * mistake.confidence, mistake.image))
            }
        } } }
    })
}

/// The most frequent and the worst mistakes as pictures.
pub fn mistakes(figures: &Figures) -> Result<Markup> {
    let Some(side) = figures.main() else { return Ok(html! {}) };
    if figures.worst.is_empty() {
        return Ok(html! { p { "There are none on these images." } });
    }
    Ok(html! {
        p.muted { "By " (side.name) "; of each pair, the images that it was most sure of." }
        @for pair in &figures.confused {
            h3 { (shown(&pair.label)) " taken for " (shown(&pair.taken)) ": " (pair.images) " images" }
            (faces(&pair.examples)?)
        }
        h3 { "The mistakes that it was most sure of" }
        (faces(&figures.worst)?)
    })
}

fn part(part: Option<f64>) -> String {
    part.map_or("-".into(), percent)
}

fn kept(rows: &[Kept], what: &str, threshold: &dyn Fn(f64) -> String) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { (what) } th { "images left" } th { "accuracy of these" } } }
            tbody { @for row in rows { tr {
                td { (threshold(row.threshold)) } td { (part(row.coverage)) } td { (part(row.accuracy)) }
            } } }
        } }
    }
}

/// What confidence is worth, and what thresholds buy.
pub fn confidence(figures: &Figures) -> Result<Markup> {
    let Some(side) = figures.main() else { return Ok(html! {}) };
    let sides: Vec<(&str, &Calibration)> = figures.sides.iter().map(|s| (s.name.as_str(), &s.calibration)).collect();
    let found = &side.calibration;
    Ok(html! {
        p {
            "Expected calibration error: "
            @for (i, (name, of)) in sides.iter().enumerate() {
                @if i > 0 { ", " } (name) " " (percent(of.ece))
            }
            ". Mean confidence of " (side.name) ": " (part(found.confidence)) ", accuracy " (percent(side.metrics.accuracy)) "."
        }
        div.plots {
            (chart(&plots::reliability("Reliability", &sides))?)
            (chart(&plots::coverage("What a threshold of confidence buys", &sides))?)
        }
        div.plots {
            figure {
                h3 { "Answers by confidence, " (side.name) }
                p.muted {
                    "With " code { "--reject THRESHOLD" } ", " code { "ocellus run" } " and " code { "ocellus monitor" }
                    " label an image \"unsure\" below a confidence."
                }
                (kept(&found.thresholds, "at least", &percent))
            }
            @if !found.leads.is_empty() { figure {
                h3 { "Answers by their lead, " (side.name) }
                p.muted {
                    "In steps of int8 scores between the best and the second class, as the board counts it: LEAD of "
                    code { "ocellus flash --smoothing SHIFT,LEAD,HOLD" } ", below which its label does not change. "
                    "Here each image counts for itself, as with SHIFT 0 and HOLD 1."
                }
                (kept(&found.leads, "at least", &|lead| lead.to_string()))
            } }
        }
    })
}

/// Accuracy on corrupted images.
pub fn robustness(figures: &Figures) -> Result<Markup> {
    let Some(found) = &figures.robustness else { return Ok(html! {}) };
    let [float, int8] = found.clean;
    let [mean_float, mean_int8] = found.mean();
    let width = 1.96 * (0.25 / found.images.max(1) as f64).sqrt();
    Ok(html! {
        p {
            "Accuracy on " (found.images) " images, evenly spread over the test set, with each of twelve corruptions in five "
            "strengths, seed " (found.seed) "; " (format!("{:.1}", 100.0 * width)) " points either way are within chance (95 %) for a "
            "single figure. Where there are two, the first is float and the second int8. As they are: " (both(float, int8))
            "; mean over all corruptions: " (both(mean_float, mean_int8)) "."
        }
        div.plots { (chart(&overview(found))?) }
        div.scroll { table {
            thead { tr {
                th { "corruption" } th { "strength 1 to 5" }
                @for strength in 1..=STRENGTHS { th { (strength) } }
                th { "mean" }
            } }
            tbody { @for kind in corruption::ALL { tr {
                td { (kind.name().0) }
                td {
                    @if let Some((_, strip)) = figures.strips.iter().find(|(name, _)| *name == kind.name().0) {
                        img.strip src=(embedded(strip)?) alt=(format!("{}, strengths 1 to 5", kind.name().0));
                    }
                }
                @for cell in found.of(kind) { td title=(format!("{}: {}", kind.name().1, cell.amount)) { (both(cell.float, cell.int8)) } }
                td { (both(mean(found.of(kind).map(|c| c.float)), mean(found.of(kind).map(|c| c.int8)))) }
            } } }
        } }
    })
}

/// One or two accuracies.
fn both(float: Option<f64>, int8: Option<f64>) -> String {
    let short = |part: f64| format!("{:.1}", 100.0 * part);
    let known: Vec<String> = [float, int8].into_iter().flatten().map(short).collect();
    if known.is_empty() { "-".into() } else { format!("{} %", known.join(" / ")) }
}

/// Mean accuracy with each corruption.
fn overview(found: &Robustness) -> Drawing {
    use crate::plot::bars::Bars;
    use crate::plot::{Axis, Unit};
    let means = |kind: corruption::Corruption| {
        [mean(found.of(kind).map(|cell| cell.float)), mean(found.of(kind).map(|cell| cell.int8))]
    };
    let sides: Vec<usize> = (0..2).filter(|&side| found.clean[side].is_some()).collect();
    let row = |name: &str, of: [Option<f64>; 2]| (name.to_owned(), sides.iter().map(|&side| of[side]).collect());
    let rows = std::iter::once(row("none", found.clean))
        .chain(corruption::ALL.map(|kind| row(kind.name().0, means(kind))))
        .collect();
    let series = sides.iter().map(|&side| [FLOAT, INT8][side].to_owned()).collect();
    let axis = Axis { to: Some(1.0), ..Axis::new("accuracy, mean over the five strengths", Unit::Percent) };
    Bars { title: "Accuracy with each corruption".into(), axis, series, rows }.drawing(720.0)
}

/// What int8 costs, layer by layer.
pub fn layers(figures: &Figures) -> Result<Markup> {
    let Some(found) = &figures.layers else { return Ok(html! {}) };
    let title = format!("Signal-to-quantization-noise ratio on {} images", found.images);
    Ok(html! {
        p {
            "The signal-to-quantization-noise ratio of each layer's result, on " (found.images) " training images, of which float and "
            "int8 name the same class for " (found.same_class) "."
        }
        div.plots { (chart(&plots::layers(&title, found))?) }
    })
}

/// What the model needs of each board.
pub fn boards(figures: &Figures) -> Result<Markup> {
    if figures.boards.is_empty() {
        return Ok(html! {});
    }
    let time =
        |times: Option<[f64; 2]>| times.map_or("-".into(), |[least, most]| format!("{least:.1} to {most:.1} ms"));
    Ok(html! {
        p.muted {
            "By calculation; instructions are predicted within 5 %, and are not cycles. Programs have their recorded sizes. "
            code { "ocellus analyze" } " says more of each."
        }
        div.scroll { table {
            thead { tr {
                th { "board" } th { "fits" } th { "flash" } th { "of it the plan" } th { "RAM" } th { "of it the maps" } th { "instructions" }
                th { "time of one inference" }
            } }
            tbody { @for board in &figures.boards { tr {
                td { (board.board) }
                td { @if board.fits { span.good { "yes" } } @else { span.bad { "no" } } }
                td { (thousands(board.flash_bytes)) } td { (thousands(board.plan_bytes)) }
                td { (thousands(board.ram_bytes)) } td { (thousands(board.arena_bytes)) }
                td { (thousands(board.instructions)) } td { (time(board.time_ms)) }
            } } }
        } }
        @if let Some(board) = figures.boards.first() {
            details { summary { "Instructions of each layer" }
                div.plots { (chart(&instructions("", board))?) }
            }
        }
    })
}

/// The dataset.
pub fn data(figures: &Figures) -> Markup {
    let data = &figures.data;
    let is_same = !data.trained_on.is_empty() && data.trained_on == data.hash;
    html! {
        p { (shown(&data.name)) ", SHA-256 of all pixels and labels as divided: " code { (data.hash) } }
        p {
            @if data.trained_on.is_empty() { span.muted { "The model's files do not say what it was trained on." } }
            @else if is_same { span.good { "The model was trained on this dataset, divided in this way: it never saw the test images." } }
            @else {
                span.bad { "The model was trained on other images, or others of these: it may have seen some of the test images." }
                " Their SHA-256 is " code { (data.trained_on) } "."
            }
        }
        p {
            @if data.leaks > 0 { span.bad { (data.leaks) " groups of identical images lie in more than one of train, val and test." } }
            @else { span.good { "No image lies in more than one of train, val and test." } }
            " Groups of identical images: " (data.duplicates) ", with different labels: " (data.contradictions)
            ". Unreadable images: " (data.unreadable) "."
        }
        div.scroll { table {
            thead { tr { th { "class" } th { "train" } th { "val" } th { "test" } } }
            tbody { @for class in &data.classes { tr {
                td.name { (shown(&class.name)) } td { (class.train) } td { (class.val) } td { (class.test) }
            } } }
        } }
    }
}

/// Everything that decides what training produces.
pub fn recipe(figures: &Figures) -> Markup {
    html! {
        p { "Seed " (figures.seed) "." }
        details { summary { "The recipe, with every key" } pre { (figures.recipe) } }
    }
}
