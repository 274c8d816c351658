//! The kinds of layers, one file each: what each of them computes while it is trained, and its way back.

mod batch_norm;
mod conv;
mod dense;
mod depthwise;
mod dropout;
mod flatten;
mod function;
mod join;
mod max_pool;
mod mean;
mod relu;
#[cfg(test)]
mod testing;

pub(super) use batch_norm::{BatchNorm, Moments};

use super::LayerKind;
use super::layer::Compute;
use conv::Conv;
pub(super) use conv::Then;
use dense::Dense;
use depthwise::Depthwise;
use dropout::Dropout;
use flatten::Flatten;
use join::{Add, Concat, Mul};
use max_pool::MaxPool;
use mean::{AvgPool, GlobalAvgPool};
use ocellus_shared::Op;
use relu::Relu;

/// What a layer of `kind` computes; nothing for operators that exist only after training.
pub(super) fn of(kind: &LayerKind) -> Option<Box<dyn Compute>> {
    Some(match *kind {
        LayerKind::Op { op, bias } => match op {
            Op::Conv { window, out_channels } | Op::Winograd { window, out_channels } => {
                Box::new(Conv { window, out_channels: out_channels.into(), bias, then: Then::default() })
            }
            Op::Depthwise { window } => Box::new(Depthwise { window, bias, then: Then::default() }),
            Op::Dense { out_channels } => Box::new(Dense { out_channels: out_channels.into(), bias }),
            Op::MaxPool { window } => Box::new(MaxPool { window }),
            Op::AvgPool { window } => Box::new(AvgPool { window }),
            Op::GlobalAvgPool => Box::new(GlobalAvgPool),
            Op::Add => Box::new(Add),
            Op::Mul => Box::new(Mul),
            Op::Flatten => Box::new(Flatten),
            Op::Concat => Box::new(Concat),
            Op::Lut | Op::ChannelScale | Op::MatMul { .. } => return None,
        },
        LayerKind::BatchNorm { epsilon, momentum } => Box::new(BatchNorm { epsilon, momentum, clip: None }),
        LayerKind::Relu => Box::new(Relu { ceiling: f32::INFINITY }),
        LayerKind::Relu6 => Box::new(Relu { ceiling: 6.0 }),
        LayerKind::Function(function) => Box::new(function),
        LayerKind::Dropout { probability, fades } => Box::new(Dropout { probability, fades }),
    })
}

/// What a convolution of `kind` computes after training with what follows `then`; nothing for other kinds.
pub(super) fn folded(kind: &LayerKind, then: Then) -> Option<Box<dyn Compute>> {
    let LayerKind::Op { op, bias } = *kind else { return None };
    Some(match op {
        Op::Conv { window, out_channels } => Box::new(Conv { window, out_channels: out_channels.into(), bias, then }),
        Op::Depthwise { window } => Box::new(Depthwise { window, bias, then }),
        _ => return None,
    })
}
