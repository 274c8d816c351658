//! The loop of a camera board: while one frame is classified, the next one is taken in.
//!
//! A turn feeds the watchdog, starts the capture, works on the frame of the turn before (preprocess, run, smooth, act, report)
//! and waits for the capture, which always ends. A frame that does not come is counted, reported and passed over; after
//! some in a row, or when the sensor does not answer, the sensor is brought up again. Nothing here can hang: what does is
//! the watchdog's. Between two turns a host is answered; the loop rests meanwhile.

use super::smooth::{Smoother, Smoothing, TooManyClasses};
use super::{HostContext, HostHandler};
use crate::camera::live::{Camera, CaptureFault, Grabber, NoRoom};
use crate::camera::sensor::Sensor;
use crate::engine::Engine;
use crate::time::{Clock, Watchdog, deadline_us};
use embedded_hal::digital::OutputPin;
use ocellus_shared::Frame;
use ocellus_shared::preprocess::PreprocessError;
use ocellus_shared::wire::{FrameCounts, Reply, tensor_crc};

/// How the loop classifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopConfig {
    /// How labels are smoothed.
    pub smoothing: Smoothing,
    /// The class that the output goes high for; any, where there is none.
    pub target: Option<u16>,
    /// Frames that may fail in a row before the sensor is brought up again; at least 1.
    pub max_failures: u8,
    /// The core's clock, from which the watchdog's deadline follows.
    pub hertz: u32,
}

impl LoopConfig {
    /// Any label on a core of `hertz`.
    pub fn new(hertz: u32) -> Self {
        Self { smoothing: Smoothing::default(), target: None, max_failures: 3, hertz }
    }
}

/// Why the loop cannot run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraLoopError {
    /// The network's scores cannot be smoothed.
    Classes(TooManyClasses),
    /// The network takes no colour image.
    Preprocess(PreprocessError),
    /// A buffer has no room for a frame.
    NoRoom,
}

impl From<NoRoom> for CameraLoopError {
    fn from(NoRoom: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl core::fmt::Display for CameraLoopError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Classes(TooManyClasses(classes)) => write!(f, "{classes} classes are too many to smooth"),
            Self::Preprocess(error) => error.fmt(f),
            Self::NoRoom => f.write_str("a frame is larger than the memory set aside for it"),
        }
    }
}

/// What acts, and what keeps the time.
#[derive(Debug)]
pub struct LoopParts<S, G, O, K> {
    /// Where frames come from.
    pub camera: Camera<S, G>,
    /// Goes high while the label stands that the board looks for.
    pub output: O,
    /// The clock and the watchdog.
    pub timer: K,
}

/// A network behind a camera.
#[derive(Debug)]
pub struct CameraLoop<'e, 'p, 'm, S, G, O, K> {
    camera: Camera<S, G>,
    timer: K,
    classifier: Classifier<'e, 'p, 'm, O>,
    max_failures: u8,
    failures: u8,
    /// The sensor could not be brought up the last time.
    down: bool,
    counts: FrameCounts,
    before_us: Option<u64>,
}

/// A frame that waits in a buffer, and when it came.
#[derive(Clone, Copy, Debug)]
struct PendingFrame {
    sequence: u32,
    at_us: u64,
    interval_us: u32,
}

