//! From a point to what it is worth: one trial is one run of `ocellus train`.

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::checkpoint::EpochRecord;
use crate::cli::ComputeArgs;
use crate::commands::helpers::signals::Stop;
use crate::commands::helpers::{datasets, runs};
use crate::data::Dataset;
use crate::eval::backbone::OnnxBackbone;
use crate::features::{Extractor, Teacher};
use crate::files;
use crate::model::RECIPE;
use crate::recipe::{DataRecipe, Keep, Model, NetRecipe, Normalise, Optimize, Recipe, TransferRecipe};
use crate::sweep::budget::Budget;
use crate::sweep::folder::{DataFacts, Folder, Taken};
use crate::sweep::journal::{Cost, Event};
use crate::sweep::study::Plan;
use crate::train::{self, Outcome, Pretrained, RunOptions, Watch};
use crate::view;

/// How far a recipe that makes no network is from one that fits: farther than one that needs a hundred times as much as there is.
const NO_NETWORK: f64 = 5.0;
/// Datasets that are kept in memory, where trials have images of different sizes.
const DATASETS: usize = 2;

/// Trains trials, and keeps what they share from one to the next.
pub struct Trainer<'a> {
    plan: &'a Plan,
    threads: usize,
    compute: ComputeArgs,
    stop: Stop,
    /// The newest last.
    datasets: Vec<(DataRecipe, Rc<Dataset>)>,
    backbone: Option<(TransferRecipe, Option<u16>, OpenBackbone)>,
    /// What the network of the last trial needed: where heads or rates are searched, it is that of the next one too.
    cost: Option<(Shapes, Cost)>,
}

/// An external backbone, and what became exact of the recipe with it.
#[derive(Clone)]
struct OpenBackbone {
    recipe: TransferRecipe,
    img_size: Option<u16>,
    backbone: Rc<OnnxBackbone>,
}

/// Everything of a recipe that decides what its network needs.
#[derive(Clone, PartialEq)]
struct Shapes {
    model: Model,
    net: NetRecipe,
    side: u16,
    normalise: Normalise,
    optimize: Optimize,
}

impl<'a> Trainer<'a> {
    /// A trainer for trials of `plan` on `threads` threads.
    pub fn new(plan: &'a Plan, threads: usize, compute: ComputeArgs, stop: Stop) -> Self {
        Self { plan, threads, compute, stop, datasets: Vec::new(), backbone: None, cost: None }
    }

