//! From picture to label, the same on every board: capture, preprocess, run, judge, act.

pub mod smooth;
pub mod camera_loop;

use crate::camera::Camera;
use crate::engine::Engine;
use embedded_hal::digital::OutputPin;
use heapless::HistoryBuf;
use ocellus_shared::preprocess::{PreprocessError, preprocess};
use ocellus_shared::scores;

/// Frames that are remembered.
const RECENT: usize = 5;
/// How many of them must agree for a label to count as steady.
const STEADY: usize = 3;

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classification<'a> {
    /// int8 scores, one per class.
    pub scores: &'a [i8],
    /// The best class.
    pub class: u16,
    /// Its lead over the second, in logits.
    pub margin: f32,
    /// Whether most of the recent pictures showed it too.
    pub steady: bool,
}

/// Why there is no sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookError<E> {
    /// The camera's reason.
    Camera(E),
    /// The network takes no such picture.
    Preprocess(PreprocessError),
}

/// A network that watches through a camera and lights an LED while it is sure of what it sees.
#[derive(Debug)]
pub struct App<'p, 'm, L> {
    engine: Engine<'p, 'm>,
    led: L,
    recent: HistoryBuf<u16, RECENT>,
}

impl<'p, 'm, L: OutputPin> App<'p, 'm, L> {
    /// An app that has seen nothing yet.
    pub fn new(engine: Engine<'p, 'm>, led: L) -> Self {
        Self { engine, led, recent: HistoryBuf::new() }
    }

    /// The engine, for images that come from elsewhere.
    pub fn engine(&mut self) -> &mut Engine<'p, 'm> {
        &mut self.engine
    }

    /// The engine and the LED, for a loop of their own.
    pub fn parts(&mut self) -> (&mut Engine<'p, 'm>, &mut L) {
        (&mut self.engine, &mut self.led)
    }

    /// Looks once through `camera`, whose picture goes to `buffer`.
    ///
    /// # Errors
    /// No picture, or one that the network does not take. What was seen before stays remembered.
    pub fn look<C: Camera>(&mut self, camera: &mut C, buffer: &mut [u8]) -> Result<Classification<'_>, LookError<C::Error>> {
        let frame = camera.capture(buffer).map_err(LookError::Camera)?;
        let plan = *self.engine.plan();
        preprocess(&frame, plan.crop(), plan.input().shape, self.engine.input_mut()).map_err(LookError::Preprocess)?;
        let scores = self.engine.run();
        let class = scores::best(scores).class;
        self.recent.write(class);
        let steady = self.recent.oldest_ordered().filter(|seen| **seen == class).count() >= STEADY;
        // A board can go on seeing without its LED.
        let _ = self.led.set_state(steady.into());
        Ok(Classification { scores, class, margin: scores::margin(scores, plan.output_params()), steady })
    }
}
