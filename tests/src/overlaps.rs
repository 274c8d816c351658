//! Random plans whose steps are computed in strips, with outputs that lie over their inputs.

use crate::random::Random;
use ocellus_shared::Op;
use ocellus_shared::plan::encode::{PlanSpec, StepSpec};
use ocellus_shared::plan::{Operand, Step};
use std::collections::HashMap;

/// Memory that moves together: an image or output that overlaps nothing, and what was put over it.
#[derive(Default)]
struct Group {
    /// Lowest and highest end of what is in it, from the start of its first.
    from: i64,
    to: i64,
}

/// Where a buffer went.
#[derive(Clone, Copy)]
struct Place {
    group: usize,
    at: i64,
}

/// `spec` with the same results: some steps are cut into strips, and their outputs put over inputs that nobody reads
/// afterwards. Every value of `spec` has a place of its own.
pub fn overlapped(spec: &PlanSpec, seed: u64) -> PlanSpec {
    let mut random = Random::new(seed);
    let mut spec = spec.clone();
    // A buffer is known by where it lay.
    let mut groups = vec![Group { from: 0, to: spec.input.shape.len() as i64 }];
    let mut places = HashMap::from([(spec.input.offset, Place { group: 0, at: 0 })]);
    for i in 0..spec.steps.len() {
        let (later, step) = (readers(&spec, i), &mut spec.steps[i]);
        let out_len = step.output.shape.len() as i64;
        if step.op == Op::Flatten {
            continue;
        }
        if step.op.reads_rows(0) && step.output.shape.h > 1 && !random.once_in(4) {
            step.strip_rows = random.between(1, usize::from(step.output.shape.h) - 1) as u16;
            step.scratch.1 = step.op.strip_scratch_bytes(step.inputs[0].shape, step.output.shape, step.strip_rows);
        }
        let input = step.inputs[random.between(0, step.inputs.len() - 1)].offset;
        let place = match later.contains(&input) {
            false => {
                let Place { group, at } = places[&input];
                let gap = if random.once_in(2) { 0 } else { random.between(0, 9) };
                Place { group, at: at - lead(step, input) as i64 - gap as i64 }
            }
            true => {
                groups.push(Group::default());
                Place { group: groups.len() - 1, at: 0 }
            }
        };
        let group = &mut groups[place.group];
        (group.from, group.to) = (group.from.min(place.at), group.to.max(place.at + out_len));
        places.insert(step.output.offset, place);
    }
    lay_out(&mut spec, &groups, &places, &mut random);
    spec
}

/// Where the buffers lie that are read after step `i`.
fn readers(spec: &PlanSpec, i: usize) -> Vec<usize> {
    let inputs = spec.steps[i + 1..].iter().flat_map(|step| &step.inputs);
    inputs.chain([&spec.output]).map(|operand| operand.offset).collect()
}

/// How far the output of `step` must begin before the input at `offset`.
fn lead(step: &StepSpec, offset: usize) -> usize {
    let same = step.inputs.iter().enumerate().filter(|(_, input)| input.offset == offset);
    let leads = same.map(|(k, input)| step.op.strip_lead(k, input.shape, step.output.shape, step.strip_rows));
    leads.max().expect("it is one of the inputs")
}

/// Gives the groups, one after the other, and the scratch of each step places of their own.
fn lay_out(spec: &mut PlanSpec, groups: &[Group], places: &HashMap<usize, Place>, random: &mut Random) {
    let mut arena_bytes = 0;
    let mut reserve = |bytes: usize| {
        let at = arena_bytes + random.between(0, 3);
        arena_bytes = at + bytes;
        at
    };
    let starts: Vec<i64> = groups.iter().map(|g| reserve((g.to - g.from) as usize) as i64 - g.from).collect();
    let move_it = |operand: &mut Operand| {
        let Place { group, at } = places[&operand.offset];
        operand.offset = (starts[group] + at) as usize;
    };
    for step in &mut spec.steps {
        step.inputs.iter_mut().chain([&mut step.output]).for_each(move_it);
        step.scratch.0 = reserve(step.scratch.1);
    }
    [&mut spec.input, &mut spec.output].into_iter().for_each(move_it);
    spec.arena_bytes = arena_bytes;
}

/// Whether the output of `step` shares memory with an input; a flattened map is its input.
pub fn meets(step: &Step) -> bool {
    let out = step.output.range();
    let meets = |input: &Operand| input.range().start < out.end && out.start < input.range().end;
    step.op != Op::Flatten && step.inputs().iter().any(meets)
}
