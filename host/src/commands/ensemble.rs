//! `ocellus ensemble`: several trained models as one.

mod outcome;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};

use super::Failure;
use super::helpers::{datasets, runs};
use crate::checkpoint::{BEST, LAST};
use crate::cli::{EnsembleArgs, EnsembleMethod};
use crate::data::{Dataset, Split};
use crate::eval::ensemble::{self, Ensemble, Member, Rule};
use crate::eval::mcnemar::McNemar;
use crate::eval::{Evaluator, Metrics, argmax, stacking};
use crate::files;
use crate::model::ensemble::{ENSEMBLE, Manifest, Source};
use crate::model::{FLOAT_ONNX, INT8_ONNX, PLAN, RECIPE};
use crate::view;
use outcome::{Figures, Outcome, Row};

/// Files of which a folder with another model, or with a run, has one.
const OTHERS: [&str; 7] = [ENSEMBLE, BEST, LAST, RECIPE, PLAN, INT8_ONNX, FLOAT_ONNX];

/// Joins models: fits how to the validation images, measures all of them on the test images, and writes the ensemble's folder.
///
/// # Errors
/// A model cannot be read; [`Failure::Usage`] where they have different classes, or the same in another order, where two are the same,
/// or where one was trained on other images than those that weights would be fitted to; no dataset suits them; or the folder holds
/// something else.
pub fn run(args: &EnsembleArgs) -> Result<()> {
    let (sources, ensemble) = open(args)?;
    // What could spoil the result at the end is looked at before minutes of evaluation.
    let folder = runs::run_folder(args.out.as_deref(), "ensemble")?;
    check_out(folder.path())?;
    let classes = ensemble.classes();
    let read = datasets::labelled_views(&sources[0].data, args.data.as_deref(), ensemble.views(), classes)?;
    for source in &sources {
        check_dataset(source, &ensemble, &read, args)?;
    }
    let val = Answers::of(&ensemble, &images(&read, |dataset| &dataset.val), "validation")?;
    let (rule, joined) = val.join(args.method, classes.len())?;
    let test = Answers::of(&ensemble, &images(&read, |dataset| &dataset.test), "test")?;
    let val_rows = val.figures(&joined);
    let joined = rule.combine_all(&test.members, classes.len());
    let rows: Vec<Row> = val_rows.into_iter().zip(test.figures(&joined)).map(|(val, test)| Row { val, test }).collect();
    let best = best(&rows[..sources.len()]);
    let predicted = |logs: &[f64]| logs.chunks_exact(classes.len()).map(argmax).collect::<Vec<usize>>();
    let mcnemar = McNemar::of(&predicted(&joined), &predicted(&test.members[best]), &test.labels);
    let outcome = Outcome {
        out: folder.path(),
        data: &read[0].name,
        names: sources.iter().map(Source::name).collect(),
        val_images: val.labels.len(),
        metrics: Metrics::new(classes, &test.labels, &joined),
        rule: &rule,
        rows,
        best,
        mcnemar,
    };
    files::make_folder(folder.path())?;
    Manifest::new(&sources, classes, &rule, folder.path())?.write(folder.path())?;
    outcome.print(args.json)
}

/// The models that were named, and their mean.
fn open(args: &EnsembleArgs) -> Result<(Vec<Source>, Ensemble)> {
    let opened = args.models.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>>>()?;
    let mut seen = BTreeSet::new();
    if let Some((twice, _)) = opened.iter().find(|(source, _)| !seen.insert(source.sha256.clone())) {
        let what = format!("{} is the same model as one before it: name each once", twice.name());
        return Err(Failure::Usage(what).into());
    }
    let (sources, evaluators): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
    let member =
        |(source, evaluator): (&Source, Evaluator)| Member { name: source.name(), evaluator, view: source.view };
    let members = sources.iter().zip(evaluators).map(member).collect();
    let ensemble = Ensemble::new(members, Rule::Mean).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    Ok((sources, ensemble))
}

fn check_out(out: &Path) -> Result<()> {
    ensure!(
        !OTHERS.iter().any(|name| out.join(name).exists()),
        "{} holds a model or a run already: choose another folder with --out",
        out.display()
    );
    files::check_folder(out)
}

