//! `ocellus data preview`: what the network sees while it is trained, as one picture.

use anyhow::Result;

use crate::cli::DataPreviewArgs;
use crate::commands::helpers::runs;
use crate::data;
use crate::files;
use crate::recipe::Recipe;
use crate::report;
use crate::train::preview;

/// Writes a sheet with a row for each of some training images: the image, then versions as the first epochs draw them.
///
/// # Errors
/// The recipe or the dataset cannot be used, or the file cannot be written.
pub fn run(args: &DataPreviewArgs) -> Result<()> {
    files::check_file(&args.out)?;
    let flags = |recipe: &mut Recipe| {
        recipe.data.path = args.data.clone().or(recipe.data.path.take());
        recipe.data.img_size = args.img_size.or(recipe.data.img_size);
    };
    // What the recipe leaves open is decided as for training; so is the size that an external backbone takes.
    let mut recipe = Recipe::of_command_line(args.recipe.as_deref(), flags, &args.set)?.resolved();
    runs::open_backbone(&mut recipe)?;
    let dataset = data::load_some(&recipe.data, args.images.into(), &|_, _| ())?;
    files::write(&args.out, &preview::sheet(&recipe, &dataset)?.to_png()?)?;
    report::print_path(&args.out)
}
