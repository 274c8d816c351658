//! `ocellus data preview`: what the network sees while it is trained, as one picture.

use anyhow::{Result, ensure};

use super::super::inputs;
use crate::checkpoint::write_atomically;
use crate::cli::DataPreviewArgs;
use crate::data::picture::Picture;
use crate::data::{Dataset, Split};
use crate::recipe::Recipe;
use crate::report;
use crate::train::batches::{Loader, plain};

/// Varied versions of each image.
const VERSIONS: u32 = 9;
/// Small images are enlarged to about so many pixels.
const TILE: usize = 96;
/// White pixels around each image.
const GAP: usize = 4;

/// Writes a sheet with a row for each of some training images: the image, then the versions of the first epochs.
///
/// # Errors
/// The recipe or the dataset cannot be used, or the file not be written.
pub fn run(args: &DataPreviewArgs) -> Result<()> {
    let mut recipe = args.recipe.as_deref().map_or_else(|| Ok(Recipe::default()), Recipe::load)?.with(&args.set)?;
    recipe.data.path = args.data.clone().or(recipe.data.path);
    recipe.data.img_size = args.img_size.or(recipe.data.img_size);
    let dataset = inputs::load(&recipe.data)?;
    let sheet = sheet(&recipe, &dataset, usize::from(args.images))?;
    write_atomically(&args.out, &sheet.to_png()?)?;
    report::print(&args.out.display().to_string())
}

fn sheet(recipe: &Recipe, dataset: &Dataset, count: usize) -> Result<Picture> {
    let split = &dataset.train;
    ensure!(!split.is_empty(), "the dataset {} has no training images", dataset.name);
    let chosen = spread(split.len(), count);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let loader = Loader::new(recipe, split, dataset.classes.len(), threads)?;
    let originals: Vec<f32> = chosen.iter().flat_map(|&i| plain(split, i..i + 1).images).collect();
    let versions = (0..VERSIONS).map(|epoch| loader.varied(epoch, &chosen).images);
    Ok(arrange(&std::iter::once(originals).chain(versions).collect::<Vec<_>>(), split))
}

/// At most `count` of `images`, evenly spread: folders list one class after the other.
fn spread(images: usize, count: usize) -> Vec<usize> {
    let count = count.min(images);
    (0..count).map(|i| (2 * i + 1) * images / (2 * count)).collect()
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
    fn images_are_spread_over_the_split() {
        assert_eq!(spread(100, 4), [12, 37, 62, 87]);
        assert_eq!(spread(3, 8), [0, 1, 2]);
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