/// Refuses a member that was trained on other images than those that weights are to be fitted to. To a mean nothing is fitted, and
/// whoever names a dataset knows it.
fn check_dataset(source: &Source, ensemble: &Ensemble, read: &[Dataset], args: &EnsembleArgs) -> Result<()> {
    let view = ensemble.views().iter().position(|view| *view == source.view);
    let dataset = &read[view.expect("the views are those of the members")];
    if source.dataset.is_empty() || source.dataset == dataset.hash {
        return Ok(());
    }
    let what = format!(
        "{} was trained on other images than {} holds, or with another division of them: it may have been trained on images that it \
         is judged by here",
        source.name(),
        dataset.name
    );
    if args.method == EnsembleMethod::Mean || args.data.is_some() {
        view::warn(&what);
        return Ok(());
    }
    let remedy = "train all members on one dataset with one data.seed, or name the images to fit to with --data";
    Err(Failure::Usage(format!("{what}. {remedy}")).into())
}

/// A part of each of the datasets.
fn images(read: &[Dataset], part: impl Fn(&Dataset) -> &Split) -> Vec<Split> {
    read.iter().map(|dataset| part(dataset).clone()).collect()
}

/// The best of the members by validation accuracy, of equals by validation loss, the first of equals.
fn best(rows: &[Row]) -> usize {
    let better = |a: &Figures, b: &Figures| a.accuracy > b.accuracy || (a.accuracy == b.accuracy && a.loss < b.loss);
    (1..rows.len()).fold(0, |best, i| if better(&rows[i].val, &rows[best].val) { i } else { best })
}

/// What members say of images.
struct Answers {
    /// Log-probabilities of each, `(n, classes)`.
    members: Vec<Vec<f64>>,
    /// Class of each image, `(n)`.
    labels: Vec<u16>,
}

impl Answers {
    /// What the members of `ensemble` say of the same `images` in each of its views.
    fn of(ensemble: &Ensemble, images: &[Split], what: &str) -> Result<Self> {
        let labels = images[0].labels.clone();
        ensure!(!labels.is_empty(), "the dataset has no {what} images");
        let bar = view::bar(labels.len() as u64, &format!("{what} images"));
        let members = ensemble.log_probabilities(images, &|| bar.inc(1))?;
        bar.finish_and_clear();
        Ok(Self { members, labels })
    }

    /// How the members are joined, and the log-probabilities that this gives of the images: where something is fitted, those of each
    /// image by a fit without it.
    fn join(&self, method: EnsembleMethod, classes: usize) -> Result<(Rule, Vec<f64>)> {
        let Self { members, labels } = self;
        Ok(match method {
            EnsembleMethod::Mean => (Rule::Mean, Rule::Mean.combine_all(members, classes)),
            EnsembleMethod::Weighted => {
                let fitted = ensemble::fit_weights(members, labels, classes)?;
                (Rule::Weighted(fitted.weights), fitted.out_of_fold)
            }
            EnsembleMethod::Stack => {
                let fitted = stacking::fit(members, labels, classes)?;
                (Rule::Stack(fitted.stack), fitted.out_of_fold)
            }
        })
    }

    /// Figures of each member, and last those of the log-probabilities `joined`.
    fn figures(&self, joined: &[f64]) -> Vec<Figures> {
        let all = self.members.iter().map(Vec::as_slice).chain([joined]);
        all.map(|logs| Figures::new(logs, &self.labels)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_member_is_found_by_its_validation_figures() {
        let row =
            |accuracy, loss| Row { val: Figures { accuracy, loss }, test: Figures { accuracy: 1.0 - accuracy, loss } };
        assert_eq!(best(&[row(0.5, 1.0), row(0.75, 2.0), row(0.75, 1.5), row(0.75, 1.5)]), 2);
    }

    #[test]
    fn what_is_fitted_is_judged_out_of_fold() {
        let labels: Vec<u16> = (0..40).map(|i| i % 2).collect();
        let sure = |right: f64| {
            labels.iter().flat_map(move |&label| if label == 0 { [right, 1.0 - right] } else { [1.0 - right, right] })
        };
        let members = [0.8, 0.6].map(|right| sure(right).map(f64::ln).collect::<Vec<f64>>());
        let answers = Answers { members: members.to_vec(), labels: labels.clone() };
        let (rule, joined) = answers.join(EnsembleMethod::Mean, 2).unwrap();
        assert_eq!(rule, Rule::Mean);
        let figures = answers.figures(&joined);
        assert!(
            (figures[2].loss + 0.7f64.ln()).abs() < 1e-9 && figures.iter().all(|f| f.accuracy == 1.0),
            "{figures:?}"
        );
        let (rule, _) = answers.join(EnsembleMethod::Weighted, 2).unwrap();
        assert!(matches!(rule, Rule::Weighted(weights) if weights[0] > 0.99));
        let (rule, joined) = answers.join(EnsembleMethod::Stack, 2).unwrap();
        assert!(matches!(rule, Rule::Stack(_)) && answers.figures(&joined)[2].loss < figures[0].loss);
    }
}
