//! Simplifies a float graph without changing what it computes.
//!
//! Every batch normalisation and activation arrives as a channel scale, `activation(x * scale[c] + offset[c])`. A
//! channel scale goes, in this order of preference,
//!
//! 1. away, where it changes nothing;
//! 2. backwards into the filters, or as an activation onto the operator, that made its input, also through a max pool
//!    (if its scales are positive) and a flatten (if it is the same for all pixels);
//! 3. forwards into the filters that read its result, also through pools and a flatten;
//! 4. nowhere: it stays an operator. That is so before a padded convolution, whose border it would have to change.

mod centre;

pub use centre::centre;

use crate::graph::{Activation, Graph, Linear, Node, Params, out_channel};
use crate::ops;
use ocellus_shared::Op;

/// Folds channel scales into their neighbours as far as that is exact, and separates concatenated values that could
/// not share a scale.
pub fn fold(mut graph: Graph) -> Graph {
    while (0..graph.nodes.len()).any(|i| step(&mut graph, i)) {}
    separate(&mut graph);
    graph
}

/// Tries to simplify node `i`; whether it did.
fn step(graph: &mut Graph, i: usize) -> bool {
    let node = &graph.nodes[i];
    let (Op::ChannelScale, Params::Linear(linear)) = (node.op, &node.params) else { return false };
    if linear.is_identity() && node.activation == Activation::None && graph.nodes.len() > 1 {
        graph.bypass(i);
        return true;
    }
    backward(graph, i) || forward(graph, i)
}

/// Folds channel scale `i` into the node that made its input, or moves it before one that it commutes with.
fn backward(graph: &mut Graph, i: usize) -> bool {
    let Some(maker) = sole_maker(graph, i) else { return false };
    if absorbs_next(&graph.nodes[maker], &graph.nodes[i]) {
        let scale = graph.nodes[i].clone();
        absorb_next(&mut graph.nodes[maker], &scale);
        graph.bypass(i);
        return true;
    }
    // Through operators that only move or compare values, if there is somebody behind them to take it.
    let mut behind = maker;
    while commutes_backward(&graph.nodes[behind], &graph.nodes[i]) {
        let Some(next) = sole_maker(graph, behind) else { return false };
        if absorbs_next(&graph.nodes[next], &graph.nodes[i]) {
            swap(graph, maker, i);
            return true;
        }
        behind = next;
    }
    false
}

/// The node that made node `i`'s input, if nobody else reads it.
fn sole_maker(graph: &Graph, i: usize) -> Option<usize> {
    let value = graph.nodes[i].inputs[0];
    (value > 0 && graph.only_reader(value) == Some(i)).then(|| value - 1)
}

/// Whether `maker` can do what the channel scale after it does.
fn absorbs_next(maker: &Node, scale: &Node) -> bool {
    let only_activates = linear(scale).is_identity();
    match maker.params {
        Params::Linear(_) => only_activates || maker.activation == Activation::None,
        _ => only_activates && !maker.op.copies(),
    }
}

fn absorb_next(maker: &mut Node, scale: &Node) {
    maker.activation = maker.activation.then(scale.activation);
    let by = linear(scale);
    if by.is_identity() {
        return;
    }
    let (op, channels) = (maker.op, usize::from(maker.output.c));
    let own = linear_mut(maker);
    let count = own.weights.len();
    for (k, w) in own.weights.iter_mut().enumerate() {
        *w *= by.weights[out_channel(op, k, count, channels)];
    }
    for (b, (scale, offset)) in own.bias.iter_mut().zip(by.weights.iter().zip(&by.bias)) {
        *b = *b * scale + offset;
    }
}

/// Whether `scale` after `maker`, which copies values, computes the same as `scale` before it.
fn commutes_backward(maker: &Node, scale: &Node) -> bool {
    match maker.op {
        Op::Flatten => linear(scale).is_identity(),
        op => op.copies() && ops::of(op).moves_scale(&linear(scale).weights),
    }
}

