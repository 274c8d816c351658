//! Which function answers which request.

use super::message::{Fault, Method, Reply, Request};
use super::pages::Page;
use super::site::Site;
use super::{api, assets, pages};

/// Bytes of a picture.
const MOST_PICTURE_BYTES: usize = 32 << 20;
/// Bytes of anything else that is sent.
const MOST_JSON_BYTES: usize = 64 << 10;

/// How many bytes the body of a request may have.
///
/// # Errors
/// Nothing here answers it.
pub fn most_bytes(request: &Request) -> Result<usize, Fault> {
    match (request.method, request.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice()) {
        (Method::Other, _) => Err(Fault::new(405, "only GET and POST are answered")),
        (Method::Get, _) => Ok(0),
        (Method::Post, ["api", "v1", "models", _, "classify" | "inspect" | "occlusion" | "board"]) => {
            Ok(MOST_PICTURE_BYTES)
        }
        (Method::Post, ["api", "v1", "photos", _]) => Ok(MOST_PICTURE_BYTES),
        (Method::Post, ["api", ..]) => Ok(MOST_JSON_BYTES),
        (Method::Post, _) => Err(Fault::new(405, "only what is below /api takes POST")),
    }
}

/// Answers a request that may be answered.
///
/// # Errors
/// There is nothing to answer with; the fault says why.
pub fn answer(site: &Site, request: &Request) -> Result<Reply, Fault> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match (request.method, path.as_slice()) {
        (_, ["api", "v1", path @ ..]) => api::answer(site, request, path),
        (Method::Get, ["assets", name]) => assets::find(name).ok_or_else(|| Fault::missing("file")),
        (Method::Get, []) => Ok(pages::render(site, Page::Try)),
        (Method::Get, [name]) => match Page::named(name) {
            Some(page) => Ok(pages::render(site, page)),
            None => Err(Fault::missing("page")),
        },
        _ => Err(Fault::missing("page")),
    }
}
