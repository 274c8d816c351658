//! The live view: what the newest frame shows, and how well frames come.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};

use ocellus_shared::plan::Plan;
use ocellus_shared::scores::{self, Ranked};
use serde_json::{Value, json};

use crate::eval;
use crate::report::{self, percent};
use crate::view::{self, Lines};

/// Classes that are shown.
const SHOWN: usize = 3;
/// Characters of a full bar.
const BAR: usize = 30;
/// How much a frame counts in the averages of latency and interval.
const WEIGHT: f64 = 0.1;

/// What a board says of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameScores<'a> {
    /// int8 scores, one per class.
    pub scores: &'a [i8],
    /// From when the frame was there to its label.
    pub latency_us: u32,
    /// Since the frame before; 0 for the first.
    pub interval_us: u32,
}

/// What was seen so far.
pub struct Live<'p> {
    plan: &'p Plan<'p>,
    wanted: u64,
    frames: u64,
    missed: u64,
    /// Averages over the last frames, in microseconds; of the latency, and of the time between frames.
    latency_us: Option<f64>,
    interval_us: Option<f64>,
    labels: BTreeMap<String, u64>,
    /// The last frame's best classes with their probabilities.
    best: Vec<(String, f64)>,
    lines: Option<Lines>,
    /// The last frame, as lines of text.
    picture: Vec<String>,
}

impl<'p> Live<'p> {
    /// Nothing seen yet, of `wanted` frames. On a terminal the view is drawn over itself, else each frame has its line.
    pub fn new(plan: &'p Plan<'p>, wanted: u64) -> Self {
        let lines = stderr().is_terminal().then(Lines::default);
        let (labels, best) = (BTreeMap::new(), Vec::new());
        Self {
            plan,
            wanted,
            frames: 0,
            missed: 0,
            latency_us: None,
            interval_us: None,
            labels,
            best,
            lines,
            picture: Vec::new(),
        }
    }

    /// Whether there were as many frames as wanted.
    pub fn is_done(&self) -> bool {
        self.frames >= self.wanted
    }

    /// A frame was seen.
    pub fn show(&mut self, frame: &FrameScores) {
        if frame.scores.len() != self.plan.output().shape.len() {
            return self.note("the board runs another model than the given one: write it with `ocellus flash --model`");
        }
        self.frames += 1;
        average(&mut self.latency_us, frame.latency_us);
        if frame.interval_us > 0 {
            average(&mut self.interval_us, frame.interval_us);
        }
        let probabilities = eval::probabilities(self.plan, frame.scores);
        let mut room = [Ranked::default(); SHOWN];
        let named = |ranked: &Ranked| {
            let class = usize::from(ranked.class);
            (self.plan.label(class).unwrap_or_default().to_owned(), probabilities[class])
        };
        self.best = scores::top_k(frame.scores, &mut room).iter().map(named).collect();
        if let Some((label, _)) = self.best.first() {
            *self.labels.entry(label.clone()).or_default() += 1;
        }
        self.draw();
    }

    /// The picture that belongs to what is shown next, as lines of text; drawn on a terminal only.
    pub fn set_picture(&mut self, picture: Vec<String>) {
        self.picture = picture;
    }

    /// A frame did not come, `missed` altogether.
    pub fn miss(&mut self, what: &str, missed: u64) {
        self.missed = missed;
        self.note(&format!("no frame: {what}"));
    }

    /// Something else that deserves a line.
    pub fn note(&mut self, line: &str) {
        if let Some(lines) = &mut self.lines {
            lines.clear();
        }
        view::note(line);
        if !self.best.is_empty() {
            self.draw_over();
        }
    }

    /// The last view stays.
    pub fn finish(&mut self) {
        self.lines = None;
    }

    /// One line about all of it.
    pub fn closing_line(&self) -> String {
        let seen: Vec<String> = self.labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
        format!("{} frames, {}; seen: {}", self.frames, self.throughput(), seen.join(", "))
    }

    /// All of it, for programs.
    pub fn summary(&self) -> Value {
        json!({
            "frames": self.frames,
            "dropped": self.missed,
            "latency_ms": self.latency_us.map(|us| us / 1e3),
            "fps": self.fps(),
            "labels": self.labels,
        })
    }

    fn fps(&self) -> Option<f64> {
        self.interval_us.map(|us| 1e6 / us)
    }

