//! Photos that a page takes, into folders of their classes.

use serde_json::json;

use super::unknown;
use crate::data::album::{Verdict, check_label};
use crate::data::names;
use crate::data::picture::Picture;
use crate::serve::message::{Fault, Method, Reply, Request};
use crate::serve::shelf::Source;
use crate::serve::site::Site;

/// Pixels of a photo at most: a page takes them with a webcam.
const MOST_PIXELS: u64 = 4_000_000;
/// Photos that are taken back at a time, at most.
const MOST_UNDONE: usize = 10_000;
/// Characters of a class's name at most.
const MOST_CHARS: usize = 60;

/// Answers what stands below `/api/v1/photos`.
///
/// # Errors
/// The picture cannot be used or written, or the class cannot be a folder.
pub fn answer(site: &Site, request: &Request, path: &[&str]) -> Result<Reply, Fault> {
    match (request.method, path) {
        (Method::Get, []) => {
            let folder = crate::view::json_path(site.shelf.photos());
            Ok(Reply::json(&json!({ "folder": folder, "classes": site.albums.counts() })))
        }
        (Method::Post, [class]) => add(site, request, class),
        (Method::Post, [class, "undo"]) => {
            let most = request.number("count", MOST_UNDONE)?.unwrap_or(1);
            let taken = site.albums.take_back(class, most).map_err(|error| Fault::conflict(&error))?;
            site.shelf.forget(Source::Photos);
            Ok(Reply::json(&json!({ "class": class, "removed": taken.0, "count": taken.1 })))
        }
        _ => Err(unknown()),
    }
}

fn add(site: &Site, request: &Request, class: &str) -> Result<Reply, Fault> {
    check_label(class).and_then(|()| names::check(class)).map_err(|error| Fault::unusable(&error))?;
    if class.chars().count() > MOST_CHARS {
        return Err(Fault::new(422, format!("the name of a class has at most {MOST_CHARS} characters")));
    }
    let picture = Picture::decode_up_to(&request.body, MOST_PIXELS).map_err(|error| Fault::unusable(&error))?;
    let (verdict, count) = site.albums.offer(class, &picture).map_err(|error| Fault::conflict(&error))?;
    let kept = matches!(verdict, Verdict::Kept(_));
    if kept {
        site.shelf.forget(Source::Photos);
    }
    Ok(Reply::json(&json!({ "class": class, "kept": kept, "count": count })))
}
