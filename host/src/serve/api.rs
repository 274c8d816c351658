//! `/api/v1`: what programs ask for, and what the pages show. [`super::openapi`] describes it.

mod boards;
mod datasets;
mod errors;
mod jobs;
mod models;
mod photos;

use serde::Deserialize;
use serde_json::json;

use super::message::{Fault, Method, Reply, Request};
use super::site::Site;
use super::{openapi, runs};

/// Answers what stands below `/api/v1`.
///
/// # Errors
/// There is no such thing, or it cannot be had.
pub fn answer(site: &Site, request: &Request, path: &[&str]) -> Result<Reply, Fault> {
    match (request.method, path) {
        (Method::Get, ["openapi.json"]) => Ok(Reply::json(&openapi::document())),
        (Method::Get, ["models"]) => Ok(Reply::json(&json!({ "models": site.library.describe_all() }))),
        (Method::Get, ["models", id, "errors"]) => errors::summary(site, request, id),
        (Method::Get, ["models", id, "errors", "images"]) => errors::list(site, request, id),
        (Method::Get, ["models", id, "images", part, file]) => errors::image(site, id, part, file),
        (Method::Get, ["models", id, "analysis", board]) => models::analysis(site, id, board),
        (Method::Post, ["models", id, what]) => models::picture(site, request, id, what),
        (Method::Get, ["board"]) => {
            Ok(Reply::json(&json!({ "board": site.board.name(), "obstacle": site.board.obstacle() })))
        }
        (Method::Get, ["probes"]) => Ok(boards::probes()),
        (_, ["live", path @ ..]) => boards::live(site, request, path),
        (Method::Get, ["runs"]) => Ok(Reply::json(&json!({ "runs": site.runs() }))),
        (Method::Get, ["runs", id]) => {
            let entry = site.library.entry(id)?;
            Ok(Reply::json(&runs::details(&entry.id, &entry.path)?))
        }
        (Method::Get, ["runs", id, "metrics"]) => Ok(Reply::json(&runs::metrics(&site.library.entry(id)?.path)?)),
        (_, ["jobs", path @ ..]) => jobs::answer(site, request, path),
        (_, ["data", path @ ..]) => datasets::answer(site, request, path),
        (_, ["photos", path @ ..]) => photos::answer(site, request, path),
        _ => Err(unknown()),
    }
}

/// The JSON object in the body.
fn read<'r, T: Deserialize<'r>>(request: &'r Request) -> Result<T, Fault> {
    serde_json::from_slice(&request.body).map_err(|error| Fault::new(400, format!("the body: {error}")))
}

fn unknown() -> Fault {
    Fault::missing("call: /api/v1/openapi.json lists all")
}

/// The number in the name of a picture, such as `12.png`.
fn number_of(file: &str) -> Result<usize, Fault> {
    let number = file.strip_suffix(".png").and_then(|number| number.parse().ok());
    number.ok_or_else(|| Fault::missing("image"))
}
