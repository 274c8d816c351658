//! *Capture*: from a webcam into class folders, then to a model by one click.

use maud::{Markup, html};

use crate::serve::site::Site;

/// The content.
pub fn content(site: &Site) -> Markup {
    html! {
        h1 { "Teach it your own things" }
        ol.way {
            li { strong { "Name two classes or more" } " and show each to the webcam from all sides." }
            li { strong { "Train" } ": a small network learns to tell them apart." }
            li { strong { "See the emulated board name them" } " on the page Try." }
        }
        div.two {
            section.card aria-label="Camera" {
                div.viewfinder { video id="video" playsinline muted {} p id="off" { "The webcam is off." } }
                div.buttons {
                    button type="button" id="live" aria-pressed="false" { "Start the webcam" }
                    label.button for="files" { "Add pictures" }
                    input.hidden id="files" type="file" multiple accept="image/jpeg,image/png,.jpg,.jpeg,.png";
                }
                p.note id="taken" role="status" {}
            }
            section.card aria-label="Classes" {
                h2 { "Classes" }
                p.quiet { "Written to " code { (crate::view::name(site.shelf.photos())) } ", one folder per class. Near-duplicates are left out." }
                ul.classes id="classes" {}
                form.row id="add" {
                    input type="text" id="new-class" placeholder="Name of a class" maxlength="60" required aria-label="Name of a class" autocomplete="off";
                    button type="submit" { "Add" }
                }
                div.buttons {
                    button.main type="button" id="train" disabled { "Train" }
                    a.button id="try" href="/" hidden { "Try it" }
                }
                p.note id="advice" {}
                progress id="progress" max="1" value="0" hidden aria-label="Training" {}
            }
        }
    }
}
