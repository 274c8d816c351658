//! Arguments of `ocellus ensemble`.

use super::examples;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `ocellus ensemble`.
#[derive(Args, Debug)]
#[command(after_help = examples::ENSEMBLE)]
pub struct EnsembleArgs {
    /// Run folders, model folders, checkpoints, ONNX files or plans with the same classes; of a folder the float network if it is there
    #[arg(required = true, num_args = 2.., value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// How the members are joined; what is fitted is fitted to the validation images
    #[arg(long, value_enum, default_value = "mean")]
    pub method: EnsembleMethod,
    /// Folder to write; by default the first free one of runs/ensemble, runs/ensemble-2, ...
    #[arg(long, env = "OCELLUS_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Dataset folder; by default the first recipe's, a downloaded one with the same classes, or the built-in shapes dataset
    #[arg(long, env = "OCELLUS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How the members of an ensemble are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnsembleMethod {
    /// Mean of the probabilities
    Mean,
    /// Weighted mean: the weights with the largest validation likelihood
    Weighted,
    /// Stacking: multinomial logistic regression on the log-probabilities, with an L2 penalty by cross-validation
    Stack,
}
