//! The model format a board reads: checked once by [`Plan::parse`], and from then on it cannot fail.
//!
//! Everything is little-endian; offsets are in bytes. *Region* offsets count from the start of the file, *arena*
//! offsets from the start of the working memory that the caller lends to the engine.
//!
//! # File
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `OCPL` |
//! | 4 | 2 | version, [`VERSION`]; no other is read |
//! | 6 | 2 | number of steps |
//! | 8 | 4 | length of the file |
//! | 12 | 4 | CRC-32 (ISO-HDLC) of everything before and after this field |
//! | 16 | 8 | digest of the quantized graph, the same in the ONNX file written with it |
//! | 24 | 4 | arena size |
//! | 28 | 8 | input: arena offset u32; then zero point i8, crop u8 ([`Crop`]), 2 reserved |
//! | 36 | 6 | input shape: h, w, c, each u16 |
//! | 42 | 6 | output shape |
//! | 48 | 8 | output: arena offset u32, scale f32 |
//! | 56 | 1 | output zero point i8 |
//! | 57 | 3 | reserved, zero |
//! | 60 | 8 | labels: region offset u32, length u32; UTF-8 without control characters, one class per line, as many as the output has values |
//! | 68 | 128 * steps | the steps, in the order they run |
//! | ... | | labels, then the parameters of each step: weights, biases, multipliers |
//!
//! Regions of parameters are aligned to 4 bytes. Regions stand in the order above behind the steps, and none overlaps another, so
//! that all of them can be checked in time proportional to the file.
//!
//! # Step
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | operator: [`Facts::TAG`](crate::op::Facts::TAG) |
//! | 1 | 1 | number of inputs |
//! | 2 | 8 | window: kernel h, w; stride h, w; padding top, left, bottom, right (zero where there is none) |
//! | 10 | 2 | out channels u16 (zero where the operator has none) |
//! | 12 | 12 | output operand |
//! | 24 | 48 | four input operands, the unused ones zero |
//! | 72 | 8 | scratch: arena offset u32, length u32 |
//! | 80 | 4 | weights: region offset |
//! | 84 | 4 | biases: region offset, aligned to 4 |
//! | 88 | 4 | multipliers: region offset, aligned to 4 |
//! | 92 | 2 | strip rows u16: how many rows of the output are computed at a time; 0 for all |
//! | 94 | 4 | what only this operator has: [`Record::own`](crate::op::Record) (zero where there is nothing) |
//! | 98 | 30 | reserved, zero |
//!
//! An operand is: arena offset u32, shape h, w, c u16 each, zero point i8, one reserved byte. How many parameters
//! there are, and in what layout, follows from the operator and its shapes: [`Op::param_counts`].
//!
//! A step's output and scratch lie apart from each other and from the inputs, but for two cases: a flattened map is its
//! input's bytes under another shape, and where a step is computed in strips, its output may begin so far before an input
//! that no strip writes to what it or a later one reads ([`Op::strip_lead`]).

use crate::checksum::Crc32;
use crate::op::{MAX_INPUTS, Op, strip_ranges};
use crate::quant::QuantParams;
use crate::shape::Shape;

mod decode;
#[cfg(feature = "encode")]
pub mod encode;
mod error;

use decode::{Fields, check, header_crop, in_arena, record, region, with_params};

pub use error::{PlanError, StepFault};

/// First bytes of every plan.
pub const MAGIC: [u8; 4] = *b"OCPL";
/// The one version that this code reads and writes.
pub const VERSION: u16 = 3;

/// Bytes before the first step.
pub(crate) const HEADER_LEN: usize = 68;
/// Bytes of one step.
pub(crate) const STEP_LEN: usize = 128;
/// Where the checksum stands.
pub(crate) const CRC_FIELD: core::ops::Range<usize> = 12..16;

/// Checksum of a plan, which is at least a header long, without the field that holds it.
pub(crate) fn checksum(plan: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(&plan[..CRC_FIELD.start]);
    crc.update(&plan[CRC_FIELD.end..]);
    crc.finish()
}

/// Where the steps end.
const fn steps_end(steps: u16) -> usize {
    HEADER_LEN + steps as usize * STEP_LEN
}

/// `bytes` as `count` labels. Counts line breaks as `str::lines` finds them, which would bring a search for any character along.
fn labels_of(bytes: &[u8], count: usize) -> Result<&str, PlanError> {
    let labels = core::str::from_utf8(bytes).map_err(|_| PlanError::Labels)?;
    let (mut breaks, mut before) = (0, 0);
    for byte in bytes {
        match byte {
            b'\n' => breaks += 1,
            // ASCII's, and Unicode's others, whose second byte this is.
            0..0x20 | 0x7f => return Err(PlanError::ControlCharacter { label: breaks }),
            0x80..0xa0 if before == 0xc2 => return Err(PlanError::ControlCharacter { label: breaks }),
            _ => {}
        }
        before = *byte;
    }
    let last = usize::from(!matches!(before, 0 | b'\n'));
    if breaks as usize + last == count { Ok(labels) } else { Err(PlanError::Labels) }
}

