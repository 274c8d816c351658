//! The closed set of operators, and everything that follows from an operator and its input shapes alone.
//!
//! Planner, engine and report call the same functions here, so none of them can disagree about a size.

use crate::shape::Shape;

mod linked;
mod strips;
pub mod winograd;

pub use linked::has_kernel;
pub use strips::{Strip, strip_ranges};

/// Most inputs that one operator can have.
pub const MAX_INPUTS: usize = 4;

/// A sliding window: kernel, stride and explicit zero padding, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Kernel rows and columns, each at least 1.
    pub kernel: [u8; 2],
    /// Step between outputs, down and right, each at least 1.
    pub stride: [u8; 2],
    /// Padding at top, left, bottom and right; each less than the kernel on its axis.
    pub pad: [u8; 4],
}

impl Window {
    /// A square window without padding.
    pub const fn valid(kernel: u8, stride: u8) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], pad: [0; 4] }
    }

    /// A square window of odd size at stride 1 whose output is as large as its input.
    pub const fn same(kernel: u8) -> Self {
        Self { kernel: [kernel; 2], stride: [1; 2], pad: [(kernel - 1) / 2; 4] }
    }

    /// Whether any side is padded.
    pub const fn is_padded(&self) -> bool {
        self.pad[0] | self.pad[1] | self.pad[2] | self.pad[3] != 0
    }

    /// Kernel rows times columns.
    pub const fn taps(&self) -> usize {
        self.kernel[0] as usize * self.kernel[1] as usize
    }

    /// Output rows and columns for `input`, or the rule that it breaks.
    fn out_size(&self, input: Shape) -> Result<(u16, u16), OpError> {
        let [kh, kw] = self.kernel;
        let [top, left, bottom, right] = self.pad;
        let axis = |size: u16, kernel: u8, stride: u8, before: u8, after: u8| {
            if kernel == 0 || stride == 0 || before >= kernel || after >= kernel {
                return Err(OpError::Window);
            }
            let padded = u32::from(size) + u32::from(before) + u32::from(after);
            let room = padded.checked_sub(u32::from(kernel)).ok_or(OpError::Window)?;
            u16::try_from(room / u32::from(stride) + 1).map_err(|_| OpError::Shape)
        };
        Ok((axis(input.h, kh, self.stride[0], top, bottom)?, axis(input.w, kw, self.stride[1], left, right)?))
    }
}

/// One layer's operator. Adding a variant makes the compiler name every place that must learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Convolution over all input channels.
    Conv {
        /// Kernel, stride, padding.
        window: Window,
        /// Channels of the output.
        out_channels: u16,
    },
    /// [`Self::Conv`] of 3x3 windows at stride 1 with fewer multiplications and larger weights: see [`winograd`].
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
}

/// How many parameters of each kind an operator carries in a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParamCounts {
    /// int8 values, in the layout that [`Op::param_counts`] documents.
    pub weights: usize,
    /// int32 values.
    pub biases: usize,
    /// f32 values.
    pub multipliers: usize,
}

/// Why an operator cannot take its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpError {
    /// It takes another number of inputs.
    Arity,
    /// Kernel, stride or padding is impossible or not supported for this input.
    Window,
    /// An axis is zero, too large, or differs between inputs that must agree.
    Shape,
}

impl core::fmt::Display for OpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Arity => "wrong number of inputs",
            Self::Window => "the window (kernel, stride, padding) does not fit its input",
            Self::Shape => "input shapes are empty, too large or do not agree",
        })
    }
}

impl core::error::Error for OpError {}