impl<'e, 'p, 'm, S, G, O, K> CameraLoop<'e, 'p, 'm, S, G, O, K>
where
    S: Sensor,
    G: Grabber,
    O: OutputPin,
    K: Clock + Watchdog,
{
    /// A loop that has seen nothing yet. The watchdog runs from here on.
    ///
    /// # Errors
    /// The network's input is no image, or its output has too many classes.
    pub fn new(
        engine: &'e mut Engine<'p, 'm>,
        parts: LoopParts<S, G, O, K>,
        config: LoopConfig,
    ) -> Result<Self, CameraLoopError> {
        let plan = *engine.plan();
        if plan.input().shape.c != 3 {
            return Err(CameraLoopError::Preprocess(PreprocessError::Shape));
        }
        let smoother = Smoother::new(plan.output().shape.len(), config.smoothing).map_err(CameraLoopError::Classes)?;
        let LoopParts { camera, output, timer } = parts;
        timer.start(deadline_us(&plan, config.hertz));
        let classifier = Classifier { engine, smoother, output, target: config.target };
        let max_failures = config.max_failures.max(1);
        Ok(Self {
            camera,
            timer,
            classifier,
            max_failures,
            failures: 0,
            down: false,
            counts: FrameCounts::default(),
            before_us: None,
        })
    }

    /// What happened so far.
    pub fn counts(&self) -> FrameCounts {
        self.counts
    }

    /// Brings the sensor up and takes `turns` turns; a frame is in one of the `buffers` while the other is filled.
    ///
    /// A board calls it again and again; the watchdog is left running.
    pub fn run(&mut self, host: &mut impl HostHandler, buffers: [&mut [u8]; 2], turns: u32) {
        let [mut front, mut back] = buffers;
        let mut pending = None;
        self.restart(host);
        for _ in 0..turns {
            pending = self.turn(host, pending, front, back);
            core::mem::swap(&mut front, &mut back);
            pending = self.serve(host, pending, front, back);
        }
        self.timer.feed();
        if let (Some(pending), Ok(frame)) = (pending, self.camera.frame(front)) {
            self.classifier.classify(&frame, pending, &self.timer, host);
        }
    }

    /// Takes a frame into `back` while the one in `front`, if there is any, is worked on.
    fn turn(
        &mut self,
        host: &mut impl HostHandler,
        pending: Option<PendingFrame>,
        front: &[u8],
        back: &mut [u8],
    ) -> Option<PendingFrame> {
        let Self { camera, timer, classifier, .. } = self;
        timer.feed();
        let frame = pending.and_then(|pending| Some((pending, camera.frame(front).ok()?)));
        let ((), outcome) = camera.capture_while(back, || {
            if let Some((pending, frame)) = frame {
                classifier.classify(&frame, pending, &*timer, host);
            }
        });
        let sequence = self.counts.turns;
        self.counts.turns = sequence.saturating_add(1);
        match outcome {
            Ok(()) => Some(self.take(sequence)),
            Err(fault) => {
                self.fail(host, sequence, fault);
                None
            }
        }
    }

    /// Lets the host be answered. The frame in `front` is as it was, but the time that it took counts for nothing.
    fn serve(
        &mut self,
        host: &mut impl HostHandler,
        pending: Option<PendingFrame>,
        front: &[u8],
        back: &mut [u8],
    ) -> Option<PendingFrame> {
        let frame = pending.and_then(|_| self.camera.frame(front).ok());
        if !host.poll(HostContext { engine: Ok(&mut *self.classifier.engine), frame, buffer: back }) {
            return pending;
        }
        self.before_us = None;
        let at_us = self.timer.now_us();
        pending.map(|pending| PendingFrame { at_us, ..pending })
    }

    /// Counts a frame that came.
    fn take(&mut self, sequence: u32) -> PendingFrame {
        let at_us = self.timer.now_us();
        let interval = self.before_us.map_or(0, |before| at_us.saturating_sub(before));
        self.before_us = Some(at_us);
        self.failures = 0;
        self.counts.frames = self.counts.frames.saturating_add(1);
        PendingFrame { sequence, at_us, interval_us: u32::try_from(interval).unwrap_or(u32::MAX) }
    }

    /// Counts a frame that did not come, tells, and does something about it.
    fn fail(&mut self, host: &mut impl HostHandler, sequence: u32, fault: CaptureFault) {
        let count = match fault {
            CaptureFault::Missing => &mut self.counts.missing,
            CaptureFault::Overrun => &mut self.counts.overruns,
            CaptureFault::Lost(_) => &mut self.counts.losses,
        };
        *count = count.saturating_add(1);
        host.report(&Reply::Fault { sequence, what: fault.name(), counts: self.counts });
        self.failures = self.failures.saturating_add(1);
        if matches!(fault, CaptureFault::Lost(_)) || self.down || self.failures >= self.max_failures {
            self.restart(host);
        }
    }

    /// Brings the sensor up; what was seen before counts no more. A failure is told, and shows again in the next turn.
    fn restart(&mut self, host: &mut impl HostHandler) {
        self.timer.feed();
        self.failures = 0;
        self.classifier.forget();
        let outcome = self.camera.start();
        self.down = outcome.is_err();
        match outcome {
            // The first start is none again.
            Ok(()) if self.counts.turns > 0 => self.counts.restarts = self.counts.restarts.saturating_add(1),
            Ok(()) => {}
            Err(error) => {
                let what = error.name();
                host.report(&Reply::Fault { sequence: self.counts.turns, what, counts: self.counts });
            }
        }
    }
}

/// From frame to label, and what follows from it.
#[derive(Debug)]
struct Classifier<'e, 'p, 'm, O> {
    engine: &'e mut Engine<'p, 'm>,
    smoother: Smoother,
    output: O,
    target: Option<u16>,
}

impl<O: OutputPin> Classifier<'_, '_, '_, O> {
    /// From frame to act.
    fn classify(&mut self, frame: &Frame, pending: PendingFrame, clock: &impl Clock, host: &mut impl HostHandler) {
        let plan = *self.engine.plan();
        // Shape and length were checked when the loop was made.
        let Ok(scores) = self.engine.classify(frame) else { return };
        let verdict = self.smoother.add(scores);
        let wanted = verdict.settled && self.target.is_none_or(|target| target == verdict.class);
        // A board can go on seeing without its output.
        let _ = self.output.set_state(wanted.into());
        let latency = clock.now_us().saturating_sub(pending.at_us);
        let sequence = pending.sequence;
        host.report(&Reply::Scores { sequence, crc: tensor_crc(scores), values: scores });
        let second = self.smoother.best(Some(verdict.class));
        let lead = self.smoother.average(verdict.class) - self.smoother.average(second);
        host.report(&Reply::Classified {
            sequence,
            class: u32::from(verdict.class),
            settled: verdict.settled,
            margin: lead * plan.output_params().scale,
            latency_us: u32::try_from(latency).unwrap_or(u32::MAX),
            interval_us: pending.interval_us,
            name: plan.label(usize::from(verdict.class)).unwrap_or_default(),
        });
    }

    /// Nothing was seen.
    fn forget(&mut self) {
        self.smoother.forget();
        let _ = self.output.set_low();
    }
}
