//! A line of `net.layers`: one layer of a sequential network, in words.

mod window;
mod words;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use words::Words;

pub use window::{Filter, Pool};

/// What reads the image itself, in `from=image`.
pub const IMAGE: &str = "image";

/// One layer: `[NAME:] KIND [WORD...] [from=NAME] [KEY=VALUE...]`, such as `stem: conv 64 kernel=7 stride=2 bias=false`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerSpec {
    /// Its name, where it is not to be called by its kind and number.
    pub name: Option<String>,
    /// What it computes.
    pub op: LayerOp,
    /// The layer whose output it reads, by name, or [`IMAGE`]; by default the layer before it.
    pub from: Option<String>,
}

/// What a layer computes, with the words for it.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerOp {
    /// `conv CHANNELS`; see [`Filter`].
    Conv {
        /// Output channels.
        out_channels: u16,
        /// Its window.
        filter: Filter,
    },
    /// `depthwise`; see [`Filter`].
    Depthwise {
        /// Its window.
        filter: Filter,
    },
    /// `dense VALUES`: on all values of a map, in the order `(c, h, w)`.
    Dense {
        /// Output values.
        out_channels: u16,
        /// `l2=FACTOR` adds this times the sum of the squared weights to the loss.
        l2: f64,
    },
    /// `batch-norm`.
    BatchNorm {
        /// `epsilon=`, what is added to the variance; 1e-5 unless given.
        epsilon: f64,
    },
    /// An activation: `relu`, `relu6`, `sigmoid`, `silu`, `hard-sigmoid`, `hard-swish`.
    Activation(ActivationKind),
    /// `max-pool SIZE`.
    MaxPool(Pool),
    /// `avg-pool SIZE`.
    AvgPool(Pool),
    /// `global-avg-pool`.
    GlobalAvgPool,
    /// `flatten`.
    Flatten,
    /// `dropout RATE`.
    Dropout {
        /// Share of the values that become 0, in `[0, 1)`.
        rate: f64,
    },
    /// `add NAME`: adds that layer's output.
    Add(String),
    /// `mul NAME`: multiplies each channel of that layer's output by one of the factors that it reads.
    Mul(String),
    /// `concat NAME...`: puts its own input behind the channels of those layers' outputs.
    Concat(Vec<String>),
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the functions")]
pub enum ActivationKind {
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    HardSigmoid,
    HardSwish,
}

impl ActivationKind {
    const ALL: [Self; 6] = [Self::Relu, Self::Relu6, Self::Sigmoid, Self::Silu, Self::HardSigmoid, Self::HardSwish];

    fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::HardSigmoid => "hard-sigmoid",
            Self::HardSwish => "hard-swish",
        }
    }
}

impl LayerOp {
    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::Depthwise { .. } => "depthwise",
            Self::Dense { .. } => "dense",
            Self::BatchNorm { .. } => "batch-norm",
            Self::Activation(activation) => activation.name(),
            Self::MaxPool(_) => "max-pool",
            Self::AvgPool(_) => "avg-pool",
            Self::GlobalAvgPool => "global-avg-pool",
            Self::Flatten => "flatten",
            Self::Dropout { .. } => "dropout",
            Self::Add(_) => "add",
            Self::Mul(_) => "mul",
            Self::Concat(_) => "concat",
        }
    }

    /// Whether it has weights that a filter or a dense layer has.
    fn is_filter(&self) -> bool {
        matches!(self, Self::Conv { .. } | Self::Depthwise { .. } | Self::Dense { .. })
    }
}

impl From<LayerOp> for LayerSpec {
    fn from(op: LayerOp) -> Self {
        Self { name: None, op, from: None }
    }
}

/// The name of every layer: its own, or one by [`Names`].
pub fn names(layers: &[LayerSpec]) -> Vec<String> {
    let mut names = Names::default();
    layers.iter().map(|layer| names.of(layer)).collect()
}

/// Names layers, one after the other: by their kind and number, `conv1`, `conv2`. What follows a filter or a dense layer is called after
/// it, `conv1.batch-norm`, so that the two are frozen together.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// How many names begin so.
    counts: HashMap<String, u32>,
    /// What the last filter is called, up to its first dot.
    group: Option<String>,
}

