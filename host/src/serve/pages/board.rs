//! *Board*: an emulated board that watches, and what boards need for the model.

use maud::{Markup, html};

use crate::board::Board;
use crate::serve::site::Site;

/// The content.
pub fn content(site: &Site) -> Markup {
    let boards = Board::all().unwrap_or_default();
    html! {
        h1 { "What happens on the board?" }
        div.two {
            section.card aria-label="Live view" {
                h2 { "Live: " (site.board.name()) " under QEMU" }
                div.viewfinder { img.pixels id="frame" alt="The camera's frame" hidden; video id="video" playsinline muted hidden {} p id="off" { "The board is off." } }
                div.verdict { span id="label" { "" } span.quiet id="rate" {} }
                div.bars id="bars" {}
                div.buttons {
                    button type="button" id="watch-data" aria-pressed="false" { "Watch test images" }
                    button type="button" id="watch-webcam" aria-pressed="false" { "Watch the webcam" }
                }
                p.note id="equal" role="status" {}
            }
            section.card aria-label="Does it fit" {
                h2 { "Does it fit?" }
                label.row { span.quiet { "Board" }
                    select id="board" { @for board in &boards {
                        option value=(board.name) selected[board.name == site.board.name()] {
                            (board.name) @if board.machine.is_some() { " (emulated)" }
                        }
                    } }
                }
                p.note id="fits" role="status" {}
                div.gauges id="gauges" {}
                details id="layers-box" hidden { summary { "Layer by layer" } div.scroll { table id="layers" {} } }
            }
        }
    }
}
