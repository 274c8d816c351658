//! How large a network's values are and how long they take, found node by node before any of them is computed.

use super::nodes::{MOST_AXES, called};
use super::operators::{self, volume};
use super::panics::caught;
use anyhow::{Context, Result, bail, ensure};
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact, InferenceModel, InferenceOp};

/// Elements of one value.
const MOST_ELEMENTS: u64 = 1 << 28;
/// Bytes of all values that are needed at one time.
const MOST_BYTES: u64 = 1 << 32;
/// Multiplications of one image.
const MOST_WORK: u64 = 1 << 40;
/// The same of what depends on no image, which is computed while the network is made ready.
const MOST_CONSTANT_WORK: u64 = 1 << 32;
/// Places of a window times its size: tract tells border from inside for each of them.
const MOST_TAPS: u64 = 1 << 26;
/// What a number may be that decides a size.
const LARGEST_SIZE: f64 = (1 << 28) as f64;

/// What the walk through a network adds up.
#[derive(Default)]
struct Total {
    work: u64,
    constant_work: u64,
    /// Bytes that are needed at this node.
    live: u64,
}

/// Infers the shapes of all values of `model`, which tract made of `graph`, whose input is known. A node is only looked at closer, and
/// computed if its inputs are constants, once the size of its result is known to be within bounds.
///
/// # Errors
/// The message names the node that makes too much, takes too long, has no size that could be known, or that tract refuses.
pub fn check(model: &mut InferenceModel, graph: &GraphProto) -> Result<()> {
    // tract adds constants and inputs first.
    let first = model.nodes.len().checked_sub(graph.node.len()).context("tract left nodes out")?;
    let mut total = Total::default();
    for node in &model.nodes[..first] {
        total.live = total.live.saturating_add(node_bytes(model, node.id)?);
    }
    let unused = unused_after(model, first);
    for (at, node) in graph.node.iter().enumerate() {
        check_node(model, node, first + at, &mut total).with_context(|| called(node))?;
        for &gone in &unused[first + at] {
            total.live = total.live.saturating_sub(node_bytes(model, gone)?);
        }
    }
    Ok(())
}

/// For each node the nodes from `first` on whose results nobody reads behind it.
fn unused_after(model: &InferenceModel, first: usize) -> Vec<Vec<usize>> {
    let mut lists = vec![vec![]; model.nodes.len()];
    for node in &model.nodes[first..] {
        let readers = node.outputs.iter().flat_map(|output| &output.successors);
        let last = readers.map(|reader| reader.node).max().unwrap_or(node.id);
        if !model.outputs.iter().any(|output| output.node == node.id) {
            lists[last].push(node.id);
        }
    }
    lists
}

fn check_node(model: &mut InferenceModel, node: &NodeProto, id: usize, total: &mut Total) -> Result<()> {
    let (inputs, outputs) = model.node_facts(id)?;
    let [inputs, outputs] = [inputs, outputs].map(|facts| facts.into_iter().cloned().collect::<Vec<_>>());
    let is_constant = inputs.iter().all(|fact| fact.value.is_concrete());
    check_sizes(node, &inputs)?;
    // First the shapes alone: tract computes what follows from constants as soon as it is asked for more.
    let (_, made) = infer(model, id, &inputs, &outputs, |op, facts| op.infer_facts(facts.0, facts.1, facts.2))?;
    let shapes = |facts: &[InferenceFact]| facts.iter().map(shape).collect::<Result<Vec<_>>>();
    let (read, shapes_made) = (shapes(&inputs)?, shapes(&made)?);
    check_work(node, &read, &shapes_made, is_constant, total)?;
    for (fact, shape) in made.iter().zip(&shapes_made) {
        total.live = total.live.saturating_add(bytes(shape, fact));
    }
    ensure!(total.live <= MOST_BYTES, "with it, {} bytes are needed at one time, more than {MOST_BYTES}", total.live);
    let (read, made) = infer(model, id, &inputs, &outputs, |op, facts| op.infer(facts.0, facts.1, facts.2))?;
    ensure!(shapes(&made)? == shapes_made, "tract infers several shapes of its result");
    let outlets = model.nodes[id].inputs.clone().into_iter().chain((0..made.len()).map(|slot| OutletId::new(id, slot)));
    for (outlet, fact) in outlets.zip(read.iter().chain(&made)) {
        let unified = model.outlet_fact(outlet)?.unify(fact)?;
        model.set_outlet_fact(outlet, unified)?;
    }
    Ok(())
}

/// What is known of a node's inputs, its outputs, and other values that it looks at.
type Known<'a> = (TVec<&'a InferenceFact>, TVec<&'a InferenceFact>, TVec<&'a InferenceFact>);
/// The same, known better.
type Inferred = (TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>);

