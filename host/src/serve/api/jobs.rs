//! Training from a page: a form becomes a call of this program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{boards, read, unknown};
use crate::model::ModelFiles;
use crate::recipe::Recipe;
use crate::serve::jobs::{Kind, Worker};
use crate::serve::message::{Fault, Method, Reply, Request};
use crate::serve::runs;
use crate::serve::shelf::Source;
use crate::serve::site::Site;

/// Keys of a recipe that a form may set at a time.
const MOST_KEYS: usize = 100;
/// Characters of a run's name.
const MOST_CHARS: usize = 60;

/// What a form asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    /// Name of the run.
    name: String,
    /// Dataset, by its name in addresses.
    data: String,
    /// Run or model whose weights it starts from.
    #[serde(default)]
    start: Option<String>,
    /// Keys of the recipe.
    #[serde(default)]
    set: BTreeMap<String, String>,
}

/// A run or model that is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
    /// Epochs to prolong a run to.
    #[serde(default)]
    epochs: Option<u32>,
}

/// Answers what stands below `/api/v1/jobs`.
///
/// # Errors
/// Another job is running, or what is asked for makes no sense.
pub fn answer(site: &Site, request: &Request, path: &[&str]) -> Result<Reply, Fault> {
    let job = match (request.method, path) {
        (Method::Get, []) => site.jobs.describe(),
        (Method::Post, ["stop"]) => site.jobs.stop()?,
        (Method::Post, ["train"]) => train(site, &read(request)?)?,
        (Method::Post, ["resume"]) => resume(site, &read(request)?)?,
        (Method::Post, ["export"]) => export(site, &read(request)?)?,
        (Method::Post, ["flash"]) => boards::flash(site, request)?,
        _ => return Err(unknown()),
    };
    Ok(Reply::json(&json!({ "job": job })))
}

fn train(site: &Site, form: &Training) -> Result<Value, Fault> {
    let out = site.runs_folder.join(run_name(&form.name)?);
    if out.exists() {
        return Err(Fault::new(409, format!("there is a run called {:?}: choose another name", form.name)));
    }
    let settings = settings(form)?;
    let data = site.shelf.path(Source::named(&form.data)?)?;
    let data = data.map_or_else(|| crate::data::shapes::NAME.into(), std::path::PathBuf::into_os_string);
    let mut call = vec!["train".into(), flag("--out", out.as_os_str()), flag("--data", &data)];
    call.extend(settings.iter().map(|setting| flag("--set", setting.as_ref())));
    if let Some(start) = form.start.as_deref().filter(|id| !id.is_empty()) {
        let files = ModelFiles::find(&site.library.entry(start)?.path).map_err(|error| Fault::conflict(&error))?;
        let weights =
            files.checkpoint.ok_or_else(|| Fault::new(409, format!("{start} has no trained weights to start from")))?;
        call.push(flag("--pretrained", weights.as_os_str()));
    }
    start(site, Kind::Train, "training", &form.name, vec![call, export_call(&out)])
}

fn resume(site: &Site, named: &Named) -> Result<Value, Fault> {
    let entry = site.library.entry(&named.id)?;
    if !runs::is_run(&entry.path) {
        return Err(Fault::missing("run"));
    }
    let mut call = vec!["train".into(), "--resume".into(), flag("--out", entry.path.as_os_str())];
    call.extend(named.epochs.map(|epochs| OsString::from(format!("--epochs={epochs}"))));
    start(site, Kind::Train, "training", &named.id, vec![call, export_call(&entry.path)])
}

fn export(site: &Site, named: &Named) -> Result<Value, Fault> {
    let entry = site.library.entry(&named.id)?;
    start(site, Kind::Export, "exporting", &named.id, vec![export_call(&entry.path)])
}

/// Starts calls of this program, one after the other as long as each succeeds.
fn start(site: &Site, kind: Kind, doing: &str, run: &str, calls: Vec<Vec<OsString>>) -> Result<Value, Fault> {
    let work = move |worker: &Worker| calls.iter().try_for_each(|arguments| worker.call(arguments));
    site.jobs.start(kind, &format!("{doing} {run}"), run, work)
}

fn export_call(run: &Path) -> Vec<OsString> {
    vec!["export".into(), "--".into(), run.into()]
}

/// A flag and its value in one word: no value is taken for another flag.
fn flag(name: &str, value: &std::ffi::OsStr) -> OsString {
    let mut word = OsString::from(name);
    word.push("=");
    word.push(value);
    word
}

/// The name of a new run's folder.
fn run_name(name: &str) -> Result<&str, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = !name.is_empty() && name.len() <= MOST_CHARS && name.chars().all(plain) && !name.starts_with(['.', '-']);
    if good {
        Ok(name)
    } else {
        Err(Fault::new(422, "the run's name takes letters, digits, dots, dashes and underscores"))
    }
}

/// The settings of a form as `KEY=VALUE`, which together make a recipe that reads no other file.
fn settings(form: &Training) -> Result<Vec<String>, Fault> {
    if form.set.len() > MOST_KEYS {
        return Err(Fault::new(422, format!("a form sets at most {MOST_KEYS} keys")));
    }
    if let Some((key, _)) =
        form.set.iter().find(|(key, value)| key.contains(char::is_control) || value.contains(char::is_control))
    {
        return Err(Fault::new(422, format!("{} has a control character", crate::view::plain(key))));
    }
    let mut settings = vec![format!("name={}", form.name)];
    settings.extend(form.set.iter().map(|(key, value)| format!("{key}={value}")));
    let recipe = Recipe::default().with(&settings).map_err(|error| Fault::unusable(&error))?;
    let is_closed = recipe.data.path.is_none() && recipe.net.pretrained.is_none() && recipe.transfer.backbone.is_none();
    if !is_closed {
        return Err(Fault::new(
            422,
            "a form names no files: data.path, net.pretrained and transfer.backbone are not for it",
        ));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, set: &[(&str, &str)]) -> Training {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Training { name: name.to_owned(), data: "shapes".to_owned(), start: None, set }
    }

    #[test]
    fn names_stay_in_the_folder_of_runs() {
        for good in ["mine", "cnn-2", "a.b_c"] {
            assert_eq!(run_name(good).unwrap(), good);
        }
        let long = "a".repeat(61);
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a b", "ä", "a\0", &long] {
            assert_eq!(run_name(bad).unwrap_err().status, 422, "{bad:?}");
        }
    }

    #[test]
    fn forms_set_keys_and_name_no_files() {
        let all = settings(&form("mine", &[("train.epochs", "3"), ("model", "linear")])).unwrap();
        assert_eq!(all, ["name=mine", "model=linear", "train.epochs=3"]);
        for (key, value) in [
            ("data.path", "/etc"),
            ("net.pretrained", "/etc/passwd"),
            ("transfer.backbone", "/etc/passwd"),
            ("train.epochs", "0"),
            ("train.speed", "1"),
            ("--out", "x"),
            ("a=b", "c"),
            ("train.lr", "0.1\n[data]"),
        ] {
            assert_eq!(settings(&form("mine", &[(key, value)])).unwrap_err().status, 422, "{key}");
        }
    }
}
