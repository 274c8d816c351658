//! Every chart with figures that are hard to draw.

use super::bars::Bars;
use super::heatmap::Heatmap;
use super::lines::{Lines, Series, Stroke};
use super::memory::{Block, Memory};
use super::parallel::{Parallel, Thread, Upright};
use super::scatter::{Point, Scatter};
use super::*;
use crate::data::picture::Picture;

/// Names as datasets have them.
const NAMES: [&str; 8] = ["cat", "猫の写真", "🐈‍⬛🐶", "<b>&amp;\"'", "a\u{202e}b\0c\n", "", "größer", "x\u{ffff}"];

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| if i % 9 == 8 { "long ".repeat(40) } else { NAMES[i % 9].to_owned() }).collect()
}

fn lines(points: &[(f64, f64)]) -> Drawing {
    let strokes = [Stroke::Solid, Stroke::Reference, Stroke::Dots];
    let series =
        strokes.iter().zip(NAMES).map(|(&stroke, name)| Series { name: name.into(), points: points.to_vec(), stroke });
    let x = Axis::new("epoch", Unit::Whole).from_zero();
    Lines { title: NAMES[3].into(), x, y: Axis::new("accuracy", Unit::Percent), series: series.collect() }
        .drawing(640.0, 200.0)
}

fn heatmap(classes: usize, count: impl Fn(usize, usize) -> usize) -> Drawing {
    let rows = |f: &dyn Fn(usize, usize) -> usize| {
        (0..classes).map(|y| (0..classes).map(|x| f(y, x)).collect()).collect::<Vec<Vec<_>>>()
    };
    Heatmap::confusion("confusion", &names(classes), &rows(&count)).drawing()
}

fn bars(rows: usize, value: impl Fn(usize) -> Option<f64>) -> Drawing {
    let rows = names(rows).into_iter().enumerate().map(|(i, name)| (name, vec![value(i), value(i + 1)]));
    let series = vec!["one".to_owned(), "two".to_owned()];
    Bars { title: "bars".into(), axis: Axis::new("F1", Unit::Percent), series, rows: rows.collect() }.drawing(640.0)
}

fn scatter(points: &[(f64, f64)]) -> Drawing {
    let points = points.iter().zip(names(points.len())).map(|(&(x, y), name)| Point { name, x, y });
    let (x, y) = (Axis::new("flash", Unit::Bytes).from_zero(), Axis::new("accuracy", Unit::Percent));
    Scatter { title: "scatter".into(), x, y, points: points.collect() }.drawing(640.0, 300.0)
}

fn memory(steps: usize) -> Drawing {
    let block = |i: usize| Block {
        name: NAMES[i % 8].into(),
        first: i,
        last: i + 1,
        offset: 1000 * (i % 3),
        bytes: 700 * (i % 5),
        is_scratch: i.is_multiple_of(4),
    };
    Memory { title: "memory".into(), steps, blocks: (0..steps).map(block).collect(), room: Some(65_536) }
        .drawing(640.0, 200.0)
}

/// Threads through as many axes as there are points, by their second numbers.
fn parallel(points: &[(f64, f64)]) -> Drawing {
    let axes = names(points.len()).into_iter().zip(points).map(|(name, &(part, _))| {
        let labels = names(15).into_iter().map(|label| (part, label)).chain([(0.0, "0".into()), (1.0, "1".into())]);
        Upright { name, labels: labels.collect() }
    });
    let thread = |shift: f64| Thread {
        parts: points.iter().map(|point| point.1 + shift).chain([0.5]).collect(),
        strength: shift * 9.0,
        stands_out: shift > 0.3,
    };
    let threads = [0.0, 0.1, 0.4, f64::NAN].map(thread).into();
    Parallel { title: "parallel".into(), axes: axes.collect(), threads }.drawing(640.0, 200.0)
}

