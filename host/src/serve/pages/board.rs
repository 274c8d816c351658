//! *Board*: an emulated board that watches, what boards need for the model, and a real board that is flashed and watched.

use maud::{Markup, html};

use crate::board::Board;
use crate::serve::site::Site;

/// The content.
pub fn content(site: &Site) -> Markup {
    let boards = Board::all().unwrap_or_default();
    html! {
        h1 { "What happens on the board?" }
        div.two {
            section.card.live aria-label="Live view" {
                h2 { "An emulated board, live" }
                p.quiet { (site.board.name()) " under QEMU: this computer runs, in software, the very program that the board's processor would." }
                div.viewfinder {
                    img.pixels id="frame" alt="The camera's frame" hidden;
                    video id="video" playsinline muted hidden {}
                    p id="off" { "The board is off." }
                }
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
        (real(&boards))
    }
}

/// A board of silicon.
fn real(boards: &[Board]) -> Markup {
    html! {
        section.card.live aria-label="A real board" {
            h2 { "A real board" }
            p.quiet {
                "Connect a debug probe (ST-Link, J-Link, CMSIS-DAP) to the board and to this computer, then flash the chosen model and watch what its camera sees."
            }
            div.two {
                div {
                    div.fields {
                        label { span { "Board" } select id="real-board" {
                            @for board in boards.iter().filter(|board| board.machine.is_none()) { option value=(board.name) { (board.name) } }
                        } }
                        label { span { "Debug probe" } select id="probe" {} }
                    }
                    p.note id="probe-note" {}
                    div.buttons {
                        button.main type="button" id="flash" { "Flash" }
                        button type="button" id="watch-real" aria-pressed="false" { "Watch" }
                        button type="button" id="find-probes" { "Look for probes" }
                    }
                    fieldset.switches {
                        legend { "Options" }
                        label { input type="checkbox" id="with-pictures" checked; " watch with pictures: the board sends its frames, which is slower" }
                        label { input type="checkbox" id="model-only"; " flash the model only, and keep the board's program" }
                    }
                    progress id="flash-progress" max="1" value="0" hidden aria-label="Flashing" {}
                    p.note id="real-note" role="status" {}
                    details id="access-box" hidden { summary { "A probe may not be opened" } pre id="access" {} }
                    details id="real-log-box" hidden { summary { "Faults and log" } pre.log id="real-log" tabindex="0" {} }
                }
                div {
                    div.viewfinder {
                        img.pixels id="real-frame" alt="The frame of the real board's camera" hidden;
                        p id="real-off" { "Nobody watches it." }
                    }
                    div.verdict { span id="real-label" { "" } span.quiet id="real-rate" {} }
                    div.bars id="real-bars" {}
                }
            }
        }
    }
}
