//! The report of a study.

use anyhow::Result;
use maud::{Markup, html};

use super::{page, parts, shown};
use crate::plot::Drawing;
use crate::report::{percent, thousands};
use crate::sweep::importance::FEWEST;
use crate::sweep::study::Plan;
use crate::sweep::trials::{State, Trial, best};

/// What the report is made of.
pub struct StudyReport<'a> {
    /// The study.
    pub plan: &'a Plan,
    /// Its trials.
    pub trials: &'a [Trial],
    /// They as pictures.
    pub pictures: &'a Pictures,
    /// The program's version.
    pub version: &'a str,
    /// The machine that made the report.
    pub machine: &'a str,
    /// The command that makes it again.
    pub command: &'a str,
}

/// The pictures.
pub struct Pictures {
    /// Accuracies in the order of the trials.
    pub history: Drawing,
    /// Values and accuracy of every trial.
    pub parallel: Drawing,
    /// How much each key matters, where enough trials were trained.
    pub importance: Option<Drawing>,
    /// Accuracy against cost.
    pub pareto: Drawing,
}

impl Pictures {
    /// They and the names of their files.
    pub fn named(&self) -> Vec<(&'static str, &Drawing)> {
        let all = [("history.svg", &self.history), ("parallel.svg", &self.parallel), ("pareto.svg", &self.pareto)];
        all.into_iter().chain(self.importance.as_ref().map(|drawing| ("importance.svg", drawing))).collect()
    }
}

/// The file.
///
/// # Errors
/// A picture cannot be encoded.
pub fn html(report: &StudyReport) -> Result<String> {
    let StudyReport { plan, trials, pictures, .. } = report;
    let title = format!("Study {}", shown(&plan.study.name));
    let importance = match &pictures.importance {
        Some(drawing) => parts::chart(drawing)?,
        None => html! { p.muted { "After " (FEWEST) " trials of different accuracy." } },
    };
    let content = html! {
        (summary(trials))
        h2 { "Trials" }
        (parts::chart(&pictures.history)?)
        h2 { "Parallel coordinates" }
        p { "A line is a trial; the best one stands out." }
        (parts::chart(&pictures.parallel)?)
        h2 { "Importance of keys" }
        p { "Parts of the variance of the accuracy, by functional ANOVA of a random forest." }
        (importance)
        h2 { "Pareto front" }
        (parts::chart(&pictures.pareto)?)
        h2 { "All trials" }
        (table(trials))
        h2 { "Study" }
        details { summary { "The study file" } pre { (toml::to_string(&plan.study)?) } }
        details { summary { "The base recipe" } pre { (plan.base.to_toml()) } }
    };
    Ok(page(&title, [report.version, report.machine, report.command], &content))
}

fn summary(trials: &[Trial]) -> Markup {
    let count = |is_wanted: fn(&Trial) -> bool| trials.iter().filter(|trial| is_wanted(trial)).count().to_string();
    let best = best(trials);
    html! {
        div.tiles {
            @if let Some(accuracy) = best.and_then(Trial::accuracy) {
                (parts::tile(&percent(accuracy), "best validation accuracy"))
            }
            (parts::tile(&count(Trial::is_finished), "trained to their end"))
            (parts::tile(&count(|trial| matches!(trial.state, State::Stopped { .. })), "stopped early"))
            (parts::tile(&count(Trial::is_rejected), "rejected before training"))
            (parts::tile(&count(|trial| matches!(trial.state, State::Failed { .. })), "failed"))
        }
        @if let Some(best) = best { p { "The best is trial " (best.number) ": " (shown(&best.set.join(" "))) } }
    }
}

/// Every trial, the best first; those that were not trained last.
fn table(trials: &[Trial]) -> Markup {
    let mut order: Vec<&Trial> = trials.iter().collect();
    let worth = |trial: &Trial| (trial.is_finished(), trial.accuracy().unwrap_or(-1.0));
    order.sort_by(|a, b| {
        let ((finished_a, a), (finished_b, b)) = (worth(a), worth(b));
        finished_b.cmp(&finished_a).then(b.total_cmp(&a))
    });
    html! {
        div.scroll { table {
            thead { tr {
                th { "trial" } th { "validation" } th { "test" } th { "flash" } th { "RAM" } th { "MACs" } th { "instructions" } th { "end" }
                th { "values" }
            } }
            tbody { @for trial in order { tr {
                td { (trial.number) }
                td { (trial.accuracy().map_or("-".into(), percent)) }
                td { @match trial.state { State::Finished { test_accuracy, .. } => (percent(test_accuracy)), _ => "-" } }
                @match trial.cost {
                    Some(cost) => {
                        td { (thousands(cost.flash_bytes)) } td { (thousands(cost.ram_bytes)) } td { (thousands(cost.macs)) }
                        td { (thousands(cost.instructions)) }
                    }
                    None => { td { "-" } td { "-" } td { "-" } td { "-" } }
                }
                td.name { (shown(&end(trial))) }
                td.name { (shown(&trial.set.join(" "))) }
            } } }
        } }
    }
}

fn end(trial: &Trial) -> String {
    match &trial.state {
        State::Open => "open".to_owned(),
        State::Rejected { why, .. } => format!("rejected: {why}"),
        State::Stopped { epoch, .. } => format!("stopped at epoch {epoch}"),
        State::Finished { epochs, .. } => format!("{epochs} epochs"),
        State::Failed { why } => format!("failed: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::sweep::journal::Event;
    use crate::sweep::{plots, trials};

    #[test]
    fn a_study_without_trials_and_one_with_every_end_have_pages() {
        let study = "name = '<b>&'\ntrials = 3\nsampler = 'random'\n[search]\n'train.lr' = { from = 0.01, to = 0.1 }\n";
        let plan = Plan::new(toml::from_str(study).unwrap(), Recipe::default()).unwrap();
        let start = |trial: u32| Event::Start {
            trial,
            worker: "here:1".into(),
            set: vec![format!("train.lr=0.0{}", trial + 1)],
            bracket: 0,
        };
        let events = [
            start(0),
            Event::Finish { trial: 0, epochs: 9, accuracy: 0.875, test_accuracy: 0.75 },
            start(1),
            Event::Reject { trial: 1, why: "<i>large".into(), violation: 1.0, cost: None },
            start(2),
            Event::Rung { trial: 2, epoch: 3, accuracy: 0.5, goes_on: false },
            start(3),
            Event::Fail { trial: 3, why: "it diverged".into() },
            start(4),
        ];
        for events in [&events[..0], &events] {
            let trials = trials::fold(events).unwrap();
            let pictures = Pictures {
                history: plots::history(&plan, &trials),
                parallel: plots::parallel(&plan, &trials),
                importance: None,
                pareto: plots::pareto(&plan, &trials),
            };
            let report = StudyReport {
                plan: &plan,
                trials: &trials,
                pictures: &pictures,
                version: "1",
                machine: "here",
                command: "ocellus",
            };
            let page = html(&report).unwrap();
            assert!(!page.contains("<b>&") && !page.contains("<script") && !page.contains("http"), "{page}");
            let ends = ["87.50 %", "rejected: &lt;i&gt;large", "stopped at epoch 3", "failed: it diverged", "open"];
            assert!(events.is_empty() || ends.iter().all(|end| page.contains(end)), "{page}");
        }
    }
}