    /// What the study depends on of its dataset, which is read by its base recipe.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn facts(&mut self) -> Result<DataFacts> {
        let mut base = self.plan.base.clone().resolved();
        self.open_backbone(&mut base)?;
        let dataset = self.dataset(&base.data)?;
        let side = u16::try_from(dataset.train.width).context("the images are too large")?;
        Ok(DataFacts { hash: dataset.hash.clone(), classes: dataset.classes.clone(), side })
    }

    /// Trains a trial, or rejects it, and writes down what became of it. Where this worker is asked to stop, the trial stays open.
    ///
    /// # Errors
    /// A file cannot be read or written. What is wrong with the trial itself is written down instead.
    pub fn train(&mut self, folder: &Folder, taken: &Taken) -> Result<()> {
        let number = taken.trial.number;
        view::note(&format!("trial {number}: {}", taken.trial.set.join(" ")));
        let recipe = match folder.plan.recipe(&taken.trial.set) {
            Ok(recipe) => recipe,
            Err(error) => return reject(folder, number, format!("{error:#}"), NO_NETWORK, None),
        };
        if recipe.transfer.backbone.is_none() {
            let budget = Budget::new(&folder.plan.study.budget)?;
            match self.cost(&budget, &recipe, &folder.data) {
                Err(error) => return reject(folder, number, format!("{error:#}"), NO_NETWORK, None),
                Ok(cost) => {
                    if let Err(excess) = budget.check(&cost) {
                        return reject(folder, number, excess.why, excess.violation, Some(cost));
                    }
                    folder.planned(taken, cost)?;
                }
            }
        }
        match self.run(folder, taken, recipe) {
            Ok(Some(event)) => folder.append(event),
            Ok(None) => Ok(()),
            Err(error) if is_of_this_machine(&error) => Err(error),
            Err(error) => {
                view::warn(&format!("trial {number} failed: {error:#}"));
                folder.append(Event::Fail { trial: number, why: format!("{error:#}") })
            }
        }
    }

    /// What the network of `recipe` needs.
    fn cost(&mut self, budget: &Budget, recipe: &Recipe, data: &DataFacts) -> Result<Cost> {
        let side = recipe.data.img_size.unwrap_or(data.side);
        let shapes = Shapes {
            model: recipe.model,
            net: recipe.net.clone(),
            side,
            normalise: recipe.normalise(),
            optimize: recipe.quant.optimize,
        };
        if let Some((_, cost)) = self.cost.as_ref().filter(|(known, _)| *known == shapes) {
            return Ok(*cost);
        }
        let cost = budget.cost(recipe, side, &data.classes)?;
        self.cost = Some((shapes, cost));
        Ok(cost)
    }

    /// Trains; what became of the trial, unless its last rung says so already, or it is to go on later.
    fn run(&mut self, folder: &Folder, taken: &Taken, mut recipe: Recipe) -> Result<Option<Event>> {
        let number = taken.trial.number;
        if let Some(device) = self.compute.device {
            recipe.train.device = device;
        }
        if let Some(precision) = self.compute.precision {
            recipe.train.precision = precision;
        }
        let backbone = self.open_backbone(&mut recipe)?;
        let dataset = self.dataset(&recipe.data)?;
        let teacher = runs::open_teacher(&mut recipe, &dataset)?;
        let out = folder.run(number);
        let resume = can_go_on(&out, &recipe)?;
        let watch = Rungs { folder, taken, keep: recipe.train.keep, was_stopped: AtomicBool::new(false) };
        let cache = train::cache_folder();
        let options = RunOptions {
            out: &out,
            resume,
            threads: self.threads,
            cache: cache.as_deref(),
            devices: &self.compute.devices,
            watch: Some(&watch),
        };
        let pretrained = Pretrained {
            extractor: backbone.as_deref().map(|backbone| backbone as &dyn Extractor),
            teacher: teacher.as_ref().map(|teacher| teacher as &dyn Teacher),
        };
        match train::run_on(pretrained, &recipe, &dataset, &options, self.stop.asked())? {
            Outcome::Finished { metrics, .. } => Ok(Some(Event::Finish {
                trial: number,
                epochs: metrics.epochs,
                accuracy: metrics.val_accuracy,
                test_accuracy: metrics.test_accuracy,
            })),
            Outcome::Stopped => {
                if watch.was_stopped.load(Ordering::Relaxed) {
                    view::note(&format!("trial {number} is stopped: others were better after as many epochs"));
                }
                Ok(None)
            }
        }
    }

    /// The dataset of `recipe`, from memory where it was read for the trial before.
    fn dataset(&mut self, recipe: &DataRecipe) -> Result<Rc<Dataset>> {
        if let Some(at) = self.datasets.iter().position(|(known, _)| known == recipe) {
            let found = self.datasets.remove(at);
            self.datasets.push(found);
        } else {
            if self.datasets.len() == DATASETS {
                self.datasets.remove(0);
            }
            self.datasets.push((recipe.clone(), Rc::new(datasets::load(recipe)?)));
        }
        let newest = self.datasets.last().context("it was just put there")?;
        Ok(newest.1.clone())
    }

    /// The recipe's external ONNX backbone, if it has one, from memory where it is that of the trial before.
    fn open_backbone(&mut self, recipe: &mut Recipe) -> Result<Option<Rc<OnnxBackbone>>> {
        if recipe.transfer.backbone.is_none() {
            return Ok(None);
        }
        let defaults = TransferRecipe::default();
        // What is on top of it is another matter.
        let file = TransferRecipe {
            backbone: recipe.transfer.backbone.clone(),
            backbone_sha256: recipe.transfer.backbone_sha256.clone(),
            backbone_mean: recipe.transfer.backbone_mean,
            backbone_std: recipe.transfer.backbone_std,
            ..defaults
        };
        let known = self.backbone.as_ref().filter(|(known, side, _)| *known == file && *side == recipe.data.img_size);
        let open = match known {
            Some((_, _, open)) => open.clone(),
            None => {
                let side = recipe.data.img_size;
                let mut exact = recipe.clone();
                let backbone = runs::open_backbone(&mut exact)?.context("the recipe names a backbone")?;
                let img_size = exact.data.img_size;
                let open = OpenBackbone { recipe: exact.transfer, img_size, backbone: Rc::new(backbone) };
                self.backbone = Some((file, side, open.clone()));
                open
            }
        };
        recipe.transfer.backbone.clone_from(&open.recipe.backbone);
        recipe.transfer.backbone_sha256.clone_from(&open.recipe.backbone_sha256);
        recipe.data.img_size = open.img_size;
        Ok(Some(open.backbone))
    }
}

/// Whether the run in the folder `out` can go on. One that was begun on another device cannot, and is begun anew.
fn can_go_on(out: &Path, recipe: &Recipe) -> Result<bool> {
    let path = out.join(RECIPE);
    if !path.exists() {
        return Ok(false);
    }
    let begun = Recipe::load(&path)?;
    let is_same = (begun.train.device, begun.train.precision) == (recipe.train.device, recipe.train.precision);
    if !is_same {
        view::note(&format!("{} was begun on another device: it begins anew", out.display()));
        files::remove_folder(out)?;
    }
    Ok(is_same)
}

/// Whether `error` says something of this machine, as a full disk, and nothing of a trial.
fn is_of_this_machine(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>())
}

fn reject(folder: &Folder, trial: u32, why: String, violation: f64, cost: Option<Cost>) -> Result<()> {
    view::note(&format!("trial {trial} is rejected: {why}"));
    folder.append(Event::Reject { trial, why, violation, cost })
}

/// Asks the study at every rung whether a trial goes on.
struct Rungs<'a> {
    folder: &'a Folder,
    taken: &'a Taken,
    keep: Keep,
    was_stopped: AtomicBool,
}

impl std::fmt::Debug for Rungs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rungs").field("trial", &self.taken.trial.number).finish_non_exhaustive()
    }
}

impl Watch for Rungs<'_> {
    fn goes_on(&self, history: &[EpochRecord]) -> Result<bool> {
        let Some(last) = history.last() else { return Ok(true) };
        let best = history.iter().map(|record| record.val_acc).fold(0.0, f64::max);
        let accuracy = if self.keep == Keep::Last { last.val_acc } else { best };
        let goes_on = self.folder.goes_on(self.taken, last.epoch, accuracy)?;
        self.was_stopped.fetch_or(!goes_on, Ordering::Relaxed);
        Ok(goes_on)
    }
}
