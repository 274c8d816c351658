//! What a network sees while it is trained, as one picture.

use super::batches::{Loader, plain};
use crate::data::picture::Picture;
use crate::data::{Dataset, Split};
use crate::recipe::Recipe;
use anyhow::Result;

/// Varied versions of each image, where training has as many.
const VERSIONS: u32 = 9;
/// Small images are enlarged to about so many pixels.
const TILE: usize = 96;
/// White pixels around each image.
const GAP: usize = 4;

/// A sheet with a row for each training image of `dataset`: the image, then versions as the first epochs draw them.
///
/// # Errors
/// The system gives no more threads.
pub fn sheet(recipe: &Recipe, dataset: &Dataset) -> Result<Picture> {
    let split = &dataset.train;
    let chosen: Vec<usize> = (0..split.len()).collect();
    let epochs: Vec<u32> = (0..VERSIONS).filter(|&epoch| recipe.view(epoch) == epoch).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let loader = Loader::new(recipe, split, dataset.classes.len(), threads)?;
    let originals = plain(split, 0..split.len()).images;
    let versions = epochs.iter().map(|&epoch| loader.varied(epoch, epoch, &chosen).images);
    Ok(arrange(&std::iter::once(originals).chain(versions).collect::<Vec<_>>(), split))
}

/// Columns of images, each `(n, 3, h, w)`, as one picture.
fn arrange(columns: &[Vec<f32>], split: &Split) -> Picture {
    let (height, width) = (split.height, split.width);
    let (scale, plane) = ((TILE / height.max(width)).max(1), height * width);
    let (tile_h, tile_w) = (height * scale + GAP, width * scale + GAP);
    let rows = columns[0].len() / (3 * plane);
    let (sheet_h, sheet_w) = (rows * tile_h + GAP, columns.len() * tile_w + GAP);
    let mut pixels = vec![255; sheet_h * sheet_w * 3];
    for (column, images) in columns.iter().enumerate() {
        for (row, image) in images.chunks_exact(3 * plane).enumerate() {
            for (y, x) in (0..height * scale).flat_map(|y| (0..width * scale).map(move |x| (y, x))) {
                let at = (row * tile_h + GAP + y) * sheet_w + column * tile_w + GAP + x;
                let from = y / scale * width + x / scale;
                for c in 0..3 {
                    pixels[3 * at + c] = (image[c * plane + from] * 255.0).round() as u8;
                }
            }
        }
    }
    Picture { width: sheet_w as u16, height: sheet_h as u16, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_as_many_versions_as_training() {
        let split = Split { images: vec![9; 2 * 8 * 8 * 3], labels: vec![0, 1], height: 8, width: 8 };
        let classes = ["a", "b"].map(String::from).to_vec();
        let (val, test) = (split.clone(), split.clone());
        let dataset = Dataset { name: "x".into(), classes, train: split, val, test, hash: String::new() };
        let columns = |views: u32| {
            let mut recipe = Recipe::default();
            recipe.transfer.cache_views = views;
            (usize::from(sheet(&recipe, &dataset).unwrap().width) - GAP) / (96 + GAP)
        };
        assert_eq!([1, 4, 30, 0].map(columns), [2, 5, 10, 10]);
    }

    #[test]
    fn tiles_stand_in_rows_and_columns() {
        // Images of two pixels, side by side; each is enlarged 48 times.
        let split = Split { images: vec![], labels: vec![], height: 1, width: 2 };
        let image = |left: f32, right: f32| [left, right].repeat(3);
        let columns = [[image(0.0, 1.0), image(0.2, 0.2)].concat(), [image(0.4, 0.6), image(0.8, 0.8)].concat()];
        let sheet = arrange(&columns, &split);
        assert_eq!((sheet.width, sheet.height), (2 * (96 + 4) + 4, 2 * (48 + 4) + 4));
        let at = |x: usize, y: usize| sheet.pixels[3 * (y * usize::from(sheet.width) + x)];
        assert_eq!([at(0, 0), at(4, 4), at(51, 51), at(52, 4), at(99, 4), at(100, 4)], [255, 0, 0, 255, 255, 255]);
        assert_eq!([at(104, 4), at(152, 51), at(4, 56), at(104, 56)], [102, 153, 51, 204]);
    }
}
