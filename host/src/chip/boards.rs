//! What boards connect to their chips: crystal, sensor, pins. Their schematics agree with the programs of the boards; here it
//! stands a second time, so that a program with a wrong pin sees nothing.

use super::sensor::Kind;
use super::stm32h743::{Crystal, Pin, Wiring};

/// A board as it is wired.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its chip's pins.
    pub wiring: Wiring,
    /// Its sensor.
    pub sensor: Kind,
    /// Its LED.
    pub led: Pin,
}

/// Ports.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;
const E: usize = 4;

/// D0 to D7, HSYNC, VSYNC and PIXCLK, of which D5 differs.
const fn camera(d5: Pin) -> [Pin; 11] {
    [Pin(C, 6), Pin(C, 7), Pin(E, 0), Pin(E, 1), Pin(E, 4), d5, Pin(E, 5), Pin(E, 6), Pin(A, 4), Pin(B, 7), Pin(A, 6)]
}

/// The layout of the board called `name`; nothing for boards whose chips are not modelled.
pub fn layout(name: &str) -> Option<Layout> {
    let wiring = |hertz, d5, power_down, reset| Wiring {
        crystal: Crystal { hertz, dead: false },
        camera: camera(d5),
        power_down,
        reset,
        pulls_bus_up: true,
    };
    match name {
        "weact-h743" => Some(Layout {
            wiring: wiring(25_000_000, Pin(D, 3), Pin(A, 7), None),
            sensor: Kind::Ov2640,
            led: Pin(E, 3),
        }),
        "openmv-h7" => Some(Layout {
            wiring: wiring(12_000_000, Pin(B, 6), Pin(D, 7), Some(Pin(A, 10))),
            sensor: Kind::Ov7725,
            led: Pin(C, 1),
        }),
        _ => None,
    }
}
