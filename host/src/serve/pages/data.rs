//! *Data*: classes, duplicates and leaks, labels that may be wrong, and what augmentation does.

use maud::{Markup, html};

use super::choice;
use crate::recipe::AugmentRecipe;

/// Keys of augmentation with a slider: name, what it is, most, step.
const SLIDERS: &[(&str, &str, f64, f64)] = &[
    ("flip", "mirror", 1.0, 0.05),
    ("shift", "shift, pixels", 16.0, 1.0),
    ("rotate", "rotation, degrees", 90.0, 1.0),
    ("zoom", "zoom", 0.9, 0.05),
    ("crop", "least part of a crop", 1.0, 0.05),
    ("grid", "grid distortion", 0.9, 0.05),
    ("elastic", "elastic, pixels", 16.0, 0.5),
    ("brightness", "brightness", 1.0, 0.05),
    ("contrast", "contrast", 1.0, 0.05),
    ("saturation", "saturation", 1.0, 0.05),
    ("hue", "hue", 0.5, 0.01),
    ("gamma", "gamma", 4.0, 0.1),
    ("channel-shuffle", "channel shuffle", 1.0, 0.05),
    ("cutout", "cutout, pixels", 32.0, 1.0),
    ("camera", "small camera", 1.0, 0.05),
    ("mixup", "mixup", 2.0, 0.1),
    ("cutmix", "cutmix", 2.0, 0.1),
    ("ricap", "RICAP", 2.0, 0.1),
];

/// The content.
pub fn content() -> Markup {
    html! {
        h1 { "What does it learn from?" }
        section.card.bar-of-choices aria-label="Dataset" {
            fieldset id="sources" { legend { "Dataset" } }
            p.quiet id="about" role="status" {}
            progress id="progress" max="1" value="0" hidden aria-label="Check" {}
        }
        section.card aria-label="Findings" { h2 { "Findings" } div id="findings" { p.quiet { "Every image is being looked at." } } }
        section.card aria-label="Classes" {
            h2 { "Classes" }
            div.scroll { table id="classes" {} }
            h2 id="class-title" tabindex="-1" hidden {}
            div.gallery id="class-images" {}
            button type="button" id="more" hidden { "More" }
        }
        section.card aria-label="Labels that may be wrong" {
            h2 { "Labels that may be wrong" }
            p.quiet { "Images of the chosen model's own dataset: those that it contradicts most surely, and those that it doubts most." }
            div.bar-of-choices {
                fieldset { legend { "Split" } (choice("split", "train", "train", false)) (choice("split", "val", "val", false)) (choice("split", "test", "test", true)) }
                fieldset { legend { "List" } (choice("list", "contradicted", "contradicted", true)) (choice("list", "doubted", "doubted", false)) }
                button type="button" id="judge" { "Look for them" }
                progress id="judging" max="1" value="0" hidden aria-label="Evaluation" {}
            }
            div.gallery id="suspects" {}
        }
        section.card aria-label="Augmentation" {
            h2 { "Augmentation" }
            p.quiet { "Training images, and nine variations of each as the first epochs draw them." }
            div.two.wide {
                div.sliders id="sliders" { @for slider in SLIDERS { (self::slider(slider)) } }
                div {
                    img.sheet id="sheet" alt="Training images and their variations";
                    pre id="keys" aria-label="Keys of the recipe" { "[augment]" }
                    div.buttons {
                        button type="button" id="use" { "Use for training" }
                        button type="button" id="reset" { "All off" }
                    }
                }
            }
        }
    }
}

fn slider((key, what, most, step): &(&str, &str, f64, f64)) -> Markup {
    // A crop of the whole picture is none.
    let (least, off) = if *key == "crop" { (0.05, AugmentRecipe::none().crop) } else { (0.0, 0.0) };
    html! {
        label {
            span { (what) } output { (off) }
            input type="range" data-key=(key) data-off=(off) min=(least) max=(most) step=(step) value=(off);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn sliders_are_keys_of_the_recipe_within_their_ranges() {
        for (key, _, most, _) in SLIDERS {
            Recipe::default()
                .with(&[format!("augment.{key}={most}")])
                .unwrap_or_else(|error| panic!("{key}: {error:#}"));
        }
    }
}