impl Op {
    /// The operator's name in the field, for reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::Winograd { .. } => "winograd",
            Self::Depthwise { .. } => "depthwise",
            Self::Dense { .. } => "dense",
            Self::MaxPool { .. } => "max_pool",
            Self::AvgPool { .. } => "avg_pool",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Lut => "lut",
            Self::Flatten => "flatten",
            Self::Concat => "concat",
            Self::ChannelScale => "channel_scale",
        }
    }

    /// Shape of the output for these inputs, or the rule they break.
    pub fn out_shape(&self, inputs: &[Shape]) -> Result<Shape, OpError> {
        let arity = match self {
            Self::Add | Self::Mul => 2..=2,
            Self::Concat => 2..=MAX_INPUTS,
            _ => 1..=1,
        };
        if !arity.contains(&inputs.len()) || !self.is_linked() {
            return Err(OpError::Arity);
        }
        if inputs.iter().any(|s| s.checked_len().is_none()) {
            return Err(OpError::Shape);
        }
        let x = inputs[0];
        let out = match *self {
            Self::Winograd { window, out_channels } if !winograd::takes(&window, x, out_channels) => {
                return Err(OpError::Window);
            }
            Self::Conv { window, out_channels } | Self::Winograd { window, out_channels } => {
                let (h, w) = window.out_size(x)?;
                Shape::new(h, w, out_channels)
            }
            Self::AvgPool { window } if window.is_padded() => return Err(OpError::Window),
            Self::Depthwise { window } | Self::MaxPool { window } | Self::AvgPool { window } => {
                let (h, w) = window.out_size(x)?;
                Shape::new(h, w, x.c)
            }
            Self::Dense { out_channels } => Shape::vector(out_channels),
            Self::GlobalAvgPool => Shape::vector(x.c),
            Self::Flatten => Shape::vector(u16::try_from(x.len()).map_err(|_| OpError::Shape)?),
            Self::Add if inputs[1] != x => return Err(OpError::Shape),
            Self::Mul if inputs[1] != Shape::vector(x.c) => return Err(OpError::Shape),
            Self::Concat => {
                let mut c = 0u16;
                for s in inputs {
                    if (s.h, s.w) != (x.h, x.w) {
                        return Err(OpError::Shape);
                    }
                    c = c.checked_add(s.c).ok_or(OpError::Shape)?;
                }
                Shape::new(x.h, x.w, c)
            }
            Self::Add | Self::Mul | Self::Lut | Self::ChannelScale => x,
        };
        out.checked_len().map(|_| out).ok_or(OpError::Shape)
    }

    /// Multiply-accumulates of one inference, padding included, for an operator that takes `input` to `output`; those of
    /// the layer, however few a kernel gets by with.
    pub const fn macs(&self, input: Shape, output: Shape) -> u64 {
        let out = output.len() as u64;
        match self {
            Self::Conv { window, .. } | Self::Winograd { window, .. } => out * window.taps() as u64 * input.c as u64,
            Self::Depthwise { window } => out * window.taps() as u64,
            Self::Dense { .. } => out * input.len() as u64,
            Self::ChannelScale => out,
            _ => 0,
        }
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
    /// | lut | `(256)`, result for -128 first | | |
    ///
    /// Biases already hold the input's zero point: `bias - zero * sum(weights)`.
    pub fn param_counts(&self, input: Shape, output: Shape) -> ParamCounts {
        // Saturating: a count that leaves 32 bits is one that no file can hold, and must not wrap into one that it can.
        let c = output.c as usize;
        let filters = |weights| ParamCounts { weights, biases: c, multipliers: c };
        match self {
            _ if !self.is_linked() => ParamCounts::default(),
            Self::Conv { window, .. } => {
                filters(c.next_multiple_of(2).saturating_mul(row_bytes(window.taps() * input.c as usize)))
            }
            Self::Winograd { .. } => filters((c / 2).saturating_mul(winograd::pair_bytes(input.c.into()))),
            Self::Dense { .. } => filters(c.saturating_mul(row_bytes(input.len()))),
            Self::Depthwise { window } => filters(c * window.taps()),
            Self::ChannelScale => filters(c),
            Self::AvgPool { .. } => filters(0),
            Self::GlobalAvgPool => ParamCounts { weights: 0, biases: 1, multipliers: 1 },
            Self::Add => ParamCounts { weights: 0, biases: 3, multipliers: 1 },
            Self::Mul => ParamCounts { weights: 0, biases: 0, multipliers: 1 },
            Self::Lut => ParamCounts { weights: 256, ..ParamCounts::default() },
            Self::MaxPool { .. } | Self::Flatten | Self::Concat => ParamCounts::default(),
        }
    }

    /// Bytes of scratch memory that the engine's kernel needs for `input`; the planner reserves exactly these.
    ///
    /// Convolutions gather the input under the window of [`PATCHES`] neighbouring outputs, each value widened to 16
    /// bits, at a multiple of 4 bytes; one more patch is gathered before it is widened. Depthwise convolutions keep
    /// [`Bands`] of their input.
    pub fn scratch_bytes(&self, input: Shape) -> usize {
        match self {
            _ if !self.is_linked() => 0,
            Self::Depthwise { window } => Bands::new(window, input).map_or(0, |bands| bands.scratch_bytes()),
            Self::Conv { window, .. } => {
                (2 * PATCHES + 1).saturating_mul(row_bytes(window.taps() * input.c as usize)).saturating_add(4)
            }
            Self::Winograd { .. } => winograd::scratch_bytes(input.c.into()),
            _ => 0,
        }
    }
}

