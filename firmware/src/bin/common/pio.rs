//! A camera interface of an RP2350: a state machine of a PIO that follows a sensor's clock, and a DMA channel.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embassy_rp::dma::Channel;
use embassy_rp::peripherals::PIO0;
use embassy_rp::pio::program::pio_asm;
use embassy_rp::pio::{Config, LoadedProgram, Pin, Pio, ShiftConfig, ShiftDirection, StateMachine};
use embassy_time::{Duration, Instant};
use ocellus_firmware::camera::live::{CaptureError, Grabber};

/// The interface.
pub struct PioCamera<'d> {
    machine: StateMachine<'d, PIO0, 0>,
    program: LoadedProgram<'d, PIO0>,
    channel: Channel<'d>,
    data: [Pin<'d, PIO0>; 8],
    /// Longest wait for a frame.
    timeout: Duration,
}

impl<'d> PioCamera<'d> {
    /// The interface on D0 to D7, which must be neighbouring pins; PCLK is GPIO 11, HREF 12 and VSYNC 13.
    pub fn new(pio: Pio<'d, PIO0>, channel: Channel<'d>, data: [Pin<'d, PIO0>; 8], timeout: Duration) -> Self {
        // VSYNC is high between frames, HREF while a row is sent, and PCLK rests between rows.
        let program = pio_asm!(
            "wait 0 gpio 13",
            "wait 1 gpio 13",
            "wait 0 gpio 13",
            ".wrap_target",
            "wait 1 gpio 12",
            "wait 1 gpio 11",
            "in pins, 8",
            "wait 0 gpio 11",
            ".wrap",
        );
        let Pio { mut common, sm0: machine, .. } = pio;
        let program = common.load_program(&program.program);
        Self { machine, program, channel, data, timeout }
    }

    /// Puts the state machine before the next frame.
    fn arm(&mut self) {
        let mut config = Config::default();
        config.use_program(&self.program, &[]);
        config.set_in_pins(&self.data.each_ref());
        // Four bytes to a word, the first one lowest, as memory has them.
        config.shift_in = ShiftConfig { threshold: 32, direction: ShiftDirection::Right, auto_fill: true };
        self.machine.set_enable(false);
        self.machine.set_config(&config);
        self.machine.clear_fifos();
        self.machine.restart();
        // Reading the flag clears it: what was lost belonged to another frame.
        let _ = self.machine.rx().stalled();
    }
}

impl Grabber for PioCamera<'_> {
    fn grab_while<T>(&mut self, buffer: &mut [u8], work: impl FnOnce() -> T) -> (T, Result<(), CaptureError>) {
        self.arm();
        let Self { machine, channel, timeout, .. } = self;
        let Ok(words) = bytemuck::try_cast_slice_mut::<u8, u32>(buffer) else {
            // Such a frame can never come.
            return (work(), Err(CaptureError::Missing));
        };
        machine.set_enable(true);
        // Dropping the transfer aborts it, so that nothing writes to the buffer after the return.
        let (done, filled) = {
            let mut transfer = pin!(machine.rx().dma_pull(channel, words, false));
            let mut is_done = || transfer.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(());
            let done = work();
            let begun = Instant::now();
            let filled = loop {
                // Read before the state: what comes at the last moment counts.
                let late = begun.elapsed() > *timeout;
                if is_done() {
                    break true;
                }
                if late {
                    break false;
                }
            };
            (done, filled)
        };
        machine.set_enable(false);
        let lost = machine.rx().stalled();
        // What is lost after the last byte of a frame is the next one's.
        match (filled, lost) {
            (true, _) => (done, Ok(())),
            (false, true) => (done, Err(CaptureError::Overrun)),
            (false, false) => (done, Err(CaptureError::Missing)),
        }
    }
}
