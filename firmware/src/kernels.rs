//! One file per operator: the kernel, and the definition that it must equal.
//!
//! A kernel gets slices and the step's numbers, and cannot fail: [`Plan::parse`](ocellus_shared::plan::Plan::parse) has
//! checked that every length fits. Accumulators wrap, so that no parameters can make one panic; what the exporter
//! writes never overflows. Feature maps are `(h, w, c)`.

mod add;
mod concat;
mod conv;
mod dense;
mod depthwise;
mod flatten;
mod lut;
mod matmul;
mod mul;
mod pool;
pub mod reference;
mod scale;
pub mod simd;
mod views;
mod window;
mod winograd;

use views::{Inputs, Views};

use ocellus_shared::op::Facts;
use ocellus_shared::plan::Step;
use ocellus_shared::with_operator;
use reference::Point;

/// How an operator is computed.
trait Kernel {
    /// Computes a step that is not cut.
    fn run(&self, step: &Step, inputs: Inputs, scratch: &mut [i8], output: &mut [i8]);

    /// One value of the output, as the definition says.
    fn value(&self, at: &Point, inputs: Inputs) -> i8;
}

/// Runs one step in the `arena` of its plan, strip after strip.
pub fn run(step: &Step, arena: &mut [i8]) {
    step.each_strip(|strip| run_strip(strip, Views::new(strip, arena)));
}

/// Runs one strip, or a step that is not cut, on its memory. A function of its own, because there are two who call it.
#[inline(never)]
fn run_strip(step: &Step, views: Views) {
    let Views { inputs, output, scratch } = views;
    // No plan that was parsed has an operator that is not linked.
    with_operator!(step.op, op => if is_linked(&op) { op.run(step, inputs, scratch, output) });
}

/// A constant for the compiler, who leaves out kernels that are never called.
#[inline(always)]
const fn is_linked<F: Facts>(_: &F) -> bool {
    F::IS_LINKED
}
