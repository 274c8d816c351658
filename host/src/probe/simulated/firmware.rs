//! The firmware itself as the program of a simulated chip: the loop of a camera board, its engine, its model region and its
//! server are the very code that a real board runs, on a thread of this machine. Simulated are what a board's program adds to
//! it: the sensor and its bus, time, and RTT's rings, which lie in the chip's RAM. It has a log, and logs nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use embedded_hal::digital::{ErrorType, OutputPin};
use ocellus_firmware::app::smooth::Smoothing;
use ocellus_firmware::boot::{self, CameraBoard, CameraParts};
use ocellus_firmware::camera::ov2640::Ov2640;
use ocellus_firmware::camera::simulated::{SETTINGS, Simulated};
use ocellus_firmware::profile::Counter;
use ocellus_firmware::server::Server;
use ocellus_firmware::time::{Clock, Pause, Watchdog};
use ocellus_firmware::transport::rtt::{Rtt, RttReader, RttWriter};
use ocellus_shared::plan::encode::reseal;

use super::Fault;
use super::chip::Program;
use super::memory::Memory;
use crate::board::Board;

/// Bytes of each of the transport's rings, and of the log's.
const RING_BYTES: u32 = 4096;
const LOG_BYTES: u32 = 1024;
/// Where things are, from the control block on: its channels behind the head, then a name and the rings.
const HEAD_BYTES: u32 = 24;
const CHANNEL_BYTES: u32 = 24;
const LOG_NAME_AT: u32 = 0x80;
const NAME_AT: u32 = 0x90;
const RINGS_AT: u32 = 0x100;
/// Numbers of the log's channel, of the one to the host, and of the one from it, which comes behind the two others.
const LOG: u32 = 0;
const UP: u32 = 1;
const DOWN: u32 = 2;
/// Fields of a channel.
const WRITE: u32 = 12;
const READ: u32 = 16;
/// Mode of a channel that leaves out what it has no room for.
const TRIM: u32 = 1;
/// Where a plan has its digest, and how far from its end parameters of its last layer are.
const DIGEST_AT: usize = 16;
const NEAR_END: usize = 38;
/// Bytes of messages after which what is to happen in their middle happens: some images.
const MIDDLE_BYTES: usize = 20_000;
/// The same for bytes of replies: some frames of one that is followed.
const MIDDLE_OF_REPLIES: usize = 2_000;

/// The firmware, and the thread that it runs on.
pub struct Firmware {
    board: Board,
    block: u32,
    fault: Option<Fault>,
    running: Option<Running>,
    /// Bytes that the program was sent, and that it replied, since power-up.
    taken: usize,
    replied: usize,
    /// What is to happen in the middle of a conversation has happened.
    is_past_middle: bool,
}

/// A run of it.
struct Running {
    stop: Arc<AtomicBool>,
    queues: Queues,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It ends by unwinding, which is no failure.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What travels between the rings and the thread.
#[derive(Clone, Default)]
struct Queues {
    down: Arc<Mutex<VecDeque<u8>>>,
    up: Arc<Mutex<VecDeque<u8>>>,
}

impl Firmware {
    /// The firmware of `board` with its control block at `block`.
    pub fn new(board: &Board, block: u32, fault: Option<Fault>) -> Self {
        Self { board: board.clone(), block, fault, running: None, taken: 0, replied: 0, is_past_middle: false }
    }

    /// Leaves in RAM what an earlier run would have.
    pub fn leave_traces(&self, memory: &mut Memory) {
        if self.fault == Some(Fault::Stale) {
            self.set_up(memory);
        }
    }

