//! Writes plans. The host's packer fills a [`PlanSpec`]; this file alone knows where each field goes.

extern crate alloc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::op::Record;

/// Everything a plan holds, before it becomes bytes.
#[derive(Clone, Debug)]
pub struct PlanSpec {
    /// Digest of the quantized graph.
    pub digest: [u8; 8],
    /// Bytes of working memory.
    pub arena_bytes: usize,
    /// The int8 image.
    pub input: Operand,
    /// How frames are cut.
    pub crop: Crop,
    /// The int8 scores.
    pub output: Operand,
    /// Scale of the scores.
    pub output_scale: f32,
    /// Class names, one per score; none may hold a line break.
    pub labels: Vec<String>,
    /// The layers in the order they run.
    pub steps: Vec<StepSpec>,
}

/// One layer, before it becomes bytes.
#[derive(Clone, Debug)]
pub struct StepSpec {
    /// What it does.
    pub op: Op,
    /// Where its inputs come from: one to [`MAX_INPUTS`].
    pub inputs: Vec<Operand>,
    /// Where its result goes.
    pub output: Operand,
    /// Arena offset and length of its scratch memory.
    pub scratch: (usize, usize),
    /// Rows of the output that are computed at a time; 0 for all.
    pub strip_rows: u16,
    /// int8 parameters, or the bytes of int16 ones, in the layout of [`Op::param_counts`].
    pub weights: Vec<i8>,
    /// int32 parameters.
    pub biases: Vec<i32>,
    /// f32 parameters.
    pub multipliers: Vec<f32>,
}

/// The bytes of `spec`. They parse again, or the error says what in `spec` no engine could run.
///
/// # Errors
/// What [`Plan::parse`] finds wrong with the result.
pub fn encode(spec: &PlanSpec) -> Result<Vec<u8>, PlanError> {
    let mut out = vec![0; HEADER_LEN + spec.steps.len() * STEP_LEN];
    let labels = spec.labels.join("\n").into_bytes();
    put_header(&mut out, spec, labels.len());
    let at = append(&mut out, &labels);
    put(&mut out, 60, &at.to_le_bytes());
    for (index, step) in spec.steps.iter().enumerate() {
        let weights = append(&mut out, bytemuck::cast_slice(&step.weights));
        let biases: Vec<u8> = step.biases.iter().flat_map(|b| b.to_le_bytes()).collect();
        let multipliers: Vec<u8> = step.multipliers.iter().flat_map(|m| m.to_le_bytes()).collect();
        let biases = append(&mut out, &biases);
        let multipliers = append(&mut out, &multipliers);
        put_step(&mut out, HEADER_LEN + index * STEP_LEN, step, [weights, biases, multipliers]);
    }
    let length = out.len() as u32;
    put(&mut out, 8, &length.to_le_bytes());
    let crc = checksum(&out);
    put(&mut out, CRC_FIELD.start, &crc.to_le_bytes());
    Plan::parse(&out)?;
    Ok(out)
}

/// Puts a plan's length and checksum right after its content was changed, for tests that must get past the checksum.
pub fn reseal(plan: &mut [u8]) {
    if plan.len() >= HEADER_LEN {
        let length = plan.len() as u32;
        put(plan, 8, &length.to_le_bytes());
        let crc = checksum(plan);
        put(plan, CRC_FIELD.start, &crc.to_le_bytes());
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Appends a region aligned to 4 bytes; its offset, or zero where it is empty.
fn append(out: &mut Vec<u8>, region: &[u8]) -> u32 {
    if region.is_empty() {
        return 0;
    }
    out.resize(out.len().next_multiple_of(4), 0);
    let at = out.len() as u32;
    out.extend_from_slice(region);
    at
}

fn put_header(out: &mut [u8], spec: &PlanSpec, labels_len: usize) {
    put(out, 0, &MAGIC);
    put(out, 4, &VERSION.to_le_bytes());
    put(out, 6, &(spec.steps.len() as u16).to_le_bytes());
    put(out, 16, &spec.digest);
    put(out, 24, &(spec.arena_bytes as u32).to_le_bytes());
    put(out, 28, &(spec.input.offset as u32).to_le_bytes());
    put(out, 32, &[spec.input.zero as u8, spec.crop as u8]);
    put_shape(out, 36, spec.input.shape);
    put_shape(out, 42, spec.output.shape);
    put(out, 48, &(spec.output.offset as u32).to_le_bytes());
    put(out, 52, &spec.output_scale.to_le_bytes());
    put(out, 56, &[spec.output.zero as u8]);
    put(out, 64, &(labels_len as u32).to_le_bytes());
}

fn put_shape(out: &mut [u8], at: usize, shape: Shape) {
    for (i, size) in [shape.h, shape.w, shape.c].into_iter().enumerate() {
        put(out, at + 2 * i, &size.to_le_bytes());
    }
}

fn put_operand(out: &mut [u8], at: usize, operand: &Operand) {
    put(out, at, &(operand.offset as u32).to_le_bytes());
    put_shape(out, at + 4, operand.shape);
    put(out, at + 10, &[operand.zero as u8]);
}

fn put_step(out: &mut [u8], at: usize, step: &StepSpec, regions: [u32; 3]) {
    let Record { window, out_channels, own } = step.op.record();
    put(out, at, &[step.op.tag(), step.inputs.len() as u8]);
    put(out, at + 2, &window.kernel);
    put(out, at + 4, &window.stride);
    put(out, at + 6, &window.pad);
    put(out, at + 10, &out_channels.to_le_bytes());
    put_operand(out, at + 12, &step.output);
    for (i, input) in step.inputs.iter().take(MAX_INPUTS).enumerate() {
        put_operand(out, at + 24 + 12 * i, input);
    }
    put(out, at + 72, &(step.scratch.0 as u32).to_le_bytes());
    put(out, at + 76, &(step.scratch.1 as u32).to_le_bytes());
    for (i, region) in regions.into_iter().enumerate() {
        put(out, at + 80 + 4 * i, &region.to_le_bytes());
    }
    put(out, at + 92, &step.strip_rows.to_le_bytes());
    put(out, at + 94, &own);
}
