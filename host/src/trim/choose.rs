//! Which channels go.
//!
//! Channels that an operator maps one to one are a *set*, which goes or stays as a whole. A set can go where each of its
//! members is read by nothing but members, and by filters that do without it or go themselves. Sets are looked at until no
//! more can go.

use crate::ops::Channels;
use crate::ops::interval::{Interval, Tap, taps};
use crate::quantize::{QuantGraph, QuantNode};

/// Channels that a map's pixel keeps a multiple of.
const WORD: usize = 4;

/// For each value the channels that stay.
pub(super) fn kept(graph: &QuantGraph, intervals: &[Vec<Interval>]) -> Vec<Vec<usize>> {
    let sets = Sets::new(graph);
    let readers = readers(graph, intervals);
    let mut stays = vec![false; sets.count()];
    let is_mixed = |node: &&QuantNode| Channels::of(node.op) == Channels::Mixed;
    let mixed = graph.nodes.iter().enumerate().filter(|(_, node)| is_mixed(node));
    let mixed = mixed.flat_map(|(i, node)| node.inputs.iter().copied().chain([i + 1]));
    for v in mixed.chain([0, graph.nodes.len()]) {
        sets.of_value(v).iter().for_each(|&set| stays[set] = true);
    }
    // What stays for one reason may be read by a filter that seemed to do without: begin anew with it.
    loop {
        let gone = removable(&sets, &readers, &stays);
        let missing = missing(graph, &sets, &gone);
        if missing.is_empty() {
            let staying = |v| (0..sets.of_value(v).len()).filter(|&c| !gone[sets.of_value(v)[c]]).collect();
            return (0..graph.values.len()).map(staying).collect();
        }
        missing.into_iter().for_each(|set| stays[set] = true);
    }
}

/// The sets that can go if those in `stays` do not.
fn removable(sets: &Sets, readers: &[Vec<Reader>], stays: &[bool]) -> Vec<bool> {
    let mut gone = vec![false; sets.count()];
    loop {
        let before = gone.clone();
        // From the last to the first, because what goes sets free what it read.
        for set in (0..sets.count()).rev().filter(|&set| !stays[set]) {
            let can_go = |&(v, c): &(usize, usize)| {
                readers[v].iter().all(|reader| {
                    let filters = sets.of_value(reader.output);
                    (0..filters.len()).all(|f| gone[filters[f]] || !reader.needs(f, c))
                })
            };
            gone[set] = gone[set] || sets.members[set].iter().all(can_go);
        }
        if gone == before {
            return gone;
        }
    }
}

/// Sets of `gone` that have to stay all the same: so that every value has a channel, that whole words stay whole, and that
/// multipliers differ, without which tract would round in another way.
fn missing(graph: &QuantGraph, sets: &Sets, gone: &[bool]) -> Vec<usize> {
    let (mut gone, mut missing) = (gone.to_vec(), Vec::new());
    let mut keep = |gone: &mut [bool], set: usize| {
        gone[set] = false;
        missing.push(set);
    };
    for v in 0..graph.values.len() {
        let of_value = sets.of_value(v);
        let left = |gone: &[bool]| of_value.iter().filter(|&&set| !gone[set]).count();
        let is_words = graph.values[v].shape.pixels() > 1 && of_value.len().is_multiple_of(WORD);
        let mut channels = left(&gone);
        for &set in of_value {
            if gone[set] && (channels == 0 || is_words && !channels.is_multiple_of(WORD)) {
                keep(&mut gone, set);
                channels = left(&gone);
            }
        }
        let Some(node) = v.checked_sub(1).map(|i| &graph.nodes[i]) else { continue };
        if let Some(c) = distinguishing_multiplier(node, of_value, &gone) {
            keep(&mut gone, of_value[c]);
        }
    }
    missing
}

/// Where all multipliers that are left would be equal, the first channel that goes and has another.
fn distinguishing_multiplier(node: &QuantNode, of_value: &[usize], gone: &[bool]) -> Option<usize> {
    if node.multipliers.len() != of_value.len() {
        return None;
    }
    let mut left = (0..of_value.len()).filter(|&c| !gone[of_value[c]]).map(|c| node.multipliers[c]);
    let first = left.next()?;
    let second = left.next()?;
    if second != first || left.any(|m| m != first) {
        return None;
    }
    (0..of_value.len()).find(|&c| node.multipliers[c] != first)
}

/// The channels of all values in sets.
struct Sets {
    /// By value and channel, the number of its set.
    of: Vec<Vec<usize>>,
    /// By set, its values and channels.
    members: Vec<Vec<(usize, usize)>>,
}