/// What a copy of node `id` tells by `ask` of its inputs and outputs.
fn infer(
    model: &InferenceModel,
    id: usize,
    inputs: &[InferenceFact],
    outputs: &[InferenceFact],
    ask: impl FnOnce(&mut dyn InferenceOp, Known) -> TractResult<Inferred>,
) -> Result<(TVec<InferenceFact>, TVec<InferenceFact>)> {
    let node = &model.nodes[id];
    let mut op = node.op.clone();
    caught(|| {
        ensure!(op.nboutputs()? == outputs.len(), "it has {} outputs, not {}", outputs.len(), op.nboutputs()?);
        let observed = op.observe_outlets(model, node)?;
        let observed = observed.iter().map(|outlet| model.outlet_fact(*outlet)).collect::<TractResult<_>>()?;
        let (inputs, outputs, _) = ask(&mut *op, (inputs.iter().collect(), outputs.iter().collect(), observed))?;
        Ok((inputs, outputs))
    })
}

/// Checks the numbers that decide a result's size: as integers of 64 bits they could wrap.
fn check_sizes(node: &NodeProto, inputs: &[InferenceFact]) -> Result<()> {
    // Inputs that are left out are not counted.
    let present = node.input.iter().enumerate().filter(|(_, name)| !name.is_empty()).map(|(at, _)| at);
    let mut numbers = Vec::new();
    for (at, fact) in present.zip(inputs) {
        let sizes = operators::sizes(&node.op_type).contains(&at);
        if !sizes {
            continue;
        }
        let Some(value) = fact.value.concretize() else { continue };
        let value = value.cast_to::<f64>().or_else(|_| value.cast_to::<i64>())?;
        let value = value.cast_to::<f64>()?;
        let values = value.try_as_plain_ram()?.as_slice::<f64>()?;
        let is_free = node.op_type == "Slice";
        let wrong = values.iter().find(|value| !(is_free || value.is_finite() && value.abs() <= LARGEST_SIZE));
        if let Some(wrong) = wrong {
            bail!("{wrong} decides its result's size, which may be up to {LARGEST_SIZE}");
        }
        ensure!(!(is_free && at == 4 && values.contains(&0.0)), "it takes steps of 0");
        numbers.extend_from_slice(values);
    }
    match (node.op_type.as_str(), &numbers[..]) {
        ("Range", &[start, end, step]) => {
            let counts = step > 0.0 && (end - start) / step <= MOST_ELEMENTS as f64;
            ensure!(counts, "it counts from {start} to {end} by {step}");
        }
        ("Pad", numbers) => {
            ensure!(numbers.iter().all(|size| *size >= 0.0), "a negative margin is not supported: use Slice")
        }
        ("Resize", numbers) => ensure!(numbers.iter().all(|number| *number >= 0.0), "its sizes are negative"),
        _ => (),
    }
    Ok(())
}

fn check_work(
    node: &NodeProto,
    inputs: &[Vec<u64>],
    outputs: &[Vec<u64>],
    is_constant: bool,
    total: &mut Total,
) -> Result<()> {
    if let Some(kernel) = operators::kernel(node, inputs) {
        let pixels = volume(outputs.first().and_then(|shape| shape.get(2..)).unwrap_or_default());
        let taps = pixels.saturating_mul(volume(&kernel));
        ensure!(taps <= MOST_TAPS, "a window of {kernel:?} at {pixels} places is more than any network's");
    }
    let work = operators::work(node, inputs, outputs);
    let (sum, most) = match is_constant {
        true => (&mut total.constant_work, MOST_CONSTANT_WORK),
        false => (&mut total.work, MOST_WORK),
    };
    *sum = sum.saturating_add(work);
    ensure!(*sum <= most, "with it, one image takes {} multiplications, more than {most}", *sum);
    Ok(())
}

/// The shape of a value, all of it known and within bounds.
fn shape(fact: &InferenceFact) -> Result<Vec<u64>> {
    let dims = fact.shape.concretize().context("the size of a value is not known before it is computed")?;
    ensure!(dims.len() <= MOST_AXES, "a value has {} axes", dims.len());
    let dim = |dim: &TDim| dim.to_i64().ok().and_then(|dim| u64::try_from(dim).ok());
    let dims: Option<Vec<u64>> = dims.iter().map(dim).collect();
    let dims = dims.with_context(|| format!("a value has the shape {:?}", fact.shape))?;
    let elements = volume(&dims);
    ensure!(elements <= MOST_ELEMENTS, "a value of {dims:?} has more than {MOST_ELEMENTS} elements");
    Ok(dims)
}

fn bytes(shape: &[u64], fact: &InferenceFact) -> u64 {
    let each = fact.datum_type.concretize().map_or(8, |kind| kind.size_of());
    volume(shape).saturating_mul(each as u64)
}

/// Bytes of all results of a node.
fn node_bytes(model: &InferenceModel, id: usize) -> Result<u64> {
    model.nodes[id].outputs.iter().map(|output| Ok(bytes(&shape(&output.fact)?, &output.fact))).sum()
}