/// Checks that the drawing is an SVG file that XML allows, and a PNG file of its size, with every mark inside.
#[track_caller]
fn check(drawing: &Drawing) {
    let svg = drawing.to_svg().unwrap();
    let legal = |c: char| matches!(c, '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n") && svg.chars().all(legal), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<b>"), "{svg}");
    // Every `&` begins an entity.
    let entities = ["amp;", "lt;", "gt;", "quot;", "apos;"];
    assert!(svg.split('&').skip(1).all(|rest| entities.iter().any(|entity| rest.starts_with(entity))), "{svg}");
    let picture = Picture::decode(&drawing.to_png().unwrap()).unwrap();
    let (width, height) = drawing.size();
    let scale = f64::from(picture.width) / width.ceil();
    assert!((scale == 2.0 || height > 8000.0) && f64::from(picture.height) == scale * height.ceil());
    for mark in &drawing.marks {
        let is_inside = |x: f64, y: f64| (-0.5..=width + 0.5).contains(&x) && (-0.5..=height + 0.5).contains(&y);
        let inside = match mark {
            Mark::Rect { x, y, w, h, .. } => *w >= 0.0 && *h >= 0.0 && is_inside(*x, *y) && is_inside(x + w, y + h),
            Mark::Line { points, .. } => points.iter().all(|&(x, y)| is_inside(x, y)),
            Mark::Dot { x, y, .. } => is_inside(*x, *y),
            Mark::Text { x, y, text, size, anchor, up, .. } => {
                let wide = text::width(text, *size);
                let from = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => -wide / 2.0,
                    Anchor::End => -wide,
                };
                let ends =
                    if *up { [(*x, y - from), (*x, y - from - wide)] } else { [(x + from, *y), (x + from + wide, *y)] };
                ends.iter().all(|&(x, y)| is_inside(x, y))
            }
        };
        assert!(inside, "{mark:?} is not within {width}x{height}");
    }
}

#[test]
fn charts_draw_whatever_they_are_given() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let lists = [
        vec![],
        vec![(1.0, 0.5)],
        vec![(1.0, nan)],
        vec![(nan, nan), (inf, -inf)],
        vec![(1.0, 0.5), (2.0, nan), (3.0, 0.7), (4.0, inf), (5.0, 0.7)],
        vec![(0.0, 0.0), (0.0, 0.0)],
        vec![(1.0, 1e300), (2.0, -1e300), (3.0, 1e-300)],
        (0..300).map(|i| (f64::from(i), (f64::from(i) / 9.0).sin())).collect(),
    ];
    for points in &lists {
        check(&lines(points));
        check(&scatter(points));
        check(&parallel(&points[..points.len().min(40)]));
        check(&bars(points.len(), |i| points.get(i).map(|point| point.1)));
    }
    for classes in [0, 1, 2, 10, 20, 100, 150] {
        check(&heatmap(classes, |y, x| if y == x { 90 } else { (y * x) % 3 }));
        check(&heatmap(classes, |_, _| 0));
        check(&bars(classes, |i| Some(i as f64 / 100.0)));
        check(&bars(classes, |i| Some(-(i as f64))));
    }
    [0, 1, 9, 80].into_iter().for_each(|steps| check(&memory(steps)));
    check(&Drawing::stacked("all", vec![lines(&lists[1]), memory(3)]));
    check(&Drawing::stacked("", vec![]));
}

#[test]
fn differences_have_two_colours() {
    let (one, two) = (vec![vec![9, 1], vec![2, 8]], vec![vec![10, 0], vec![2, 8]]);
    let classes = ["a", "b"].map(String::from);
    let drawing = Heatmap::difference("difference", &classes, &one, &two).drawing();
    check(&drawing);
    let texts: Vec<&str> = drawing
        .marks
        .iter()
        .filter_map(|mark| if let Mark::Text { text, .. } = mark { Some(text.as_str()) } else { None })
        .collect();
    assert!(texts.contains(&"+1") && texts.contains(&"-1"), "{texts:?}");
}

#[test]
fn the_viewer_chooses_between_light_and_dark() {
    let svg = heatmap(3, |y, x| 3 * y + x).to_svg().unwrap();
    let style = svg.lines().find(|line| line.starts_with("<style>")).unwrap();
    assert!(
        style.contains("prefers-color-scheme:dark") && style.contains("[fill=\"#FFFFFF\"]{fill:#0d1117}"),
        "{style}"
    );
    // Every colour of a mark has its rule.
    for (at, _) in svg.match_indices("fill=\"#") {
        assert!(style.contains(&svg[at..at + 14]), "{}", &svg[at..at + 14]);
    }
}

#[test]
fn the_suffix_decides_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (name, start) in [("a.svg", &b"<svg "[..]), ("a.PNG", b"\x89PNG"), ("a", b"<svg ")] {
        lines(&[(1.0, 0.5)]).write(&folder.path().join(name)).unwrap();
        assert!(std::fs::read(folder.path().join(name)).unwrap().starts_with(start), "{name}");
    }
    assert!(lines(&[]).write(&folder.path().join("gone/a.svg")).is_err());
}
