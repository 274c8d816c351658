//! What the host knows of a board: the table `firmware/boards/<board>.toml`, which the firmware's build reads too. The tables
//! are built into the program, which therefore needs no source tree to know its boards.

use std::ops::Range;

use anyhow::{Context, Result};
use ocellus_shared::plan::Plan;
use serde::Deserialize;

/// The board that a command means when none is named: the emulated Cortex-M7.
pub const DEFAULT: &str = "mps2-an500";

/// Name and table of every board, sorted by name. `build.rs` lists them.
const TABLES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// Addresses of a board's flash, as its table gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Region {
    /// First address.
    pub start: u32,
    /// Length in bytes.
    pub bytes: u32,
}

impl Region {
    /// Whether it holds all of `range`.
    pub fn holds(self, range: &Range<u64>) -> bool {
        let start = u64::from(self.start);
        start <= range.start && range.end <= start + u64::from(self.bytes)
    }
}

/// What a chip says of itself: programming another one would at best fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ChipId {
    /// Address of the register that holds it.
    pub register: u32,
    /// Its bits that count.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
}

/// One board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Board {
    /// Name of the board, of its program and of its table.
    #[serde(skip)]
    pub name: String,
    /// What probe-rs calls the chip; `emulated` where there is none.
    pub chip: String,
    /// The processor: `cortex-m7`.
    pub cpu: String,
    /// Rust's target triple.
    pub target: String,
    /// Compiler flags, most of all the processor's.
    pub rustflags: Vec<String>,
    /// Bytes of memory that a plan may fill.
    pub plan_bytes: usize,
    /// Why no larger plan, where the board has more memory than that.
    pub plan_bytes_because: Option<String>,
    /// Bytes of memory that a plan may work in.
    pub arena_bytes: usize,
    /// Bytes of memory for a camera's frame.
    pub frame_bytes: usize,
    /// Most bytes that the stack was measured to take, rounded up.
    pub stack_bytes: usize,
    /// The processor's clock; nothing where there is no telling.
    pub clock_hz: Option<u64>,
    /// Whether the plan's flash sends a few bits at a time, which takes time that nothing here predicts.
    #[serde(default)]
    pub serial_flash: bool,
    /// Time from power-up to the camera's first whole frame, in milliseconds, on a real board.
    pub first_frame_ms: Option<u32>,
    /// QEMU's name of the machine; nothing for a board that is not emulated.
    pub machine: Option<String>,
    /// Flash of the program, on a real board.
    pub flash: Option<Region>,
    /// Flash of the plan, on a real board.
    pub model: Option<Region>,
    /// How the chip is told from others, on a real board; nothing where probe-rs finds that out by itself.
    pub chip_id: Option<ChipId>,
}

/// A plan that a board has no room for. The exit code tells it from other failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoesNotFit(String);

impl DoesNotFit {
    /// What does not fit, and the remedy.
    pub fn new(what: String) -> Self {
        Self(what)
    }
}

impl std::fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DoesNotFit {}

/// A name that no board has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBoard(String);

impl std::fmt::Display for UnknownBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known: Vec<&str> = Board::names().collect();
        write!(f, "no board called {:?}; there are: {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownBoard {}

impl Board {
    /// The board called `name`.
    ///
    /// # Errors
    /// [`UnknownBoard`], or a table that does not parse.
    pub fn load(name: &str) -> Result<Self> {
        let table = table(name).ok_or_else(|| UnknownBoard(name.to_owned()))?;
        let board: Self = toml::from_str(table).with_context(|| format!("in the table of the board {name}"))?;
        Ok(Self { name: name.to_owned(), ..board })
    }

    /// All boards, in the order of their names.
    ///
    /// # Errors
    /// A table that does not parse.
    pub fn all() -> Result<Vec<Self>> {
        Self::names().map(Self::load).collect()
    }

    /// Names of all boards, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLES.iter().map(|(name, _)| *name)
    }

    /// Whether `plan` has room on this board.
    ///
    /// # Errors
    /// [`DoesNotFit`], which says what is too large and what to change.
    pub fn check_fit(&self, plan: &Plan<'_>) -> Result<(), DoesNotFit> {
        let (plan_bytes, arena_bytes) = (plan.bytes().len(), plan.arena_bytes());
        let mut lacks = Vec::new();
        if plan_bytes > self.plan_bytes {
            let place = self.model.map_or_else(String::new, |model| format!(" from {:#x} on", model.start));
            let because = self.plan_bytes_because.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            let room = self.plan_bytes;
            lacks.push(format!("it has {plan_bytes} bytes, the board's room for it{place} {room}{because}"));
        }
        if arena_bytes > self.arena_bytes {
            let room = self.arena_bytes;
            lacks.push(format!("it works in {arena_bytes} bytes of memory, the board has {room}"));
        }
        if lacks.is_empty() {
            return Ok(());
        }
        Err(DoesNotFit(format!(
            "the plan does not fit {}: {}; train a narrower network or a smaller --img-size, or choose another --board{}",
            self.name,
            lacks.join("; and "),
            self.others_for(plan)
        )))
    }

    /// Names of the other boards of this kind, real or emulated, that `plan` has room on, as part of a remedy.
    fn others_for(&self, plan: &Plan<'_>) -> String {
        let holds = |board: &Self| plan.bytes().len() <= board.plan_bytes && plan.arena_bytes() <= board.arena_bytes;
        let alike = |board: &Self| board.machine.is_none() == self.machine.is_none();
        let boards = Self::all().unwrap_or_default();
        let names: Vec<String> = boards.into_iter().filter(|b| alike(b) && holds(b)).map(|b| b.name).collect();
        match names.as_slice() {
            [] => String::new(),
            names => format!(": it fits {}", names.join(", ")),
        }
    }
}

/// The text of the table of the board called `name`, as it is built into this program.
pub fn table(name: &str) -> Option<&'static str> {
    TABLES.iter().find(|(known, _)| *known == name).map(|(_, table)| *table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_board_says_where_everything_goes() {
        for board in Board::all().unwrap() {
            let real = board.machine.is_none();
            assert_eq!(board.chip != "emulated", real, "{}", board.name);
            let places = [board.flash.is_some(), board.model.is_some()];
            assert_eq!(places, [real; 2], "{}: [flash] and [model]", board.name);
            // probe-rs takes any STM32 for any other.
            assert_eq!(board.chip_id.is_some(), board.chip.starts_with("STM32"), "{}: [chip-id]", board.name);
            assert_eq!(board.first_frame_ms.is_some(), real, "{}: first-frame-ms", board.name);
            if let (Some(program), Some(model)) = (board.flash, board.model) {
                assert_eq!(model.bytes as usize, board.plan_bytes, "{}", board.name);
                // One follows the other, and none of the flash between or behind them is wasted on a sector of neither.
                assert_eq!(program.start + program.bytes, model.start, "{}", board.name);
            }
        }
    }

    #[test]
    fn an_unknown_board_is_told_with_those_that_there_are() {
        let error = Board::load("toaster").unwrap_err().to_string();
        assert!(error.contains("\"toaster\"; there are: mps2-an386, mps2-an500, "), "{error}");
    }

    #[test]
    fn a_region_holds_what_lies_in_it() {
        let region = Region { start: 0x100, bytes: 0x10 };
        for (range, held) in [(0x100..0x110, true), (0x108..0x109, true), (0xFF..0x101, false), (0x10F..0x111, false)] {
            assert_eq!(region.holds(&range), held, "{range:x?}");
        }
    }
}