    /// Writes the control block, its magic last.
    fn set_up(&self, memory: &mut Memory) {
        let channel = |name: u32, number: u32| [self.block + name, self.ring(number), ring_bytes(number), 0, 0, TRIM];
        let channels = [channel(LOG_NAME_AT, LOG), channel(NAME_AT, UP), channel(NAME_AT, DOWN)];
        let counts = [2u32, 1].map(u32::to_le_bytes).concat();
        let words = channels.as_flattened().iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        // There is RAM where a program has its variables; where not, the host finds no channels and says so.
        let _ = memory.write(self.block + LOG_NAME_AT, b"defmt\0");
        let _ = memory.write(self.block + NAME_AT, b"ocellus\0");
        let _ = memory.write(self.block + 16, &[counts, words].concat());
        let _ = memory.write(self.block, b"SEGGER RTT\0\0\0\0\0\0");
    }

    /// The region with the model, which the program only reads.
    fn region(&self, memory: &Memory) -> Vec<u8> {
        let region = self.board.model.and_then(|model| memory.read(model.start, model.bytes as usize).ok());
        let mut region = region.unwrap_or_default().to_vec();
        let length = region.get(8..12).map(|l| u32::from_le_bytes([l[0], l[1], l[2], l[3]]) as usize);
        if let Some(plan) = length.and_then(|length| region.get_mut(..length)) {
            let changed = match self.fault {
                Some(Fault::OtherModel) => Some(DIGEST_AT),
                Some(Fault::Miscomputes) => plan.len().checked_sub(NEAR_END),
                _ => None,
            };
            if let Some(byte) = changed.and_then(|at| plan.get_mut(at)) {
                *byte ^= 0x40;
                reseal(plan);
            }
        }
        region
    }

    /// Address of a field of a channel.
    fn field(&self, channel: u32, field: u32) -> u32 {
        self.block + HEAD_BYTES + channel * CHANNEL_BYTES + field
    }

    /// Where a ring begins.
    fn ring(&self, channel: u32) -> u32 {
        self.block + RINGS_AT + (0..channel).map(ring_bytes).sum::<u32>()
    }

    /// Moves bytes from the ring to the thread: how many.
    fn take_in(&self, memory: &mut Memory, queues: &Queues) -> Result<usize, String> {
        let (write, mut read) = (memory.word(self.field(DOWN, WRITE))?, memory.word(self.field(DOWN, READ))?);
        let mut taken = 0;
        let mut down = lock(&queues.down);
        while read != write && read < RING_BYTES {
            down.extend(memory.read(self.ring(DOWN) + read, 1)?);
            read = (read + 1) % RING_BYTES;
            taken += 1;
        }
        memory.write(self.field(DOWN, READ), &read.to_le_bytes())?;
        Ok(taken)
    }

    /// Moves bytes from the thread to the ring, as many as there is room for: how many.
    fn put_out(&self, memory: &mut Memory, queues: &Queues) -> Result<usize, String> {
        let (mut write, read) = (memory.word(self.field(UP, WRITE))?, memory.word(self.field(UP, READ))?);
        let mut up = lock(&queues.up);
        let before = up.len();
        while (write + 1) % RING_BYTES != read {
            let Some(byte) = up.pop_front() else { break };
            memory.write(self.ring(UP) + write, &[byte])?;
            write = (write + 1) % RING_BYTES;
        }
        memory.write(self.field(UP, WRITE), &write.to_le_bytes())?;
        Ok(before - up.len())
    }
}

/// Bytes of a channel's ring.
fn ring_bytes(channel: u32) -> u32 {
    if channel == LOG { LOG_BYTES } else { RING_BYTES }
}

impl Program for Firmware {
    fn start(&mut self, memory: &mut Memory) {
        self.running = None;
        if self.fault == Some(Fault::Stale) {
            return;
        }
        self.set_up(memory);
        let (stop, queues) = (Arc::default(), Queues::default());
        let chip = Chip { stop: Arc::clone(&stop), queues: queues.clone(), born: Instant::now() };
        let (board, region) = (self.board.clone(), self.region(memory));
        let thread = Some(thread::spawn(move || run(&board, &region, &chip)));
        self.running = Some(Running { stop, queues, thread });
    }

