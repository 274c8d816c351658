//! What a camera board does before it watches: it looks for its model, in a region of flash of its own.
//!
//! A host may replace that region at any time, so that nothing about it is taken for granted. A board without a model that
//! it can run says so again and again, and stays within a probe's reach.

use crate::app::smooth::Smoothing;
use crate::app::camera_loop::{LoopConfig, LoopParts, CameraLoop, CameraLoopError};
use crate::camera::live::{Grabber, Live};
use crate::camera::sensor::{Sensor, Settings};
use crate::engine::{ArenaTooSmall, Engine};
use crate::transport::{Report, refuse};
use crate::server::host_port::{HostContext, HostHandler};
use crate::server::{BoardInfo, tell_plan};
use crate::time::{Clock, Watchdog};
use embedded_hal::digital::OutputPin;
use ocellus_shared::plan::{Plan, PlanError, StepFault};
use ocellus_shared::wire::{Refusal, FrameCounts};

/// What flash holds where nothing was written.
const ERASED: u8 = 0xff;
/// Bytes that are looked at to tell an empty region from a damaged one: a page of the smallest kind.
const LOOKED_AT: usize = 256;
/// Time between two complaints, in microseconds.
const COMPLAINT_US: u64 = 1_000_000;
/// How long one may take, a waiting log included.
const COMPLAINING_US: u32 = 5_000_000;

/// Why the region's content cannot be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ModelError {
    /// Nothing was written there.
    Empty,
    /// No plan, a plan of another version, or a damaged one.
    Plan(PlanError),
    /// The plan works in more memory than the board has.
    Arena(ArenaTooSmall),
    /// The board cannot watch with it.
    Watch(CameraLoopError),
    /// It does not know the label that the board was built to look for.
    NoSuchLabel(&'static str),
}

impl core::fmt::Display for ModelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no model in flash: write one with `ocellus flash --model`"),
            // Writing the same model again would not help.
            Self::Plan(error @ (PlanError::Version { .. } | PlanError::Step { fault: StepFault::Operator, .. })) => {
                write!(f, "the model in flash is not for this program, write both without --model: {error}")
            }
            Self::Plan(error) => write!(f, "the model in flash is not usable, write it again: {error}"),
            Self::Arena(error) => error.fmt(f),
            Self::Watch(error) => error.fmt(f),
            Self::NoSuchLabel(label) => write!(f, "the model in flash has no label {label}"),
        }
    }
}

impl core::error::Error for ModelError {}

impl ModelError {
    /// Tells the host.
    pub fn tell(&self, report: &mut impl Report) {
        self.answer(0, report);
    }

    /// Tells the host, which asked in message `sequence`.
    pub fn answer(&self, sequence: u32, report: &mut impl Report) {
        let (refusal, bytes) = match self {
            Self::Empty => (Refusal::NoPlan, [0, 0]),
            Self::Plan(_) => (Refusal::BadPlan, [0, 0]),
            Self::Watch(_) | Self::NoSuchLabel(_) => (Refusal::BadWatch, [0, 0]),
            Self::Arena(small) => (Refusal::ArenaTooSmall, [small.needed as u32, small.available as u32]),
        };
        refuse(report, sequence, refusal, bytes, self);
    }
}

/// The engine for the model in `region`, which may be followed by anything, in `arena`.
///
/// # Errors
/// No model, a damaged one (its header, version, CRC-32 and all it says are checked), or too small an arena.
pub fn engine<'p, 'm>(region: &'p [u8], arena: &'m mut [i8]) -> Result<Engine<'p, 'm>, ModelError> {
    if region.iter().take(LOOKED_AT).all(|byte| *byte == ERASED) {
        return Err(ModelError::Empty);
    }
    let plan = Plan::parse(region).map_err(ModelError::Plan)?;
    Engine::new(plan, arena).map_err(ModelError::Arena)
}

/// A board's name and memory.
#[derive(Debug)]
pub struct Board<'p, 'm> {
    /// Its name.
    pub name: &'static str,
    /// The core's clock.
    pub hertz: u32,
    /// The label that the output goes high for; any, where there is none.
    pub look_for: Option<&'static str>,
    /// How labels are smoothed.
    pub smoothing: Smoothing,
    /// The flash that holds the model.
    pub region: &'p [u8],
    /// Room for feature maps.
    pub arena: &'m mut [i8],
    /// Room for two frames.
    pub frames: [&'m mut [u8]; 2],
}

impl Board<'_, '_> {
    /// What it says of itself.
    pub fn plate(&self) -> BoardInfo {
        BoardInfo { name: self.name, plan_bytes: self.region.len() as u32, arena_bytes: self.arena.len() as u32 }
    }
}

/// A board's sensor, and what takes its pixels in.
#[derive(Debug)]
pub struct CameraParts<S, G> {
    /// The sensor.
    pub sensor: S,
    /// What takes its pixels in.
    pub grabber: G,
    /// What the sensor is set to.
    pub settings: Settings,
}

/// Greets, looks for the model, and watches with it for `turns` turns: what happened. A board lets it take as many as there
/// are. Between two of them `host` may call.
///
/// # Errors
/// There is no model to watch with, which the host has not been told yet.
pub fn watch<S: Sensor, G: Grabber>(
    report: &mut impl Report,
    board: Board,
    eyes: CameraParts<S, G>,
    output: impl OutputPin,
    timer: impl Clock + Watchdog,
    host: &mut impl HostHandler,
    turns: u32,
) -> Result<FrameCounts, ModelError> {
    board.plate().tell(report);
    let Board { hertz, look_for, smoothing, region, arena, frames, .. } = board;
    let mut engine = engine(region, arena)?;
    let plan = *engine.plan();
    tell_plan(report, 0, &plan);
    let room = frames[0].len().min(frames[1].len());
    let camera = Live::new(eyes.sensor, eyes.grabber, eyes.settings, room).map_err(CameraLoopError::from);
    let parts = camera.map(|camera| LoopParts { camera, output, timer });
    let target = look_for.map(|label| class_of(&plan, label).ok_or(ModelError::NoSuchLabel(label))).transpose()?;
    let config = LoopConfig { target, smoothing, ..LoopConfig::new(hertz) };
    let watch = parts.and_then(|parts| CameraLoop::new(&mut engine, parts, config));
    let mut watch = watch.map_err(ModelError::Watch)?;
    watch.run(report, host, frames, turns);
    Ok(watch.tally())
}

/// Says what is wrong, and waits for a second in which `host` may call. A board does so again and again, so that it is
/// heard whenever somebody listens, and stays within reach.
///
/// The watchdog runs from then on: a log that a host has asked to wait for it, and that it no longer reads, would else stand
/// still for ever.
pub fn report_error_loop<K: Clock + Watchdog>(
    error: &ModelError,
    report: &mut impl Report,
    host: &mut impl HostHandler,
    timer: &K,
) {
    timer.start(COMPLAINING_US);
    timer.feed();
    error.tell(report);
    let end = timer.now_us() + COMPLAINT_US;
    while timer.now_us() < end {
        timer.feed();
        host.answer(HostContext { engine: Err(error), frame: None, room: &mut [] });
        // A pause that no host notices.
        timer.wait_until_us(timer.now_us() + 1_000);
    }
}

/// The class that `label` names.
fn class_of(plan: &Plan, label: &str) -> Option<u16> {
    (0..plan.output().shape.len())
        .find(|class| plan.label(*class) == Some(label))
        .and_then(|class| class.try_into().ok())
}
