//! What a model says of a picture, and what a board needs for it.

use anyhow::{Context, ensure};

use super::unknown;
use crate::board::Board;
use crate::serve::inspect::{self, Seen, Wanted};
use crate::serve::message::{Fault, Reply, Request};
use crate::serve::occlusion;
use crate::serve::process;
use crate::serve::site::Site;

/// Answers what a picture is sent for.
///
/// # Errors
/// There is no such model, or the picture cannot be used.
pub fn picture(site: &Site, request: &Request, id: &str, what: &str) -> Result<Reply, Fault> {
    let through_camera = request.is_on("camera", false)?;
    let model = site.library.load(id)?;
    let seen = || Seen::new(&model, &request.body, through_camera);
    let answer = match what {
        "classify" => inspect::classify(&model, &request.body, request.value("name").unwrap_or("-"), through_camera)?,
        "inspect" => {
            let (float, pictures) = (request.is_on("float", true)?, request.is_on("pictures", true)?);
            inspect::inspect(&model, &request.body, Wanted { through_camera, float, pictures })?
        }
        "occlusion" => occlusion::map(&model, &seen()?, &request.gone)?,
        "board" => site.board.ask(&model, &seen()?, &request.gone)?,
        _ => return Err(unknown()),
    };
    Ok(Reply::json(&answer))
}

/// What `ocellus analyze --json` says of a model on a board. Its program may have to be built first.
///
/// # Errors
/// There is no such model or board, or the analysis fails.
pub fn analysis(site: &Site, id: &str, board: &str) -> Result<Reply, Fault> {
    let board = Board::load(board).map_err(|_| Fault::missing("board"))?.name;
    let model = site.library.load(id)?;
    let plan = model.files.plan.clone().ok_or_else(|| Fault::missing("plan"))?;
    let key = (plan.clone(), model.digest(), board.clone());
    let task = site.analyses.ask(key, move |task| {
        let mut command = process::this_program()?;
        command.args(["analyze", "--json", "--board", &board, "--"]).arg(plan);
        let output = process::output(command, &|| task.progress(0, 0))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Also where the plan does not fit.
        ensure!(!output.stdout.is_empty(), "{}", said.trim());
        serde_json::from_slice(&output.stdout).with_context(|| said.trim().to_owned())
    });
    match task.result() {
        None => Ok(Reply::json(&task.so_far())),
        Some(Ok(answer)) => Ok(Reply::json(answer)),
        Some(Err(why)) => Err(Fault::new(409, why)),
    }
}
