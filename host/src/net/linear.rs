//! A linear classifier on the pixels: what a dataset gives away without any vision.

use super::{Builder, Network};
use anyhow::Result;
use ocellus_shared::{Op, Shape};

/// Writes down the classifier for images of `input` size and `classes` classes.
///
/// # Errors
/// The image has more values than a vector can hold.
pub fn build(input: Shape, classes: u16) -> Result<Network> {
    let mut net = Builder::new(input);
    net.op("flatten", Op::Flatten)?;
    net.dense("head", classes)?;
    Ok(net.finish())
}
