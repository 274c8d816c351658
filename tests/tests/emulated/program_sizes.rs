//! `firmware/sizes.toml` says what every board's program takes, for machines that cannot build it.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --release --package ocellus-tests --test emulated program_sizes::` writes it anew.

use std::path::Path;

use ocellus::board::Board;
use ocellus::toolchain::{self, ProgramSize};

/// What another compiler may make of the same source: so many per cent more.
const TOLERANCE: u64 = 5;

const HEAD: &str = "# Bytes that each board's program takes: of flash, and of RAM for its variables, the room for plans and feature maps
# included. For machines that cannot build it; those that can count what they built. Measured, not written by hand:
# UPDATE_SNAPSHOTS=1 cargo test --release --package ocellus-tests --test emulated program_sizes::
";

fn built(board: &Board) -> ProgramSize {
    let built = toolchain::build_firmware(board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    ProgramSize::of(&built.elf).unwrap()
}

#[test]
fn programs_take_no_more_than_is_recorded() {
    let boards = Board::all().unwrap();
    let sizes: Vec<(&str, ProgramSize)> = boards.iter().map(|board| (board.name.as_str(), built(board))).collect();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let entry = |(board, size): &(&str, ProgramSize)| {
            format!("\n[{board}]\nflash-bytes = {}\nstatic-bytes = {}\n", size.flash_bytes, size.static_bytes)
        };
        let text: String = std::iter::once(HEAD.to_owned()).chain(sizes.iter().map(entry)).collect();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/sizes.toml");
        return std::fs::write(file, text).unwrap();
    }
    for (board, size) in sizes {
        let recorded = ProgramSize::recorded(board).unwrap();
        for (built, recorded) in [(size.flash_bytes, recorded.flash_bytes), (size.static_bytes, recorded.static_bytes)]
        {
            let most = recorded + recorded * TOLERANCE / 100;
            assert!(built <= most, "{board}: {built} bytes, {recorded} are recorded: see the top of this file");
        }
    }
}
