//! Real boards: which probes there are, writing to a board, and what it sees.

use std::path::Path;

use ocellus_shared::plan::Plan;
use serde::Deserialize;
use serde_json::json;

use super::{read, unknown};
use crate::board::Board;
use crate::probe::{self, Image, Link, Phase, Settings};
use crate::serve::jobs::{Kind, Worker};
use crate::serve::library::Loaded;
use crate::serve::live::Reached;
use crate::serve::message::{Fault, Method, Reply, Request};
use crate::serve::site::Site;

/// A board with a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The model.
    id: String,
    /// The board's name.
    board: String,
    /// What `--probe` takes; by default what it was given.
    #[serde(default)]
    probe: Option<String>,
    /// To flash: the model only; the program on the board stays.
    #[serde(default)]
    model_only: bool,
    /// To watch: the board sends its frames.
    #[serde(default = "yes")]
    pictures: bool,
}

fn yes() -> bool {
    true
}

/// The probes that are plugged in, and how to open those that this user may not.
pub fn probes() -> Reply {
    let probes = probe::list();
    Reply::json(&json!({ "probes": probes, "access": probe::access_fix(&probes) }))
}

/// Answers what stands below `/api/v1/live`.
///
/// # Errors
/// There is no such model or board, or the board is being written to.
pub fn live(site: &Site, request: &Request, path: &[&str]) -> Result<Reply, Fault> {
    let live = match (request.method, path) {
        (Method::Get, []) => {
            let after = request.number("after", usize::MAX)?;
            site.live.describe(after.map(|number| number as u64))
        }
        (Method::Post, ["start"]) => {
            let wanted: Wanted = read(request)?;
            if site.jobs.is_running(Kind::Flash) {
                return Err(Fault::new(409, "a board is being flashed: wait for its end"));
            }
            let (model, reached) = (site.library.load(&wanted.id)?, reached(site, &wanted)?);
            site.live.start(model, reached, wanted.pictures)
        }
        (Method::Post, ["stop"]) => site.live.stop()?,
        _ => return Err(unknown()),
    };
    Ok(Reply::json(&json!({ "live": live })))
}

/// Starts to write a model, and perhaps a program, to a board.
///
/// # Errors
/// There is no such model or board, it does not fit, or something else goes on.
pub fn flash(site: &Site, request: &Request) -> Result<serde_json::Value, Fault> {
    let wanted: Wanted = read(request)?;
    let (model, reached) = (site.library.load(&wanted.id)?, reached(site, &wanted)?);
    let plan = Plan::parse(model.plan_bytes()).map_err(|error| Fault::conflict(&error.into()))?;
    reached.board.check_fit(&plan).map_err(|error| Fault::conflict(&error.into()))?;
    if site.live.is_on() {
        return Err(Fault::new(409, "a board is being watched: stop that first"));
    }
    let title = format!("flashing {}", reached.board.name);
    let model_only = wanted.model_only;
    site.jobs.start(Kind::Flash, &title, "", move |worker| write(worker, &model, &reached, model_only))
}

/// Writes, and says how far it is.
fn write(worker: &Worker, model: &Loaded, reached: &Reached, model_only: bool) -> anyhow::Result<()> {
    let elf = if model_only {
        None
    } else {
        worker.progress("building the program", 0, 0);
        Some(reached.program(&|line| worker.say(line))?)
    };
    worker.go_on()?;
    worker.progress("connecting", 0, 0);
    let mut link = Link::attach(&reached.board, &reached.settings)?;
    let image = Image { elf: elf.as_deref(), plan: model.plan_bytes() };
    let written = link.flash(&image, &mut |phase, done, all| worker.progress(doing(phase), done, all))?;
    let then = match (written.starts, reached.is_rehearsal()) {
        (true, true) => "a rehearsal: nothing real was programmed",
        (true, false) => "the board starts",
        (false, true) => "a rehearsal: a real board with a program would start",
        (false, false) => "its flash holds no program to run it: write both",
    };
    worker.say(&format!(
        "{}: program {} bytes, model {} bytes, written and verified in {:.1} s; {then}",
        reached.board.name,
        written.program_bytes,
        written.model_bytes,
        written.time.as_secs_f64()
    ));
    Ok(())
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Erase => "erasing",
        Phase::Program => "programming",
        Phase::Verify => "verifying",
    }
}

/// The board that is meant, and the way to it.
fn reached(site: &Site, wanted: &Wanted) -> Result<Reached, Fault> {
    let board = Board::load(&wanted.board).map_err(|_| Fault::missing("board"))?;
    if board.machine.is_some() {
        return Err(Fault::new(422, format!("{} is emulated: it is neither flashed nor watched so", board.name)));
    }
    let mut settings: Settings = site.probe.clone();
    if let Some(probe) = wanted.probe.as_deref().filter(|probe| !probe.is_empty()) {
        settings.probe = probe.parse().map_err(|error| Fault::unusable(&error))?;
    }
    Ok(Reached { board, settings, elf: site.elf.as_deref().map(Path::to_owned) })
}
