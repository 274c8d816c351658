//! A line of `net.layers`: one layer of a sequential network, in words.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// One layer on the one before it, such as `conv 64 kernel=3 stride=1 padding=0 bias=false`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LayerSpec {
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
    BatchNorm,
    /// An activation: `relu`, `relu6`, `sigmoid`, `silu`, `hard-sigmoid`, `hard-swish`.
    Activation(ActivationKind),
    /// `max-pool SIZE`, `stride=` that size unless given.
    MaxPool {
        /// Height and width of its window.
        size: u8,
        /// Its step.
        stride: u8,
    },
    /// `avg-pool SIZE`, likewise.
    AvgPool {
        /// Height and width of its window.
        size: u8,
        /// Its step.
        stride: u8,
    },
    /// `global-avg-pool`.
    GlobalAvgPool,
    /// `flatten`.
    Flatten,
    /// `dropout RATE`.
    Dropout {
        /// Share of the values that become 0, in `[0, 1)`.
        rate: f64,
    },
}

/// `kernel=3`, `stride=1`, `padding=` half of the kernel on every side, and `bias=true` unless given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Height and width of the window.
    pub kernel: u8,
    /// Its step.
    pub stride: u8,
    /// Zeros on every side.
    pub padding: u8,
    /// Whether each output channel has a bias.
    pub bias: bool,
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

/// A line, taken word by word.
struct Words<'a> {
    /// What stands without a name.
    plain: Vec<&'a str>,
    /// `name=value`.
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    /// The one word without a name, which is `what`.
    fn one<T: FromStr>(&mut self, what: &str) -> Result<T> {
        ensure!(!self.plain.is_empty(), "{what} is missing");
        let word = self.plain.remove(0);
        word.parse().ok().with_context(|| format!("{word:?} is not {what}"))
    }

    /// The value of `name`, if it is there.
    fn named<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(at) = self.named.iter().position(|&(given, _)| given == name) else { return Ok(None) };
        let (_, value) = self.named.remove(at);
        value.parse().ok().map(Some).with_context(|| format!("{value:?} cannot be its {name}"))
    }

    /// A size that is not 0.
    fn size(&mut self, name: &str) -> Result<Option<u8>> {
        let size = self.named(name)?;
        ensure!(size != Some(0), "its {name} is 0");
        Ok(size)
    }

    fn filter(&mut self) -> Result<Filter> {
        let kernel = self.size("kernel")?.unwrap_or(3);
        Ok(Filter {
            kernel,
            stride: self.size("stride")?.unwrap_or(1),
            padding: self.named("padding")?.unwrap_or(kernel / 2),
            bias: self.named("bias")?.unwrap_or(true),
        })
    }

    fn pool(&mut self) -> Result<(u8, u8)> {
        let size = self.one("the size of a window, 1 to 255")?;
        ensure!(size > 0, "the size of its window is 0");
        Ok((size, self.size("stride")?.unwrap_or(size)))
    }

    /// How many outputs there are.
    fn outputs(&mut self) -> Result<u16> {
        let outputs = self.one("a number of outputs, 1 to 65535")?;
        ensure!(outputs > 0, "it has no outputs");
        Ok(outputs)
    }
}

