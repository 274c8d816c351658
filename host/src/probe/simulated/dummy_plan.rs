//! The smallest network that a camera board watches with, for a simulated one of which only frames are wanted.

use anyhow::Result;
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
use ocellus_shared::plan::{Crop, Operand};
use ocellus_shared::{Op, Shape};

/// A plan whose scores are the means of red, green and blue.
///
/// # Errors
/// None; there is no plan that the format cannot hold.
pub fn dummy_plan() -> Result<Vec<u8>> {
    let (image, means) = (Shape::new(8, 8, 3), Shape::vector(3));
    let at = |offset, shape| Operand { offset, shape, zero: 0 };
    let mean = StepSpec {
        op: Op::GlobalAvgPool,
        inputs: vec![at(0, image)],
        output: at(image.len(), means),
        scratch: (0, 0),
        strip_rows: 0,
        weights: vec![],
        biases: vec![0],
        multipliers: vec![1.0 / 64.0],
    };
    Ok(encode(&PlanSpec {
        digest: [0; 8],
        arena_bytes: image.len() + means.len(),
        input: at(0, image),
        crop: Crop::Centre,
        output: at(image.len(), means),
        output_scale: 1.0,
        labels: ["red", "green", "blue"].map(String::from).to_vec(),
        steps: vec![mean],
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::plan::Plan;

    #[test]
    fn a_board_can_run_it() {
        let bytes = dummy_plan().unwrap();
        assert_eq!(Plan::parse(&bytes).unwrap().label(2), Some("blue"));
    }
}
