//! Stages of mobile inverted bottlenecks (Sandler et al., <https://arxiv.org/abs/1801.04381>), of which MobileNetV2 and the
//! EfficientNets are made: a stem, blocks, a pointwise convolution on top.
//!
//! Layers are called `stem`, `block1.expand`, `block1.depthwise`, `block1.se.reduce`, `block1.project`, ..., `top`,
//! each with `.bn` and `.act` behind it where it has them; blocks are counted through all stages.

use super::{Builder, Function, LayerKind, window};
use crate::recipe::Padding;
use anyhow::Result;
use ocellus_shared::{Op, Shape};

/// What a block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A full convolution alone.
    Conv,
    /// A full convolution to more channels, a pointwise one to fewer.
    Fused,
    /// A depthwise convolution, a pointwise one to fewer channels.
    Separable,
    /// A pointwise convolution to more channels, a depthwise one, a pointwise one to fewer.
    Inverted,
}

/// Blocks that are alike.
#[derive(Debug)]
pub(super) struct Stage {
    kind: BlockKind,
    repeats: u32,
    kernel: u8,
    /// Of the first block.
    stride: u8,
    /// Channels inside a block for each of its input.
    expand: u16,
    channels: u16,
}

pub(super) const fn stage(kind: BlockKind, repeats: u32, kernel: u8, stride: u8, expand: u16, channels: u16) -> Stage {
    Stage { kind, repeats, kernel, stride, expand, channels }
}

/// Channels are multiples of this.
const DIVISOR: f64 = 8.0;
/// The squeezed channels of a squeeze-excite for each channel of its block's input.
const SQUEEZE: f64 = 0.25;

/// `channels` of a network `width` times as wide: to the nearest multiple of [`DIVISOR`], but never 10 % fewer.
pub(super) fn scaled(channels: u16, width: f64) -> u16 {
    let wanted = f64::from(channels) * width;
    let nearest = ((wanted / DIVISOR + 0.5).floor() * DIVISOR).max(DIVISOR);
    (if nearest < 0.9 * wanted { nearest + DIVISOR } else { nearest }) as u16
}

/// What tells one network from another.
#[derive(Debug)]
pub(super) struct Design {
    /// What the channels of all stages are multiplied by.
    pub width: f64,
    /// What the numbers of their blocks are multiplied by.
    pub depth: f64,
    pub stages: &'static [Stage],
    /// Channels of the stem as it is.
    pub stem: u16,
    /// Channels of the top as it is.
    pub top: u16,
    /// Whether the first and the last stage have as many blocks at any depth.
    pub fixed_ends: bool,
    /// Whether its depthwise blocks have a squeeze-excite.
    pub squeezes: bool,
    /// After every convolution but those that end a block.
    pub activation: LayerKind,
}

/// One block of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its stage, from 0.
    pub stage: usize,
    /// Its place in the stage, from 0.
    pub index: u32,
    /// What it is made of.
    pub kind: BlockKind,
    /// Rows and columns of its only window larger than 1.
    kernel: u8,
    stride: u8,
    /// Channels between its first and its last convolution.
    inner: u16,
    /// Channels of its result.
    channels: u16,
    /// Channels in the middle of its squeeze-excite, where it has one.
    pub squeezed: Option<u16>,
}

impl Design {
    /// Its blocks in the order they run.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut input = self.stem;
        for (s, stage) in self.stages.iter().enumerate() {
            for index in 0..self.repeats(s) {
                let channels = scaled(stage.channels, self.width);
                let squeezed = (f64::from(input) * SQUEEZE).round().max(1.0) as u16;
                blocks.push(Block {
                    stage: s,
                    index,
                    kind: stage.kind,
                    kernel: stage.kernel,
                    stride: if index == 0 { stage.stride } else { 1 },
                    inner: input * stage.expand,
                    channels,
                    squeezed: (self.squeezes && stage.is_depthwise()).then_some(squeezed),
                });
                input = channels;
            }
        }
        blocks
    }

    fn repeats(&self, index: usize) -> u32 {
        let fixed = self.fixed_ends && (index == 0 || index + 1 == self.stages.len());
        let repeats = self.stages[index].repeats;
        if fixed { repeats } else { (f64::from(repeats) * self.depth).ceil() as u32 }
    }

    /// Its layers below the head for images of `input` size, padded as `padding` says, with `epsilon` added to the
    /// variances.
    ///
    /// # Errors
    /// The layers do not fit together; names the layer.
    pub fn backbone(&self, padding: Padding, epsilon: f64, input: Shape) -> Result<Builder> {
        let mut net = Assembly { net: Builder::new(input), padding, epsilon, activation: self.activation };
        net.convolution("stem", 3, 2, self.stem)?;
        net.activate("stem");
        for (i, block) in self.blocks().iter().enumerate() {
            net.block(&format!("block{}", i + 1), block)?;
        }
        net.convolution("top", 1, 1, self.top)?;
        net.activate("top");
        Ok(net.net)
    }
}

