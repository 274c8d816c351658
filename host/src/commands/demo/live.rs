//! Shows test images to the emulated board's camera, and what it says.

use std::io::{IsTerminal, stderr};
use std::path::Path;

use anyhow::Result;
use ocellus_shared::frame::Frame;
use ocellus_shared::plan::Plan;

use crate::board::Board;
use crate::camera::{self, Sensor};
use crate::client::{Classification, Client};
use crate::commands::Failure;
use crate::data::Split;
use crate::eval::Metrics;
use crate::eval::engine::EngineModel;
use crate::report;
use crate::transport::qemu::ClockMode;
use crate::view::{self, Panel};

/// Sends every image of `split` as a camera frame, says live what the board sees, and compares each score with the
/// engine's here.
///
/// # Errors
/// [`Failure::Disagree`] where a score differs; or the board fails.
pub fn show(board: &Board, elf: &Path, plan: &[u8], classes: &[String], split: &Split) -> Result<Metrics> {
    let engine = EngineModel::new(plan)?;
    let mut client = Client::boot_with(board, elf, ClockMode::Free, plan)?;
    let mut panel = stderr().is_terminal().then(|| Panel::new(split.len()));
    let mut scores = Vec::new();
    for i in 0..split.len() {
        let (seen, here) = look(&mut client, &engine, split, i)?;
        if seen.scores != here {
            let what = format!("board and workstation disagree on the frame of image {i}");
            return Err(Failure::Disagree(what).into());
        }
        let truth = &classes[usize::from(split.labels[i])];
        let verdict = if *truth == seen.label { "right" } else { "wrong" };
        let line = format!(
            "sees {} is {} {verdict}, margin {:.2}",
            report::pad(&seen.label, 12),
            report::pad(truth, 12),
            seen.margin
        );
        match &mut panel {
            Some(panel) => panel.draw(split.image(i), split.width, &line),
            None => view::note(&format!("  frame {:>3}: {line}", i + 1)),
        }
        scores.extend(seen.scores);
    }
    client.end()?;
    Ok(Metrics::new(classes, &split.labels, &scores))
}

/// What the board says of image `i` as a frame, and the scores that the engine here gives the same frame.
fn look(client: &mut Client, engine: &EngineModel, split: &Split, i: usize) -> Result<(Classification, Vec<i8>)> {
    let sensor = Sensor::default();
    let plan: &Plan = engine.plan();
    let (width, height) = (split.width as u16, split.height as u16);
    let data = camera::shoot(sensor, plan.crop(), width, height, split.image(i))?;
    let frame = Frame::new(sensor.format, sensor.width, sensor.height, &data)?;
    Ok((client.frame(&frame)?, engine.classify(&frame)?))
}
