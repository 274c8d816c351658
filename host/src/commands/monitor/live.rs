//! The live view: what the newest frame shows, and how well frames come.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use ocellus_shared::plan::Plan;
use ocellus_shared::scores::{self, Ranked};
use serde_json::{Value, json};

use crate::eval;
use crate::eval::single::{self, UNSURE};
use crate::report::{self, percent};
use crate::view::{self, Lines};
use crate::watch::Tally;

/// Classes that are shown.
const SHOWN: usize = 3;
/// Characters of a full bar.
const BAR: usize = 30;

/// What a board says of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameScores<'a> {
    /// int8 scores, one per class.
    pub scores: &'a [i8],
    /// From when the frame was there to its label.
    pub latency: Duration,
    /// Since the frame before; zero for the first.
    pub interval: Duration,
}

/// What was seen so far.
pub struct Live<'p> {
    plan: &'p Plan<'p>,
    wanted: u64,
    /// Probability below which a label is not sure enough.
    reject: Option<f64>,
    is_unsure: bool,
    tally: Tally,
    /// The last frame's best classes with their probabilities.
    best: Vec<(String, f64)>,
    lines: Option<Lines>,
    /// The last frame, as lines of text.
    picture: Vec<String>,
}

impl<'p> Live<'p> {
    /// Nothing seen yet, of `wanted` frames. On a terminal the view is drawn over itself, else each frame has its line.
    pub fn new(plan: &'p Plan<'p>, wanted: u64, reject: Option<f64>) -> Self {
        let lines = stderr().is_terminal().then(Lines::default);
        let (tally, best, picture) = (Tally::default(), Vec::new(), Vec::new());
        Self { plan, wanted, reject, is_unsure: false, tally, best, lines, picture }
    }

    /// Whether there were as many frames as wanted.
    pub fn is_done(&self) -> bool {
        self.tally.frames >= self.wanted
    }

    /// A frame was seen.
    pub fn show(&mut self, frame: &FrameScores) {
        if frame.scores.len() != self.plan.output().shape.len() {
            return self.note("the board runs another model than the given one: write it with `ocellus flash --model`");
        }
        let probabilities = eval::probabilities(self.plan, frame.scores);
        let mut room = [Ranked::default(); SHOWN];
        let named = |ranked: &Ranked| {
            let class = usize::from(ranked.class);
            (self.plan.label(class).unwrap_or_default().to_owned(), probabilities[class])
        };
        self.best = scores::top_k(frame.scores, &mut room).iter().map(named).collect();
        self.is_unsure = single::is_rejected(self.plan, frame.scores, self.reject);
        let best = self.best.first().map(|(label, _)| label.as_str()).unwrap_or_default();
        let label = if self.is_unsure { UNSURE } else { best };
        self.tally.add(label, frame.latency, frame.interval);
        self.draw();
    }

    /// The picture that belongs to what is shown next, as lines of text; drawn on a terminal only.
    pub fn set_picture(&mut self, picture: Vec<String>) {
        self.picture = picture;
    }

    /// A frame did not come, `missed` altogether.
    pub fn miss(&mut self, what: &str, missed: u64) {
        self.tally.missed = missed;
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
        let seen: Vec<String> = self.tally.labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
        format!("{} frames, {}; seen: {}", self.tally.frames, self.throughput(), seen.join(", "))
    }

    /// All of it, for programs.
    pub fn summary(&self) -> Value {
        json!({
            "frames": self.tally.frames,
            "dropped": self.tally.missed,
            "latency_ms": self.tally.latency_ms(),
            "fps": self.tally.fps(),
            "labels": self.tally.labels,
        })
    }

    fn throughput(&self) -> String {
        let fps = self.tally.fps().map_or_else(|| "- fps".to_owned(), |fps| format!("{fps:.1} fps"));
        let latency = self.tally.latency_ms().map_or_else(|| "- ms".to_owned(), |ms| format!("{ms:.1} ms"));
        format!("{fps}, {latency} from frame to label, {} dropped", self.tally.missed)
    }

    /// Before what is said of a frame whose label is not sure enough.
    fn unsure(&self) -> &'static str {
        if self.is_unsure { "unsure: " } else { "" }
    }

    fn draw(&mut self) {
        if self.lines.is_some() {
            return self.draw_over();
        }
        let best: Vec<String> = self.best.iter().map(|(label, part)| format!("{label} {}", percent(*part))).collect();
        let (frames, unsure) = (self.tally.frames, self.unsure());
        view::note(&format!("  frame {frames:>3}: {unsure}{} ({})", best.join(", "), self.throughput()));
    }

    fn draw_over(&mut self) {
        let (text, bars) =
            (format!("  frame {}: {}{}", self.tally.frames, self.unsure(), self.throughput()), self.bars());
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

#[cfg(test)]
pub(super) mod tests {
    use ocellus_shared::plan::Operand;
    use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
    use ocellus_shared::{Op, Shape, plan::Crop};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

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
        let mut live = Live::new(&plan, 1, None);
        live.show(&FrameScores { scores: &[0, 0, -128], latency: MOMENT, interval: Duration::ZERO });
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
    fn a_label_that_is_not_sure_enough_is_not_counted() {
        let bytes = plan();
        let plan = Plan::parse(&bytes).unwrap();
        let mut live = Live::new(&plan, 3, Some(0.9));
        for scores in [[0, 0, -128], [100, 0, 0], [0, 100, 0]] {
            live.show(&FrameScores { scores: &scores, latency: MOMENT, interval: MOMENT });
        }
        assert_eq!(live.summary()["labels"], serde_json::json!({ "green": 1, "red": 1, "unsure": 1 }));
        assert_eq!(live.unsure(), "");
    }

    #[test]
    fn scores_of_another_model_are_not_shown() {
        let bytes = plan();
        let plan = Plan::parse(&bytes).unwrap();
        let mut live = Live::new(&plan, 1, None);
        live.show(&FrameScores { scores: &[1, 2], latency: MOMENT, interval: MOMENT });
        assert_eq!((live.summary()["frames"].as_u64(), live.is_done()), (Some(0), false));
    }
}
