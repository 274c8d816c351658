//! ONNX files of any origin, made ready for tract to run, or refused.
//!
//! tract takes a file for what a well-meaning exporter wrote: it divides by a stride of zero, and allocates what a shape says. So a
//! file is checked step by step, each within what the one before has bounded: its encoded parts ([`wire`]), its nodes, attributes and
//! constants ([`nodes`]), the size of its values and of its work ([`values`]). What tract still panics at becomes an error.

mod external;
mod nodes;
mod operators;
mod panics;
mod values;
mod wire;

use crate::view;
use anyhow::{Context, Result, ensure};
use prost::Message;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::optim::Optimizer;

pub use external::{inline, read_regular};
pub use nodes::called;
pub use panics::caught;

/// A network that tract has optimized, for one image at a time.
pub type Runnable = Arc<TypedRunnableModel>;

/// Bytes of stack of whoever prepares a network: tract calls itself once a node here and there. Only what is used is taken.
const STACK_BYTES: usize = 1 << 28;
/// How long a step may take before people are told what it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// The network in `bytes`.
///
/// # Errors
/// It is no ONNX file, it is truncated, or has more parts than a network has.
pub fn decode(bytes: &[u8]) -> Result<ModelProto> {
    wire::check(bytes)?;
    let proto = ModelProto::decode(bytes).context("it is no ONNX file, or it is truncated")?;
    ensure!(proto.graph.is_some(), "it is no ONNX file: it has no graph");
    Ok(proto)
}

/// Has tract prepare `proto`, after `fix` has given its input a shape and a type. What takes long is told on standard error.
///
/// # Errors
/// Those of `fix`; something in it is not supported, makes no sense, is too large or takes too long. The message names the node where
/// it is one's.
pub fn prepare<T: Send>(
    proto: &ModelProto,
    fix: impl FnOnce(&mut InferenceModel) -> Result<T> + Send,
) -> Result<(Runnable, T)> {
    let (sender, steps) = channel();
    std::thread::scope(|scope| {
        let work = move || caught(|| prepared(proto, fix, &Steps(sender)));
        let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work)?;
        tell(&steps);
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Tells whoever waits which step has begun.
struct Steps(Sender<String>);

impl Steps {
    fn begin(&self, step: String) {
        // Nobody waits where the thread that did has gone.
        let _ = self.0.send(step);
    }
}

/// Says of each step that takes long what it is, until there are no more.
fn tell(steps: &std::sync::mpsc::Receiver<String>) {
    let mut current = None;
    loop {
        match steps.recv_timeout(PATIENCE) {
            Ok(step) => current = Some(step),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(step) = current.take() {
                    view::note(&format!("{step} (Ctrl-C stops it)"));
                }
            }
        }
    }
}

fn prepared<T>(
    proto: &ModelProto,
    fix: impl FnOnce(&mut InferenceModel) -> Result<T>,
    steps: &Steps,
) -> Result<(Runnable, T)> {
    nodes::check(proto)?;
    let graph = proto.graph.as_ref().context("it has no graph")?;
    let count = graph.node.len();
    steps.begin(format!("reading an ONNX file of {count} nodes"));
    let tract = tract_onnx::onnx();
    let mut model =
        caught(|| tract.model_for_proto_model(proto)).map_err(|error| culprit(&tract, proto).unwrap_or(error))?;
    let told = fix(&mut model)?;
    steps.begin(format!("looking through its {count} nodes"));
    values::check(&mut model, graph)?;
    steps.begin(format!("having tract optimize its {count} nodes"));
    let optimized = caught(|| {
        let mut model: TypedModel = model.into_typed()?;
        let mut declutter = Optimizer::declutter();
        // A pass for masked attention. It takes an addition's integer factors for masks, and the expressions that it
        // makes of them double at every residual block, until a deep network is never done.
        declutter.passes.retain(|pass| format!("{pass:?}") != "PropagateRoi");
        declutter.optimize(&mut model)?;
        model.optimize()?;
        model.into_runnable()
    });
    Ok((optimized.context("tract cannot run it")?, told))
}

/// What tract says of the first node that it cannot read.
fn culprit(tract: &tract_onnx::Onnx, proto: &ModelProto) -> Option<anyhow::Error> {
    use tract_onnx::model::ParsingContext;
    let version = |import: &tract_onnx::pb::OperatorSetIdProto| {
        ["", "ai.onnx"].contains(&import.domain.as_str()).then_some(import.version)
    };
    let context = ParsingContext {
        onnx_operator_set_version: proto.opset_import.iter().find_map(version).unwrap_or(0),
        framework: tract,
        model: proto,
        parent_graphs: vec![],
        model_dir: None,
        template: InferenceModel::default(),
    };
    let refused = |node: &tract_onnx::pb::NodeProto| {
        let read = tract.op_register.0.get(&node.op_type)?;
        let error = caught(|| read(&context, node)).err()?;
        Some(error.context(nodes::called(node)))
    };
    proto.graph.as_ref()?.node.iter().find_map(refused)
}

/// The results of `runnable` for `inputs`, node by node.
///
/// # Errors
/// A node cannot be computed; the message names it.
pub fn run(runnable: &Runnable, inputs: TVec<TValue>) -> Result<TVec<TValue>> {
    let mut state = runnable.spawn()?;
    caught(|| {
        state.run_plan_with_eval(inputs, |context, state, node, inputs| {
            let name = || format!("in its node `{}`", node.name);
            caught(|| tract_onnx::tract_core::plan::eval(context, state, node, inputs)).with_context(name)
        })
    })
}
