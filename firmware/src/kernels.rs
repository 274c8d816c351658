//! One function per operator.
//!
//! A kernel gets slices and the step's numbers, and cannot fail: [`Plan::parse`](ocellus_shared::plan::Plan::parse) has
//! checked that every length fits. Accumulators wrap, so that no parameters can make one panic; what the exporter
//! writes never overflows. Feature maps are `(h, w, c)`.

mod add;
mod concat;
mod conv;
mod dense;
mod depthwise;
mod lut;
mod mul;
mod pool;
pub mod reference;
mod scale;
pub mod simd;
mod views;
mod window;
mod winograd;

use views::{Inputs, Views};

use ocellus_shared::Op;
use ocellus_shared::plan::Step;

/// Runs one step in the `arena` of its plan, strip after strip.
pub fn run(step: &Step, arena: &mut [i8]) {
    step.each_strip(|strip| run_strip(strip, Views::new(strip, arena)));
}

/// Runs one strip, or a step that is not cut, on its memory. A function of its own, because there are two who call it.
#[inline(never)]
fn run_strip(step: &Step, views: Views) {
    let Views { inputs, output, scratch } = views;
    let input = inputs.get(step.input());
    match &step.op {
        // No plan that was parsed has it.
        op if !op.is_linked() => {}
        Op::Conv { window, .. } => conv::run(step, window, input, scratch, output),
        Op::Winograd { window, .. } => winograd::run(step, window, input, scratch, output),
        Op::Depthwise { window } => depthwise::run(step, window, input, scratch, output),
        Op::Dense { .. } => dense::run(step, input, output),
        Op::MaxPool { window } => pool::max(step, window, input, output),
        Op::AvgPool { window } => pool::average(step, window, input, output),
        Op::GlobalAvgPool => pool::global_average(step, input, output),
        Op::Add => add::run(step, input, inputs.get(step.inputs()[1]), output),
        Op::Mul => mul::run(step, input, inputs.get(step.inputs()[1]), output),
        Op::Lut => lut::run(step, input, output),
        Op::Concat => concat::run(step, inputs, output),
        Op::ChannelScale => scale::run(step, input, output),
        // The same bytes under another shape.
        Op::Flatten => {}
    }
}
