//! `ocellus sweep script`: a script that starts workers.

use anyhow::Result;

use crate::cli::{self, SweepScriptArgs};
use crate::report;
use crate::sweep::folder::Folder;
use crate::sweep::launch::{Launcher, Workers};
use crate::sweep::study::Plan;

impl From<cli::Launcher> for Launcher {
    fn from(launcher: cli::Launcher) -> Self {
        match launcher {
            cli::Launcher::Slurm => Self::Slurm,
            cli::Launcher::Hyperqueue => Self::Hyperqueue,
            cli::Launcher::Kubernetes => Self::Kubernetes,
            cli::Launcher::Parallel => Self::Parallel,
        }
    }
}

/// Prints it.
///
/// # Errors
/// The study cannot be read: jobs of a cluster would only find that out later.
pub fn run(args: &SweepScriptArgs) -> Result<()> {
    let study = Plan::load(&args.study)?.study;
    let out = args.out.clone().unwrap_or_else(|| Folder::usual(&study));
    let workers = Workers {
        name: &study.name,
        study: &args.study,
        out: &out,
        data: args.data.as_deref(),
        count: args.workers,
        threads: args.threads,
    };
    report::print(Launcher::from(args.launcher).script(&workers)?.trim_end())
}
