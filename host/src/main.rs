//! `ocellus`: see [`ocellus::cli`].
#![forbid(unsafe_code)]

use ocellus::cli::Cli;
use ocellus::commands;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(&Cli::of_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(commands::exit_code(&error))
        }
    }
}
