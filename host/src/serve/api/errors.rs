//! What a model makes of its dataset, image by image.

use std::sync::Arc;

use crate::serve::evaluation::{self, Judged, Listed, Wanted};
use crate::serve::message::{Fault, Reply, Request};
use crate::serve::shelf;
use crate::serve::site::Site;
use crate::serve::task::Task;

use super::number_of;

/// Images of an evaluation where nobody says how many, and at most.
const USUAL_IMAGES: usize = 1000;
const MOST_IMAGES: usize = 1_000_000;
/// Images of a list that are named at a time.
const MOST_LISTED: usize = 200;

/// The figures of an evaluation, or how far it is.
///
/// # Errors
/// There is no such model, or it cannot be evaluated.
pub fn summary(site: &Site, request: &Request, id: &str) -> Result<Reply, Fault> {
    let task = evaluate(site, request, id)?;
    answered(&task, |judged| Ok(Reply::json(&judged.summary())))
}

/// Images of an evaluation.
///
/// # Errors
/// As for [`summary`]; or there is no such list.
pub fn list(site: &Site, request: &Request, id: &str) -> Result<Reply, Fault> {
    let from = request.number("from", MOST_IMAGES)?.unwrap_or(0);
    let count = request.number("count", MOST_LISTED)?.unwrap_or(MOST_LISTED / 4);
    let class =
        |key| request.number(key, usize::from(u16::MAX))?.ok_or_else(|| Fault::new(400, format!("which {key}?")));
    let listed = match request.value("list").unwrap_or_default() {
        "cell" => {
            Listed::Cell { label: class("label")?, taken: class("taken")?, float: request.is_on("by-float", false)? }
        }
        "changed" => Listed::Changed,
        "contradicted" => Listed::Contradicted,
        "doubted" => Listed::Doubted,
        _ => return Err(Fault::new(400, "list is cell, changed, contradicted or doubted")),
    };
    let task = evaluate(site, request, id)?;
    answered(&task, |judged| Ok(Reply::json(&judged.list(listed, from, count)?)))
}

/// An image of a model's dataset.
///
/// # Errors
/// There is none.
pub fn image(site: &Site, id: &str, part: &str, file: &str) -> Result<Reply, Fault> {
    let (part, index) = (shelf::part(part)?, number_of(file)?);
    let model = site.library.load(id)?;
    let dataset = site.shelf.of_model(&model).map_err(|error| Fault::conflict(&error))?;
    shelf::png(shelf::split(&dataset, part), index).map(Reply::png).map_err(|_| Fault::missing("image"))
}

fn evaluate(site: &Site, request: &Request, id: &str) -> Result<Arc<Task<Judged>>, Fault> {
    let part = shelf::part(request.value("split").unwrap_or("test"))?;
    let images = request.number("images", MOST_IMAGES)?.unwrap_or(USUAL_IMAGES).max(1);
    let float = request.is_on("float", true)?;
    let model = site.library.load(id)?;
    let wanted = Wanted { model: (id.to_owned(), model.digest()), part, images, float };
    let shelf = Arc::clone(&site.shelf);
    Ok(site.evaluations.ask(wanted.clone(), move |task| evaluation::judge(task, &model, &shelf, &wanted)))
}

fn answered<T>(task: &Task<T>, done: impl FnOnce(&T) -> Result<Reply, Fault>) -> Result<Reply, Fault> {
    match task.result() {
        None => Ok(Reply::json(&task.so_far())),
        Some(Ok(value)) => done(value),
        Some(Err(why)) => Err(Fault::new(409, why)),
    }
}
