//! What happens to the simulated camera of an emulated board: the payload of a [`Kind::Simulate`](super::Kind::Simulate) message.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | turns of the loop |
//! | 4 + 8 i | 4 | the turn at which event `i` begins, counted from 0 |
//! | 8 + 8 i | 1 | what happens ([`CameraFault`]) |
//! | 9 + 8 i | 1 | reserved, zero |
//! | 10 + 8 i | 2 | how long, in turns |

/// Bytes before the first event.
pub const SIMULATION_LEN: usize = 4;
/// Bytes of an event.
pub const EVENT_LEN: usize = 8;
/// Most events of one message.
pub const MAX_EVENTS: usize = 64;

/// What can happen to a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CameraFault {
    /// The frame comes later, by so many frames' time.
    Slow = 1,
    /// No frame comes.
    Missing = 2,
    /// Frames are damaged on their way.
    Overrun = 3,
    /// The sensor is unplugged, and comes back as after power-up.
    Unplugged = 4,
    /// The sensor forgets its registers, once.
    Forgetful = 5,
    /// The sensor holds the bus until that is cleared, and no frame comes until then.
    Stuck = 6,
}

impl CameraFault {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Slow, Self::Missing, Self::Overrun, Self::Unplugged, Self::Forgetful, Self::Stuck];
}

/// A fault of the simulated camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The turn at which it begins, counted from 0.
    pub turn: u32,
    /// What happens.
    pub fault: CameraFault,
    /// How long, in turns.
    pub turns: u16,
}

impl Event {
    /// Its bytes.
    pub fn emit(&self) -> [u8; EVENT_LEN] {
        let ([a, b, c, d], [low, high]) = (self.turn.to_le_bytes(), self.turns.to_le_bytes());
        [a, b, c, d, self.fault as u8, 0, low, high]
    }

    /// Reads an event back; `None` for what [`Event::emit`] never writes.
    pub fn parse(bytes: &[u8; EVENT_LEN]) -> Option<Self> {
        let [a, b, c, d, code, reserved, low, high] = *bytes;
        let fault = CameraFault::ALL.into_iter().find(|fault| *fault as u8 == code && reserved == 0)?;
        Some(Self { turn: u32::from_le_bytes([a, b, c, d]), fault, turns: u16::from_le_bytes([low, high]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_trip_and_others_do_not_parse() {
        for fault in CameraFault::ALL {
            let event = Event { turn: 0x0102_0304, fault, turns: 0xfeff };
            assert_eq!(Event::parse(&event.emit()), Some(event));
        }
        for (at, value) in [(4, 0), (4, 7), (5, 1)] {
            let mut bytes = Event { turn: 1, fault: CameraFault::Slow, turns: 2 }.emit();
            bytes[at] = value;
            assert_eq!(Event::parse(&bytes), None, "byte {at}");
        }
    }
}
