//! The arguments of `ocellus report`.

use super::{ImageCount, examples};
use crate::board;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `ocellus report`.
#[derive(Args, Debug)]
#[command(after_help = examples::REPORT)]
pub struct ReportArgs {
    /// Run folders, model folders, plans or checkpoints; several are compared
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// HTML file to write
    #[arg(long, default_value = "report.html", value_name = "FILE")]
    pub out: PathBuf,
    /// Dataset folder; by default each recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of test images, or `all`
    #[arg(long, default_value = "all", value_name = "N")]
    pub images: ImageCount,
    /// Number of test images, evenly spread, on which robustness against 12 corruptions is measured; 0 for none
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub robustness: usize,
    /// Seed of the corruptions
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Emulated board
    #[arg(long, env = "OCELLUS_BOARD", default_value = board::DEFAULT)]
    pub board: String,
    /// Number of test images that the emulated board classifies; 0 for none
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub board_images: usize,
    /// Also write the figures, one per line, to this CSV file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Print the figures as one JSON object
    #[arg(long)]
    pub json: bool,
}
