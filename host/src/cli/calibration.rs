//! The arguments of what quantizes.

use super::Calibration;
use crate::recipe::{CalibrationMethod, Recipe};
use clap::Args;

/// Calibration. Each overrides its key of the run's recipe.
#[derive(Args, Debug)]
pub struct CalibrationArgs {
    /// How activation ranges are determined
    #[arg(long, value_enum, value_name = "METHOD")]
    pub calib: Option<Calibration>,
    /// Number of training images to calibrate with
    #[arg(long, value_name = "N")]
    pub calib_images: Option<usize>,
    /// Percentage of activations inside the range; implies --calib percentile
    #[arg(long, value_name = "PERCENT")]
    pub percentile: Option<f64>,
    /// Set any other quant.* key of the recipe: --set quant.equalise=true
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl CalibrationArgs {
    /// `recipe` with these arguments in place of its keys.
    ///
    /// # Errors
    /// An unknown key, one that the calibration has no part in, or a value that makes no sense.
    pub fn apply(&self, recipe: &Recipe) -> anyhow::Result<Recipe> {
        for change in &self.set {
            anyhow::ensure!(
                change.starts_with("quant."),
                "--set {change}: a trained network has only its quant.* keys left to set"
            );
        }
        let names_method = self.set.iter().any(|change| change.starts_with("quant.method"));
        let implied = (self.percentile.is_some() && !names_method).then_some(CalibrationMethod::Percentile);
        let mut recipe = recipe.with(&self.set)?;
        let quant = &mut recipe.quant;
        quant.method = self.calib.map(Into::into).or(implied).unwrap_or(quant.method);
        quant.percentile = self.percentile.unwrap_or(quant.percentile);
        quant.images = self.calib_images.unwrap_or(quant.images);
        recipe.validate()?;
        Ok(recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn a_percentile_says_how_to_calibrate() {
        let quant = |arguments: &[&str]| {
            let cli = Cli::parse_from([&["ocellus", "quantize", "run"], arguments].concat());
            let Command::Quantize(args) = cli.command else { unreachable!() };
            args.calibration.apply(&Recipe::default()).unwrap().quant
        };
        let percentile = quant(&["--percentile", "99"]);
        assert_eq!((percentile.method, percentile.percentile), (CalibrationMethod::Percentile, 99.0));
        // Another method that was asked for stays, for the command to refuse.
        assert_eq!(quant(&["--percentile", "99", "--calib", "mse"]).method, CalibrationMethod::Mse);
        let set = ["--set", "quant.method=min-max", "--percentile", "99"];
        assert_eq!(quant(&set).method, CalibrationMethod::MinMax);
        assert_eq!(quant(&[]), Recipe::default().quant);
    }
}
