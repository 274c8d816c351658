//! `ocellus compare`: several models of the same classes side by side.

mod cost;
mod plot;
mod table;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;
use ocellus_shared::plan::Plan;
use serde_json::json;

use super::Failure;
use super::helpers::models::Candidate;
use super::helpers::{datasets, targets};
use crate::board::Board;
use crate::cli::{CompareArgs, MeasureOn};
use crate::data::{Dataset, Split};
use crate::eval::view::View;
use crate::eval::{self, Evaluator, Metrics};
use crate::files;
use crate::recipe::{DataRecipe, Recipe};
use crate::{report, view};
use cost::Cost;
use table::Entry;

/// Evaluates the models on the test images and prints their figures.
///
/// # Errors
/// A model cannot be read, [`Failure::Usage`] where two have different classes, no dataset suits them, or the board fails.
pub fn run(args: &CompareArgs) -> Result<()> {
    let board = match args.on {
        MeasureOn::Engine => Board::load(&args.board)?,
        MeasureOn::Sim => targets::emulated_board(&args.board)?,
    };
    // What could spoil the table at the end is looked at before minutes of evaluation.
    args.csv.iter().chain(&args.plot).try_for_each(|path| files::check_file(path))?;
    let candidates = args.models.iter().map(|path| Candidate::open(path)).collect::<Result<Vec<_>>>()?;
    candidates[1..].iter().try_for_each(|candidate| candidate.check_classes(&candidates[0]))?;
    let (mut test_sets, mut entries) = (TestSets::default(), Vec::new());
    for candidate in &candidates {
        let (data, images) = test_sets.of(candidate, args)?;
        entries.push(candidate.evaluate(data, &images, &board, args.on)?);
    }
    if let Some(path) = &args.csv {
        files::write(path, &table::csv(&entries)?)?;
    }
    if let Some(path) = &args.plot {
        plot::drawing(&entries, &board.cpu).write(path)?;
    }
    if args.json {
        return report::print_json(&json!({ "board": board.name, "cpu": board.cpu, "models": entries }));
    }
    report::print(&table::text(&entries, &board.cpu))
}

impl Candidate {
    /// Refuses a model whose classes are not those of the `first`.
    fn check_classes(&self, first: &Self) -> Result<()> {
        let [ours, theirs] = [self, first].map(|candidate| candidate.classes.iter().collect::<BTreeSet<_>>());
        if ours == theirs {
            return Ok(());
        }
        let [one, other] = [first, self].map(|candidate| candidate.path.display().to_string());
        let what = format!(
            "{one} and {other} have different classes: {}. Compare models of the same classes",
            eval::class_difference((&one, &first.classes), (&other, &self.classes))
        );
        Err(Failure::Usage(what).into())
    }

    /// Its figures on the same `images` in each of its views.
    fn evaluate(&self, data: &str, images: &[Split], board: &Board, on: MeasureOn) -> Result<Entry> {
        let name = self.path.display().to_string();
        let split = &images[0];
        let metrics = |evaluator: &Evaluator, kind: &str| -> Result<Metrics> {
            let bar = view::bar(split.len() as u64, &format!("{name}, {kind}"));
            let scores = evaluator.scores_of_views(images, &|| bar.inc(1)).with_context(|| name.clone())?;
            bar.finish_and_clear();
            Ok(scores.metrics(&self.classes, &split.labels))
        };
        let float = self.float.as_ref().map(|float| metrics(float, "float")).transpose()?;
        let int8 = self.plan.as_ref().map(|plan| metrics(&Evaluator::Engine(plan.clone()), "int8")).transpose()?;
        let cost = self.cost(split, board, on)?;
        Ok(Entry { model: name, data: data.to_owned(), float, int8, cost })
    }

    fn cost(&self, split: &Split, board: &Board, on: MeasureOn) -> Result<Cost> {
        let Some(plan) = &self.plan else {
            return Ok(match &self.float {
                Some(float) => Cost::of_evaluator(float)?,
                None => Cost::default(),
            });
        };
        let mut cost = Cost::of_plan(&Plan::parse(plan)?);
        match on {
            MeasureOn::Engine => cost.read_card(self.folder(), &board.cpu),
            MeasureOn::Sim => cost.measure(board, plan, &eval::int8_pixels(split.image(0)))?,
        }
        Ok(cost)
    }
}

