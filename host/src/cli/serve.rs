//! The arguments of `ocellus serve`.

use super::{ProbeArgs, examples};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;

/// Arguments of `ocellus serve`.
#[derive(Args, Debug)]
#[command(after_help = examples::SERVE)]
pub struct ServeArgs {
    /// Run folders, model folders or plans, or folders of them; by default runs/ and models/
    #[arg(value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Dataset folder; by default each model's recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder of training runs, where new ones are written
    #[arg(long, default_value = "runs", value_name = "DIR")]
    pub runs: PathBuf,
    /// Folder to write captured photos to, with one folder per class
    #[arg(long, default_value = "photos", value_name = "DIR")]
    pub photos: PathBuf,
    /// Emulated board; by default the emulated Cortex-M7
    #[arg(long, env = "OCELLUS_BOARD", value_name = "NAME")]
    pub board: Option<String>,
    /// ELF file of the firmware for real boards, if it is prebuilt
    #[arg(long, value_name = "FILE")]
    pub elf: Option<PathBuf>,
    /// Debug probe.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Address to listen on, by default 127.0.0.1; any other asks for a token, which is part of the printed URL
    #[arg(long, value_name = "IP")]
    pub host: Option<IpAddr>,
    /// Port; by default 8080, or the next free one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
}
