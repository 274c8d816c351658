//! *Errors*: the confusion matrix, whose cells open their pictures, and what int8 changes.

use maud::{Markup, html};

use super::choice;

/// The content.
pub fn content() -> Markup {
    html! {
        h1 { "What does it get wrong?" }
        section.card.bar-of-choices aria-label="Which images" {
            fieldset { legend { "Split" } (choice("split", "test", "test", true)) (choice("split", "val", "val", false)) (choice("split", "train", "train", false)) }
            fieldset { legend { "Images" } (choice("images", "1000", "1,000", true)) (choice("images", "1000000", "all", false)) }
            fieldset { legend { "By" } (choice("by", "int8", "int8", true)) (choice("by", "float", "float", false)) }
            p.quiet id="about" role="status" {}
            progress id="progress" max="1" value="0" hidden aria-label="Evaluation" {}
        }
        section.figures id="figures" aria-label="Figures" {}
        div.two {
            section.card aria-label="Confusion matrix" {
                h2 { "Confusion matrix" }
                p.quiet { "A row is a class, a column what it was taken for. Choose a cell to see its pictures." }
                div.scroll { table.matrix id="matrix" {} }
            }
            section.card aria-label="Pictures" {
                h2 id="list-title" tabindex="-1" { "Pictures" }
                div.buttons {
                    button type="button" data-list="contradicted" { "Surest mistakes" }
                    button type="button" data-list="doubted" { "Doubts" }
                    button type="button" data-list="changed" { "float and int8 differ" }
                }
                div.gallery id="gallery" {}
                button type="button" id="more" hidden { "More" }
            }
        }
        section.card aria-label="Classes" {
            h2 { "Class by class" }
            div.scroll { table id="classes" {} }
        }
    }
}
