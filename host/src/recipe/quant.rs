//! `[quant]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// How activations are calibrated for int8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct QuantRecipe {
    /// How a value's range follows from what calibration saw of it.
    pub method: CalibrationMethod,
    /// Part of the values, in percent, that the percentile method keeps inside the range; in `(50, 100]`.
    pub percentile: f64,
    /// Calibration images.
    pub images: usize,
    /// Whether channels are made alike in range, where the layer that reads them can divide by as much.
    pub equalise: bool,
    /// Whether biases take back what rounding the weights shifts the means by.
    pub bias_correction: bool,
    /// What the plan is packed for.
    pub optimize: Optimize,
}

impl Default for QuantRecipe {
    fn default() -> Self {
        Self {
            method: CalibrationMethod::Mse,
            percentile: 99.99,
            images: 512,
            equalise: false,
            bias_correction: false,
            optimize: Optimize::Size,
        }
    }
}

impl QuantRecipe {
    pub(super) fn validate(&self) -> Result<()> {
        let p = self.percentile;
        ensure!(p > 50.0 && p <= 100.0, "quant.percentile = {p} is not above 50 and at most 100");
        ensure!(self.images > 0, "quant.images must be at least 1");
        Ok(())
    }
}

/// How a value's range follows from what calibration saw of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CalibrationMethod {
    /// From the smallest to the largest.
    MinMax,
    /// Without the outermost values.
    Percentile,
    /// The range with the smallest squared quantization error.
    #[default]
    Mse,
    /// Whichever of several comes closest to the float network's scores.
    Auto,
}

/// What a plan is packed for. The scores are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimize {
    /// Every weight takes a byte of flash.
    #[default]
    Size,
    /// 3x3 convolutions at stride 1 take fewer instructions on Cortex-M4, M7 and M33, and 3.6 times the flash.
    Speed,
}
