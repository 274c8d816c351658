//! Whether what runs on a board is what a command means.

use anyhow::{Result, bail};
use ocellus_shared::plan::Plan;

/// Refuses a program that says that it is the one of another board than `board`.
///
/// # Errors
/// It is another board's: with the remedy.
pub fn check_program(says: &str, board: &str) -> Result<()> {
    if says != board {
        bail!("the program on the board is that of {says}, not of {board}: write the right one with `ocellus flash`");
    }
    Ok(())
}

/// Refuses a model that is not `plan`, by the digest that `board` tells.
///
/// # Errors
/// It is another model: both digests, and the remedy.
pub fn check_model(digest: [u8; 8], plan: &Plan, board: &str) -> Result<()> {
    if digest != plan.digest() {
        bail!(
            "{board} runs another model: its digest is {}, that of the given one {}; write the given one with \
             `ocellus flash MODEL --board {board} --model`",
            hex::encode(digest),
            hex::encode(plan.digest())
        );
    }
    Ok(())
}
