//! Whether tract and the engine compute the same, value by value.

use super::engine::EngineModel;
use super::tract::TractModel;
use anyhow::{Result, ensure};
use rayon::prelude::*;
use std::fmt;

/// The first value that two sides computed differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Position of the image.
    pub image: usize,
    /// Name of the layer.
    pub layer: String,
    /// Position in the layer's result, `(h, w, c)`.
    pub position: usize,
    /// tract's value.
    pub tract: i8,
    /// The engine's value.
    pub engine: i8,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, layer, position, tract, engine } = self;
        write!(f, "image {image}, layer `{layer}`, value {position}: tract computes {tract}, the engine {engine}")
    }
}

impl std::error::Error for Difference {}

/// Compares the results of every layer, and the scores, for int8 images `(h, w, c)`, on all cores; how many values there
/// were.
///
/// # Errors
/// A [`Difference`]; or the two are of different models, or one of them cannot run.
pub fn compare<'a>(
    tract: &TractModel,
    engine: &EngineModel,
    images: impl IntoIterator<Item = &'a [i8]>,
) -> Result<usize> {
    ensure!(tract.digest() == engine.plan().digest(), "the plan and the ONNX file are of different models");
    let tracer = tract.tracer()?;
    let one = |(i, image): (usize, &[i8])| -> Result<usize> {
        let (expected, found) = (tracer.trace(image)?, engine.trace(image)?);
        ensure!(
            expected.len() == found.len(),
            "{} layers in the ONNX file, {} in the plan",
            expected.len(),
            found.len()
        );
        let layers = expected.iter().zip(&found);
        let compared =
            layers.map(|((layer, expected), found)| same(i, layer, expected, found)).sum::<Result<usize>>()?;
        Ok(compared + same(i, "scores", &tract.scores(image)?, &engine.scores(image)?)?)
    };
    let images: Vec<(usize, &[i8])> = images.into_iter().enumerate().collect();
    // Collected before they are added up, so that the first image that differs is the one that is named.
    images.into_par_iter().map(one).collect::<Vec<_>>().into_iter().sum()
}

fn same(image: usize, layer: &str, tract: &[i8], engine: &[i8]) -> Result<usize> {
    ensure!(
        tract.len() == engine.len(),
        "layer `{layer}` has {} values in tract, {} in the engine",
        tract.len(),
        engine.len()
    );
    match tract.iter().zip(engine).position(|(a, b)| a != b) {
        None => Ok(tract.len()),
        Some(position) => {
            let (tract, engine) = (tract[position], engine[position]);
            Err(Difference { image, layer: layer.to_owned(), position, tract, engine }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_difference() {
        assert_eq!(same(0, "conv", &[1, 2, 3], &[1, 2, 3]).unwrap(), 3);
        let error = same(2, "conv", &[1, 2, 3], &[1, -2, 4]).unwrap_err();
        assert_eq!(error.to_string(), "image 2, layer `conv`, value 1: tract computes 2, the engine -2");
        assert!(same(0, "conv", &[1], &[1, 2]).is_err());
    }
}