/// How a frame of another shape is brought to the input's aspect ratio before it is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Crop {
    /// The largest centred part with the right aspect ratio; the rest is cut away.
    #[default]
    Centre,
    /// The whole frame, stretched.
    Stretch,
}

/// A feature map in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    /// Arena offset of its first byte.
    pub offset: usize,
    /// Its shape, and so its length in bytes.
    pub shape: Shape,
    /// The int8 value that stands for 0.
    pub zero: i8,
}

impl Operand {
    /// Its bytes in the arena.
    pub fn range(&self) -> core::ops::Range<usize> {
        self.offset..self.offset + self.shape.len()
    }

    /// Some of its rows.
    fn rows(&self, rows: &core::ops::Range<u16>) -> Self {
        let row_bytes = usize::from(self.shape.w) * usize::from(self.shape.c);
        let shape = Shape { h: rows.end - rows.start, ..self.shape };
        Self { offset: self.offset + usize::from(rows.start) * row_bytes, shape, ..*self }
    }
}

/// int32 parameters at any alignment.
#[derive(Clone, Copy, Debug, Default)]
pub struct I32s<'a>(&'a [[u8; 4]]);

impl<'a> I32s<'a> {
    /// Their bytes in the file, little-endian, at any alignment.
    pub fn as_bytes(&self) -> &'a [[u8; 4]] {
        self.0
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Value `i`; panics past the end.
    #[inline(always)]
    pub fn get(&self, i: usize) -> i32 {
        i32::from_le_bytes(self.0[i])
    }
}

/// f32 parameters at any alignment.
#[derive(Clone, Copy, Debug, Default)]
pub struct F32s<'a>(&'a [[u8; 4]]);

impl<'a> F32s<'a> {
    /// Their bytes in the file, little-endian, at any alignment.
    pub fn as_bytes(&self) -> &'a [[u8; 4]] {
        self.0
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Value `i`; panics past the end.
    #[inline(always)]
    pub fn get(&self, i: usize) -> f32 {
        f32::from_le_bytes(self.0[i])
    }
}

/// One layer, ready to run.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What it does.
    pub op: Op,
    /// Where its result goes.
    pub output: Operand,
    inputs: [Operand; MAX_INPUTS],
    input_count: usize,
    /// Arena range of its scratch memory: start and length.
    pub scratch: (usize, usize),
    /// Rows of the output that are computed at a time; 0 for all. See [`Step::each_strip`].
    pub strip_rows: u16,
    /// int8 parameters, or the bytes of int16 ones at a multiple of 4; see [`Op::param_counts`].
    pub weights: &'a [i8],
    /// int32 parameters.
    pub biases: I32s<'a>,
    /// f32 parameters.
    pub multipliers: F32s<'a>,
}

impl<'a> Step<'a> {
    /// Calls `visit` with the steps that this one is run as, one for each of its strips, from top to bottom: itself where it
    /// is not cut. The output of each lies apart from its inputs, even where that of the whole step does not.
    pub fn each_strip(&self, mut visit: impl FnMut(&Step<'a>)) {
        if self.strip_rows == 0 {
            return visit(self);
        }
        // One copy for all strips: it takes longer to make than a strip of a small map.
        let mut part = Step { strip_rows: 0, ..*self };
        for rows in strip_ranges(self.output.shape.h, self.strip_rows) {
            // A parsed plan cuts no operator that has no strips.
            let Some(strip) = self.op.strip(self.inputs[0].shape, rows) else { return };
            part.op = strip.op;
            part.output = self.output.rows(&strip.output);
            for (index, (part, whole)) in part.inputs.iter_mut().zip(self.inputs()).enumerate() {
                if self.op.reads_rows(index) {
                    *part = whole.rows(&strip.input);
                }
            }
            visit(&part);
        }
    }

    /// Its multiply-accumulates.
    pub fn macs(&self) -> u64 {
        self.op.macs(self.input().shape, self.output.shape)
    }

    /// What its time goes with: see [`Op::work`].
    pub fn work(&self) -> u64 {
        self.op.work(self.input().shape, self.output.shape)
    }

    /// Where its inputs come from: one to [`MAX_INPUTS`].
    pub fn inputs(&self) -> &[Operand] {
        &self.inputs[..self.input_count]
    }

    /// Its first input.
    pub fn input(&self) -> Operand {
        self.inputs[0]
    }
}

/// A model that has been checked from end to end; see the [module](self) for the format.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    bytes: &'a [u8],
    steps: u16,
    arena_bytes: usize,
    input: Operand,
    crop: Crop,
    output: Operand,
    output_scale: f32,
    labels: &'a str,
}

