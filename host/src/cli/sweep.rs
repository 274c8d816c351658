//! Arguments of `ocellus sweep`.

use super::examples;
use super::train::ComputeArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The commands of `ocellus sweep`; without one of them, what follows is of `run`.
#[derive(Debug, Subcommand)]
pub enum SweepCommand {
    /// Run one worker of a study until its last trial; any number of workers may share a study
    Run(SweepRunArgs),
    /// Show how far a study is, and its trials
    Status(SweepStatusArgs),
    /// Write the recipe of the best trial, or of the best one that fits a board
    Best(SweepBestArgs),
    /// Report on a study as one HTML file: parallel coordinates, importance of each key, Pareto front
    Report(SweepReportArgs),
    /// Print a script that starts workers: Slurm, HyperQueue, Kubernetes, GNU parallel or xargs
    Script(SweepScriptArgs),
}

/// Names that are not those of a study file.
const COMMANDS: [&str; 6] = ["run", "status", "best", "report", "script", "help"];

/// `line`, with `run` put in where `sweep` is called without a command.
pub(super) fn with_run(mut line: Vec<OsString>) -> Vec<OsString> {
    let is_sweep = line.get(1).is_some_and(|word| word == "sweep");
    let is_short = |word: &OsString| {
        !COMMANDS.iter().any(|name| word == name) && !["-h", "--help"].iter().any(|flag| word == flag)
    };
    if is_sweep && line.get(2).is_some_and(is_short) {
        line.insert(2, "run".into());
    }
    line
}

/// Arguments of `ocellus sweep run`.
#[derive(Args, Debug)]
#[command(after_help = examples::SWEEP_RUN)]
pub struct SweepRunArgs {
    /// Study file (TOML): base recipe, keys to search, budget, objectives, number of trials
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// Folder of the study, which all its workers share; by default sweeps/NAME
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Dataset folder; by default the recipe's, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of CPU threads of this worker, by default all; the result does not depend on it
    #[arg(long, env = "OCELLUS_THREADS", value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Compute device and precision.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Do not wait for the last trials of other workers, which may die
    #[arg(long)]
    pub no_wait: bool,
    /// Print the state of the study as one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus sweep status`.
#[derive(Args, Debug)]
#[command(after_help = examples::SWEEP_STATUS)]
pub struct SweepStatusArgs {
    /// Study file, whose folder is sweeps/NAME, or the folder of a study
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus sweep best`.
#[derive(Args, Debug)]
#[command(after_help = examples::SWEEP_BEST)]
pub struct SweepBestArgs {
    /// Study file, whose folder is sweeps/NAME, or the folder of a study
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// Board that the network must fit
    #[arg(long, env = "OCELLUS_BOARD", value_name = "NAME")]
    pub board: Option<String>,
    /// Recipe file to write, by default best.toml in the folder of the study
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus sweep report`.
#[derive(Args, Debug)]
#[command(after_help = examples::SWEEP_REPORT)]
pub struct SweepReportArgs {
    /// Study file, whose folder is sweeps/NAME, or the folder of a study
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// HTML file to write, by default report.html in the folder of the study
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Folder to write the plots to: history.svg, parallel.svg, importance.svg and pareto.svg
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ocellus sweep script`.
#[derive(Args, Debug)]
#[command(after_help = examples::SWEEP_SCRIPT)]
pub struct SweepScriptArgs {
    /// Study file
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// What starts the workers
    #[arg(long = "for", value_enum, value_name = "LAUNCHER")]
    pub launcher: Launcher,
    /// Number of workers
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    pub workers: u32,
    /// Number of CPU threads of each worker
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub threads: u32,
    /// Folder of the study; by default sweeps/NAME
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Dataset folder; by default the recipe's, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// What starts workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// Slurm: a job array
    Slurm,
    /// HyperQueue: a task array
    Hyperqueue,
    /// Kubernetes: a Job with several pods
    Kubernetes,
    /// This machine: GNU parallel, or xargs
    Parallel,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn a_study_alone_is_run() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (short, long) in [
            ("ocellus sweep a.toml", "ocellus sweep run a.toml"),
            ("ocellus sweep --json a.toml", "ocellus sweep run --json a.toml"),
            ("ocellus sweep ./run", "ocellus sweep run ./run"),
            ("ocellus sweep status a.toml", "ocellus sweep status a.toml"),
            ("ocellus sweep --help", "ocellus sweep --help"),
            ("ocellus sweep", "ocellus sweep"),
            ("ocellus train a.toml", "ocellus train a.toml"),
        ] {
            assert_eq!(with_run(line(short)), line(long));
        }
        let command = Cli::command();
        let sweep = command.find_subcommand("sweep").unwrap();
        assert!(sweep.get_subcommands().all(|sub| COMMANDS.contains(&sub.get_name())));
    }
}
