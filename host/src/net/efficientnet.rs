//! EfficientNets: stages of mobile inverted bottlenecks (MBConv).
//!
//! The first version (Tan and Le, <https://arxiv.org/abs/1905.11946>, table 1) widens and deepens one base network;
//! `lite` is its form without squeeze-excite and with ReLU6. A lite network never scales the widths of its stem and top, nor
//! how many blocks its first and last stages have
//! (<https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>). The second version
//! (<https://arxiv.org/abs/2104.00298>, table 4) has fused blocks, one full convolution for the first two of an MBConv,
//! in its early stages.
//!
//! | name | width | depth | image | parameters at 1000 classes | MACs |
//! |---|---|---|---|---|---|
//! | `efficientnet-lite0` | 1.0 | 1.0 | 224 | 4.65 M | 0.40 G |
//! | `efficientnet-lite1` | 1.0 | 1.1 | 240 | 5.42 M | 0.63 G |
//! | `efficientnet-lite2` | 1.1 | 1.2 | 260 | 6.09 M | 0.90 G |
//! | `efficientnet-lite3` | 1.2 | 1.4 | 280 | 8.20 M | 1.44 G |
//! | `efficientnet-lite4` | 1.4 | 1.8 | 300 | 13.01 M | 2.64 G |
//! | `efficientnet-b0` | 1.0 | 1.0 | 224 | 5.29 M | 0.39 G |
//! | `efficientnet-b2` | 1.1 | 1.2 | 260 | 9.11 M | 1.0 G |
//! | `efficientnet-b4` | 1.4 | 1.8 | 380 | 19.34 M | 4.4 G |
//! | `efficientnetv2-b1` | 1.0 | 1.1 | 240 | 8.14 M | 1.2 G |
//! | `efficientnetv2-s` | 1.0 | 1.0 | 384 | 21.46 M | 8.4 G |
//!
//! Layers are called `stem`, `block1.expand`, `block1.depthwise`, `block1.se.reduce`, `block1.project`, ..., `top`,
//! each with `.bn` and `.act` behind it where it has them; blocks are counted through all stages.

use super::{Builder, Function, LayerKind, Network, TENSORFLOW_EPSILON, head, window};
use crate::recipe::{Model, NetRecipe, Padding};
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
struct Stage {
    kind: BlockKind,
    repeats: u32,
    kernel: u8,
    /// Of the first block.
    stride: u8,
    /// Channels inside a block for each of its input.
    expand: u16,
    channels: u16,
}

const fn stage(kind: BlockKind, repeats: u32, kernel: u8, stride: u8, expand: u16, channels: u16) -> Stage {
    Stage { kind, repeats, kernel, stride, expand, channels }
}

const VERSION_1: &[Stage] = &[
    stage(BlockKind::Separable, 1, 3, 1, 1, 16),
    stage(BlockKind::Inverted, 2, 3, 2, 6, 24),
    stage(BlockKind::Inverted, 2, 5, 2, 6, 40),
    stage(BlockKind::Inverted, 3, 3, 2, 6, 80),
    stage(BlockKind::Inverted, 3, 5, 1, 6, 112),
    stage(BlockKind::Inverted, 4, 5, 2, 6, 192),
    stage(BlockKind::Inverted, 1, 3, 1, 6, 320),
];

const VERSION_2_BASE: &[Stage] = &[
    stage(BlockKind::Conv, 1, 3, 1, 1, 16),
    stage(BlockKind::Fused, 2, 3, 2, 4, 32),
    stage(BlockKind::Fused, 2, 3, 2, 4, 48),
    stage(BlockKind::Inverted, 3, 3, 2, 4, 96),
    stage(BlockKind::Inverted, 5, 3, 1, 6, 112),
    stage(BlockKind::Inverted, 8, 3, 2, 6, 192),
];

const VERSION_2_SMALL: &[Stage] = &[
    stage(BlockKind::Conv, 2, 3, 1, 1, 24),
    stage(BlockKind::Fused, 4, 3, 2, 4, 48),
    stage(BlockKind::Fused, 4, 3, 2, 4, 64),
    stage(BlockKind::Inverted, 6, 3, 2, 4, 128),
    stage(BlockKind::Inverted, 9, 3, 1, 6, 160),
    stage(BlockKind::Inverted, 15, 3, 2, 6, 256),
];