impl Names {
    /// The name of the next layer.
    pub fn of(&mut self, layer: &LayerSpec) -> String {
        let kind = layer.op.kind();
        let name = match &layer.name {
            Some(name) => name.clone(),
            None if layer.op.is_filter() => self.numbered(kind, true),
            None => self.numbered(&format!("{}.{kind}", self.group.as_deref().unwrap_or(IMAGE)), false),
        };
        if layer.op.is_filter() {
            self.group = name.split('.').next().map(str::to_owned);
        }
        self.taken.insert(name.clone());
        name
    }

    /// The next name that begins so and is free; the first of them has a number where `all_have` one.
    fn numbered(&mut self, start: &str, all_have: bool) -> String {
        let count = self.counts.entry(start.to_owned()).or_default();
        loop {
            *count += 1;
            let name = if *count == 1 && !all_have { start.to_owned() } else { format!("{start}{count}") };
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }
}

impl FromStr for LayerSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).with_context(|| format!("net.layers: {text:?} is not a layer"))
    }
}

impl TryFrom<String> for LayerSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // What serde passes on is one line.
        text.parse().map_err(|error: anyhow::Error| format!("{error:#}"))
    }
}

impl From<LayerSpec> for String {
    fn from(layer: LayerSpec) -> Self {
        layer.to_string()
    }
}

fn parse(text: &str) -> Result<LayerSpec> {
    let (name, text) = match text.split_once(':') {
        Some((name, rest)) => (Some(words::name(name)?), rest),
        None => (None, text),
    };
    let (kind, mut words) = Words::of(text)?;
    let op = match kind {
        "conv" => LayerOp::Conv { out_channels: words.outputs()?, filter: words.filter()? },
        "depthwise" => LayerOp::Depthwise { filter: words.filter()? },
        "dense" => {
            let out_channels = words.outputs()?;
            let l2 = words.named("l2")?.unwrap_or(0.0);
            ensure!((0.0..1.0).contains(&l2), "its l2 = {l2} is not in [0, 1)");
            LayerOp::Dense { out_channels, l2 }
        }
        "batch-norm" => {
            let epsilon = words.named("epsilon")?.unwrap_or(EPSILON);
            ensure!(epsilon > 0.0 && epsilon < 1.0, "its epsilon = {epsilon} is not in (0, 1)");
            LayerOp::BatchNorm { epsilon }
        }
        "max-pool" => LayerOp::MaxPool(words.pool()?),
        "avg-pool" => LayerOp::AvgPool(words.pool()?),
        "global-avg-pool" => LayerOp::GlobalAvgPool,
        "flatten" => LayerOp::Flatten,
        "dropout" => {
            let rate = words.one("a drop rate")?;
            ensure!((0.0..1.0).contains(&rate), "the drop rate {rate} is not in [0, 1)");
            LayerOp::Dropout { rate }
        }
        "add" => LayerOp::Add(words.one("the name of a layer")?),
        "mul" => LayerOp::Mul(words.one("the name of a layer")?),
        "concat" => LayerOp::Concat(words.rest("the name of a layer")?),
        _ => match ActivationKind::ALL.into_iter().find(|activation| activation.name() == kind) {
            Some(activation) => LayerOp::Activation(activation),
            None => bail!(
                "there are conv, depthwise, dense, batch-norm, {}, max-pool, avg-pool, global-avg-pool, flatten, dropout, add, mul \
                 and concat",
                ActivationKind::ALL.map(ActivationKind::name).join(", ")
            ),
        },
    };
    let from = words.named("from")?;
    words.end(kind)?;
    Ok(LayerSpec { name, op, from })
}

/// What PyTorch's batch normalisation adds to the variance.
const EPSILON: f64 = 1e-5;

