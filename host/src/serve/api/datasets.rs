//! Datasets: what is in them, what could be wrong with them, and what augmentation makes of their images.

use serde_json::{Value, json};

use super::{number_of, unknown};
use crate::data::check::{Report, check};
use crate::data::{self, Dataset};
use crate::recipe::{AugmentRecipe, DataRecipe, Recipe};
use crate::serve::message::{Fault, Method, Reply, Request};
use crate::serve::shelf::{self, Source};
use crate::serve::site::Site;
use crate::train::preview;

/// Groups of duplicates, and unreadable images, that are named.
const LISTED: usize = 100;
/// Images of a class that are named at a time.
const MOST_LISTED: usize = 200;
/// Images of a preview.
const PREVIEWED: usize = 4;

/// Answers what stands below `/api/v1/data`.
///
/// # Errors
/// There is no such dataset, or it cannot be read.
pub fn answer(site: &Site, request: &Request, path: &[&str]) -> Result<Reply, Fault> {
    match (request.method, path) {
        (Method::Get, []) => Ok(Reply::json(&json!({ "datasets": sources(site) }))),
        (Method::Get, [source]) => checked(site, Source::named(source)?),
        (Method::Get, [source, "images"]) => images(site, Source::named(source)?, request),
        (Method::Get, [source, "preview.png"]) => previewed(site, Source::named(source)?, request),
        (Method::Get, [source, part, file]) => {
            let (source, part, index) = (Source::named(source)?, shelf::part(part)?, number_of(file)?);
            let dataset = read(site, source)?;
            shelf::png(shelf::split(&dataset, part), index).map(Reply::png).map_err(|_| Fault::missing("image"))
        }
        _ => Err(unknown()),
    }
}

/// Which datasets there are.
fn sources(site: &Site) -> Vec<Value> {
    let there = Source::ALL.into_iter().filter(|&source| site.shelf.has(source));
    let path = |source| site.shelf.path(source).ok().flatten().map(|path| crate::view::json_path(&path));
    there.map(|source| json!({ "id": source.name(), "path": path(source) })).collect()
}

fn read(site: &Site, source: Source) -> Result<std::sync::Arc<Dataset>, Fault> {
    site.shelf.of_source(source, shelf::side(source)).map_err(|error| Fault::conflict(&error))
}

/// What `data check` found, or how far it is.
fn checked(site: &Site, source: Source) -> Result<Reply, Fault> {
    let path = site.shelf.path(source)?;
    let task = site.checks.ask((source, site.albums.version()), move |task| {
        let recipe = DataRecipe { path, ..DataRecipe::default() };
        Ok(check(&recipe, &|done, all| _ = task.progress(done, all)))
    });
    match task.result() {
        None => Ok(Reply::json(&task.so_far())),
        Some(Ok(report)) => Ok(Reply::json(&shortened(report))),
        Some(Err(why)) => Err(Fault::new(409, why)),
    }
}

/// The report with as many groups of duplicates as somebody looks at; leaks come first.
fn shortened(report: &Report) -> Value {
    let mut short = report.clone();
    let (duplicates, unreadable) = (report.duplicates.len(), report.unreadable.len());
    short.duplicates.sort_by_key(|group| !(group.across_splits || group.across_classes));
    short.duplicates.truncate(LISTED);
    short.unreadable.truncate(LISTED);
    let mut value = json!(short);
    value["duplicate_groups"] = json!(duplicates);
    value["unreadable_images"] = json!(unreadable);
    value["usable"] = json!(report.is_usable());
    value
}

/// Which images of a split are of a class.
fn images(site: &Site, source: Source, request: &Request) -> Result<Reply, Fault> {
    let part = shelf::part(request.value("split").unwrap_or("train"))?;
    let label = request.number("label", usize::from(u16::MAX))?.unwrap_or(0);
    let from = request.number("from", usize::MAX)?.unwrap_or(0);
    let count = request.number("count", MOST_LISTED)?.unwrap_or(MOST_LISTED / 4);
    let dataset = read(site, source)?;
    let labels = &shelf::split(&dataset, part).labels;
    let of_class: Vec<usize> = (0..labels.len()).filter(|&i| usize::from(labels[i]) == label).collect();
    let items: Vec<&usize> = of_class.iter().skip(from).take(count).collect();
    Ok(Reply::json(&json!({ "split": part.name(), "total": of_class.len(), "from": from, "items": items })))
}

/// Training images as the recipe's keys `augment.*` of the query vary them; all others are off.
fn previewed(site: &Site, source: Source, request: &Request) -> Result<Reply, Fault> {
    let path = site.shelf.path(source)?;
    let known = |(key, _): &&(String, String)| key.starts_with("augment.");
    if let Some((key, _)) = request.query.iter().find(|pair| !known(pair)) {
        return Err(Fault::new(400, format!("{key} is no key of augmentation")));
    }
    let plain = Recipe { augment: AugmentRecipe::none(), ..Recipe::default() };
    let changes: Vec<String> = request.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut recipe = plain.with(&changes).map_err(|error| Fault::unusable(&error))?;
    recipe.data = DataRecipe { path, img_size: Some(shelf::side(source)), ..DataRecipe::default() };
    let sheet = data::load_some(&recipe.data, PREVIEWED, &|_, _| ())
        .and_then(|dataset| preview::sheet(&recipe, &dataset)?.to_png())
        .map_err(|error| Fault::conflict(&error))?;
    Ok(Reply::png(sheet))
}
