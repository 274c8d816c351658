//! What is said of an ensemble that was made.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::eval::ensemble::Rule;
use crate::eval::mcnemar::McNemar;
use crate::eval::{Metrics, argmax};
use crate::{report, view};

/// How good probabilities are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Part of the images whose likeliest class is the label's.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
}

impl Figures {
    /// Those of log-probabilities `(n, classes)` against `labels`, of which there is one at least.
    pub fn new(logs: &[f64], labels: &[u16]) -> Self {
        let rows = || logs.chunks_exact(logs.len() / labels.len()).zip(labels.iter().map(|&label| usize::from(label)));
        let right = rows().filter(|(row, label)| argmax(row) == *label).count();
        let loss: f64 = rows().map(|(row, label)| -row[label]).sum();
        Self { accuracy: right as f64 / labels.len() as f64, loss: loss / labels.len() as f64 }
    }
}

/// Figures of one model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    /// On the validation images.
    pub val: Figures,
    /// On the test images.
    pub test: Figures,
}

/// An ensemble and what it is worth.
pub struct Outcome<'a> {
    /// Its folder.
    pub out: &'a Path,
    /// The dataset's name.
    pub data: &'a str,
    /// How its members are joined.
    pub rule: &'a Rule,
    /// Names of the members.
    pub names: Vec<String>,
    /// Figures of each, and last those of the ensemble.
    pub rows: Vec<Row>,
    /// The member with the best validation figures.
    pub best: usize,
    /// The ensemble against that one, on the test images.
    pub mcnemar: McNemar,
    /// The ensemble's figures on the test images.
    pub metrics: Metrics,
    /// Number of validation images.
    pub val_images: usize,
}

impl Outcome<'_> {
    /// Prints it for people, or as JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, as_json: bool) -> Result<()> {
        view::note(self.caution());
        if as_json { report::print_json(&self.json()) } else { report::print(&self.text()) }
    }

    /// How far the validation figures can be trusted.
    fn caution(&self) -> &'static str {
        match self.rule {
            Rule::Mean => {
                "validation figures are slightly optimistic where members kept their best epoch by the same images"
            }
            _ => {
                "validation figures of the ensemble are out-of-fold, each image being left out of the fit that judges it; all of them are \
                 slightly optimistic where members kept their best epoch by the same images"
            }
        }
    }

    fn weight(&self, member: usize) -> Option<f64> {
        match self.rule {
            Rule::Mean => Some(1.0 / self.names.len() as f64),
            Rule::Weighted(weights) => Some(weights[member]),
            Rule::Stack(_) => None,
        }
    }

    fn text(&self) -> String {
        let figures = |Row { val, test }: &Row| {
            [
                report::percent(val.accuracy),
                format!("{:.4}", val.loss),
                report::percent(test.accuracy),
                format!("{:.4}", test.loss),
            ]
        };
        let weight = |i: usize| self.weight(i).map_or("-".to_owned(), |weight| format!("{weight:.3}"));
        let row = |name: &str, weight: String, row: &Row| [&[name.to_owned(), weight][..], &figures(row)].concat();
        let (ensemble, members) = self.rows.split_last().expect("the ensemble is the last");
        let mut rows: Vec<Vec<String>> = self
            .names
            .iter()
            .zip(members)
            .enumerate()
            .map(|(i, (name, figures))| row(name, weight(i), figures))
            .collect();
        rows.push(row("ensemble", String::new(), ensemble));
        let header = ["model", "weight", "val", "val loss", "test", "test loss"];
        let l2 = match self.rule {
            Rule::Stack(stack) => format!(", L2 {} by cross-validation", stack.l2),
            _ => String::new(),
        };
        format!(
            "{}: {} members by {}{l2}, on {} ({} validation images)\n\n{}\n\n{}\n\n{}",
            self.out.display(),
            self.names.len(),
            self.rule.name(),
            self.data,
            self.val_images,
            report::table(&header, &rows),
            self.against_best(),
            report::metrics(&self.metrics)
        )
    }

    fn against_best(&self) -> String {
        let McNemar { first_only, second_only, form, p_value } = self.mcnemar;
        format!(
            "against {}, the best member by validation accuracy: {first_only} test images that only the ensemble has right, {second_only} \
             that only the member has\nMcNemar's test ({}): p = {p_value:.3e}",
            self.names[self.best],
            form.name()
        )
    }

    fn json(&self) -> serde_json::Value {
        let (ensemble, members) = self.rows.split_last().expect("the ensemble is the last");
        let member = |(i, (name, row)): (usize, (&String, &Row))| json!({ "model": name, "weight": self.weight(i), "val": row.val, "test": row.test });
        let l2 = match self.rule {
            Rule::Stack(stack) => Some(stack.l2),
            _ => None,
        };
        json!({
            "ensemble": view::json_path(self.out),
            "method": self.rule.name(),
            "l2": l2,
            "data": self.data,
            "members": self.names.iter().zip(members).enumerate().map(member).collect::<Vec<_>>(),
            "best_member": self.names[self.best],
            "val": ensemble.val,
            "val_images": self.val_images,
            "test": self.metrics,
            "test_loss": ensemble.test.loss,
            "mcnemar": self.mcnemar,
        })
    }
}
