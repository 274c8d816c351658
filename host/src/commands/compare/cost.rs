//! What a model costs: counted from its plan or its graph, measured on a board, or read from its card.

use std::path::Path;

use anyhow::Result;
use ocellus_shared::plan::Plan;
use ocellus_shared::{Op, Shape};
use serde::Serialize;

use crate::board::Board;
use crate::client;
use crate::commands::helpers::targets;
use crate::eval::Evaluator;
use crate::graph::Graph;
use crate::toolchain::ProgramSize;
use crate::view;

/// Figures of one inference; what is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Weights and biases once batch normalisations are folded.
    pub parameters: Option<u64>,
    /// Multiply-accumulates.
    pub macs: Option<u64>,
    /// Bytes of the plan, in flash.
    pub plan_bytes: Option<u64>,
    /// Bytes of the board's program, in flash.
    pub program_bytes: Option<u64>,
    /// Bytes of feature maps and scratch, in RAM.
    pub arena_bytes: Option<u64>,
    /// Instructions on the board.
    pub instructions: Option<u64>,
}

impl Cost {
    /// What the plan tells.
    pub fn of_plan(plan: &Plan) -> Self {
        let cost = Self::of_layers(plan.steps().map(|step| (step.op, step.input().shape, step.output.shape)));
        let (plan_bytes, arena_bytes) = (plan.bytes().len() as u64, plan.arena_bytes() as u64);
        Self { plan_bytes: Some(plan_bytes), arena_bytes: Some(arena_bytes), ..cost }
    }

    /// What is known before the model is exported.
    pub fn of_graph(graph: &Graph) -> Self {
        Self::of_layers(graph.nodes.iter().map(|node| (node.op, graph.shape(node.inputs[0]), node.output)))
    }

    /// What is known of a model without a plan: of an ensemble the sum over its members, where all are known.
    ///
    /// # Errors
    /// A plan does not parse.
    pub fn of_evaluator(evaluator: &Evaluator) -> Result<Self> {
        Ok(match evaluator {
            Evaluator::Float(graph) => Self::of_graph(graph),
            Evaluator::Engine(plan) => {
                Self { plan_bytes: None, arena_bytes: None, ..Self::of_plan(&Plan::parse(plan)?) }
            }
            Evaluator::Ensemble(ensemble) => {
                let costs = ensemble.members().iter().map(|member| Self::of_evaluator(&member.evaluator));
                let costs = costs.collect::<Result<Vec<_>>>()?;
                let sum = |figure: fn(&Self) -> Option<u64>| costs.iter().map(figure).sum::<Option<u64>>();
                Self { parameters: sum(|cost| cost.parameters), macs: sum(|cost| cost.macs), ..Self::default() }
            }
            _ => Self::default(),
        })
    }

    /// Sums over operators with their input and output shapes.
    fn of_layers(layers: impl Iterator<Item = (Op, Shape, Shape)>) -> Self {
        let (parameters, macs) = layers.fold((0, 0), |(parameters, all), (op, input, output)| {
            let macs = op.macs(input, output);
            // Each weight is used once at every place of the output, and every output channel has a bias.
            let places = u64::from(output.h) * u64::from(output.w);
            let has_weights = macs > 0 && op.param_counts(input, output).weights > 0;
            (parameters + if has_weights { macs / places + u64::from(output.c) } else { 0 }, all + macs)
        });
        Self { parameters: Some(parameters), macs: Some(macs), ..Self::default() }
    }

    /// Adds what `board` measures with `image`, int8 `(h, w, 3)`. A plan that it has no room for is worth a warning only:
    /// other models may fit.
    ///
    /// # Errors
    /// The firmware does not build, or the emulator fails.
    pub fn measure(&mut self, board: &Board, plan: &[u8], image: &[i8]) -> Result<()> {
        if let Err(error) = board.check_fit(&Plan::parse(plan)?) {
            view::warn(&error.to_string());
            return Ok(());
        }
        let elf = targets::firmware(board)?;
        self.program_bytes = Some(ProgramSize::of(&elf)?.flash_bytes);
        self.instructions = Some(client::profile(board, &elf, plan, image)?.total);
        Ok(())
    }

    /// Adds the instructions on `cpu` that the card in `folder` names, where there is one of a plan of this size: another
    /// one was packed differently, and takes others.
    pub fn read_card(&mut self, folder: &Path, cpu: &str) {
        let card = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        let is_of_this = figure_in(&card, "plan in flash, bytes") == self.plan_bytes;
        self.instructions = figure_in(&card, &format!("instructions on {cpu}")).filter(|_| is_of_this);
    }
}

/// The instructions on `cpu` in the table of a card that `ocellus card` wrote.
fn figure_in(card: &str, what: &str) -> Option<u64> {
    let row = format!("| {what} |");
    let figure = card.lines().find_map(|line| line.strip_prefix(row.as_str()))?;
    figure.trim_matches(['|', ' ']).replace(' ', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::Window;

    #[test]
    fn parameters_and_macs_of_known_layers() {
        let (input, map) = (Shape::new(8, 8, 3), Shape::new(8, 8, 16));
        let same = Window { kernel: [3, 3], stride: [1, 1], pad: [1, 1, 1, 1] };
        let layers = [
            (Op::Conv { window: same, out_channels: 16 }, input, map),
            (Op::Depthwise { window: same }, map, map),
            (Op::GlobalAvgPool, map, Shape::new(1, 1, 16)),
            (Op::Dense { out_channels: 10 }, Shape::new(1, 1, 16), Shape::new(1, 1, 10)),
        ];
        let cost = Cost::of_layers(layers.into_iter());
        assert_eq!(cost.parameters, Some((27 * 16 + 16) + (9 * 16 + 16) + (160 + 10)));
        assert_eq!(cost.macs, Some(64 * 27 * 16 + 64 * 9 * 16 + 160));
    }

    #[test]
    fn a_card_of_another_plan_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let card = "| plan in flash, bytes | 81 768 |\n| instructions on cortex-m4 | 13 759 862 |\n";
        std::fs::write(folder.path().join("README.md"), card).unwrap();
        let instructions = |plan_bytes| {
            let mut cost = Cost { plan_bytes: Some(plan_bytes), ..Cost::default() };
            cost.read_card(folder.path(), "cortex-m4");
            cost.instructions
        };
        assert_eq!((instructions(81_768), instructions(211_656)), (Some(13_759_862), None));
    }

    #[test]
    fn a_card_tells_its_instructions() {
        let card = "| one inference |  |\n| --- | ---: |\n| instructions on cortex-m33 | 48 035 800 |\n";
        assert_eq!(figure_in(card, "instructions on cortex-m33"), Some(48_035_800));
        assert_eq!(figure_in(card, "instructions on cortex-m3"), None);
        assert_eq!(figure_in("", "instructions on cortex-m33"), None);
    }
}
