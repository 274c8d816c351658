//! *Capture*: from a webcam into class folders, then to a model by one click.

use maud::{Markup, html};

use crate::serve::site::Site;

/// The content.
pub fn content(site: &Site) -> Markup {
    html! {
        h1 { "Teach it your own things" }
        ol.way {
            li { strong { "Name two classes or more" } ": the things that it is to tell apart, such as " i { "cup" } " and " i { "no cup" } "." }
            li { strong { "Give each class pictures" } ": hold its button while you show it to the webcam from all sides, or add pictures that you have." }
            li { strong { "Train" } ". A small network learns to tell the classes apart." }
            li { strong { "Try it" } ", and ask the emulated board." }
        }
        div.two {
            section.card aria-label="Classes" {
                h2 { "Classes" }
                p.quiet id="no-classes" { "None yet." }
                ul.classes id="classes" {}
                form.row id="add" {
                    input type="text" id="new-class" placeholder="Name of a class" maxlength="60" required aria-label="Name of a class" autocomplete="off";
                    button type="submit" { "Add class" }
                    button type="button" id="add-folder" { "Add a folder of classes" }
                    input.hidden id="folder" type="file" webkitdirectory tabindex="-1" aria-label="Folder with one subfolder of pictures per class";
                }
                p.note id="taken" role="status" {}
                div.buttons { button type="button" id="undo" hidden { "Remove these again" } }
                p.quiet {
                    "JPEG and PNG. They are kept in the folder " code { (crate::view::name(site.shelf.photos())) } ", one folder per class; near-duplicates are left out. "
                    a href="/data" { "Look through them" } "."
                }
            }
            section.card aria-label="Webcam and training" {
                div.viewfinder { video id="video" playsinline muted {} p id="off" { "The webcam is off." } }
                div.buttons { button type="button" id="live" aria-pressed="false" { "Start the webcam" } }
                div.buttons {
                    button.main type="button" id="train" disabled { "Train" }
                    button type="button" id="stop-training" hidden { "Stop" }
                    a.button.main id="try" href="/" hidden { "Try it" }
                }
                p.note id="advice" role="status" {}
                progress id="progress" max="1" value="0" hidden aria-label="Training" {}
                p.quiet { a href="/runs" { "Runs" } " shows the curves of a training, and has more settings." }
            }
        }
    }
}