impl Sets {
    fn new(graph: &QuantGraph) -> Self {
        let mut ties = Ties::new(graph);
        for (i, node) in graph.nodes.iter().enumerate() {
            ties.tie(graph, node, i + 1);
        }
        let mut number = vec![None; ties.parent.len()];
        let (mut of, mut members) = (Vec::new(), Vec::<Vec<_>>::new());
        for (v, value) in graph.values.iter().enumerate() {
            let set = |c: usize| {
                let set = *number[ties.root(ties.first[v] + c)].get_or_insert_with(|| {
                    members.push(Vec::new());
                    members.len() - 1
                });
                members[set].push((v, c));
                set
            };
            of.push((0..value.shape.c.into()).map(set).collect());
        }
        Self { of, members }
    }

    fn count(&self) -> usize {
        self.members.len()
    }

    /// The sets of value `v`'s channels.
    fn of_value(&self, v: usize) -> &[usize] {
        &self.of[v]
    }
}

/// Channels that are tied together: each points at another of its set, one of them at itself.
struct Ties {
    /// By value, where its first channel is.
    first: Vec<usize>,
    parent: Vec<usize>,
}

impl Ties {
    fn new(graph: &QuantGraph) -> Self {
        let mut channels = 0;
        let first = graph.values.iter().map(|value| {
            channels += usize::from(value.shape.c);
            channels - usize::from(value.shape.c)
        });
        Self { first: first.collect(), parent: (0..channels).collect() }
    }

    fn root(&mut self, mut channel: usize) -> usize {
        while self.parent[channel] != channel {
            self.parent[channel] = self.parent[self.parent[channel]];
            channel = self.parent[channel];
        }
        channel
    }

    fn join(&mut self, (v, c): (usize, usize), (other, d): (usize, usize)) {
        let [a, b] = [self.first[v] + c, self.first[other] + d].map(|channel| self.root(channel));
        self.parent[a.max(b)] = a.min(b);
    }

    /// Ties the channels of value `y`, the result of `node`, to those that they are made of.
    fn tie(&mut self, graph: &QuantGraph, node: &QuantNode, y: usize) {
        let channels = |v: usize| usize::from(graph.values[v].shape.c);
        match Channels::of(node.op) {
            Channels::Filters | Channels::Mixed => {}
            Channels::Flattened => {
                (0..channels(y)).for_each(|k| self.join((node.inputs[0], k % channels(node.inputs[0])), (y, k)))
            }
            Channels::Joined => {
                let mut at = 0;
                for &x in &node.inputs {
                    (0..channels(x)).for_each(|c| self.join((x, c), (y, at + c)));
                    at += channels(x);
                }
            }
            Channels::OneToOne => {
                node.inputs.iter().for_each(|&x| (0..channels(y)).for_each(|c| self.join((x, c), (y, c))))
            }
        }
    }
}

/// A convolution or dense layer that reads a value.
struct Reader {
    /// The value that it computes.
    output: usize,
    /// By filter, then channel: whether the filter cannot do without the channel.
    needed: Vec<bool>,
    /// Channels that it reads.
    channels: usize,
}

impl Reader {
    fn needs(&self, filter: usize, channel: usize) -> bool {
        self.needed[filter * self.channels + channel]
    }
}

/// The readers of each value.
fn readers(graph: &QuantGraph, intervals: &[Vec<Interval>]) -> Vec<Vec<Reader>> {
    let mut readers: Vec<Vec<Reader>> = graph.values.iter().map(|_| Vec::new()).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        if Channels::of(node.op) == Channels::Filters {
            readers[node.inputs[0]].push(reader(graph, i, &intervals[node.inputs[0]]));
        }
    }
    readers
}

fn reader(graph: &QuantGraph, i: usize, intervals: &[Interval]) -> Reader {
    let (node, channels) = (&graph.nodes[i], intervals.len());
    let (input, output) = (graph.values[node.inputs[0]], graph.values[i + 1].shape);
    let taps = taps(node.op.window(), input.shape, output);
    let is_same_everywhere = |tap: Tap, channel: usize| match tap {
        Tap::Padding => true,
        Tap::Map => intervals[channel].constant().is_some(),
        Tap::Both => intervals[channel].constant() == Some(input.params.zero),
    };
    let mut needed = vec![false; usize::from(output.c) * channels];
    for (k, &weight) in node.weights.iter().enumerate() {
        let (filter, tap, channel) = (k / channels / taps.len(), k / channels % taps.len(), k % channels);
        needed[filter * channels + channel] |= weight != 0 && !is_same_everywhere(taps[tap], channel);
    }
    Reader { output: i + 1, needed, channels }
}
