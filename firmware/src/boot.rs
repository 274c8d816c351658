//! What a camera board does before its loop: it looks for its model, in a region of flash of its own.
//!
//! A host may replace that region at any time, so that nothing about it is taken for granted. A board without a model that
//! it can run says so again and again, and stays within a probe's reach.

use crate::app::camera_loop::{CameraLoop, CameraLoopError, LoopConfig, LoopParts};
use crate::app::smooth::Smoothing;
use crate::app::{Denial, HostContext, HostHandler, plan_reply};
use crate::camera::live::{Camera, Grabber};
use crate::camera::sensor::{Sensor, Settings};
use crate::engine::{ArenaTooSmall, Engine};
use crate::server::BoardInfo;
use crate::time::{Clock, Watchdog};
use embedded_hal::digital::OutputPin;
use ocellus_shared::plan::{Plan, PlanError, StepFault};
use ocellus_shared::wire::{FrameCounts, Refusal};

/// What flash holds where nothing was written.
const ERASED: u8 = 0xff;
/// Bytes that are looked at to tell an empty region from a damaged one: a page of the smallest kind.
const LOOKED_AT: usize = 256;
/// Time between two reports of an error, in microseconds.
const REPORT_INTERVAL_US: u64 = 1_000_000;
/// How long one may take, a host that is answered included.
const REPORT_DEADLINE_US: u32 = 5_000_000;

/// Why the region's content cannot be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ModelError {
    /// Nothing was written there.
    Empty,
    /// Flash does not give what it holds at this address, as after a power failure while it was written.
    Unreadable(u32),
    /// No plan, a plan of another version, or a damaged one.
    Plan(PlanError),
    /// The plan works in more memory than the board has.
    Arena(ArenaTooSmall),
    /// The camera loop cannot run it.
    CameraLoop(CameraLoopError),
    /// It does not know the label that the board was built to look for.
    NoSuchLabel(&'static str),
}

impl core::fmt::Display for ModelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no model in flash: write one with `ocellus flash --model`"),
            Self::Unreadable(address) => {
                write!(f, "the model in flash cannot be read at {address:#x}, write it again")
            }
            // Writing the same model again would not help.
            Self::Plan(error @ (PlanError::Version { .. } | PlanError::Step { fault: StepFault::Operator, .. })) => {
                write!(f, "the model in flash is not for this program, write both without --model: {error}")
            }
            Self::Plan(error) => write!(f, "the model in flash is not usable, write it again: {error}"),
            Self::Arena(error) => error.fmt(f),
            Self::CameraLoop(error) => error.fmt(f),
            Self::NoSuchLabel(label) => write!(f, "the model in flash has no label {label}"),
        }
    }
}

impl core::error::Error for ModelError {}

impl ModelError {
    /// What a host is told.
    pub fn denial(&self) -> Denial<'_> {
        let (refusal, needed, available) = match self {
            Self::Empty => (Refusal::NoPlan, 0, 0),
            Self::Plan(_) | Self::Unreadable(_) => (Refusal::BadPlan, 0, 0),
            Self::CameraLoop(_) | Self::NoSuchLabel(_) => (Refusal::CameraLoop, 0, 0),
            Self::Arena(small) => (Refusal::ArenaTooSmall, small.needed as u32, small.available as u32),
        };
        Denial { refusal, needed, available, detail: self }
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

/// A camera board: its name, its memory, and what its builder chose.
#[derive(Debug)]
pub struct CameraBoard<'p, 'm> {
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
    /// An address in it whose reading ended the last run: it is not read again.
    pub unreadable: Option<u32>,
    /// Room for feature maps.
    pub arena: &'m mut [i8],
    /// Room for two frames.
    pub frames: [&'m mut [u8]; 2],
}

impl CameraBoard<'_, '_> {
    /// What hosts are told of it.
    pub fn info(&self) -> BoardInfo {
        let (plan_bytes, arena_bytes) = (self.region.len() as u32, self.arena.len() as u32);
        BoardInfo { name: self.name, plan_bytes, arena_bytes, plan_slot: false, live_camera: true }
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

/// Reports the board, looks for the model, and runs the camera loop with it for `turns` turns: what happened. A board lets
/// it take as many as there are.
///
/// # Errors
/// There is no model to run, which is not reported yet.
pub fn run<S: Sensor, G: Grabber>(
    board: CameraBoard,
    camera: CameraParts<S, G>,
    output: impl OutputPin,
    timer: impl Clock + Watchdog,
    host: &mut impl HostHandler,
    turns: u32,
) -> Result<FrameCounts, ModelError> {
    host.report(&board.info().reply());
    let CameraBoard { hertz, look_for, smoothing, region, unreadable, arena, frames, .. } = board;
    if let Some(address) = unreadable {
        return Err(ModelError::Unreadable(address));
    }
    let mut engine = engine(region, arena)?;
    let plan = *engine.plan();
    host.report(&plan_reply(0, &plan));
    let target = look_for.map(|label| class_of(&plan, label).ok_or(ModelError::NoSuchLabel(label))).transpose()?;
    let config = LoopConfig { target, smoothing, ..LoopConfig::new(hertz) };
    let room = frames[0].len().min(frames[1].len());
    let camera = Camera::new(camera.sensor, camera.grabber, camera.settings, room).map_err(CameraLoopError::from);
    let parts = camera.map(|camera| LoopParts { camera, output, timer });
    let camera_loop = parts.and_then(|parts| CameraLoop::new(&mut engine, parts, config));
    let mut camera_loop = camera_loop.map_err(ModelError::CameraLoop)?;
    camera_loop.run(host, frames, turns);
    Ok(camera_loop.counts())
}

/// Reports what is wrong `times` times, a second apart, while hosts are answered. A board does so for ever: it is heard
/// whenever somebody listens, and stays within reach. The watchdog runs meanwhile.
pub fn report_error_loop(error: &ModelError, host: &mut impl HostHandler, timer: &(impl Clock + Watchdog), times: u32) {
    timer.start(REPORT_DEADLINE_US);
    for _ in 0..times {
        timer.feed();
        error.denial().send(0, |reply| host.report(reply));
        let end = timer.now_us() + REPORT_INTERVAL_US;
        while timer.now_us() < end {
            timer.feed();
            host.poll(HostContext { engine: Err(error.denial()), frame: None, buffer: &mut [] });
            // A pause that no host notices.
            timer.wait_until_us(timer.now_us() + 1_000);
        }
    }
}

/// The class that `label` names.
fn class_of(plan: &Plan, label: &str) -> Option<u16> {
    (0..plan.output().shape.len())
        .find(|class| plan.label(*class) == Some(label))
        .and_then(|class| class.try_into().ok())
}
