//! `ocellus`: see [`ocellus::cli`].
#![forbid(unsafe_code)]

use ocellus::cli::Cli;
use ocellus::commands;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    log_to_stderr();
    match commands::run(&Cli::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(commands::fail(&error)),
    }
}

/// Warnings, or what the environment variable `OCELLUS_LOG` asks for (`ocellus=debug`), on standard error.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("OCELLUS_LOG").unwrap_or_else(|_| EnvFilter::new("ocellus=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.without_time().with_target(false).log_internal_errors(false).init();
}
