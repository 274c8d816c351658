//! `ocellus data`: fetches, checks and shows datasets.

mod against;
mod preview;

use crate::cli::{DataCheckArgs, DataCommand, DataFetchArgs};
use crate::data::check::{Report, check};
use crate::data::dataset_shift::Shift;
use crate::data::fetch::{Options, Source};
use crate::recipe::DataRecipe;
use crate::{report, view};
use anyhow::{Result, ensure};
use serde::Serialize;

/// Groups of duplicates that the text lists.
const LISTED: usize = 20;

/// What a check found, and how the pictures differ from others where they were compared.
#[derive(Serialize)]
struct Findings<'r> {
    #[serde(flatten)]
    report: &'r Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    shifts: Option<Vec<Shift>>,
}

/// Does one of the subcommands.
///
/// # Errors
/// See [`Source::fetch`]; a dataset that cannot be trained on as it is; a file that cannot be written.
pub fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::Fetch(args) => run_fetch(args),
        DataCommand::Check(args) => run_check(args),
        DataCommand::Preview(args) => preview::run(args),
    }
}

/// Prints the dataset's folder on stdout, so that another command's `--data` can take it from there.
fn run_fetch(args: &DataFetchArgs) -> Result<()> {
    let options =
        Options { to: args.to.clone(), url: args.url.clone(), sha256: args.sha256.clone(), ..Options::default() };
    let bar = view::bytes_bar(&format!("fetching {}", args.name));
    let dir = Source::named(&args.name)?.fetch(&options, &|done, total| {
        total.into_iter().for_each(|total| bar.set_length(total));
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    report::print_path(&dir)
}

fn run_check(args: &DataCheckArgs) -> Result<()> {
    let recipe = DataRecipe { path: args.path.clone(), ..DataRecipe::default() };
    let bar = view::bar(0, "checking");
    let report = check(&recipe, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let shifts = match (&args.path, &args.against) {
        (Some(path), Some(other)) => Some(against::shifts(path, other)?),
        _ => None,
    };
    if args.json {
        report::print_json(&Findings { report: &report, shifts })?;
    } else {
        let lines = [lines(&report), shifts.iter().flatten().map(shift_line).collect()].concat();
        report::print(&lines.join("\n"))?;
    }
    ensure!(
        report.is_usable(),
        "the dataset cannot be trained on as it is: {} problems, {} unreadable images",
        report.problems.len(),
        report.unreadable.len()
    );
    Ok(())
}

fn shift_line(shift: &Shift) -> String {
    let kind = if shift.is_notable() { "WARNING" } else { "note" };
    format!("{kind}: {shift} of the images compared with")
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = if report.classes.is_empty() { Vec::new() } else { counts(report) };
    let unreadable = report.unreadable.iter();
    lines.extend(unreadable.map(|image| format!("unreadable: {} {}", image.image, image.reason)));
    for group in report.duplicates.iter().take(LISTED) {
        let what = match (group.across_classes, group.across_splits) {
            (false, false) => "",
            (true, false) => ", different labels",
            (false, true) => ", different splits",
            (true, true) => ", different labels and splits",
        };
        lines.push(format!("identical{what}: {}", group.images.join(", ")));
    }
    if report.duplicates.len() > LISTED {
        lines.push(format!(
            "and {} more groups of identical images: --json lists all",
            report.duplicates.len() - LISTED
        ));
    }
    let kinds = [("note", &report.notes), ("WARNING", &report.warnings), ("PROBLEM", &report.problems)];
    lines.extend(kinds.iter().flat_map(|(kind, found)| found.iter().map(move |line| format!("{kind}: {line}"))));
    lines
}

fn counts(report: &Report) -> Vec<String> {
    let Report { name, layout, images, classes, .. } = report;
    let mut lines = vec![format!("{name} ({layout}): {images} images, {} classes", classes.len())];
    if report.images == 0 {
        return lines;
    }
    for (axis, extent) in [("width", report.width), ("height", report.height)] {
        lines.push(format!("{axis:>6} {} to {} pixels, median {}", extent.min, extent.max, extent.median));
    }
    let widest = report.classes.iter().map(|class| report::width(&class.name)).max().unwrap_or_default().max(5);
    lines.push(format!("{:widest$} {:>7} {:>7} {:>7} {:>7}", "class", "train", "val", "test", "all"));
    for class in &report.classes {
        let (train, val, test) = (class.train, class.val, class.test);
        let name = report::pad(&class.name, widest);
        lines.push(format!("{name} {train:>7} {val:>7} {test:>7} {:>7}", class.total()));
    }
    let smallest =
        if report.classes.iter().any(|class| class.total() == 0) { "smallest that has any" } else { "smallest" };
    lines.push(format!("the largest class has {:.2} times the images of the {smallest}", report.imbalance));
    lines
}
