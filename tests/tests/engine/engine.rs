//! The engine on plans small enough to work out by hand, and what it asks of its memory.

use ocellus_firmware::{ArenaTooSmall, Engine};
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
use ocellus_shared::plan::{Crop, Operand, Plan};
use ocellus_shared::{Op, Shape, Window};

fn operand(offset: usize, shape: Shape, zero: i8) -> Operand {
    Operand { offset, shape, zero }
}

/// Bytes of working memory.
const ARENA: usize = 96;

/// One step from the arena's start to `output`.
fn plan(step: StepSpec) -> Vec<u8> {
    encode(&PlanSpec {
        digest: [0; 8],
        arena_bytes: ARENA,
        input: step.inputs[0],
        crop: Crop::Centre,
        output: step.output,
        output_scale: 1.0,
        labels: vec![String::from("label"); step.output.shape.len()],
        steps: vec![step],
    })
    .unwrap()
}

fn run(bytes: &[u8], image: &[i8]) -> Vec<i8> {
    let mut arena = [0x55; ARENA];
    let mut engine = Engine::new(Plan::parse(bytes).unwrap(), &mut arena).unwrap();
    engine.input_mut().copy_from_slice(image);
    engine.run().to_vec()
}

/// A 3x3 convolution that adds up its window over a 2x2 image, at zero point 1.
fn sums_of_neighbours() -> Vec<u8> {
    let mut weights = vec![1; 9];
    // Filled to whole words, and to a pair of filters.
    weights.resize(24, 0);
    plan(StepSpec {
        op: Op::Conv { window: Window::same(3), out_channels: 1 },
        inputs: vec![operand(0, Shape::new(2, 2, 1), 1)],
        output: operand(4, Shape::new(2, 2, 1), 0),
        scratch: (8, 88),
        strip_rows: 0,
        weights,
        biases: vec![-9],
        multipliers: vec![0.5],
    })
}

#[test]
fn padding_counts_as_zero() {
    // Every window sees the whole image: (2 + 4 + 6 + 9 - 4 * zero) / 2 = 8.5, which rounds to even.
    assert_eq!(run(&sums_of_neighbours(), &[2, 4, 6, 9]), [8; 4]);
}

#[test]
fn halves_round_to_even_and_results_saturate() {
    let table: Vec<i8> = (0..256).map(|i| (255 - i - 128) as i8).collect();
    let scale = |multiplier: f32| {
        plan(StepSpec {
            op: Op::ChannelScale,
            inputs: vec![operand(0, Shape::new(1, 5, 1), 0)],
            output: operand(8, Shape::new(1, 5, 1), 10),
            scratch: (0, 0),
            strip_rows: 0,
            weights: vec![1],
            biases: vec![0],
            multipliers: vec![multiplier],
        })
    };
    assert_eq!(run(&scale(0.5), &[1, 3, 5, -1, -3]), [10, 12, 12, 10, 8]);
    assert_eq!(run(&scale(1e30), &[1, -1, 0, 127, -128]), [127, -128, 10, 127, -128]);
    let lut = plan(StepSpec {
        op: Op::Lut,
        inputs: vec![operand(0, Shape::vector(3), 0)],
        output: operand(4, Shape::vector(3), 0),
        scratch: (0, 0),
        strip_rows: 0,
        weights: table,
        biases: vec![],
        multipliers: vec![],
    });
    assert_eq!(run(&lut, &[-128, 0, 127]), [127, -1, -128]);
}

#[test]
fn a_run_depends_on_nothing_but_its_image() {
    let bytes = sums_of_neighbours();
    let first = run(&bytes, &[1, 2, 3, 4]);
    run(&bytes, &[9, 9, 9, 9]);
    assert_eq!(run(&bytes, &[1, 2, 3, 4]), first);
}

#[test]
fn too_small_an_arena_is_refused_with_both_sizes() {
    let bytes = sums_of_neighbours();
    let mut arena = [0; ARENA - 1];
    let refused = Engine::new(Plan::parse(&bytes).unwrap(), &mut arena).map(|_| ());
    assert_eq!(refused, Err(ArenaTooSmall { needed: ARENA, available: ARENA - 1 }));
}

#[test]
fn observers_see_every_step_once_in_order() {
    let bytes = encode(&ocellus_tests::plans::cifar_cnn(1)).unwrap();
    let plan = Plan::parse(&bytes).unwrap();
    let mut arena = vec![0; plan.arena_bytes()];
    let mut seen = Vec::new();
    let mut engine = Engine::new(plan, &mut arena).unwrap();
    let scores = engine.run_observed(|index, _, values| seen.push((index, values.len()))).to_vec();
    assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(seen[9].1, scores.len());
}
