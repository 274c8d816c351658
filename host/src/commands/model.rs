//! `ocellus model`: what networks there are and what they cost, before any training.

mod import;

use super::Failure;
use crate::checkpoint::Checkpoint;
use crate::cli::{ModelCommand, ModelShowArgs};
use crate::deploy;
use crate::net::module::Module;
use crate::net::summary::{Summary, summarise};
use crate::net::{self, Network};
use crate::recipe::{Model, Recipe};
use crate::report::{print, print_json, table, thousands};
use anyhow::Result;
use ocellus_shared::Shape;
use serde_json::{Value, json};

/// Classes where nobody says how many.
const CLASSES: usize = 10;

/// Does one of the subcommands.
///
/// # Errors
/// The network cannot be built for that size; standard output cannot be written.
pub fn run(command: &ModelCommand) -> Result<()> {
    match command {
        ModelCommand::List(args) => list(args.json),
        ModelCommand::Show(args) => show(args),
        ModelCommand::Import(args) => import::run(args),
    }
}

/// What a network costs on a workstation and on a board.
struct Cost {
    network: Network,
    summary: Summary,
    /// Bytes of its parameters once quantized.
    int8_bytes: usize,
}

fn cost(recipe: &Recipe, side: u16, classes: usize) -> Result<Cost> {
    let network = net::build(recipe, Shape::new(side, side, 3), classes)?;
    let summary = summarise(&network)?;
    let int8_bytes = int8_bytes(recipe, &network, classes)?;
    Ok(Cost { network, summary, int8_bytes })
}

/// Bytes of the parameters in the plan of `network`: int8 weights, and an int32 and an f32 for each channel. What can
/// be folded does not depend on the weights as long as they are those that training starts from.
fn int8_bytes(recipe: &Recipe, network: &Network, classes: usize) -> Result<usize> {
    let checkpoint = Checkpoint {
        recipe: recipe.clone(),
        classes: (0..classes).map(|class| class.to_string()).collect(),
        input: network.input,
        dataset_hash: String::new(),
        weights: Module::new(network.clone())?.initial(0),
        resume: None,
    };
    let graph = deploy::folded(&checkpoint)?;
    let node = |i: usize| {
        let node = &graph.nodes[i];
        let counts = node.op.param_counts(graph.shape(node.inputs[0]), node.output);
        counts.weights + 4 * (counts.biases + counts.multipliers)
    };
    Ok((0..graph.nodes.len()).map(node).sum())
}

fn list(json: bool) -> Result<()> {
    let one = |model: Model| Ok((model, cost(&Recipe { model, ..Recipe::default() }, model.img_size(), CLASSES)?));
    let costs: Vec<(Model, Cost)> = Model::ALL.into_iter().map(one).collect::<Result<_>>()?;
    if json {
        return print_json(&costs.iter().map(|(model, cost)| totals(model.name(), cost)).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = costs.iter().map(|(model, cost)| row(model.name(), cost)).collect();
    print(&table(&["model", "image", "parameters", "MACs", "int8 bytes"], &rows))?;
    print(&format!("\nfor {CLASSES} classes; the layers of one: ocellus model show NAME"))
}

fn row(name: &str, cost: &Cost) -> Vec<String> {
    let Cost { network, summary, int8_bytes } = cost;
    vec![
        name.to_owned(),
        network.input.h.to_string(),
        thousands(summary.parameters as u64),
        thousands(summary.macs),
        thousands(*int8_bytes as u64),
    ]
}

fn totals(name: &str, cost: &Cost) -> Value {
    json!({
        "model": name,
        "img_size": cost.network.input.h,
        "parameters": cost.summary.parameters,
        "macs": cost.summary.macs,
        "int8_bytes": cost.int8_bytes,
    })
}

fn show(args: &ModelShowArgs) -> Result<()> {
    let recipe = recipe(args)?;
    let side = recipe.img_size();
    let cost = cost(&recipe, side, args.classes.into())?;
    if args.json {
        let mut all = totals(args.name.name(), &cost);
        all["classes"] = args.classes.into();
        all["truncate"] = recipe.net.truncate.into();
        all["layers"] = layers(&cost.summary);
        return print_json(&all);
    }
    let truncated = match recipe.net.truncate {
        0 => String::new(),
        1 => ", its first block,".to_owned(),
        count => format!(", its first {count} blocks,"),
    };
    let rows: Vec<Vec<String>> = cost
        .summary
        .layers
        .iter()
        .map(|layer| {
            let numbers = [layer.parameters as u64, layer.macs].map(thousands);
            let [parameters, macs] = numbers;
            vec![layer.name.clone(), layer.kind.to_owned(), layer.output.to_string(), parameters, macs]
        })
        .collect();
    print(&table(&["layer", "kind", "output", "parameters", "MACs"], &rows))?;
    print(&format!(
        "\n{}{truncated} for {side}x{side} images and {} classes: {} parameters, {} MACs, {} bytes of parameters as int8",
        args.name.name(),
        args.classes,
        thousands(cost.summary.parameters as u64),
        thousands(cost.summary.macs),
        thousands(cost.int8_bytes as u64)
    ))
}

/// What the network is built by: keys that are set beat the other arguments, as in training, except which network it is.
fn recipe(args: &ModelShowArgs) -> Result<Recipe> {
    let flags = |recipe: &mut Recipe| (recipe.model, recipe.data.img_size) = (args.name, args.img_size);
    let recipe = Recipe::of_command_line(None, flags, &args.set)?;
    let refused = |what: String| Err(Failure::Usage(what).into());
    if recipe.model != args.name {
        let (named, set) = (args.name.name(), recipe.model.name());
        return refused(format!(
            "--set model={set} is not {named}: give one network, as in `ocellus model show {set}`"
        ));
    }
    if let Some(backbone) = &recipe.transfer.backbone {
        let backbone = backbone.display();
        return refused(format!(
            "{backbone} is an external backbone, whose layers are not shown: leave out transfer.backbone"
        ));
    }
    Ok(recipe)
}

fn layers(summary: &Summary) -> Value {
    let layer = |layer: &net::summary::LayerSummary| {
        json!({
            "name": layer.name,
            "kind": layer.kind,
            "output": [layer.output.h, layer.output.w, layer.output.c],
            "parameters": layer.parameters,
            "macs": layer.macs,
        })
    };
    summary.layers.iter().map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_the_size_but_not_the_network() {
        let args = |set: &str| ModelShowArgs {
            name: Model::Cnn,
            img_size: Some(64),
            classes: 10,
            set: vec![set.to_owned()],
            json: false,
        };
        assert_eq!(recipe(&args("net.dense=5")).unwrap().data.img_size, Some(64));
        assert_eq!(recipe(&args("data.img-size=16")).unwrap().data.img_size, Some(16));
        for (set, remedy) in [("model=linear", "ocellus model show linear"), ("transfer.backbone=b.onnx", "leave out")]
        {
            let error = recipe(&args(set)).unwrap_err();
            assert!(error.to_string().contains(remedy), "{error}");
            assert_eq!(crate::commands::exit_code(&error), 2);
        }
    }

    #[test]
    fn int8_size_is_weights_and_eight_bytes_a_channel() {
        let recipe = Recipe { model: Model::ResNet8, ..Recipe::default() };
        let cost = cost(&recipe, 32, 10).unwrap();
        // Filters, of which the stem's 27 values become 28; 346 channels have biases and multipliers; the three
        // additions have 4 numbers each and the mean two.
        assert_eq!(cost.int8_bytes, 77_360 + 16 + 8 * 346 + 3 * 16 + 8);
    }
}
