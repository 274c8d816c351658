//! *Try*: a picture, what the board sees of it, and what float, int8 and board say.

use maud::{Markup, html};

use super::has_model;
use crate::serve::site::Site;

/// The content.
pub fn content(site: &Site) -> Markup {
    let has_model = has_model(site);
    html! {
        h1 { @if has_model { "What does it see?" } @else { "Welcome" } }
        @if !has_model { (welcome()) }
        div.try hidden[!has_model] {
            section.card.stage aria-label="Picture" {
                label.drop id="drop" for="file" {
                    canvas id="stage" width="640" height="480" hidden {}
                    video id="video" playsinline muted hidden {}
                    span id="hint" {
                        strong { "Drop a picture here" }
                        span { "or paste one, or click to choose a file" }
                    }
                }
                input.hidden id="file" type="file" accept="image/jpeg,image/png,.jpg,.jpeg,.png";
                div.buttons {
                    button type="button" id="choose" { "Choose a picture" }
                    button type="button" id="live" aria-pressed="false" { "Webcam" }
                    button type="button" id="sample" { "One of its test images" }
                    button type="button" id="take" hidden { "Take this one" }
                }
                fieldset.switches {
                    legend { "View" }
                    label { input type="checkbox" id="camera"; " through the board's camera (RGB565, 160 x 120)" }
                    label { input type="checkbox" id="heat"; " where it looks" }
                }
                p.note id="heat-note" hidden {}
            }
            section.card aria-label="Result" {
                div.verdict { span id="label" { "No picture yet" } span.quiet id="rate" {} }
                div.sides {
                    (side("float", "Float", "before quantization"))
                    (side("int8", "int8 engine", "as the board computes it"))
                    (side("board", "Emulated board", "Cortex-M under QEMU"))
                }
                p.note id="equal" role="status" {}
                details id="scores" hidden { summary { "All scores" } div.scroll { table id="score-table" {} } }
            }
            section.card.sees aria-label="What the board sees" {
                h2 { "What the board sees" }
                div.steps id="steps" { p.quiet { "The part that is cut out, the camera's frame, and the network's input." } }
            }
        }
    }
}

/// What there is to do where there is no model.
fn welcome() -> Markup {
    html! {
        section.card.welcome aria-label="First steps" {
            h2 { "There is no model yet" }
            p { "A model tells pictures apart. You can make one here, without typing a command:" }
            div.two {
                div {
                    h3 { "Your own things" }
                    p.quiet { "Show some things to the webcam, or choose pictures of them. A small network learns to tell them apart in a minute or two." }
                    div.buttons { a.button.main href="/capture" { "Teach it your own things" } }
                }
                div {
                    h3 { "An example" }
                    p.quiet { "Ten kinds of drawn shapes, which are built in. Training takes about a minute." }
                    div.buttons { button type="button" id="example" { "Train the example" } }
                    progress id="example-progress" max="1" value="0" hidden aria-label="Training" {}
                    p.note id="example-note" role="status" {}
                }
            }
        }
    }
}

/// The place for one side's answer.
fn side(id: &str, title: &str, what: &str) -> Markup {
    html! {
        section.side id=(id) aria-label=(title) {
            h2 { (title) }
            p.quiet { (what) }
            div.bars {}
            p.latency {}
            @if id == "board" { button type="button" id="ask-board" disabled { "Ask the board" } }
        }
    }
}
