//! Answers the host's messages: takes plans, runs images and frames, and tells what came out.
//!
//! A message that cannot be done is refused and passed over; only a stream that is out of step ends the session.
//!
//! [`Session`] is that of an emulated board, which does nothing else; [`host_port`] that of a camera board, which watches.

pub mod host_port;

use crate::app::camera_loop::{LoopConfig, LoopParts, CameraLoop, CameraLoopError};
use crate::app::{App, LookError};
use crate::camera::live::Live;
use crate::camera::ov2640::Ov2640;
use crate::camera::sensor::Settings;
use crate::camera::simulated::Simulated;
use crate::engine::Engine;
use crate::transport::{Broken, FrameMessage, Link, StreamError, Report, Source};
use crate::profile::Counter;
use crate::time::{Clock, Pause, Watchdog};
use embedded_hal::digital::OutputPin;
use heapless::Vec;
use ocellus_shared::PixelFormat;
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::{EVENT_LEN, Event, Header, Kind, MAX_EVENTS, Refusal, Reply, FrameCounts, WATCH_LEN, tensor_crc};

/// What the simulated sensor of a watch is set to.
pub const SIMULATED_SETTINGS: Settings = Settings::new(PixelFormat::Rgb565Be, 160, 120);
/// Clock of a core that is only emulated, for the watchdog of a watch: slower than any host's.
const EMULATED_HERTZ: u32 = 8_000_000;

/// A board's name and memory.
#[derive(Debug)]
pub struct Board<'m> {
    /// Its name.
    pub name: &'static str,
    /// Room for a plan.
    pub plan: &'m mut [u8],
    /// Room for feature maps.
    pub arena: &'m mut [i8],
    /// Room for a camera frame.
    pub frame: &'m mut [u8],
}

/// What a board says of itself.
#[derive(Clone, Copy, Debug)]
pub struct BoardInfo {
    /// Its name.
    pub name: &'static str,
    /// Room for a plan.
    pub plan_bytes: u32,
    /// Room for feature maps.
    pub arena_bytes: u32,
}

impl BoardInfo {
    /// Greets the host.
    pub fn tell(self, report: &mut impl Report) {
        let Self { name, plan_bytes, arena_bytes } = self;
        report.reply(Reply::Ready { board: name, plan_bytes, arena_bytes });
    }
}

/// Tells the host which plan is in place.
pub fn tell_plan(report: &mut impl Report, sequence: u32, plan: &Plan) {
    let (steps, arena_bytes) = (plan.step_count() as u32, plan.arena_bytes() as u32);
    report.reply(Reply::Plan { sequence, digest: plan.digest(), steps, arena_bytes });
}

/// The board's side of the conversation.
#[derive(Debug)]
pub struct Session<S, R, C, L> {
    link: Link<S, R>,
    counter: C,
    led: L,
}

impl<S: Source, R: Report, C: Counter + Clock + Watchdog, L: OutputPin> Session<S, R, C, L> {
    /// A session that has read nothing yet.
    pub fn new(source: S, report: R, counter: C, led: L) -> Self {
        Self { link: Link::new(source, report), counter, led }
    }

    /// Answers messages until the host ends the conversation.
    ///
    /// # Errors
    /// The stream breaks off or is out of step; the host has been told why.
    pub fn run(&mut self, board: Board) -> Result<(), StreamError> {
        let Board { name, plan, arena, frame } = board;
        let plate = BoardInfo { name, plan_bytes: plan.len() as u32, arena_bytes: arena.len() as u32 };
        plate.tell(&mut self.link);
        let mut header = self.link.header()?;
        while header.kind != Kind::End {
            header = if header.kind != Kind::Plan {
                self.link.pass_over(&header, Refusal::NoPlan, 0)?;
                self.link.header()?
            } else if let Some(bytes) = plan.get_mut(..header.payload_len as usize) {
                self.link.read(&header, bytes)?;
                self.serve(plate, &header, bytes, arena, frame)?
            } else {
                self.link.pass_over(&header, Refusal::PlanTooLarge, plate.plan_bytes)?;
                self.link.header()?
            };
        }
        self.link.end();
        Ok(())
    }

