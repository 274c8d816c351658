//! `ocellus bench engine`: what an inference takes on every emulated core, beside what others take.

mod host;
mod train;

use super::helpers::{datasets, targets};
use crate::board::Board;
use crate::checkpoint::Checkpoint;
use crate::cli::{BenchArgs, BenchCommand};
use crate::client::Client;
use crate::cost::Core;
use crate::model::ModelFiles;
use crate::net::{self, module::Module};
use crate::recipe::{Optimize, Recipe};
use crate::report;
use crate::transport::qemu::ClockMode;
use crate::{cost, deploy, pack, view};
use anyhow::{Context, Result};
use ocellus_shared::Shape;
use ocellus_shared::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The table of what others take.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    network: Vec<Network>,
    reference: Vec<Reference>,
}

/// A network that others were measured on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    name: String,
    input: [u16; 3],
    macs: u64,
}

/// Another engine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Reference {
    engine: String,
    provenance: String,
    /// By network.
    #[serde(default)]
    ram_bytes: BTreeMap<String, u64>,
    /// By core, then network.
    #[serde(default)]
    instructions: BTreeMap<String, BTreeMap<String, u64>>,
    /// Measured on a board; by core, then network.
    #[serde(default)]
    cycles: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What a network takes on a board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// The network, or the plan's path where others were not measured on it.
    pub network: String,
    /// What the plan was packed for, where that is known.
    pub optimize: Option<Optimize>,
    /// Where it was counted.
    pub board: String,
    /// Its core.
    pub cpu: String,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Executed instructions. They are not cycles.
    pub instructions: u64,
    /// Fewest and most cycles that are to be expected of them: [`cost::cycles_per_instruction`].
    pub cycles_expected: [u64; 2],
    /// Bytes of the plan, in flash.
    pub plan_bytes: usize,
    /// Bytes of RAM: feature maps, scratch, and the stack that the run was measured to use.
    pub ram_bytes: u64,
    /// What others take for the same network on the same core.
    pub references: Vec<Other>,
}

/// What another engine takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Other {
    /// Its name.
    pub engine: String,
    /// Executed instructions, where they were counted.
    pub instructions: Option<u64>,
    /// Its instructions by ours.
    pub ratio: Option<f64>,
    /// Cycles, where they were measured on a board.
    pub cycles: Option<u64>,
    /// Bytes of RAM, where they are known.
    pub ram_bytes: Option<u64>,
    /// Where the figures come from.
    pub provenance: String,
}

/// A plan, and what it is called.
#[derive(Clone)]
struct Subject {
    name: String,
    /// What it was packed for, where that is known.
    optimize: Option<Optimize>,
    plan: Vec<u8>,
}

/// Measures.
///
/// # Errors
/// A plan or a recipe cannot be read, a plan does not fit a board, a board cannot be built or emulated, or a device does
/// not compute.
pub fn run(command: &BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Engine(args) => emulated(args),
        BenchCommand::Host(args) => host::run(args),
        BenchCommand::Train(args) => train::run(args),
    }
}

/// Measures on every emulated core.
fn emulated(BenchArgs { models, json }: &BenchArgs) -> Result<()> {
    let table = references()?;
    let subjects = subjects(&table, models)?;
    let mut benches = Vec::new();
    for board in Board::all()?.iter().filter(|board| board.machine.is_some()) {
        let elf = targets::firmware(board)?;
        let mut client = Client::boot(board, &elf, ClockMode::Instructions)?;
        // Winograd plans are for cores with the DSP extension.
        let is_for = |subject: &&Subject| {
            subject.optimize != Some(Optimize::Speed) || Core::of(&board.cpu).is_ok_and(|core| core == Core::Dsp)
        };
        for subject in subjects.iter().filter(is_for) {
            benches.push(measure(&table, board, &mut client, subject)?);
        }
        client.end()?;
    }
    if *json { report::print_json(&benches) } else { report::print(&shown(&benches)) }
}

fn references() -> Result<Table> {
    toml::from_str(include_str!("../../../firmware/references.toml")).context("in firmware/references.toml")
}

/// The plans at the paths `models`; where there are none, of the networks that others were measured on.
fn subjects(table: &Table, models: &[PathBuf]) -> Result<Vec<Subject>> {
    if models.is_empty() {
        let of_network: Vec<_> = table.network.iter().map(untrained).collect::<Result<_>>()?;
        return Ok(of_network.concat());
    }
    models.iter().map(|path| subject(table, path)).collect()
}

/// The plan at `path`, by the name of the network in the table that takes as much work.
fn subject(table: &Table, path: &Path) -> Result<Subject> {
    let bytes = ModelFiles::find(path)?.read_plan()?;
    let plan = Plan::parse(&bytes)?;
    let (input, macs) = (plan.input().shape, plan.macs());
    let same = |network: &&Network| shape(network) == input && macs.abs_diff(network.macs) * 100 <= network.macs;
    let name = table.network.iter().find(same).map_or_else(|| path.display().to_string(), |n| n.name.clone());
    Ok(Subject { name, optimize: None, plan: bytes })
}