/// Channels of the top of all of them, before they are scaled.
const TOP: u16 = 1280;
/// Channels are multiples of this.
const DIVISOR: f64 = 8.0;
/// The squeezed channels of a squeeze-excite for each channel of its block's input.
const SQUEEZE: f64 = 0.25;

/// What tells one network from another.
struct Config {
    width: f64,
    depth: f64,
    stages: &'static [Stage],
    stem: u16,
    /// Whether it is a lite one.
    lite: bool,
}

impl Config {
    fn of(model: Model) -> Self {
        let first = |width, depth| Self { width, depth, stages: VERSION_1, stem: 32, lite: model.is_lite() };
        match model {
            Model::EfficientNetLite1 => first(1.0, 1.1),
            Model::EfficientNetB2 | Model::EfficientNetLite2 => first(1.1, 1.2),
            Model::EfficientNetLite3 => first(1.2, 1.4),
            Model::EfficientNetB4 | Model::EfficientNetLite4 => first(1.4, 1.8),
            Model::EfficientNetV2B1 => Self { stages: VERSION_2_BASE, ..first(1.0, 1.1) },
            Model::EfficientNetV2S => Self { stages: VERSION_2_SMALL, stem: 24, ..first(1.0, 1.0) },
            _ => first(1.0, 1.0),
        }
    }

    /// Scaled channels: to the nearest multiple of [`DIVISOR`], but never 10 % fewer.
    fn round(&self, channels: u16) -> u16 {
        let wanted = f64::from(channels) * self.width;
        let nearest = ((wanted / DIVISOR + 0.5).floor() * DIVISOR).max(DIVISOR);
        (if nearest < 0.9 * wanted { nearest + DIVISOR } else { nearest }) as u16
    }

    /// Channels of the stem and the top, which a lite network does not scale.
    fn end(&self, channels: u16) -> u16 {
        if self.lite { channels } else { self.round(channels) }
    }

    fn repeats(&self, index: usize) -> u32 {
        let fixed = self.lite && (index == 0 || index + 1 == self.stages.len());
        let repeats = self.stages[index].repeats;
        if fixed { repeats } else { (f64::from(repeats) * self.depth).ceil() as u32 }
    }

    /// Whether blocks of this kind have a squeeze-excite.
    fn squeezes(&self, kind: BlockKind) -> bool {
        !self.lite && matches!(kind, BlockKind::Separable | BlockKind::Inverted)
    }
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

/// The blocks of the network `model`, which is an EfficientNet, in the order they run.
pub fn blocks(model: Model) -> Vec<Block> {
    let config = Config::of(model);
    let mut blocks = Vec::new();
    let mut input = config.end(config.stem);
    for (s, stage) in config.stages.iter().enumerate() {
        for index in 0..config.repeats(s) {
            let channels = config.round(stage.channels);
            let squeezed = (f64::from(input) * SQUEEZE).round().max(1.0) as u16;
            blocks.push(Block {
                stage: s,
                index,
                kind: stage.kind,
                kernel: stage.kernel,
                stride: if index == 0 { stage.stride } else { 1 },
                inner: input * stage.expand,
                channels,
                squeezed: config.squeezes(stage.kind).then_some(squeezed),
            });
            input = channels;
        }
    }
    blocks
}

/// Writes down the network `model`, which is an EfficientNet, for images of `input` size and `classes` classes.
///
/// # Errors
/// The layers do not fit together; names the layer.
pub fn build(model: Model, recipe: &NetRecipe, input: Shape, classes: u16) -> Result<Network> {
    let config = Config::of(model);
    let mut net = Assembly {
        net: Builder::new(input),
        padding: recipe.padding,
        epsilon: recipe.bn_epsilon.unwrap_or(TENSORFLOW_EPSILON),
        activation: if config.lite { LayerKind::Relu6 } else { LayerKind::Function(Function::Silu) },
    };
    net.convolution("stem", 3, 2, config.end(config.stem))?;
    net.activate("stem");
    for (i, block) in blocks(model).iter().enumerate() {
        net.block(&format!("block{}", i + 1), block)?;
    }
    net.convolution("top", 1, 1, config.end(TOP))?;
    net.activate("top");
    head::build(&mut net.net, recipe, recipe.head_dropout, classes)?;
    Ok(net.net.finish())
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
