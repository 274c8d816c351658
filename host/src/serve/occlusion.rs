//! Where a model looks: how much of the winning score is lost while a patch of the picture is covered (Matthew Zeiler and Rob
//! Fergus, *Visualizing and Understanding Convolutional Networks*, 2014, 4.2), by the integers of the plan itself.

use ocellus_shared::scores;
use serde_json::{Value, json};

use super::inspect::Seen;
use super::library::Loaded;
use super::message::{Fault, Gone};

/// Rows and columns of the map.
const CELLS: usize = 16;
/// Rows and columns of cells that a patch covers.
const PATCH: usize = 4;
/// Covered pictures that are computed before it is looked whether anybody waits.
const TOGETHER: usize = 32;

/// The map for the picture in `seen`: `map[row][column]` is the mean drop of the winner's logit over the patches that cover the cell.
/// Above 0 the cell speaks for the class, below it against.
///
/// # Errors
/// Nobody waits for it any more.
pub fn map(model: &Loaded, seen: &Seen, gone: &Gone) -> Result<Value, Fault> {
    let engine = model.engine()?;
    let (plan, shape) = (engine.plan(), engine.plan().input().shape);
    let (h, w, c) = (usize::from(shape.h), usize::from(shape.w), usize::from(shape.c));
    let failed = |error: anyhow::Error| Fault::unusable(&error);
    let before = engine.scores(&seen.image).map_err(failed)?;
    let winner = scores::best(&before);
    let classes = before.len();
    let fill = mean(&seen.image, c);
    let places: Vec<(usize, usize)> =
        (0..=CELLS - PATCH).flat_map(|row| (0..=CELLS - PATCH).map(move |column| (row, column))).collect();
    let (mut sums, mut counts) = (vec![0.0; CELLS * CELLS], vec![0u32; CELLS * CELLS]);
    for some in places.chunks(TOGETHER) {
        if gone.is_set() {
            return Err(Fault::new(499, "nobody waits for the answer"));
        }
        let covered: Vec<i8> = some.iter().flat_map(|&place| cover(&seen.image, (h, w), &fill, place)).collect();
        let scores = engine.scores_all(&covered, &|| ()).map_err(failed)?;
        for (&(row, column), scores) in some.iter().zip(scores.chunks_exact(classes)) {
            let drop = i32::from(winner.score) - i32::from(scores[usize::from(winner.class)]);
            let drop = f64::from(drop) * f64::from(plan.output_params().scale);
            for cell in (row..row + PATCH).flat_map(|row| (column..column + PATCH).map(move |x| row * CELLS + x)) {
                sums[cell] += drop;
                counts[cell] += 1;
            }
        }
    }
    let cells: Vec<f64> = sums.iter().zip(counts).map(|(sum, count)| sum / f64::from(count.max(1))).collect();
    let rows: Vec<&[f64]> = cells.chunks_exact(CELLS).collect();
    Ok(json!({ "label": plan.label(winner.class.into()), "patch": PATCH, "map": rows, "runs": places.len() + 1 }))
}

/// Mean of each channel of an image `(h, w, c)`: a patch of it is no object of its own.
fn mean(image: &[i8], channels: usize) -> Vec<i8> {
    let one = |c: usize| {
        let values = image.iter().skip(c).step_by(channels);
        let sum: i64 = values.clone().map(|&value| i64::from(value)).sum();
        (sum as f64 / values.count().max(1) as f64).round() as i8
    };
    (0..channels).map(one).collect()
}

/// `image`, `(h, w, c)`, with the patch whose first cell is at `place` filled.
fn cover(image: &[i8], (h, w): (usize, usize), fill: &[i8], (row, column): (usize, usize)) -> Vec<i8> {
    let mut covered = image.to_vec();
    let (rows, columns) =
        (row * h / CELLS..(row + PATCH) * h / CELLS, column * w / CELLS..(column + PATCH) * w / CELLS);
    for y in rows {
        for x in columns.clone() {
            covered[(y * w + x) * fill.len()..][..fill.len()].copy_from_slice(fill);
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_covers_its_cells_in_the_mean_colour() {
        let image: Vec<i8> = (0..16 * 16).flat_map(|i| [i as i8, 10, -20]).collect();
        assert_eq!(mean(&image, 3), [-1, 10, -20]);
        let covered = cover(&image, (16, 16), &[1, 2, 3], (12, 0));
        let changed: Vec<usize> = (0..16 * 16).filter(|i| covered[3 * i..3 * i + 3] == [1, 2, 3]).collect();
        let expected: Vec<usize> = (12..16).flat_map(|row| (0..4).map(move |column| 16 * row + column)).collect();
        assert_eq!(changed, expected);
    }
}
