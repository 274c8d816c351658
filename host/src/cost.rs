//! Predicts the instructions that a plan's steps take, without running them.
//!
//! A kernel's loops turn as often as its shapes say: its operator knows how often each does. What one turn takes was fitted
//! to counts of an emulated core and stands in `firmware/costs.toml`
//! (`cargo test --release --test emulated cost_model:: -- --ignored --nocapture` measures anew). The prediction of a whole network is
//! within [`ERROR`] of what `ocellus profile` counts.

pub use crate::ops::{Core, Kernel};

use crate::ops::{self, READING};
use anyhow::{Context, Result};
use ocellus_shared::Op;
use ocellus_shared::plan::Step;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest error of a whole network's prediction, as a part of what is counted.
pub const ERROR: f64 = 0.05;

/// The kernel of `step` on `core`, and how often its loops turn: as many numbers as its coefficients.
pub fn counts(core: Core, step: &Step) -> (Kernel, Vec<f64>) {
    let (kernel, counts) = ops::of(step.op).loops(core, step);
    (kernel, counts.into_iter().map(|count| count as f64).collect())
}

/// All kernels of all operators.
fn kernels() -> impl Iterator<Item = Kernel> {
    Op::kinds().flat_map(|op| ops::of(op).kernels()).copied()
}

/// What a turn of each loop of the kernels of one core takes, in instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    core: Core,
    kernels: BTreeMap<Kernel, Vec<f64>>,
}

/// The table of both kinds of cores: coefficients by the kernel's key, in the order of [`counts`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    dsp: BTreeMap<String, Vec<f64>>,
    vector: BTreeMap<String, Vec<f64>>,
}

impl Costs {
    /// The coefficients of `core`, from `firmware/costs.toml` as it is built into this program.
    ///
    /// # Errors
    /// It does not parse or lacks a kernel.
    pub fn load(core: Core) -> Result<Self> {
        Self::parse(core, include_str!("../../firmware/costs.toml")).context("in firmware/costs.toml")
    }

    fn parse(core: Core, text: &str) -> Result<Self> {
        let Table { dsp, vector } = toml::from_str(text)?;
        let table = match core {
            Core::Dsp => dsp,
            Core::Vector => vector,
        };
        let of = |kernel: Kernel| {
            let costs = table.get(kernel.key).with_context(|| format!("no costs of the kernel {}", kernel.key))?;
            Ok((kernel, costs.clone()))
        };
        Ok(Self { core, kernels: kernels().map(of).collect::<Result<_>>()? })
    }

    /// The kernel of `step`, and the instructions that it is expected to take: those of its strips, which are steps but for
    /// being read from the plan, all that a flattening takes.
    pub fn predict(&self, step: &Step) -> (Kernel, u64) {
        let (kernel, _) = counts(self.core, step);
        let read: f64 = self.kernels[&READING].iter().sum();
        let mut expected = read;
        step.each_strip(|strip| expected += self.whole(strip) - read);
        (kernel, expected.max(0.0).round() as u64)
    }

    /// Instructions of a step that is not cut.
    fn whole(&self, step: &Step) -> f64 {
        let (kernel, counts) = counts(self.core, step);
        counts.iter().zip(&self.kernels[&kernel]).map(|(count, cost)| count * cost).sum()
    }
}

/// Fewest and most cycles of an instruction that are to be expected of `cpu`, from memory without wait states and from
/// slow memory: on boards with a Cortex-M4 the kernels of other engines take 1.2 to 1.5; a Cortex-M7 starts two
/// instructions at a time where it can; the vector instructions of a Cortex-M55 take two cycles each.
pub fn cycles_per_instruction(cpu: &str) -> [f64; 2] {
    match cpu {
        "cortex-m7" => [0.6, 1.2],
        "cortex-m55" => [1.2, 2.2],
        _ => [1.1, 1.6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_kernel_of_every_core() {
        for core in [Core::Dsp, Core::Vector] {
            Costs::load(core).unwrap();
        }
        let error = format!("{:#}", Costs::parse(Core::Dsp, "[dsp]\n[vector]").unwrap_err());
        assert!(error.contains("no costs of the kernel pairs"), "{error}");
        assert!(Core::of("cortex-m0").is_err());
    }
}