impl Display for LayerSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        f.write_str(self.op.kind())?;
        match &self.op {
            LayerOp::Conv { out_channels, filter } => write!(f, " {out_channels}{filter}")?,
            LayerOp::Depthwise { filter } => write!(f, "{filter}")?,
            LayerOp::Dense { out_channels, l2 } if *l2 > 0.0 => write!(f, " {out_channels} l2={l2}")?,
            LayerOp::Dense { out_channels, .. } => write!(f, " {out_channels}")?,
            LayerOp::BatchNorm { epsilon } if *epsilon != EPSILON => write!(f, " epsilon={epsilon}")?,
            LayerOp::MaxPool(pool) | LayerOp::AvgPool(pool) => write!(f, " {pool}")?,
            LayerOp::Dropout { rate } => write!(f, " {rate}")?,
            LayerOp::Add(name) | LayerOp::Mul(name) => write!(f, " {name}")?,
            LayerOp::Concat(names) => write!(f, " {}", names.join(" "))?,
            LayerOp::BatchNorm { .. } | LayerOp::Activation(_) | LayerOp::GlobalAvgPool | LayerOp::Flatten => {}
        }
        self.from.as_ref().map_or(Ok(()), |from| write!(f, " from={from}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        for line in [
            "conv 64",
            "conv 64 kernel=5 stride=2 padding=0 bias=false",
            "conv 64 kernel=1x7 stride=2x1 padding=0,3,1,3",
            "stem.conv: conv 8",
            "depthwise kernel=1",
            "dense 256 l2=0.0005",
            "batch-norm",
            "batch-norm epsilon=0.001",
            "hard-swish from=image",
            "max-pool 2",
            "max-pool 3 stride=2 padding=1",
            "avg-pool 2x3 stride=2",
            "global-avg-pool",
            "flatten",
            "dropout 0.25",
            "add conv1.relu from=conv2.batch-norm",
            "mul conv1",
            "concat conv1 conv2",
        ] {
            assert_eq!(line.parse::<LayerSpec>().unwrap().to_string(), line);
        }
        let conv: LayerSpec = "conv  8 kernel=5".parse().unwrap();
        assert_eq!(conv.op, LayerOp::Conv { out_channels: 8, filter: Filter::same(5) });
    }

    #[test]
    fn names_group_what_follows_a_filter() {
        let lines = [
            "relu",
            "conv 8",
            "batch-norm",
            "relu",
            "relu",
            "b.conv: conv 8",
            "add conv1.relu",
            "relu",
            "conv 4",
            "dense 2",
        ];
        let layers = lines.map(|line| line.parse().unwrap());
        let expected = [
            "image.relu",
            "conv1",
            "conv1.batch-norm",
            "conv1.relu",
            "conv1.relu2",
            "b.conv",
            "b.add",
            "b.relu",
            "conv2",
            "dense1",
        ];
        assert_eq!(names(&layers), expected);
    }

    #[test]
    fn what_is_no_layer_is_named() {
        for (line, reason) in [
            ("", "it is empty"),
            ("conv", "a number of outputs, 1 to 65535 is missing"),
            ("conv 0", "it has no outputs"),
            ("conv 70000", "\"70000\" is not a number of outputs, 1 to 65535"),
            ("conv 8 16", "\"16\" is one word too many"),
            ("conv 8 kernel=0", "its kernel is 0"),
            ("conv 8 kernel=300", "\"300\" is no kernel: give N or HxW, each at most 255"),
            ("conv 8 kernel=3x", "\"3x\" is no kernel: give N or HxW, each at most 255"),
            (
                "conv 8 padding=1,1",
                "\"1,1\" is no padding: give N, or those above, to the left, below and to the right",
            ),
            ("conv 8 bias=yes", "\"yes\" cannot be its bias"),
            ("conv 8 stride=1 stride=2", "conv has no stride, or it is given twice"),
            ("relu slope=1", "relu has no slope, or it is given twice"),
            ("max-pool 0", "its size is 0"),
            ("dropout 1", "the drop rate 1 is not in [0, 1)"),
            ("dense 8 l2=NaN", "its l2 = NaN is not in [0, 1)"),
            ("batch-norm epsilon=0", "its epsilon = 0 is not in (0, 1)"),
            ("concat", "the name of a layer is missing"),
            ("a b: relu", "\"a b\" cannot name a layer: letters, digits, and any of - _ . /"),
        ] {
            let error = format!("{:#}", line.parse::<LayerSpec>().unwrap_err());
            assert_eq!(error, format!("net.layers: {line:?} is not a layer: {reason}"));
        }
        let error = format!("{:#}", "lstm 8".parse::<LayerSpec>().unwrap_err());
        assert!(error.contains("there are conv, depthwise, dense, batch-norm, relu,"), "{error}");
    }
}