impl Stage {
    fn is_depthwise(&self) -> bool {
        matches!(self.kind, BlockKind::Separable | BlockKind::Inverted)
    }
}

/// A network on its way, and what all its layers share.
struct Assembly {
    net: Builder,
    padding: Padding,
    epsilon: f64,
    activation: LayerKind,
}

impl Assembly {
    /// A convolution with its normalisation.
    fn convolution(&mut self, name: &str, kernel: u8, stride: u8, out_channels: u16) -> Result<()> {
        let window = window(self.padding, kernel, stride, self.net.shape());
        self.filter(name, Op::Conv { window, out_channels })
    }

    /// A depthwise convolution with its normalisation.
    fn depthwise(&mut self, name: &str, kernel: u8, stride: u8) -> Result<()> {
        let window = window(self.padding, kernel, stride, self.net.shape());
        self.filter(name, Op::Depthwise { window })
    }

    fn filter(&mut self, name: &str, op: Op) -> Result<()> {
        self.net.filter(name, op, false)?;
        self.net.batch_norm(&format!("{name}.bn"), self.epsilon);
        Ok(())
    }

    fn activate(&mut self, name: &str) {
        self.net.unary(&format!("{name}.act"), self.activation);
    }

    fn block(&mut self, name: &str, block: &Block) -> Result<()> {
        let (input, shape) = (self.net.value(), self.net.shape());
        let [expand, depthwise, project] = ["expand", "depthwise", "project"].map(|part| format!("{name}.{part}"));
        let Block { kernel, stride, inner, channels, .. } = *block;
        match block.kind {
            BlockKind::Conv => {
                self.convolution(&expand, kernel, stride, channels)?;
                self.activate(&expand);
            }
            BlockKind::Fused => {
                self.convolution(&expand, kernel, stride, inner)?;
                self.activate(&expand);
            }
            BlockKind::Separable | BlockKind::Inverted => {
                if block.kind == BlockKind::Inverted {
                    self.convolution(&expand, 1, 1, inner)?;
                    self.activate(&expand);
                }
                self.depthwise(&depthwise, kernel, stride)?;
                self.activate(&depthwise);
            }
        }
        if let Some(squeezed) = block.squeezed {
            self.squeeze_excite(&format!("{name}.se"), squeezed)?;
        }
        if block.kind != BlockKind::Conv {
            self.convolution(&project, 1, 1, channels)?;
        }
        if self.net.shape() == shape && stride == 1 {
            self.net.join(&format!("{name}.add"), Op::Add, input)?;
        }
        Ok(())
    }

    /// Scales each channel by what two dense layers make of all channels' means
    /// (<https://arxiv.org/abs/1709.01507>).
    fn squeeze_excite(&mut self, name: &str, squeezed: u16) -> Result<()> {
        let (map, channels) = (self.net.value(), self.net.shape().c);
        let part = |part: &str| format!("{name}.{part}");
        self.net.op(&part("pool"), Op::GlobalAvgPool)?;
        self.net.dense(&part("reduce"), squeezed)?;
        self.activate(&part("reduce"));
        self.net.dense(&part("expand"), channels)?;
        self.net.unary(&part("gate"), LayerKind::Function(Function::Sigmoid));
        self.net.join(&part("scale"), Op::Mul, map)
    }
}
