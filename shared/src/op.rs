//! The closed set of operators, and everything that follows from an operator and its input shapes alone.
//!
//! Each operator has a file, which implements [`Facts`] for its parameters. Planner, engine and report ask them through
//! [`Op`], so that none of them can disagree about a size.

use crate::shape::Shape;

mod add;
mod concat;
mod conv;
mod dense;
mod depthwise;
mod error;
mod facts;
mod flatten;
mod linked;
mod lut;
mod matmul;
mod mul;
mod pool;
mod scale;
mod strips;
mod window;
pub mod winograd;

pub use conv::{BLOCK, PATCHES, pair_index, row_bytes};
pub use depthwise::Bands;
pub use error::OpError;
pub use facts::{Facts, ParamCounts, Record};
pub use linked::has_kernel;
pub use strips::{Strip, strip_ranges};
pub use window::Window;

/// Most inputs that one operator can have.
pub const MAX_INPUTS: usize = 4;

/// Makes the enum of all operators; of each a type that holds its parameters alone, for which this crate implements
/// [`Facts`], the firmware its kernel, and the host what it does with the operator; and the one `match` that leads from
/// the enum to these types. The compiler names what a new operator lacks.
macro_rules! operators {
    (($d:tt) $($(#[$doc:meta])* $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })?,)*) => {
        /// One layer's operator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Op {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: $type,)* })?,)*
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name { $($($(#[$field_doc])* pub $field: $type,)*)? }

            impl From<$name> for Op {
                fn from($name { $($($field),*)? }: $name) -> Self {
                    Self::$name { $($($field),*)? }
                }
            }
        )*

        impl Op {
            /// One of each, with parameters that are all zero.
            pub fn kinds() -> impl ExactSizeIterator<Item = Self> {
                [$(Self::from($name::default())),*].into_iter()
            }

            /// The operator with this tag in a step record; nothing for an unknown one, one that is not linked, or a record
            /// that says more than the operator has.
            pub fn from_record(tag: u8, record: &Record) -> Option<Self> {
                match tag {
                    $(<$name as Facts>::TAG => parsed::<$name>(record),)*
                    _ => None,
                }
            }
        }

        /// `body` with the operator's own type as `operator`: a `match` of all operators, each with the same answer.
        #[macro_export]
        macro_rules! with_operator {
            ($d op:expr, $d operator:ident => $d body:expr) => {
                match $d op {
                    $($crate::op::Op::$name { $($($field),*)? } => {
                        let $d operator = $crate::op::$name { $($($field),*)? };
                        $d body
                    })*
                }
            };
        }
    };
}

operators! {
    ($)
    /// Convolution over all input channels.
    Conv {
        /// Kernel, stride, padding.
        window: Window,
        /// Channels of the output.
        out_channels: u16,
    },
    /// [`Conv`] of 3x3 windows at stride 1 with fewer multiplications and larger weights: see [`winograd`].
    Winograd {
        /// Kernel, stride, padding.
        window: Window,
        /// Channels of the output.
        out_channels: u16,
    },
    /// One filter per channel.
    Depthwise {
        /// Kernel, stride, padding.
        window: Window,
    },
    /// Every output sees every input value, whatever the input's shape.
    Dense {
        /// Values of the output.
        out_channels: u16,
    },
    /// Largest value under the window; padding never wins.
    MaxPool {
        /// Kernel, stride, padding.
        window: Window,
    },
    /// Mean under the window. Padding is not supported: its border would divide by another count.
    AvgPool {
        /// Kernel, stride, zero padding.
        window: Window,
    },
    /// Mean of each channel over the whole map.
    GlobalAvgPool,
    /// Sum of two maps of one shape, each with its own scale.
    Add,
    /// A map times one factor per channel, `(1, 1, c)`, which is an input too: squeeze and excitation.
    Mul,
    /// Any function of one value, as a table of its 256 results.
    Lut,
    /// `(h, w, c)` seen as a vector. The bytes stay where they are.
    Flatten,
    /// Channels of up to [`MAX_INPUTS`] maps of one height and width, one map after the other.
    Concat,
    /// `x * scale[c] + offset[c]`: a batch normalisation that nothing could absorb.
    ChannelScale,
    /// Product of two maps as matrices of pixels by channels, head by head: attention.
    MatMul {
        /// Parts that the channels of both inputs and of the output are cut into, each multiplied apart.
        heads: u8,
        /// Whether the second input is transposed, so that its pixels, not its channels, become channels of the output.
        transpose_b: bool,
    },
}

fn parsed<F: Facts + Into<Op>>(record: &Record) -> Option<Op> {
    if !F::IS_LINKED {
        return None;
    }
    let op = F::from_record(record);
    (op.record() == *record).then(|| op.into())
}

/// What a type says, for whoever has a value of it.
#[inline(always)]
const fn constants<F: Facts>(_: &F) -> Constants {
    Constants {
        name: F::NAME,
        tag: F::TAG,
        inputs: F::INPUTS,
        copies: F::COPIES,
        words: F::WORDS,
        is_linked: F::IS_LINKED,
    }
}

struct Constants {
    name: &'static str,
    tag: u8,
    inputs: [usize; 2],
    copies: bool,
    words: bool,
    is_linked: bool,
}

impl Op {
    /// The operator's name in the field, for reports.
    pub fn name(&self) -> &'static str {
        with_operator!(*self, op => constants(&op).name)
    }

    /// Its number in a step record.
    pub fn tag(&self) -> u8 {
        with_operator!(*self, op => constants(&op).tag)
    }

    /// What a step record says of it.
    pub fn record(&self) -> Record {
        with_operator!(*self, op => op.record())
    }

    /// Whether it only moves or compares values, so that its inputs and its result share their scale and zero point.
    pub fn copies(&self) -> bool {
        with_operator!(*self, op => constants(&op).copies)
    }

    /// Whether its weights are words, which must lie at a multiple of 4 in memory.
    pub fn has_word_weights(&self) -> bool {
        with_operator!(*self, op => constants(&op).words)
    }

    /// Whether some kernel of the operator is part of the program.
    #[inline(always)]
    pub fn is_linked(&self) -> bool {
        with_operator!(*self, op => constants(&op).is_linked)
    }

    /// The window that slides over its input, if one does.
    pub fn window(&self) -> Option<Window> {
        with_operator!(*self, op => op.window())
    }

    /// The same operator with another window; itself where it has none.
    pub fn with_window(&self, window: Window) -> Self {
        with_operator!(*self, op => op.with_window(window).into())
    }

    /// The same operator with so many channels of the output; itself where its input decides that.
    pub fn with_out_channels(&self, channels: u16) -> Self {
        with_operator!(*self, op => op.with_out_channels(channels).into())
    }

    /// Shape of the output for these inputs, or the rule they break.
    pub fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        let [least, most] = with_operator!(*self, op => constants(&op).inputs);
        if !(least..=most).contains(&inputs.len()) || !self.is_linked() {
            return Err(OpError::Arity);
        }
        if inputs.iter().any(|s| s.checked_len().is_none()) {
            return Err(OpError::Shape);
        }
        let out = with_operator!(*self, op => linked(&op, |op| op.out_shape(inputs)).unwrap_or(Err(OpError::Arity)))?;
        out.checked_len().map(|_| out).ok_or(OpError::Shape)
    }

    /// Multiply-accumulates of one inference, padding included, for an operator that takes `input` to `output`; those of
    /// the layer, however few a kernel gets by with.
    pub fn macs(&self, input: Shape, output: Shape) -> u64 {
        with_operator!(*self, op => op.macs(input, output))
    }

    /// What its time goes with: its multiply-accumulates, and the values that a pooling reads under its windows.
    pub fn work(&self, input: Shape, output: Shape) -> u64 {
        with_operator!(*self, op => op.work(input, output))
    }

    /// Number of parameters, with their layout in a plan:
    ///
    /// | op | weights | biases | multipliers |
    /// |---|---|---|---|
    /// | conv | `(out, kh, kw, in)` in pairs of filters: [`pair_index`] | `(out)` | `(out)` |
    /// | winograd | int16, two bytes each: [`winograd::index`] | `(out)` | `(out)` |
    /// | depthwise | `(kh, kw, c)` | `(c)` | `(c)` |
    /// | dense | `(out, h, w, c)`, each output's row zero-filled to [`row_bytes`] | `(out)` | `(out)` |
    /// | channel_scale | `(c)` | `(c)` | `(c)` |
    /// | avg_pool | | sum's offset `(c)` | `(c)` |
    /// | global_avg_pool | | sum's offset `(1)` | `(1)` |
    /// | add | | the factors of both inputs `(2)` and the sum's offset `(1)` | `(1)` |
    /// | mul | | | `(1)` |
    /// | matmul | | | `(1)` |
    /// | lut | `(256)`, result for -128 first | | |
    ///
    /// Biases already hold the input's zero point: `bias - zero * sum(weights)`.
    pub fn param_counts(&self, input: Shape, output: Shape) -> ParamCounts {
        with_operator!(*self, op => linked(&op, |op| op.param_counts(input, output)).unwrap_or_default())
    }

    /// Bytes of scratch memory that the engine's kernel needs to take `input` to `output`; the planner reserves exactly
    /// these.
    pub fn scratch_bytes(&self, input: Shape, output: Shape) -> usize {
        with_operator!(*self, op => linked(&op, |op| op.scratch_bytes(input, output)).unwrap_or(0))
    }

    /// Whether input `index` is read from top to bottom while the output is written; if not, it is needed whole.
    pub fn reads_rows(&self, index: usize) -> bool {
        // No step has an operator that is not linked: then the code for strips goes too, where no other needs it.
        with_operator!(*self, op => constants(&op).is_linked && op.reads_rows(index))
    }

    /// Name of the kernel that computes the operator for `input`: [`Op::name`], but a depthwise convolution has one for
    /// windows of 3x3, one for 5x5, and one for all others.
    pub fn kernel(&self, input: Shape) -> &'static str {
        with_operator!(*self, op => op.kernel(input))
    }

    /// Whether that kernel is part of the program.
    pub(crate) fn has_kernel(&self, input: Shape) -> bool {
        with_operator!(*self, op => op.has_kernel(input))
    }
}

/// What a linked operator answers: code that only others need is left out of the program.
#[inline(always)]
fn linked<F: Facts, R>(op: &F, ask: impl FnOnce(&F) -> R) -> Option<R> {
    if F::IS_LINKED { Some(ask(op)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_tell_operators_apart() {
        let distinct = |of: &dyn Fn(&Op) -> String| {
            let mut all: Vec<String> = Op::kinds().map(|op| of(&op)).collect();
            all.sort();
            all.dedup();
            all.len()
        };
        assert_eq!(distinct(&|op| op.name().into()), Op::kinds().len());
        assert_eq!(distinct(&|op| op.tag().to_string()), Op::kinds().len());
    }

    #[test]
    fn records_say_no_more_than_the_operator_has() {
        let window = Window { kernel: [1, 2], stride: [3, 4], pad: [5, 6, 7, 8] };
        for op in Op::kinds().map(|op| op.with_window(window)) {
            assert_eq!(Op::from_record(op.tag(), &op.record()), Some(op));
            let full = Record { window, out_channels: 9, own: [10, 11, 12, 13] };
            let stray = [
                Record { window, ..op.record() },
                Record { out_channels: 9, ..op.record() },
                Record { own: full.own, ..op.record() },
            ];
            for record in stray.into_iter().filter(|record| *record != op.record()) {
                let read = Op::from_record(op.tag(), &record);
                assert!(read.is_none_or(|read| read.record() == record), "{op:?}: {record:?}");
            }
            assert_eq!(Op::from_record(op.tag(), &full), None, "{op:?}");
        }
        assert_eq!(Op::from_record(0, &Record::default()), None);
    }
}