/// Folds channel scale `i` into the node that reads its result, or moves it behind one that it commutes with.
fn forward(graph: &mut Graph, i: usize) -> bool {
    let Some(reader) = graph.only_reader(i + 1) else { return false };
    if graph.nodes[i].activation != Activation::None {
        return false;
    }
    if ops::of(graph.nodes[reader].op).absorbs(linear(&graph.nodes[i])) {
        let scale = graph.nodes[i].clone();
        absorb_previous(&mut graph.nodes[reader], &scale);
        graph.bypass(i);
        return true;
    }
    let moves = match graph.nodes[reader].op {
        Op::Flatten => {
            graph.only_reader(reader + 1).is_some_and(|next| matches!(graph.nodes[next].op, Op::Dense { .. }))
        }
        op => ops::of(op).moves_scale(&linear(&graph.nodes[i]).weights),
    };
    // What the reader would do to its result, it must not do before the scale.
    let moves = moves && graph.nodes[reader].activation == Activation::None;
    if moves {
        swap(graph, i, reader);
    }
    moves
}

fn absorb_previous(reader: &mut Node, scale: &Node) {
    let by = linear(scale);
    let (op, channels) = (reader.op, usize::from(reader.output.c));
    let own = linear_mut(reader);
    let count = own.weights.len();
    for (k, w) in own.weights.iter_mut().enumerate() {
        // Input channels are innermost in every layout.
        let input = k % by.weights.len();
        own.bias[out_channel(op, k, count, channels)] += *w * by.bias[input];
        *w *= by.weights[input];
    }
}

/// Exchanges node `first` and its sole reader `second`, one of which is a channel scale.
fn swap(graph: &mut Graph, first: usize, second: usize) {
    let mut inputs = graph.nodes[first].inputs.clone();
    graph.nodes.swap(first, second);
    std::mem::swap(&mut inputs, &mut graph.nodes[first].inputs);
    graph.nodes[second].inputs = vec![first + 1];
    for i in [first, second] {
        let input = graph.shape(graph.nodes[i].inputs[0]);
        let node = &mut graph.nodes[i];
        node.output = node.op.out_shape(&[input]).expect("each takes what the other takes");
        if node.op == Op::ChannelScale {
            refit(linear_mut(node), input.c.into());
        }
    }
}

/// Repeats or cuts the parameters of a channel scale that moved across a flatten, which has its channels innermost.
fn refit(scale: &mut Linear, channels: usize) {
    for values in [&mut scale.weights, &mut scale.bias] {
        *values = values.iter().copied().cycle().take(channels).collect();
    }
}

/// Puts a scale of its own before a concatenation onto each input that cannot be stored at the others' scale: the
/// image, whose scale is given, and what an activation must clip where not all inputs are clipped alike.
fn separate(graph: &mut Graph) {
    let mut i = 0;
    while i < graph.nodes.len() {
        let kinds: Vec<Kind> = graph.nodes[i].inputs.iter().map(|&v| kind(graph, v)).collect();
        let differ = kinds.iter().any(|k| *k != kinds[0]) || kinds.contains(&Kind::Image);
        if graph.nodes[i].op == Op::Concat && differ {
            for input in (0..kinds.len()).filter(|&k| kinds[k] != Kind::Activated(Activation::None)) {
                insert_identity(graph, i, input);
                i += 1;
            }
        }
        i += 1;
    }
}

/// What decides how a value is stored.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Image,
    Activated(Activation),
}

fn kind(graph: &Graph, value: usize) -> Kind {
    match value.checked_sub(1).map(|i| &graph.nodes[i]) {
        None => Kind::Image,
        Some(node) if node.op.copies() => kind(graph, node.inputs[0]),
        Some(node) => Kind::Activated(node.activation),
    }
}

fn insert_identity(graph: &mut Graph, at: usize, input: usize) {
    let value = graph.nodes[at].inputs[input];
    let output = graph.shape(value);
    let name = format!("{}.input{input}", graph.nodes[at].name);
    let (op, params, activation) = (Op::ChannelScale, Params::Linear(Linear::identity(output.c)), Activation::None);
    graph.insert(at, Node { name, op, inputs: vec![value], output, params, activation });
    graph.nodes[at + 1].inputs[input] = at + 1;
}

fn linear(node: &Node) -> &Linear {
    match &node.params {
        Params::Linear(linear) => linear,
        _ => unreachable!("{} is not linear", node.name),
    }
}

fn linear_mut(node: &mut Node) -> &mut Linear {
    match &mut node.params {
        Params::Linear(linear) => linear,
        _ => unreachable!("{} is not linear", node.name),
    }
}