fn parse(text: &str) -> Result<LayerSpec> {
    let mut words = text.split_whitespace();
    let kind = words.next().context("it is empty")?;
    let (named, plain): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains('='));
    let mut words = Words { plain, named: named.into_iter().filter_map(|word| word.split_once('=')).collect() };
    let layer = match kind {
        "conv" => LayerSpec::Conv { out_channels: words.outputs()?, filter: words.filter()? },
        "depthwise" => LayerSpec::Depthwise { filter: words.filter()? },
        "dense" => {
            let out_channels = words.outputs()?;
            let l2 = words.named("l2")?.unwrap_or(0.0);
            ensure!((0.0..1.0).contains(&l2), "its l2 = {l2} is not in [0, 1)");
            LayerSpec::Dense { out_channels, l2 }
        }
        "batch-norm" => LayerSpec::BatchNorm,
        "max-pool" => words.pool().map(|(size, stride)| LayerSpec::MaxPool { size, stride })?,
        "avg-pool" => words.pool().map(|(size, stride)| LayerSpec::AvgPool { size, stride })?,
        "global-avg-pool" => LayerSpec::GlobalAvgPool,
        "flatten" => LayerSpec::Flatten,
        "dropout" => {
            let rate = words.one("a drop rate")?;
            ensure!((0.0..1.0).contains(&rate), "the drop rate {rate} is not in [0, 1)");
            LayerSpec::Dropout { rate }
        }
        _ => match ActivationKind::ALL.into_iter().find(|activation| activation.name() == kind) {
            Some(activation) => LayerSpec::Activation(activation),
            None => bail!(
                "there are conv, depthwise, dense, batch-norm, {}, max-pool, avg-pool, global-avg-pool, flatten and dropout",
                ActivationKind::ALL.map(ActivationKind::name).join(", ")
            ),
        },
    };
    if let Some(word) = words.plain.first() {
        bail!("{word:?} is one word too many");
    }
    if let Some((name, _)) = words.named.first() {
        bail!("{kind} has no {name}, or it is given twice");
    }
    Ok(layer)
}

impl Display for LayerSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conv { out_channels, filter } => write!(f, "conv {out_channels}{filter}"),
            Self::Depthwise { filter } => write!(f, "depthwise{filter}"),
            Self::Dense { out_channels, l2 } if *l2 > 0.0 => write!(f, "dense {out_channels} l2={l2}"),
            Self::Dense { out_channels, .. } => write!(f, "dense {out_channels}"),
            Self::BatchNorm => f.write_str("batch-norm"),
            Self::Activation(activation) => f.write_str(activation.name()),
            Self::MaxPool { size, stride } => pool(f, "max-pool", *size, *stride),
            Self::AvgPool { size, stride } => pool(f, "avg-pool", *size, *stride),
            Self::GlobalAvgPool => f.write_str("global-avg-pool"),
            Self::Flatten => f.write_str("flatten"),
            Self::Dropout { rate } => write!(f, "dropout {rate}"),
        }
    }
}

fn pool(f: &mut Formatter<'_>, name: &str, size: u8, stride: u8) -> fmt::Result {
    write!(f, "{name} {size}")?;
    if stride == size { Ok(()) } else { write!(f, " stride={stride}") }
}

/// What is not the default.
impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kernel, stride, padding, bias } = *self;
        if kernel != 3 {
            write!(f, " kernel={kernel}")?;
        }
        if stride != 1 {
            write!(f, " stride={stride}")?;
        }
        if padding != kernel / 2 {
            write!(f, " padding={padding}")?;
        }
        if bias { Ok(()) } else { f.write_str(" bias=false") }
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
            "depthwise kernel=1",
            "dense 256 l2=0.0005",
            "batch-norm",
            "hard-swish",
            "max-pool 2",
            "avg-pool 3 stride=2",
            "global-avg-pool",
            "flatten",
            "dropout 0.25",
        ] {
            assert_eq!(line.parse::<LayerSpec>().unwrap().to_string(), line);
        }
        let filter = Filter { kernel: 5, stride: 1, padding: 2, bias: true };
        assert_eq!("conv  8 kernel=5".parse::<LayerSpec>().unwrap(), LayerSpec::Conv { out_channels: 8, filter });
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
            ("conv 8 kernel=300", "\"300\" cannot be its kernel"),
            ("conv 8 bias=yes", "\"yes\" cannot be its bias"),
            ("conv 8 stride=1 stride=2", "conv has no stride, or it is given twice"),
            ("relu slope=1", "relu has no slope, or it is given twice"),
            ("max-pool 0", "the size of its window is 0"),
            ("dropout 1", "the drop rate 1 is not in [0, 1)"),
            ("dense 8 l2=NaN", "its l2 = NaN is not in [0, 1)"),
        ] {
            let error = format!("{:#}", line.parse::<LayerSpec>().unwrap_err());
            assert_eq!(error, format!("net.layers: {line:?} is not a layer: {reason}"));
        }
        let error = format!("{:#}", "lstm 8".parse::<LayerSpec>().unwrap_err());
        assert!(error.contains("there are conv, depthwise, dense, batch-norm, relu,"), "{error}");
    }
}
