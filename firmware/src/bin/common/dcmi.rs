//! The camera interface of an STM32H7 with its DMA: one frame at a time, while the core does something else.
//!
//! The registers are driven from here (RM0433, chapters 15, 17 and 30), because embassy's driver waits for its DMA even
//! after an overrun, and leaves the interface running when its future is dropped: the frame after a bad one would begin in
//! its middle.

use core::sync::atomic::{Ordering, fence};
use cortex_m::peripheral::SCB;
use embassy_stm32::gpio::{AfType, Flex, Pull};
use embassy_stm32::pac::dma::vals::{Dir, Pl, Size};
use embassy_stm32::pac::{DCMI, DMA1, DMAMUX1, RCC};
use embassy_time::{Duration, Instant};
use ocellus_firmware::camera::live::{CaptureError, Grabber};

/// Alternate function of every DCMI pin.
const AF_DCMI: u8 = 13;
/// Request line of the DCMI in DMAMUX1.
const REQUEST_DCMI: u8 = 75;
/// The stream that is used, and its channel in DMAMUX1.
const STREAM: usize = 0;
/// Bytes of a line of the data cache.
const LINE: usize = 32;
/// Most 32-bit words that a stream counts.
const MOST_WORDS: usize = 0xffff;

/// The level of VSYNC while data is not valid; HSYNC is low then for all sensors here.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "a board has one sensor")]
pub enum Blank {
    /// OV2640.
    Low,
    /// OV7725.
    High,
}

/// The interface and its pins.
pub struct Dcmi {
    caches: SCB,
    /// Longest wait for a frame.
    timeout: Duration,
    _pins: [Flex<'static>; 11],
}

impl Dcmi {
    /// The interface on `pins`: D0 to D7, HSYNC, VSYNC and PIXCLK in any order. Data is valid at the rising edge.
    pub fn new(mut pins: [Flex<'static>; 11], vsync: Blank, timeout: Duration, caches: SCB) -> Self {
        pins.iter_mut().for_each(|pin| pin.set_as_af_unchecked(AF_DCMI, AfType::input(Pull::None)));
        enable_clocks();
        DCMI.cr().write(|w| {
            // Snapshot: one frame per capture.
            w.set_cm(true);
            w.set_pckpol(true);
            w.set_vspol(vsync == Blank::High);
            w.set_hspol(false);
        });
        DMAMUX1.ccr(STREAM).write(|w| w.set_dmareq_id(REQUEST_DCMI));
        Self { caches, timeout, _pins: pins }
    }

    /// Lets the stream fill `buffer` with the next whole frame.
    fn start(&mut self, buffer: &mut [u8]) {
        self.caches.clean_invalidate_dcache_by_address(buffer.as_ptr() as usize, buffer.len());
        let stream = DMA1.st(STREAM);
        DMA1.ifcr(STREAM / 4).write(|w| {
            w.set_tcif(STREAM % 4, true);
            w.set_htif(STREAM % 4, true);
            w.set_teif(STREAM % 4, true);
            w.set_dmeif(STREAM % 4, true);
            w.set_feif(STREAM % 4, true);
        });
        stream.par().write_value(DCMI.dr().as_ptr() as u32);
        stream.m0ar().write_value(buffer.as_mut_ptr() as u32);
        stream.ndtr().write(|w| w.set_ndt((buffer.len() / 4) as u16));
        fence(Ordering::SeqCst);
        stream.cr().write(|w| {
            w.set_dir(Dir::PERIPHERAL_TO_MEMORY);
            w.set_psize(Size::BITS32);
            w.set_msize(Size::BITS32);
            w.set_minc(true);
            w.set_pl(Pl::VERY_HIGH);
            w.set_en(true);
        });
        DCMI.icr().write(|w| {
            w.set_frame_isc(true);
            w.set_ovr_isc(true);
            w.set_err_isc(true);
        });
        DCMI.cr().modify(|w| w.set_enable(true));
        DCMI.cr().modify(|w| w.set_capture(true));
    }

    /// Waits for the end of the frame, the first error or the time-out, which `begun` starts.
    fn wait(&self, begun: Instant) -> Result<(), CaptureError> {
        loop {
            // Read before the flags: what comes at the last moment counts.
            let late = begun.elapsed() > self.timeout;
            let flags = DCMI.ris().read();
            if flags.ovr_ris() || flags.err_ris() {
                return Err(CaptureError::Overrun);
            }
            // The last words may still be on their way when the frame ends; one that is too short never fills the buffer.
            if flags.frame_ris() && DMA1.st(STREAM).ndtr().read().ndt() == 0 {
                return Ok(());
            }
            if late {
                return Err(CaptureError::Missing);
            }
        }
    }

    /// Stops both, so that nothing writes to memory any more.
    fn stop(&mut self, buffer: &mut [u8]) {
        DCMI.cr().modify(|w| {
            w.set_capture(false);
            w.set_enable(false);
        });
        let stream = DMA1.st(STREAM);
        stream.cr().modify(|w| w.set_en(false));
        // A transfer that has begun is finished first: a few bus cycles.
        while stream.cr().read().en() {}
        fence(Ordering::SeqCst);
        // SAFETY: the buffer is whole cache lines, and nobody wrote to it since its lines were cleaned.
        unsafe { self.caches.invalidate_dcache_by_slice(buffer) };
    }
}

/// Gives both their clocks, and returns once they have them: what is written to a register before is lost.
fn enable_clocks() {
    RCC.ahb1enr().modify(|w| w.set_dma1en(true));
    RCC.ahb2enr().modify(|w| w.set_dcmien(true));
    // An answer cannot overtake the write before it (RM0433, 8.5).
    let _ = (RCC.ahb1enr().read(), RCC.ahb2enr().read());
    cortex_m::asm::dsb();
}

impl Grabber for Dcmi {
    fn grab_while<T>(&mut self, buffer: &mut [u8], work: impl FnOnce() -> T) -> (T, Result<(), CaptureError>) {
        let whole = (buffer.as_ptr() as usize | buffer.len()).is_multiple_of(LINE);
        if !whole || buffer.len() / 4 > MOST_WORDS {
            // Such a frame can never come.
            return (work(), Err(CaptureError::Missing));
        }
        self.start(buffer);
        let done = work();
        // The frame came during the work, or has its time from here on.
        let outcome = self.wait(Instant::now());
        self.stop(buffer);
        (done, outcome)
    }
}