    fn go_on(&mut self, memory: &mut Memory) {
        let Some(Running { queues, .. }) = &self.running else { return };
        // A ring that is not in RAM moves nothing.
        let taken = self.take_in(memory, queues).unwrap_or_default();
        let replied = self.put_out(memory, queues).unwrap_or_default();
        (self.taken, self.replied) = (self.taken + taken, self.replied + replied);
        if !self.is_past_middle && (self.taken >= MIDDLE_BYTES || self.replied >= MIDDLE_OF_REPLIES) {
            self.is_past_middle = true;
            match self.fault {
                Some(Fault::Resets) => self.start(memory),
                Some(Fault::UnpluggedLater) => memory.is_out_of_reach = true,
                _ => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boots and runs the camera loop until the chip is reset.
fn run(board: &Board, region: &[u8], chip: &Chip) {
    let mut memory = [vec![0; board.frame_bytes], vec![0; board.frame_bytes]];
    let (mut arena, [front, back]) = (vec![0; board.arena_bytes], &mut memory);
    let hertz = board.clock_hz.and_then(|hertz| u32::try_from(hertz).ok()).unwrap_or(1_000_000);
    // A board's name is part of its program, and lives as long.
    let name: &'static str = board.name.clone().leak();
    let (look_for, smoothing) = (None, Smoothing::USUAL);
    let described = CameraBoard {
        name,
        hertz,
        look_for,
        smoothing,
        region,
        unreadable: None,
        arena: &mut arena,
        frames: [front, back],
    };
    let ticks = Ticks { born: chip.born, hertz: hertz.into() };
    let mut server = Server::new(Rtt::new(chip, chip, chip), ticks, described.info());
    let simulated = Simulated::new(chip, &[]);
    let sensor = Ov2640::new(&simulated, Pause(chip));
    let camera = CameraParts { sensor, grabber: &simulated, settings: SETTINGS };
    if let Err(error) = boot::run(described, camera, NoOutput, chip, &mut server, u32::MAX) {
        boot::report_error_loop(&error, &mut server, chip, u32::MAX);
    }
}

/// What the thread has of the chip.
struct Chip {
    stop: Arc<AtomicBool>,
    queues: Queues,
    born: Instant,
}

impl Chip {
    /// A reset takes the core away from the program, wherever that is.
    fn yield_to_reset(&self) {
        if self.stop.load(Ordering::Relaxed) {
            resume_unwind(Box::new("the chip was reset"));
        }
    }
}

impl Clock for Chip {
    fn now_us(&self) -> u64 {
        self.born.elapsed().as_micros() as u64
    }

    fn wait_until_us(&self, time_us: u64) {
        self.yield_to_reset();
        thread::sleep(Duration::from_micros(time_us.saturating_sub(self.now_us())));
    }
}

impl Watchdog for Chip {
    fn start(&self, _: u32) {}

    fn feed(&self) {
        self.yield_to_reset();
    }
}

impl RttReader for &Chip {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut down = lock(&self.queues.down);
        let count = buffer.len().min(down.len());
        buffer.iter_mut().zip(down.drain(..count)).for_each(|(place, byte)| *place = byte);
        count
    }
}

impl RttWriter for &Chip {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut up = lock(&self.queues.up);
        let count = bytes.len().min((RING_BYTES as usize).saturating_sub(up.len()));
        up.extend(&bytes[..count]);
        count
    }
}

/// This machine's time in ticks of the board's clock, in place of cycles: a simulated core has none.
struct Ticks {
    born: Instant,
    hertz: u128,
}

impl Counter for Ticks {
    fn instructions(&mut self) -> u64 {
        (self.born.elapsed().as_nanos() * self.hertz / 1_000_000_000) as u64
    }

    fn watch_stack(&mut self) {}

    /// None that would say anything of the board's.
    fn stack_bytes(&mut self) -> u32 {
        0
    }
}

/// An output that nobody looks at.
struct NoOutput;

impl ErrorType for NoOutput {
    type Error = Infallible;
}

impl OutputPin for NoOutput {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
