//! `ocellus weights`: fetches pretrained weights.

use crate::cli::{WeightsCommand, WeightsFetchArgs};
use crate::data::fetch::Options;
use crate::report::print_path;
use crate::view;
use crate::weights::sources::Source;
use anyhow::Result;

/// Does one of the subcommands.
///
/// # Errors
/// See [`Source::fetch`].
pub fn run(command: &WeightsCommand) -> Result<()> {
    let WeightsCommand::Fetch(args) = command;
    fetch(args)
}

/// Prints the file on stdout, so that `ocellus train --pretrained` can take it from there.
fn fetch(args: &WeightsFetchArgs) -> Result<()> {
    let options = Options {
        to: args.to.clone(),
        url: args.url.clone(),
        sha256: args.sha256.clone(),
        accept_short: args.accept_short_checksum,
    };
    let bar = view::bytes_bar(&format!("fetching {}", args.name));
    let file = Source::named(&args.name)?.fetch(&options, &|done, total| {
        total.into_iter().for_each(|total| bar.set_length(total));
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    print_path(&file)
}
