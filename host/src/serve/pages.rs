//! The pages: what stands around their content, and which there are. Every text is escaped by maud.

mod board;
mod capture;
mod data;
mod errors;
mod runs;
mod try_it;

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::message::Reply;
use super::site::Site;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// What a model says of a picture.
    Try,
    /// Which images it takes for what.
    Errors,
    /// What is in a dataset.
    Data,
    /// Training.
    Runs,
    /// Taking photos of classes.
    Capture,
    /// The emulated board, and what it needs.
    Board,
}

impl Page {
    const ALL: [Self; 6] = [Self::Try, Self::Errors, Self::Data, Self::Capture, Self::Runs, Self::Board];

    /// The page at `/name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.path().strip_prefix('/') == Some(name) && !name.is_empty())
    }

    fn path(self) -> &'static str {
        match self {
            Self::Try => "/",
            Self::Errors => "/errors",
            Self::Data => "/data",
            Self::Runs => "/runs",
            Self::Capture => "/capture",
            Self::Board => "/board",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Try => "Try",
            Self::Errors => "Errors",
            Self::Data => "Data",
            Self::Runs => "Runs",
            Self::Capture => "Capture",
            Self::Board => "Board",
        }
    }

    /// Its script.
    fn script(self) -> &'static str {
        match self {
            Self::Try => "/assets/try.js",
            Self::Errors => "/assets/errors.js",
            Self::Data => "/assets/data.js",
            Self::Runs => "/assets/runs.js",
            Self::Capture => "/assets/capture.js",
            Self::Board => "/assets/board.js",
        }
    }

    /// What stands on it before its script runs.
    fn content(self, site: &Site) -> Markup {
        match self {
            Self::Try => try_it::content(site),
            Self::Errors => of_model(site, errors::content()),
            Self::Data => data::content(),
            Self::Runs => runs::content(site),
            Self::Capture => capture::content(site),
            Self::Board => of_model(site, board::content(site)),
        }
    }
}

/// The page as HTML.
pub fn render(site: &Site, page: Page) -> Reply {
    let content = page.content(site);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title()) " - Ocellus" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/style.css";
                script type="module" src=(page.script()) {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { (eye()) span { "Ocellus" } }
                    nav aria-label="Pages" {
                        @for other in Page::ALL {
                            a href=(other.path()) aria-current=[(other == page).then_some("page")] { (other.title()) }
                        }
                    }
                    (model_choice(&site.library.describe_all()))
                }
                main id="main" { (content) }
                p.toast id="toast" role="status" aria-live="polite" {}
            }
        }
    };
    Reply::html(page.into_string())
}

/// Whether there is a model that can be asked.
fn has_model(site: &Site) -> bool {
    site.library.describe_all().iter().any(|model| model["exported"] == true)
}

/// What says something of a model; where to get one where there is none.
fn of_model(site: &Site, content: Markup) -> Markup {
    let has_model = has_model(site);
    html! {
        @if !has_model {
            h1 { "There is no model yet" }
            p.card.empty { "This page shows what a model does. " a href="/" { "Make one first" } ": that takes a few minutes, and no command." }
        }
        // Its script finds its places all the same.
        div.whole hidden[!has_model] { (content) }
    }
}

/// The models to choose from; those without a plan cannot be asked.
fn model_choice(models: &[Value]) -> Markup {
    let text = |model: &Value, key: &str| model[key].as_str().unwrap_or_default().to_owned();
    html! {
        label.model {
            span { "Model" }
            select id="model" {
                @for model in models {
                    @let exported = model["exported"] == true;
                    option value=(text(model, "id")) disabled[!exported] {
                        (text(model, "id")) @if !exported { " (not exported)" }
                    }
                }
                @if models.is_empty() { option value="" { "none yet" } }
            }
        }
    }
}

/// The sign: an eye of a lens and a few cells.
fn eye() -> Markup {
    html! {
        svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" {
            path d="M2 16C7 7.5 11.500 5 16 5s9 2.500 14 11c-5 8.500-9.500 11-14 11S7 24.500 2 16z" fill="none" stroke="currentColor" stroke-width="2.400" stroke-linejoin="round" {}
            circle cx="16" cy="16" r="6" fill="currentColor" {}
            circle cx="18.200" cy="13.800" r="1.800" fill="var(--ground)" {}
        }
    }
}

/// A button of a group of which one is on.
fn choice(group: &str, value: &str, text: &str, is_on: bool) -> Markup {
    html! {
        label.choice { input type="radio" name=(group) value=(value) checked[is_on]; span { (text) } }
    }
}
