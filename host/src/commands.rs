//! The subcommands, one file each.

pub mod analyze;
pub mod bench;
pub mod boards;
pub mod capture;
pub mod card;
pub mod compare;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod ensemble;
pub mod eval;
pub mod export;
pub mod firmware;
pub mod flash;
mod helpers;
pub mod model;
pub mod monitor;
pub mod probes;
pub mod profile;
pub mod quantize;
pub mod report;
pub mod run;
pub mod serve;
pub mod sweep;
pub mod train;
pub mod validate;
pub mod weights;

use std::fmt;

use anyhow::Result;

use crate::board::{DoesNotFit, UnknownBoard};
use crate::cli::{Cli, Command};
use crate::eval::agreement::Difference;
use crate::view;

/// Failures that have an exit code of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments ask for something that does not exist.
    Usage(String),
    /// Two sides that must compute the same did not.
    Disagree(String),
    /// A signal ended it in good order; the exit code that says which. What there is to say was said.
    Stopped(u8),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Disagree(what) => f.write_str(what),
            Self::Stopped(_) => f.write_str("stopped by a signal"),
        }
    }
}

impl std::error::Error for Failure {}

/// Does what the command line asks for.
///
/// # Errors
/// Whatever kept the command from its end; see [`exit_code`].
pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Train(args) => train::run(args),
        Command::Sweep(command) => sweep::run(command),
        Command::Data(command) => data::run(command),
        Command::Model(command) => model::run(command),
        Command::Weights(command) => weights::run(command),
        Command::Quantize(args) => quantize::run(args),
        Command::Export(args) => export::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Ensemble(args) => ensemble::run(args),
        Command::Report(args) => report::run(args),
        Command::Run(args) => run::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Card(args) => card::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Bench(command) => bench::run(command),
        Command::Firmware(args) => firmware::run(args),
        Command::Boards(args) => boards::run(args),
        Command::Probes(args) => probes::run(args),
        Command::Flash(args) => flash::run(args),
        Command::Monitor(args) => monitor::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Doctor(args) => doctor::run(args),
    }
}

/// Tells why a command failed; the process's exit code.
pub fn fail(error: &anyhow::Error) -> u8 {
    if !matches!(error.downcast_ref(), Some(Failure::Stopped(_))) {
        view::error(error);
    }
    exit_code(error)
}

/// The process's exit code for `error`: 1 failed, 2 usage, 3 does not fit, 4 host and device disagree, 128 and the signal's number
/// where one ended it.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    // The cause may be wrapped in the context of whoever met it.
    let of_failure = |failure: &Failure| match failure {
        Failure::Usage(_) => 2,
        Failure::Disagree(_) => 4,
        Failure::Stopped(code) => *code,
    };
    let does_not_fit = || error.downcast_ref::<DoesNotFit>().map(|_| 3);
    let unknown_board = || error.downcast_ref::<UnknownBoard>().map(|_| 2);
    let differs = || error.downcast_ref::<Difference>().map(|_| 4);
    error.downcast_ref().map(of_failure).or_else(does_not_fit).or_else(unknown_board).or_else(differs).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use anyhow::Context;

    #[test]
    fn exit_codes_survive_context() {
        let wrapped = |error: anyhow::Error| exit_code(&Err::<(), _>(error).context("while validating").unwrap_err());
        assert_eq!(wrapped(anyhow::anyhow!("broken")), 1);
        assert_eq!(wrapped(Failure::Usage(String::new()).into()), 2);
        assert_eq!(wrapped(Board::load("toaster").unwrap_err()), 2);
        assert_eq!(wrapped(DoesNotFit::new(String::new()).into()), 3);
        assert_eq!(wrapped(Failure::Disagree(String::new()).into()), 4);
        let difference = Difference { image: 0, layer: String::new(), position: 0, tract: 1, engine: 2 };
        assert_eq!(wrapped(difference.into()), 4);
    }
}
