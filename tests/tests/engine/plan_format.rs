//! The plan format: what is written is what is read, and every kind of damage has its own error.

use ocellus_shared::op::{Op, Window};
use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode, reseal};
use ocellus_shared::plan::{Crop, Operand, Plan, PlanError, StepFault};
use ocellus_shared::shape::Shape;

/// 4x4x2 image -> conv 3x3 to 3 channels -> dense to 2 scores.
fn spec() -> PlanSpec {
    let image = Operand { offset: 0, shape: Shape::new(4, 4, 2), zero: -128 };
    let map = Operand { offset: 32, shape: Shape::new(4, 4, 3), zero: -128 };
    let scores = Operand { offset: 0, shape: Shape::vector(2), zero: 5 };
    let conv = Op::Conv { window: Window::same(3), out_channels: 3 };
    PlanSpec {
        digest: *b"12345678",
        arena_bytes: 224,
        input: image,
        crop: Crop::Centre,
        output: scores,
        output_scale: 0.25,
        labels: vec!["cat".into(), "dög".into()],
        steps: vec![
            StepSpec {
                op: conv,
                inputs: vec![image],
                output: map,
                scratch: (80, 144),
                strip_rows: 0,
                weights: (0..80).collect(),
                biases: vec![1, -2, i32::MAX],
                multipliers: vec![0.5, 0.25, 0.125],
            },
            StepSpec {
                op: Op::Dense { out_channels: 2 },
                inputs: vec![map],
                output: scores,
                scratch: (0, 0),
                strip_rows: 0,
                weights: (0..96).collect(),
                biases: vec![7, 8],
                multipliers: vec![1.5, 1.25],
            },
        ],
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let spec = spec();
    let mut bytes = encode(&spec).unwrap();
    bytes.extend([0xff; 100]); // the erased rest of a flash region
    let plan = Plan::parse(&bytes).unwrap();
    assert_eq!(plan.bytes().len(), bytes.len() - 100);
    assert_eq!((plan.digest(), plan.arena_bytes(), plan.crop()), (*b"12345678", 224, Crop::Centre));
    assert_eq!((plan.input(), plan.output()), (spec.input, spec.output));
    assert_eq!(plan.output_params().dequantize(9), 1.0);
    assert_eq!(plan.labels().collect::<Vec<_>>(), ["cat", "dög"]);
    assert_eq!(plan.label(1), Some("dög"));
    assert_eq!(plan.label(2), None);
    let steps: Vec<_> = plan.steps().collect();
    assert_eq!(steps.len(), plan.step_count());
    for (step, written) in steps.iter().zip(&spec.steps) {
        assert_eq!((step.op, step.output, step.scratch), (written.op, written.output, written.scratch));
        assert_eq!(step.inputs(), written.inputs);
        assert_eq!(step.weights, written.weights);
        let biases: Vec<i32> = (0..step.biases.len()).map(|i| step.biases.get(i)).collect();
        let multipliers: Vec<f32> = (0..step.multipliers.len()).map(|i| step.multipliers.get(i)).collect();
        assert_eq!((biases, multipliers), (written.biases.clone(), written.multipliers.clone()));
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encode(&spec()).unwrap();
    for len in 0..bytes.len() {
        assert!(matches!(Plan::parse(&bytes[..len]), Err(PlanError::Truncated { .. })), "{len} bytes");
    }
}

#[test]
fn every_flipped_byte_is_refused() {
    let good = encode(&spec()).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        assert!(Plan::parse(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn another_version_says_so() {
    let mut bytes = encode(&spec()).unwrap();
    bytes[4] = 2;
    reseal(&mut bytes);
    assert_eq!(Plan::parse(&bytes).unwrap_err(), PlanError::Version { found: 2 });
    bytes[0] = b'X';
    assert_eq!(Plan::parse(&bytes).unwrap_err(), PlanError::Magic);
}

/// What no engine could run is refused when it is written, with the step and the fault.
#[test]
fn every_fault_of_a_step_is_named() {
    type Damage = fn(&mut PlanSpec);
    let cases: [(StepFault, u16, Damage); 12] = [
        // The output shape does not follow from the convolution.
        (StepFault::Shape, 0, |s| s.steps[0].op = Op::Conv { window: Window::valid(3, 1), out_channels: 3 }),
        // A kernel larger than its padded input.
        (StepFault::Shape, 0, |s| s.steps[0].op = Op::Conv { window: Window::valid(9, 1), out_channels: 3 }),
        // Two inputs where the operator takes one.
        (StepFault::Shape, 1, |s| s.steps[1].inputs = vec![s.input, s.input]),
        // An operand that ends past the arena, and one whose end overflows.
        (StepFault::Arena, 0, |s| s.steps[0].output.offset = 220),
        (StepFault::Arena, 0, |s| s.steps[0].inputs[0].offset = u32::MAX as usize),
        // The scratch past the arena, too small, and over the input.
        (StepFault::Arena, 0, |s| s.steps[0].scratch = (112, 144)),
        (StepFault::Scratch, 0, |s| s.steps[0].scratch = (80, 140)),
        (StepFault::Overlap, 0, |s| s.steps[0].scratch = (28, 144)),
        // An output over its own input.
        (StepFault::Overlap, 1, |s| s.steps[1].output.offset = 32),
        // Multipliers that are no positive normal number.
        (StepFault::Multiplier, 1, |s| s.steps[1].multipliers[0] = 0.0),
        (StepFault::Multiplier, 1, |s| s.steps[1].multipliers[1] = f32::NAN),
        (StepFault::Multiplier, 0, |s| s.steps[0].multipliers[2] = -0.125),
    ];
    for (case, (fault, index, damage)) in cases.into_iter().enumerate() {
        let mut spec = spec();
        damage(&mut spec);
        assert_eq!(encode(&spec).unwrap_err(), PlanError::Step { index, fault }, "case {case}");
    }
}

/// The convolution in strips, with its output before the image as far as it must be.
fn overlapping(strip_rows: u16, lead: usize) -> PlanSpec {
    let mut spec = spec();
    spec.input.offset = lead;
    let conv = &mut spec.steps[0];
    (conv.inputs[0].offset, conv.output.offset, conv.strip_rows) = (lead, 0, strip_rows);
    spec.steps[1].inputs[0].offset = 0;
    (spec.steps[1].output.offset, spec.output.offset) = (60, 60);
    spec
}

#[test]
fn outputs_lie_over_inputs_as_far_as_strips_allow() {
    // Rows of 8 bytes become rows of 12. In strips of one row, the last is written up to byte 48 while row 2 is still read
    // from byte 16 on; in strips of two, row 1 from byte 8 on. In strips of three, the last reads row 2.
    for (strip_rows, lead) in [(1, 48 - 16), (2, 48 - 8), (3, 36)] {
        let good = encode(&overlapping(strip_rows, lead)).unwrap();
        let mut heights = Vec::new();
        Plan::parse(&good).unwrap().steps().next().unwrap().each_strip(|strip| heights.push(strip.output.shape.h));
        assert_eq!((heights[0], heights.iter().sum()), (strip_rows, 4));
        let fault = |spec: &PlanSpec| encode(spec).unwrap_err();
        let step = |index, fault| PlanError::Step { index, fault };
        assert_eq!(fault(&overlapping(strip_rows, lead - 1)), step(0, StepFault::Overlap));
        // The same without strips, in strips as high as the output, and of an operator that has none.
        assert_eq!(fault(&overlapping(0, lead)), step(0, StepFault::Overlap));
        assert_eq!(fault(&overlapping(4, lead)), step(0, StepFault::Strips));
        let mut dense = overlapping(strip_rows, lead);
        dense.steps[1].strip_rows = 1;
        assert_eq!(fault(&dense), step(1, StepFault::Strips));
    }
}

#[test]
fn labels_match_the_scores() {
    for labels in [vec![], vec!["one".to_string()], vec!["a\nb".into(), "c".into()]] {
        let wrong = PlanSpec { labels, ..spec() };
        assert_eq!(encode(&wrong).unwrap_err(), PlanError::Labels);
    }
}

#[test]
fn labels_without_control_characters() {
    for character in ['\0', '\u{7}', '\t', '\r', '\u{1b}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}'] {
        for (label, labels) in
            [(0, [format!("{character}cat"), "b".into()]), (1, ["a".into(), format!("dög{character}")])]
        {
            let wrong = PlanSpec { labels: labels.to_vec(), ..spec() };
            let refused = encode(&wrong).unwrap_err();
            assert_eq!(refused, PlanError::ControlCharacter { label }, "{character:?}");
            assert!(refused.to_string().contains(&format!("class {label} holds a control character")), "{refused}");
        }
    }
    // What is next to them, and what only shares their bytes.
    let labels = vec!["a \u{a0}~\u{e0}".to_string(), "\u{2080}\u{1f680} ".into()];
    let bytes = encode(&PlanSpec { labels: labels.clone(), ..spec() }).unwrap();
    assert_eq!(Plan::parse(&bytes).unwrap().labels().collect::<Vec<_>>(), labels);
}