/// The test images for one model after the other.
#[derive(Default)]
struct TestSets {
    /// The last one that was read, and what for.
    last: Option<TestSet>,
    /// How the first one can be told from others.
    first: Option<Fingerprint>,
}

/// A dataset, and what it was read for.
struct TestSet {
    recipe: DataRecipe,
    views: Vec<View>,
    classes: Vec<String>,
    /// In each of the views.
    read: Vec<Dataset>,
}

/// What tells whether two test sets hold the same images.
struct Fingerprint {
    name: String,
    images: usize,
    drawn: (u64, f64),
    pixels: (Shape, String),
}

impl TestSets {
    /// The dataset's name and the test images for `candidate`, in each of its views. Warns where they are not those of the first one.
    fn of(&mut self, candidate: &Candidate, args: &CompareArgs) -> Result<(&str, Vec<Split>)> {
        let Candidate { recipe, input, classes, .. } = candidate;
        let views = candidate.views()?;
        let is_known = |last: &TestSet| last.recipe == recipe.data && last.views == views && last.classes == *classes;
        if !self.last.as_ref().is_some_and(is_known) {
            let read = datasets::labelled_views(&recipe.data, args.data.as_deref(), &views, classes)?;
            self.last = Some(TestSet { recipe: recipe.data.clone(), views, classes: classes.clone(), read });
        }
        let TestSet { read, .. } = self.last.as_ref().expect("it was just read");
        let dataset = &read[0];
        datasets::warn_if_other(dataset, &candidate.files);
        let images: Vec<Split> = read.iter().map(|dataset| datasets::take(&dataset.test, args.images)).collect();
        ensure!(!images[0].is_empty(), "{} has no test images", dataset.name);
        let this = Fingerprint::new(dataset, recipe, *input);
        if !this.is_like(self.first.get_or_insert_with(|| Fingerprint::new(dataset, recipe, *input))) {
            view::warn(&format!(
                "{} is tested on other images than the first model: small differences mean nothing",
                candidate.path.display()
            ));
        }
        Ok((&dataset.name, images))
    }
}

impl Fingerprint {
    fn new(dataset: &Dataset, recipe: &Recipe, input: Shape) -> Self {
        Self {
            name: dataset.name.clone(),
            images: dataset.test.len(),
            drawn: (recipe.data.seed, recipe.data.test_fraction),
            pixels: (input, eval::digest(bytemuck::cast_slice(&dataset.test.images))),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        // Images of one size are compared themselves, of two sizes by where they come from.
        if self.pixels.0 == other.pixels.0 {
            return self.pixels == other.pixels;
        }
        (&self.name, self.images, self.drawn) == (&other.name, other.images, other.drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelFiles;

    fn candidate(path: &str, classes: &str) -> Candidate {
        let classes = classes.split(' ').map(str::to_owned).collect();
        let input = Shape::new(8, 8, 3);
        let (files, recipe) = (ModelFiles::default(), Recipe::default());
        Candidate { path: path.into(), files, recipe, plan: None, float: None, input, classes }
    }

    #[test]
    fn other_classes_are_refused_and_another_order_is_not() {
        let first = candidate("runs/a", "cat dog fox");
        candidate("runs/b", "fox cat dog").check_classes(&first).unwrap();
        let error = candidate("runs/c", "cat dog elk").check_classes(&first).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("different classes: only runs/a has fox; only runs/c has elk. Compare"), "{message}");
        assert_eq!(crate::commands::exit_code(&error), 2);
        let message = candidate("runs/d", "cat dog").check_classes(&first).unwrap_err().to_string();
        assert!(message.contains("different classes: only runs/a has fox. Compare"), "{message}");
    }

    #[test]
    fn test_sets_are_the_same_by_pixels_or_by_origin() {
        let of = |side: u16, pixels: &str, seed| Fingerprint {
            name: "photos".into(),
            images: 10,
            drawn: (seed, 0.2),
            pixels: (Shape::new(side, side, 3), pixels.into()),
        };
        assert!(of(32, "a", 1).is_like(&of(32, "a", 2)));
        assert!(!of(32, "a", 1).is_like(&of(32, "b", 1)));
        assert!(of(32, "a", 1).is_like(&of(96, "b", 1)));
        assert!(!of(32, "a", 1).is_like(&of(96, "b", 2)));
    }
}
