//! `ocellus sweep`: many trainings, to find the network that fits a board.

mod best;
mod report;
mod script;
mod status;
mod trainer;
mod worker;

use std::path::Path;

use anyhow::Result;

use crate::cli::SweepCommand;
use crate::sweep::folder::Folder;
use crate::sweep::study::Plan;

/// Does one of the subcommands.
///
/// # Errors
/// The study or its folder cannot be read, or whatever the subcommand says.
pub fn run(command: &SweepCommand) -> Result<()> {
    match command {
        SweepCommand::Run(args) => worker::run(args),
        SweepCommand::Status(args) => status::run(args),
        SweepCommand::Best(args) => best::run(args),
        SweepCommand::Report(args) => report::run(args),
        SweepCommand::Script(args) => script::run(args),
    }
}

/// The folder of the study at `path`, which is that, or the study's file.
///
/// # Errors
/// It holds no study, or is damaged.
fn open(path: &Path) -> Result<Folder> {
    if path.is_dir() { Folder::open(path) } else { Folder::open(&Folder::usual(&Plan::load(path)?.study)) }
}