    /// Puts the plan in `bytes` in place, which came as message `plan`, and runs it for every message up to the next plan
    /// or the end, whose header is returned.
    fn serve(
        &mut self,
        plate: BoardInfo,
        plan: &Header,
        bytes: &[u8],
        arena: &mut [i8],
        frame: &mut [u8],
    ) -> Result<Header, StreamError> {
        let Some(engine) = self.start(plan.sequence, bytes, arena) else { return self.link.header() };
        let mut app = App::new(engine, &mut self.led);
        loop {
            let header = self.link.header()?;
            match header.kind {
                Kind::Plan | Kind::End => return Ok(header),
                Kind::Frame => look(&mut self.link, &header, &mut app, frame)?,
                Kind::Tensor | Kind::Trace | Kind::Profile => {
                    tensor(&mut self.link, &header, app.engine(), &mut self.counter)?;
                }
                Kind::Hello => {
                    self.link.leave_out(&header)?;
                    plate.tell(&mut self.link);
                    tell_plan(&mut self.link, header.sequence, app.engine().plan());
                }
                Kind::Show => self.link.pass_over(&header, Refusal::NoFrame, 0)?,
                Kind::Watch => {
                    // The app's memory of frames that a host sent has no part in this.
                    let (engine, led) = app.parts();
                    watch(&mut self.link, &header, engine, led, &self.counter, frame)?;
                }
            }
        }
    }

    /// An engine for the plan in `bytes`, or nothing where the board cannot run it.
    fn start<'b>(&mut self, sequence: u32, bytes: &'b [u8], arena: &'b mut [i8]) -> Option<Engine<'b, 'b>> {
        let plan = match Plan::parse(bytes) {
            Ok(plan) => plan,
            Err(error) => {
                self.link.refuse(sequence, Refusal::BadPlan, [0, 0], &error);
                return None;
            }
        };
        match Engine::new(plan, arena) {
            Ok(engine) => {
                tell_plan(&mut self.link, sequence, &plan);
                Some(engine)
            }
            Err(small) => {
                let sizes = [small.needed as u32, small.available as u32];
                self.link.refuse(sequence, Refusal::ArenaTooSmall, sizes, &small);
                None
            }
        }
    }
}

/// Runs an image as it comes, and tells what the message asked for.
fn tensor<S: Source, R: Report, C: Counter>(
    link: &mut Link<S, R>,
    header: &Header,
    engine: &mut Engine,
    counter: &mut C,
) -> Result<(), StreamError> {
    let input = bytemuck::cast_slice_mut(engine.input_mut());
    if header.payload_len as usize != input.len() {
        return link.pass_over(header, Refusal::BadTensor, input.len() as u32);
    }
    link.read(header, input)?;
    match header.kind {
        Kind::Trace => trace(link, header, engine),
        Kind::Profile => profile(link, header, engine, counter),
        _ => scores(link, header, engine.run()),
    }
    Ok(())
}

/// Tells scores.
fn scores<S: Source, R: Report>(link: &mut Link<S, R>, header: &Header, values: &[i8]) {
    link.reply(Reply::Scores { sequence: header.sequence, crc: tensor_crc(values), values });
}

/// Runs the image in place and tells every step's output.
fn trace<S: Source, R: Report>(link: &mut Link<S, R>, header: &Header, engine: &mut Engine) {
    let sequence = header.sequence;
    let values = engine.run_observed(|index, _, output| {
        link.reply(Reply::Step { sequence, index: index as u32, crc: tensor_crc(output) });
    });
    scores(link, header, values);
}

