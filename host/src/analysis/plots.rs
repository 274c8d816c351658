//! An analysis as pictures.

use ocellus_shared::plan::{Operand, Plan};

use super::Analysis;
use crate::plot::bars::Bars;
use crate::plot::memory::{Block, Memory};
use crate::plot::{Axis, Drawing, Unit};

/// Width of a picture and height of the memory's plane, in pixels.
const SIZE: (f64, f64) = (800.0, 300.0);

/// The arena over the steps of `plan`, above the instructions of each step.
pub fn drawing(model: &str, plan: &Plan, analysis: &Analysis) -> Drawing {
    Drawing::stacked("", vec![memory(model, plan, analysis), instructions(model, analysis)])
}

/// Which bytes of the arena are taken by what while which step runs.
pub fn memory(model: &str, plan: &Plan, analysis: &Analysis) -> Drawing {
    let title = format!("{model}: working memory on {}", analysis.board);
    let room = Some(analysis.arena_room_bytes as usize);
    Memory { title, steps: plan.step_count(), blocks: blocks(plan), room }.drawing(SIZE.0, SIZE.1)
}

/// Predicted instructions of each step.
pub fn instructions(model: &str, analysis: &Analysis) -> Drawing {
    let title = format!("{model}: instructions on {}, predicted", analysis.board);
    let layers = analysis.layers.iter().enumerate();
    let rows = layers.map(|(i, l)| (format!("{i} {} {}", l.op, l.shape), vec![Some(l.instructions as f64)])).collect();
    let axis = Axis::new("instructions of one inference", Unit::Count);
    Bars { title, axis, series: Vec::new(), rows }.drawing(SIZE.0)
}

/// The image, the result of each step for as long as a later one reads it, and the scratch memory of each step.
fn blocks(plan: &Plan) -> Vec<Block> {
    let of = |name: String, first: usize, operand: Operand| Block {
        name,
        first,
        last: first,
        offset: operand.offset,
        bytes: operand.shape.len(),
        is_scratch: false,
    };
    let mut blocks = vec![of("image".to_owned(), 0, plan.input())];
    let mut scratch = Vec::new();
    for (i, step) in plan.steps().enumerate() {
        for operand in step.inputs() {
            let is_it = |block: &&mut Block| (block.offset, block.bytes) == (operand.offset, operand.shape.len());
            if let Some(block) = blocks.iter_mut().rev().find(is_it) {
                block.last = i;
            }
        }
        blocks.push(of(format!("{i} {}", step.op.name()), i, step.output));
        let (offset, bytes) = step.scratch;
        if bytes > 0 {
            scratch.push(Block { name: String::new(), first: i, last: i, offset, bytes, is_scratch: true });
        }
    }
    blocks.append(&mut scratch);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::plan::Crop;
    use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
    use ocellus_shared::{Op, Shape};

    #[test]
    fn a_result_lives_until_it_is_read() {
        let at = |offset| Operand { offset, shape: Shape::vector(4), zero: 0 };
        let step = |from, to| StepSpec {
            op: Op::Lut,
            inputs: vec![at(from)],
            output: at(to),
            scratch: (0, 0),
            strip_rows: 0,
            weights: vec![0; 256],
            biases: vec![],
            multipliers: vec![],
        };
        let add = StepSpec {
            op: Op::Add,
            inputs: vec![at(8), at(0)],
            weights: vec![],
            biases: vec![1, 1, 0],
            multipliers: vec![1.0],
            ..step(8, 16)
        };
        let bytes = encode(&PlanSpec {
            digest: [0; 8],
            arena_bytes: 24,
            input: at(0),
            crop: Crop::Centre,
            output: at(16),
            output_scale: 1.0,
            labels: ["a", "b", "c", "d"].map(String::from).to_vec(),
            steps: vec![step(0, 8), step(8, 16), StepSpec { inputs: vec![at(16)], ..step(16, 8) }, add],
        });
        let bytes = bytes.unwrap();
        let Ok(plan) = Plan::parse(&bytes) else { panic!("{:?}", Plan::parse(&bytes)) };
        let lives: Vec<_> = blocks(&plan).iter().map(|b| (b.offset, b.first, b.last)).collect();
        assert_eq!(lives, [(0, 0, 3), (8, 0, 1), (16, 1, 2), (8, 2, 3), (16, 3, 3)]);
    }
}