/// Plans of the network with random weights, on which instructions do not depend: an ordinary one, and a Winograd plan where that is
/// another one.
fn untrained(network: &Network) -> Result<Vec<Subject>> {
    let spinner = view::spinner(&format!("quantizing {} with random weights", network.name));
    let recipe = Recipe::default().with(&[format!("model={}", network.name)])?;
    let input = shape(network);
    let dataset = datasets::any_dataset(&recipe.data, None, input)?;
    let module = Module::new(net::build(&recipe, input, dataset.classes.len())?)?;
    let checkpoint = Checkpoint {
        weights: module.initial(recipe.train.seed),
        recipe,
        classes: dataset.classes.clone(),
        input,
        dataset_hash: dataset.hash.clone(),
        resume: None,
    };
    let quantized = deploy::quantized(&checkpoint, &dataset.train)?.quantized;
    let mut subjects: Vec<Subject> = Vec::new();
    for optimize in [Optimize::Size, Optimize::Speed] {
        let plan = pack::pack(&quantized, optimize)?.plan;
        if subjects.iter().all(|other| other.plan != plan) {
            subjects.push(Subject { name: network.name.clone(), optimize: Some(optimize), plan });
        }
    }
    spinner.finish_and_clear();
    Ok(subjects)
}

fn shape(network: &Network) -> Shape {
    let [h, w, c] = network.input;
    Shape::new(h, w, c)
}

fn measure(table: &Table, board: &Board, client: &mut Client, subject: &Subject) -> Result<Bench> {
    let plan = Plan::parse(&subject.plan)?;
    client.set_plan(&subject.plan)?;
    let profile = client.profile(&vec![0; plan.input().shape.len()])?;
    let other = |reference: &Reference| {
        let of = |figures: &BTreeMap<_, BTreeMap<_, _>>| figures.get(&board.cpu)?.get(&subject.name).copied();
        let (instructions, cycles) = (of(&reference.instructions), of(&reference.cycles));
        (instructions.is_some() || cycles.is_some()).then(|| Other {
            engine: reference.engine.clone(),
            instructions,
            ratio: instructions.map(|other| other as f64 / profile.total as f64),
            cycles,
            ram_bytes: reference.ram_bytes.get(&subject.name).copied(),
            provenance: reference.provenance.clone(),
        })
    };
    Ok(Bench {
        network: subject.name.clone(),
        optimize: subject.optimize,
        board: board.name.clone(),
        cpu: board.cpu.clone(),
        macs: plan.macs(),
        instructions: profile.total,
        cycles_expected: cost::cycles_per_instruction(&board.cpu)
            .map(|each| (each * profile.total as f64).round() as u64),
        plan_bytes: subject.plan.len(),
        ram_bytes: plan.arena_bytes() as u64 + u64::from(profile.stack_bytes),
        references: table.reference.iter().filter_map(other).collect(),
    })
}

/// The table, as Markdown, and where the others' figures come from.
fn shown(benches: &[Bench]) -> String {
    let figure = |figure: Option<u64>| figure.map_or_else(String::new, report::thousands);
    let mut rows = Vec::new();
    for bench in benches {
        let ours = match bench.optimize {
            Some(Optimize::Speed) => "Ocellus, Winograd plan",
            _ => "Ocellus",
        };
        let row = |engine: &str, [instructions, ratio, cycles, ram]: [String; 4]| {
            vec![bench.network.clone(), bench.cpu.clone(), engine.into(), instructions, ratio, cycles, ram]
        };
        let [instructions, ram] = [bench.instructions, bench.ram_bytes].map(report::thousands);
        let expected = bench.cycles_expected.map(|cycles| format!("{:.1}", cycles as f64 / 1e6)).join(" to ");
        rows.push(row(ours, [instructions, String::new(), format!("{expected} million"), ram]));
        for other in &bench.references {
            let ratio = other.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}x"));
            let figures = [figure(other.instructions), ratio, figure(other.cycles), figure(other.ram_bytes)];
            rows.push(row(&other.engine, figures));
        }
    }
    let sources: BTreeMap<&str, &str> =
        benches.iter().flat_map(|b| &b.references).map(|o| (o.engine.as_str(), o.provenance.as_str())).collect();
    let sources: Vec<String> = sources.into_iter().map(|(engine, source)| format!("{engine}: {source}")).collect();
    let table = report::markdown(&["network", "core", "engine", "instructions", "of ours", "cycles", "RAM"], &rows);
    format!(
        "{table}\n\n{}\nInstructions are executed ones. Our cycles are what is to be expected of them, from memory without wait \
         states to slow memory; those of others were measured on boards. RAM is in bytes.",
        sources.join("\n")
    )
}