impl<'a> Plan<'a> {
    /// Checks `bytes` once and for all. Bytes after the plan's own length are ignored, so that a whole flash region
    /// may be passed.
    ///
    /// # Errors
    /// Whatever would make a run impossible, wrong or unsafe is refused here; no input makes it panic, or takes longer than in
    /// proportion to its length.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PlanError> {
        let truncated = |needed: usize| PlanError::Truncated { needed: needed as u32 };
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(truncated(HEADER_LEN))?;
        let field = Fields(header);
        if header[..4] != MAGIC {
            return Err(PlanError::Magic);
        }
        if field.u16(4) != VERSION {
            return Err(PlanError::Version { found: field.u16(4) });
        }
        let length = field.u32(8) as usize;
        if length < HEADER_LEN {
            return Err(PlanError::Header);
        }
        let bytes = bytes.get(..length).ok_or(truncated(length))?;
        let (stored, computed) = (field.u32(12), checksum(bytes));
        if stored != computed {
            return Err(PlanError::Crc { stored, computed });
        }
        let plan = Self::header(header, bytes)?;
        // Where the next region may begin.
        let mut regions_end = (field.u32(60) as usize + plan.labels.len()).max(steps_end(plan.steps));
        for index in 0..plan.steps {
            check(bytes, index, plan.arena_bytes, &mut regions_end)
                .map_err(|fault| PlanError::Step { index, fault })?;
        }
        Ok(plan)
    }

    /// The fields before the first step, checked.
    fn header(header: &[u8; HEADER_LEN], bytes: &'a [u8]) -> Result<Self, PlanError> {
        let field = Fields(header);
        let steps = field.u16(6);
        let arena_bytes = field.u32(24) as usize;
        let input = Operand { offset: field.u32(28) as usize, shape: field.shape(36), zero: field.i8(32) };
        let output = Operand { offset: field.u32(48) as usize, shape: field.shape(42), zero: field.i8(56) };
        let crop = match header_crop(field.u8(33)) {
            Some(crop) => crop,
            None => return Err(PlanError::Header),
        };
        let output_scale = f32::from_bits(field.u32(52));
        let sound = steps > 0
            && steps_end(steps) <= bytes.len()
            && arena_bytes <= i32::MAX as usize
            && in_arena(&input, arena_bytes)
            && in_arena(&output, arena_bytes)
            && output_scale.is_normal()
            && output_scale > 0.0
            && field.zeros(34, 36)
            && field.zeros(57, 60);
        if !sound {
            return Err(PlanError::Header);
        }
        let labels = region(bytes, field.u32(60), field.u32(64) as usize, 1).ok_or(PlanError::Labels)?;
        if !labels.is_empty() && (field.u32(60) as usize) < steps_end(steps) {
            return Err(PlanError::Labels);
        }
        let labels = labels_of(labels, output.shape.len())?;
        Ok(Self { bytes, steps, arena_bytes, input, crop, output, output_scale, labels })
    }

    /// The plan's own bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Digest of the quantized graph it was packed from.
    pub fn digest(&self) -> [u8; 8] {
        let mut digest = [0; 8];
        digest.copy_from_slice(&self.bytes[16..24]);
        digest
    }

    /// Bytes of working memory that a run needs: all feature maps and scratch.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Where the int8 image goes, `(h, w, c)`.
    pub fn input(&self) -> Operand {
        self.input
    }

    /// How a camera frame is cut before it is resized to the input.
    pub fn crop(&self) -> Crop {
        self.crop
    }

    /// Where the int8 scores are after a run.
    pub fn output(&self) -> Operand {
        self.output
    }

    /// Scale and zero point of the scores, which are logits.
    pub fn output_params(&self) -> QuantParams {
        QuantParams { scale: self.output_scale, zero: self.output.zero }
    }

    /// Names of the classes, one per score.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone {
        Labels { lines: self.labels.lines(), left: self.output.shape.len() }
    }

    /// Name of class `index`, if there is one.
    pub fn label(&self, index: usize) -> Option<&'a str> {
        self.labels.lines().nth(index)
    }

    /// Number of steps.
    pub fn step_count(&self) -> usize {
        self.steps as usize
    }

    /// The steps in the order they run.
    pub fn steps(&self) -> impl Iterator<Item = Step<'a>> + Clone {
        let bytes = self.bytes;
        // `parse` has checked every step, so that `ok` drops nothing.
        (0..self.steps).filter_map(move |index| {
            let mut step = record(bytes, index).ok()?;
            with_params(&mut step, bytes, index).ok()?;
            Some(step)
        })
    }

    /// Multiply-accumulates of a run.
    pub fn macs(&self) -> u64 {
        self.steps().map(|step| step.macs()).sum()
    }

    /// What the time of a run goes with: see [`Op::work`].
    pub fn work(&self) -> u64 {
        self.steps().fold(0, |all, step| all.saturating_add(step.work()))
    }
}

/// The labels with their count, which `str::Lines` alone does not know.
#[derive(Clone)]
struct Labels<'a> {
    lines: core::str::Lines<'a>,
    left: usize,
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        self.left -= 1;
        Some(line)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Labels<'_> {}
