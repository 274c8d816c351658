//! An emulated board: one whose plans come from a host, and whose camera is simulated. It does nothing but serve.

use crate::app::camera_loop::{CameraLoop, CameraLoopError, LoopConfig, LoopParts};
use crate::app::{Denial, HostContext, HostHandler, plan_reply};
use crate::camera::live::Camera;
use crate::camera::ov2640::Ov2640;
use crate::camera::simulated::{SETTINGS, Simulated};
use crate::engine::Engine;
use crate::profile::Counter;
use crate::server::{BoardInfo, Request, Server, StreamError};
use crate::time::{Clock, Pause, Watchdog};
use crate::transport::Transport;
use embedded_hal::digital::OutputPin;
use heapless::Vec;
use ocellus_shared::plan::Plan;
use ocellus_shared::wire::{EVENT_LEN, Event, FrameCounts, Header, MAX_EVENTS, Refusal, Reply, SIMULATION_LEN};

/// Clock of a core that is only emulated, for the watchdog of a simulation: slower than any host's.
const HERTZ: u32 = 8_000_000;
/// Bytes of the longest simulation.
const MAX_SIMULATION_LEN: usize = SIMULATION_LEN + MAX_EVENTS * EVENT_LEN;
/// Before the first plan, and after one that cannot be run.
const NO_PLAN: Denial = Denial { refusal: Refusal::NoPlan, needed: 0, available: 0, detail: &"send a plan first" };

/// A board's memory.
#[derive(Debug)]
pub struct Memory<'m> {
    /// Room for a plan.
    pub plan: &'m mut [u8],
    /// Room for feature maps.
    pub arena: &'m mut [i8],
    /// Room for a camera frame, or for two of the simulated camera.
    pub frame: &'m mut [u8],
}

/// The board, but for the memory of its model.
struct Emulated<'m, T, C, K, O> {
    server: Server<T, C>,
    timer: K,
    output: O,
    frame: &'m mut [u8],
}

/// Serves the host until it ends the conversation.
///
/// # Errors
/// The stream breaks off or is out of step; the host has been told why.
pub fn run<T: Transport, C: Counter>(
    name: &'static str,
    memory: Memory,
    transport: T,
    counter: C,
    timer: impl Clock + Watchdog,
    output: impl OutputPin,
) -> Result<(), StreamError> {
    let Memory { plan, arena, frame } = memory;
    let (plan_bytes, arena_bytes) = (plan.len() as u32, arena.len() as u32);
    let info = BoardInfo { name, plan_bytes, arena_bytes, plan_slot: true, live_camera: false };
    let mut board = Emulated { server: Server::new(transport, counter, info), timer, output, frame };
    let mut next = board.serve(Err(NO_PLAN))?;
    while let Some(header) = next {
        let bytes = board.server.receive(&header, plan, Refusal::PlanTooLarge)?;
        let engine = bytes.and_then(|bytes| board.start(header.sequence, bytes, arena));
        next = match engine {
            Some(mut engine) => board.serve(Ok(&mut engine))?,
            None => board.serve(Err(NO_PLAN))?,
        };
    }
    Ok(())
}

impl<T: Transport, C: Counter, K: Clock + Watchdog, O: OutputPin> Emulated<'_, T, C, K, O> {
    /// An engine for the plan in `bytes`, which came as message `sequence`; nothing where the board cannot run it.
    fn start<'b>(&mut self, sequence: u32, bytes: &'b [u8], arena: &'b mut [i8]) -> Option<Engine<'b, 'b>> {
        let plan = match Plan::parse(bytes) {
            Ok(plan) => plan,
            Err(error) => {
                self.server.refuse(sequence, Denial::new(Refusal::BadPlan, &error));
                return None;
            }
        };
        match Engine::new(plan, arena) {
            Ok(engine) => {
                self.server.reply(&plan_reply(sequence, &plan));
                Some(engine)
            }
            Err(small) => {
                let (needed, available) = (small.needed as u32, small.available as u32);
                let denial = Denial { needed, available, ..Denial::new(Refusal::ArenaTooSmall, &small) };
                self.server.refuse(sequence, denial);
                None
            }
        }
    }

    /// Answers messages up to the next plan, whose header is returned, or the end.
    fn serve(&mut self, mut engine: Result<&mut Engine, Denial>) -> Result<Option<Header>, StreamError> {
        loop {
            let lent = engine.as_deref_mut().map_err(|denial| *denial);
            let mut context = HostContext { engine: lent, frame: None, buffer: self.frame };
            match (self.server.serve(&mut context)?, &mut engine) {
                (Request::Plan(header), _) => return Ok(Some(header)),
                (Request::Simulate(header), Ok(engine)) => self.simulate(&header, engine)?,
                _ => return Ok(None),
            }
        }
    }

    /// Runs the camera loop on a simulated sensor, as a message says, and tells what came of it.
    fn simulate(&mut self, header: &Header, engine: &mut Engine) -> Result<(), StreamError> {
        let (sequence, mut buffer) = (header.sequence, [0; MAX_SIMULATION_LEN]);
        let Some(payload) = self.server.receive(header, &mut buffer, Refusal::CameraLoop)? else { return Ok(()) };
        let Some((turns, events)) = parse(payload) else {
            let detail = &"a simulation is a number of turns, and events of known kinds";
            self.server.refuse(sequence, Denial::new(Refusal::CameraLoop, detail));
            return Ok(());
        };
        match self.simulate_turns(engine, turns, &events) {
            Ok(counts) => self.server.reply(&Reply::Simulated { sequence, counts }),
            Err(error) => self.server.refuse(sequence, Denial::new(Refusal::CameraLoop, &error)),
        }
        self.timer.stop();
        Ok(())
    }

    /// The loop itself, in the two halves of the room for a frame.
    fn simulate_turns(
        &mut self,
        engine: &mut Engine,
        turns: u32,
        events: &[Event],
    ) -> Result<FrameCounts, CameraLoopError> {
        let Self { server, timer, output, frame } = self;
        let (front, back) = frame.split_at_mut(frame.len() / 2);
        let simulated = Simulated::new(&*timer, events);
        let sensor = Ov2640::new(&simulated, Pause(&*timer));
        let camera = Camera::new(sensor, &simulated, SETTINGS, front.len())?;
        let parts = LoopParts { camera, output, timer: &*timer };
        let mut camera_loop = CameraLoop::new(engine, parts, LoopConfig::new(HERTZ))?;
        camera_loop.run(&mut Reports(server), [front, back], turns);
        Ok(camera_loop.counts())
    }
}

/// A host that hears everything, and waits for the end.
struct Reports<'s, T, C>(&'s mut Server<T, C>);

impl<T: Transport, C: Counter> HostHandler for Reports<'_, T, C> {
    fn poll(&mut self, _: HostContext) -> bool {
        false
    }

    fn report(&mut self, reply: &Reply) {
        self.0.reply(reply);
    }
}

/// Turns and events of a simulation.
fn parse(payload: &[u8]) -> Option<(u32, Vec<Event, MAX_EVENTS>)> {
    let (turns, events) = payload.split_first_chunk::<SIMULATION_LEN>()?;
    let (events, rest) = events.as_chunks::<EVENT_LEN>();
    let events = events.iter().map(Event::parse).collect::<Option<_>>()?;
    rest.is_empty().then_some((u32::from_le_bytes(*turns), events))
}
