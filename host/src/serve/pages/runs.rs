//! *Runs*: live curves, and a form that starts one.

use maud::{Markup, html};

use crate::recipe::{Model, Recipe};
use crate::serve::shelf::Source;
use crate::serve::site::Site;

/// The content.
pub fn content(site: &Site) -> Markup {
    html! {
        h1 { "How does it learn?" }
        div.two {
            section.card aria-label="Curves" {
                div.row { h2 id="run-title" { "Curves" } span.pill id="run-state" hidden {} }
                figure.chart id="accuracy" { figcaption { "Validation accuracy" } }
                figure.chart id="loss" { figcaption { "Loss: validation, and dashed training" } }
                p.quiet id="legend" {}
                div.buttons {
                    button type="button" id="stop" hidden { "Stop and save" }
                    button type="button" id="resume" hidden { "Resume" }
                    button type="button" id="export" hidden { "Export to int8" }
                    a.button id="try" href="/" hidden { "Try it" }
                }
                details id="log-box" hidden { summary { "Output" } pre.log id="log" tabindex="0" {} }
                details id="recipe-box" hidden { summary { "Recipe" } pre.log id="recipe" tabindex="0" {} }
            }
            section.card aria-label="New run" { (form(site)) }
        }
        section.card aria-label="All runs" {
            h2 { "All runs" }
            p.quiet { "Choose several to compare their curves." }
            div.scroll { table id="runs" {} }
            p.quiet id="no-runs" hidden { "None yet: start one with the form." }
        }
    }
}

/// The recipe's main keys.
fn form(site: &Site) -> Markup {
    let usual = Recipe::default();
    let number = |key: &str, text: &str, value: String, least: &str, step: &str| {
        html! { label { span { (text) } input type="number" data-key=(key) value=(value) min=(least) step=(step) required; } }
    };
    html! {
        h2 { "New run" }
        form.fields id="train" {
            label { span { "Name" } input type="text" id="name" value="mine" required maxlength="60" pattern="[A-Za-z0-9_][A-Za-z0-9._\\-]*"
                title="letters, digits, dots, dashes and underscores" autocomplete="off"; }
            label { span { "Pictures" } select id="data" {
                @for source in Source::ALL.into_iter().filter(|&source| site.shelf.has(source)) {
                    option value=(source.name()) { (source_name(site, source)) }
                }
            } }
            label { span { "Network" } select data-key="model" {
                @for model in Model::ALL { option value=(model.name()) selected[model == usual.model] { (model.name()) } }
            } }
            label { span { "Starts from" } select id="start" { option value="" { "random weights" } } }
            (number("data.img-size", "Image size, pixels", "32".into(), "16", "8"))
            (number("train.epochs", "Epochs", "20".into(), "1", "1"))
            details id="more-settings" {
                summary { "More settings" }
                div.fields {
                    (number("train.batch-size", "Batch size", "64".into(), "1", "1"))
                    (number("train.lr", "Learning rate", usual.train.lr.to_string(), "0", "any"))
                    label { span { "Optimizer" } select data-key="train.opt" { option value="sgd" { "SGD" } option value="adam" { "Adam" } } }
                    (number("train.seed", "Seed", usual.train.seed.to_string(), "0", "1"))
                    label.whole { span { "More keys of the recipe, KEY=VALUE in each line" } textarea id="more-keys" rows="4" spellcheck="false" {} }
                }
            }
            button.main type="submit" id="start-training" { "Train" }
            p.quiet { "It trains, then quantizes and exports. One job runs at a time; stopped runs resume exactly where they were." }
        }
    }
}

/// What a source is called.
pub fn source_name(site: &Site, source: Source) -> String {
    let folder = site.shelf.path(source).ok().flatten().map(|path| crate::view::name(&path)).unwrap_or_default();
    match source {
        Source::Given => format!("{folder} (--data)"),
        Source::Photos => format!("{folder} (captured)"),
        Source::Shapes => "built-in shapes".to_owned(),
    }
}