    fn throughput(&self) -> String {
        let fps = self.fps().map_or_else(|| "- fps".to_owned(), |fps| format!("{fps:.1} fps"));
        let latency = self.latency_us.map_or_else(|| "- ms".to_owned(), |us| format!("{:.1} ms", us / 1e3));
        format!("{fps}, {latency} from frame to label, {} dropped", self.missed)
    }

    fn draw(&mut self) {
        if self.lines.is_some() {
            return self.draw_over();
        }
        let best: Vec<String> = self.best.iter().map(|(label, part)| format!("{label} {}", percent(*part))).collect();
        view::note(&format!("  frame {:>3}: {} ({})", self.frames, best.join(", "), self.throughput()));
    }

    fn draw_over(&mut self) {
        let (text, bars) = (format!("  frame {}: {}", self.frames, self.throughput()), self.bars());
        if let Some(lines) = &mut self.lines {
            lines.draw(&self.picture.iter().cloned().chain(bars).chain([text]).collect::<Vec<_>>());
        }
    }

    fn bars(&self) -> Vec<String> {
        let width = self.best.iter().map(|(label, _)| report::width(label)).max().unwrap_or_default();
        let bar = |(label, part): &(String, f64)| {
            let full = (part * BAR as f64).round() as usize;
            // The bar last: a narrow terminal cuts it off, not the figure.
            format!(
                "  {}  {:>8}  {}{}",
                report::pad(label, width),
                percent(*part),
                "\u{2588}".repeat(full),
                "\u{2591}".repeat(BAR - full)
            )
        };
        self.best.iter().map(bar).collect()
    }
}

fn average(mean: &mut Option<f64>, value: u32) {
    let value = f64::from(value);
    *mean = Some(mean.map_or(value, |mean| mean + WEIGHT * (value - mean)));
}

#[cfg(test)]
pub(super) mod tests {
    use ocellus_shared::plan::Operand;
    use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
    use ocellus_shared::{Op, Shape, plan::Crop};

    use super::*;

    /// A network that says how red, green and blue a picture is.
    pub fn plan() -> Vec<u8> {
        let (shape, means) = (Shape::new(4, 4, 3), Shape::vector(3));
        let at = |offset, shape| Operand { offset, shape, zero: 0 };
        let mean = StepSpec {
            op: Op::GlobalAvgPool,
            inputs: vec![at(0, shape)],
            output: at(shape.len(), means),
            scratch: (0, 0),
            strip_rows: 0,
            weights: vec![],
            biases: vec![0],
            multipliers: vec![1e-6],
        };
        let spec = PlanSpec {
            digest: [0; 8],
            arena_bytes: shape.len() + means.len(),
            input: at(0, shape),
            crop: Crop::Centre,
            output: at(shape.len(), means),
            output_scale: 0.125,
            labels: ["red", "green", "blue"].map(String::from).to_vec(),
            steps: vec![mean],
        };
        encode(&spec).unwrap()
    }

    #[test]
    fn bars_are_as_long_as_probabilities() {
        let bytes = plan();
        let plan = Plan::parse(&bytes).unwrap();
        let mut live = Live::new(&plan, 1);
        live.show(&FrameScores { scores: &[0, 0, -128], latency_us: 1000, interval_us: 0 });
        let half = format!("{}{}", "\u{2588}".repeat(15), "\u{2591}".repeat(15));
        let none = "\u{2591}".repeat(30);
        let bars = [
            format!("  red     50.00 %  {half}"),
            format!("  green   50.00 %  {half}"),
            format!("  blue     0.00 %  {none}"),
        ];
        assert_eq!(live.bars(), bars);
        assert_eq!(live.summary()["fps"], Value::Null, "one frame has no rate");
    }

    #[test]
    fn scores_of_another_model_are_not_shown() {
        let bytes = plan();
        let plan = Plan::parse(&bytes).unwrap();
        let mut live = Live::new(&plan, 1);
        live.show(&FrameScores { scores: &[1, 2], latency_us: 1, interval_us: 1 });
        assert_eq!((live.summary()["frames"].as_u64(), live.is_done()), (Some(0), false));
    }

    #[test]
    fn averages_follow_slowly() {
        let mut mean = None;
        average(&mut mean, 100);
        assert_eq!(mean, Some(100.0));
        average(&mut mean, 200);
        assert_eq!(mean, Some(110.0));
    }
}