/// Runs the image in place and tells what every step took. The telling itself is not counted, but what it takes of the
/// stack is.
fn profile<S: Source, R: Report, C: Counter>(
    link: &mut Link<S, R>,
    header: &Header,
    engine: &mut Engine,
    counter: &mut C,
) {
    let sequence = header.sequence;
    counter.watch_stack();
    let (mut total, mut before) = (0, counter.instructions());
    let values = engine.run_observed(|index, _, _| {
        let instructions = counter.instructions().saturating_sub(before);
        total += instructions;
        link.reply(Reply::Cost { sequence, index: index as u32, instructions });
        before = counter.instructions();
    });
    link.reply(Reply::Profile { sequence, instructions: total, stack_bytes: counter.stack_bytes() });
    scores(link, header, values);
}

/// Takes a frame's message through the whole app.
fn look<S: Source, R: Report, L: OutputPin>(
    link: &mut Link<S, R>,
    header: &Header,
    app: &mut App<L>,
    buffer: &mut [u8],
) -> Result<(), StreamError> {
    let sequence = header.sequence;
    let plan = *app.engine().plan();
    match app.look(&mut FrameMessage { link, header }, buffer) {
        Ok(sighting) => {
            scores(link, header, sighting.scores);
            let name = plan.label(usize::from(sighting.class)).unwrap_or_default();
            let (class, margin) = (u32::from(sighting.class), sighting.margin);
            link.reply(Reply::Label { sequence, class, margin, steady: sighting.steady, name });
            Ok(())
        }
        Err(LookError::Camera(Broken::Refused)) => Ok(()),
        Err(LookError::Camera(Broken::StreamError)) => Err(StreamError),
        Err(LookError::Preprocess(error)) => {
            link.refuse(sequence, Refusal::BadFrame, [0, 0], &error);
            Ok(())
        }
    }
}

/// Runs the camera loop on a simulated sensor, as a message says, and tells what came of it.
fn watch<S: Source, R: Report, K: Clock + Watchdog>(
    link: &mut Link<S, R>,
    header: &Header,
    engine: &mut Engine,
    output: &mut impl OutputPin,
    timer: &K,
    frame: &mut [u8],
) -> Result<(), StreamError> {
    let length = header.payload_len as usize;
    let counts = length.checked_sub(WATCH_LEN).filter(|events| events.is_multiple_of(EVENT_LEN));
    let mut payload = [0; WATCH_LEN + MAX_EVENTS * EVENT_LEN];
    let Some(payload) = counts.and_then(|_| payload.get_mut(..length)) else {
        return link.pass_over(header, Refusal::BadWatch, 0);
    };
    link.read(header, payload)?;
    let (turns, events) = payload.split_at(WATCH_LEN);
    let turns = turns.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let parsed: Option<Vec<Event, MAX_EVENTS>> = events.as_chunks().0.iter().map(Event::parse).collect();
    let Some(events) = parsed else {
        link.refuse(header.sequence, Refusal::BadWatch, [0, 0], &"an event of unknown kind");
        return Ok(());
    };
    match look_out(link, engine, output, timer, frame, turns, &events) {
        Ok(tally) => link.reply(Reply::Watched { sequence: header.sequence, tally }),
        Err(error) => link.refuse(header.sequence, Refusal::BadWatch, [0, 0], &error),
    }
    timer.stop();
    Ok(())
}

/// The loop itself, in the two halves of `frame`.
fn look_out<S: Source, R: Report, K: Clock + Watchdog>(
    link: &mut Link<S, R>,
    engine: &mut Engine,
    output: &mut impl OutputPin,
    timer: &K,
    frame: &mut [u8],
    turns: u32,
    events: &[Event],
) -> Result<FrameCounts, CameraLoopError> {
    let (front, back) = frame.split_at_mut(frame.len() / 2);
    let simulated = Simulated::new(timer, events);
    let sensor = Ov2640::new(&simulated, Pause(timer));
    let camera = Live::new(sensor, &simulated, SIMULATED_SETTINGS, front.len())?;
    let mut watch = CameraLoop::new(engine, LoopParts { camera, output, timer }, LoopConfig::new(EMULATED_HERTZ))?;
    watch.run(link, &mut (), [front, back], turns);
    Ok(watch.tally())
}
