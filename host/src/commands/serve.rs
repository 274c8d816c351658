//! `ocellus serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::helpers::signals::Stop;
use super::helpers::{datasets, targets};
use crate::cli::ServeArgs;
use crate::serve::{self, Options};
use crate::{report, view};

/// Folders of models and runs that a project usually has.
const USUAL: [&str; 2] = ["runs", "models"];

/// Serves until Ctrl-C.
///
/// # Errors
/// What is to be served is not there, or the address cannot be listened on.
pub fn run(args: &ServeArgs) -> Result<()> {
    for path in args.models.iter().chain(&args.data).chain(&args.elf) {
        ensure!(path.exists(), "{} does not exist", path.display());
    }
    let board = targets::emulated_or_usual(args.board.as_deref())?.name;
    let stop = Stop::on_signals(None, true)?;
    let options = Options {
        models: models(&args.models),
        runs: args.runs.clone(),
        photos: args.photos.clone(),
        data: args.data.clone(),
        find_dataset: datasets::labelled_dataset,
        board,
        probe: targets::settings(&args.probe),
        elf: args.elf.clone(),
        host: args.host.unwrap_or(IpAddr::from(Ipv4Addr::LOCALHOST)),
        port: args.port,
    };
    serve::run(options, stop.asked(), &|url| {
        report::print(url)?;
        view::note("open this address in a browser; Ctrl-C ends it");
        Ok(())
    })?;
    stop.ended_by_user()
}

/// What was named, or what is usual.
fn models(named: &[PathBuf]) -> Vec<PathBuf> {
    if !named.is_empty() {
        return named.to_vec();
    }
    USUAL.iter().map(PathBuf::from).filter(|path: &PathBuf| Path::is_dir(path)).collect()
}
