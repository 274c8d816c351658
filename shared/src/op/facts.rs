//! What every operator has to say of itself.

use super::error::OpError;
use super::linked::has_kernel;
use super::window::Window;
use crate::shape::Shape;

/// The facts of one operator, which follow from it and its shapes alone: each file of this folder has one, or a few alike.
/// [`Op`](super::Op) asks the one that it is.
pub trait Facts: Copy + Default {
    /// Its name in the field, for reports.
    const NAME: &'static str;
    /// Its number in a step record of a plan.
    const TAG: u8;
    /// Fewest and most inputs.
    const INPUTS: [usize; 2] = [1, 1];
    /// Whether it only moves or compares values, so that its inputs and its result share their scale and zero point.
    const COPIES: bool = false;
    /// Whether its weights are words, which must lie at a multiple of 4 in memory.
    const WORDS: bool = false;
    /// Whether some kernel of it is part of the program: a constant for the compiler, who leaves out what only others
    /// need where this was asked before.
    const IS_LINKED: bool = has_kernel(Self::NAME);

    /// What a step record says of it; the other fields are zero.
    fn record(&self) -> Record {
        Record::default()
    }

    /// The operator of a record, whose other fields may say anything: the opposite of [`Facts::record`].
    fn from_record(_: &Record) -> Self {
        Self::default()
    }

    /// Shape of the output for as many inputs as it takes, none of them empty.
    ///
    /// # Errors
    /// The rule that they break.
    fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        Ok(inputs[0])
    }

    /// See [`Op::macs`](super::Op::macs).
    fn macs(&self, _input: Shape, _output: Shape) -> u64 {
        0
    }

    /// See [`Op::work`](super::Op::work).
    fn work(&self, input: Shape, output: Shape) -> u64 {
        self.macs(input, output)
    }

    /// Number of parameters. The layout of the weights stands beside each operator's own; see
    /// [`Op::param_counts`](super::Op::param_counts) for them all.
    fn param_counts(&self, _input: Shape, _output: Shape) -> ParamCounts {
        ParamCounts::default()
    }

    /// Bytes of scratch memory that its kernel needs.
    fn scratch_bytes(&self, _input: Shape, _output: Shape) -> usize {
        0
    }

    /// Whether input `index` is read from top to bottom while the output is written; if not, it is needed whole.
    fn reads_rows(&self, _index: usize) -> bool {
        true
    }

    /// The window that slides over its input, if one does.
    fn window(&self) -> Option<Window> {
        None
    }

    /// The same operator with another window; itself where it has none.
    fn with_window(&self, _: Window) -> Self {
        *self
    }

    /// The same operator with so many channels of the output; itself where its input decides that.
    fn with_out_channels(&self, _: u16) -> Self {
        *self
    }

    /// Name of the kernel that computes it for `input`.
    fn kernel(&self, _input: Shape) -> &'static str {
        Self::NAME
    }

    /// Whether that kernel is part of the program.
    fn has_kernel(&self, _input: Shape) -> bool {
        Self::IS_LINKED
    }
}

/// The fields of a step record that say what an operator does; zero where it has no use for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Kernel, stride and padding.
    pub window: Window,
    /// Channels of the output.
    pub out_channels: u16,
    /// What only this operator has.
    pub own: [u8; 4],
}

/// How many parameters of each kind an operator carries in a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParamCounts {
    /// int8 values, in the layout that [`Op::param_counts`](super::Op::param_counts) documents.
    pub weights: usize,
    /// int32 values.
    pub biases: usize,
    /// f32 values.
    pub multipliers: usize,
}

impl ParamCounts {
    /// So many weights, and a bias and a multiplier for each channel of the output.
    pub(super) fn of_filters(weights: usize, output: Shape) -> Self {
        Self { weights, biases: output.c.into(), multipliers: output.c.into() }
    }

    /// A multiplier that all channels share, and so many biases.
    pub(super) fn of_tensor(biases: usize) -> Self {
        Self { weights: 0, biases, multipliers: 1 }
    }
}