/// How a 3x3 or 5x5 depthwise convolution is cut into pieces: [`Bands::CHANNELS`] channels and as many rows as a little memory
/// holds, with every channel's pixels together and widened to 16 bits.
///
/// Two neighbouring pixels make a 32-bit word. The memory holds the words of one channel after those of the other, each
/// row after row; then the weights of these channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Rows and columns of the window, 3 or 5.
    pub kernel: usize,
    /// Outputs of a row.
    pub out_width: usize,
    /// Most rows of outputs in a band.
    pub out_rows: usize,
    /// Rows of input that such a band needs, padding included.
    pub rows: usize,
    /// Words of a row, padding included.
    pub row_words: usize,
}

impl Bands {
    /// Channels of a band.
    pub const CHANNELS: usize = 4;
    /// Neighbouring outputs that are computed together.
    pub const OUTPUTS: usize = 4;
    /// Words of input that a band aims to stay within.
    const WORDS: usize = 1024;

    /// The bands of a depthwise convolution of `input`; nothing where the window is of another kind or there are fewer
    /// channels than a band has.
    pub fn new(window: &Window, input: Shape) -> Option<Self> {
        let [down, right] = window.stride.map(usize::from);
        let kernel = usize::from(window.kernel[0]);
        let is_known = matches!(window.kernel, [3, 3] | [5, 5]) && (1..=2).contains(&right);
        if !is_known || usize::from(input.c) < Self::CHANNELS {
            return None;
        }
        let (out_height, out_width) = window.out_size(input).ok()?;
        let out_width = usize::from(out_width);
        let row_words = out_width.div_ceil(Self::OUTPUTS) * (Self::OUTPUTS / 2) * right + kernel / 2;
        let rows = (Self::WORDS / Self::CHANNELS / row_words).max(kernel);
        let out_rows = ((rows - kernel) / down + 1).min(out_height.into());
        Some(Self { kernel, out_width, out_rows, rows: (out_rows - 1) * down + kernel, row_words })
    }

    /// Words of a channel's weights: for each row of the window, every weight but the last with its right neighbour.
    pub const fn weight_words(&self) -> usize {
        self.kernel * (self.kernel - 1)
    }

    /// Words of one channel of a band.
    pub const fn plane_words(&self) -> usize {
        self.rows * self.row_words
    }

    /// Bytes of memory for a band and its weights, at any alignment.
    pub const fn scratch_bytes(&self) -> usize {
        4 * Self::CHANNELS * (self.plane_words() + self.weight_words()) + 4
    }
}

/// Outputs that the convolution kernel computes together.
pub const PATCHES: usize = 3;

/// Values of one filter that lie together in a pair of filters.
pub const BLOCK: usize = 16;

/// Where value `k` of `filter` lies among the weights of a convolution whose filters have [`row_bytes`] `row`.
///
/// Kernels read two filters at a time with one pointer: a block of [`BLOCK`] values of the one, then as many of the
/// other, and so on; what does not fill the last block makes a shorter one. Filters are zero-filled to `row`, and where
/// their number is odd, so is the other half of the last pair.
pub const fn pair_index(filter: usize, k: usize, row: usize) -> usize {
    let start = k / BLOCK * BLOCK;
    let len = if row - start < BLOCK { row - start } else { BLOCK };
    filter / 2 * 2 * row + 2 * start + filter % 2 * len + k % BLOCK
}

/// Length of a row of `len` int8 values once filled up to whole 32-bit words.
pub const fn row_bytes(len: usize) -> usize {
    len.saturating_add(3) & !3
}
