//! `ocellus train`.

use super::helpers::signals::Stop;
use super::helpers::{datasets, runs};
use crate::board::Board;
use crate::cli::TrainArgs;
use crate::data::Dataset;
use crate::features::{Extractor, Teacher};
use crate::files;
use crate::model::RECIPE;
use crate::net;
use crate::net::summary::summarise;
use crate::recipe::Recipe;
use crate::train::metrics::Metrics;
use crate::train::{self, Outcome, Pretrained, RunOptions};
use crate::{report, view};
use anyhow::{Result, ensure};
use ocellus_shared::Shape;
use std::path::{Path, PathBuf};

/// Trains. Ctrl-C, SIGTERM and a closed terminal stop it after the current step, and save; a second one stops at once.
///
/// # Errors
/// The recipe or the dataset cannot be read, or training fails; see [`train::run`].
pub fn run(args: &TrainArgs) -> Result<()> {
    let mut recipe = resolve(args)?;
    if !args.resume {
        check_backbone(&recipe)?;
    }
    let backbone = runs::open_backbone(&mut recipe)?;
    let folder = runs::run_folder(args.out.as_deref(), recipe.title())?;
    let out = folder.path();
    // Reading a large dataset takes minutes.
    files::check_folder(out)?;
    let dataset = datasets::load(&recipe.data)?;
    let teacher = runs::open_teacher(&mut recipe, &dataset)?;
    if !args.resume && backbone.is_none() {
        warn_if_too_large(&recipe, &dataset)?;
    }
    let stop = Stop::on_signals(Some("stopping after this step; once more to stop at once"), true)?;
    let threads = runs::threads(args.threads);
    view::note(&format!("training {} on {} into {}", recipe.title(), dataset.name, out.display()));
    let cache = train::cache_folder();
    let options = RunOptions {
        out,
        resume: args.resume,
        threads,
        cache: cache.as_deref(),
        devices: &args.compute.devices,
        watch: None,
    };
    // There is no plan of a linear probe on an external backbone.
    let next = if backbone.is_some() { "eval" } else { "export" };
    let pretrained = Pretrained {
        extractor: backbone.as_ref().map(|backbone| backbone as &dyn Extractor),
        teacher: teacher.as_ref().map(|teacher| teacher as &dyn Teacher),
    };
    match train::run_on(pretrained, &recipe, &dataset, &options, stop.asked())? {
        Outcome::Finished { metrics, .. } if args.json => {
            report::print_json(&metrics)?;
        }
        Outcome::Finished { metrics, .. } => print_summary(&metrics, out, next)?,
        Outcome::Stopped => {
            // It is saved, whether or not there is somebody left to tell.
            let _ = match args.json {
                true => report::print_json(&serde_json::json!({ "stopped": true, "out": view::json_path(out) })),
                false => report::print(&format!(
                    "stopped and saved; go on with: ocellus train --resume --out {}",
                    out.display()
                )),
            };
            // Whoever wanted to export the result of the whole run must not.
            return Err(stop.failure().into());
        }
    }
    Ok(())
}

/// The recipe of the command line: flags beat environment (which clap has already settled), both beat the file.
///
/// # Errors
/// The file cannot be read, or it and the flags make no recipe.
fn resolve(args: &TrainArgs) -> Result<Recipe> {
    let of_run = args.out.as_ref().filter(|_| args.resume).map(|out| out.join(RECIPE));
    if let (None, Some(path)) = (&args.recipe, &of_run) {
        ensure!(path.exists(), "there is no run to go on with: {} does not exist; check --out", path.display());
    }
    let file = args.recipe.as_ref().or(of_run.as_ref());
    let recipe = Recipe::of_command_line(file.map(PathBuf::as_path), |recipe| set_flags(recipe, args), &args.set)?;
    Ok(if args.resume { recipe.resolved_for_resume() } else { recipe.resolved() })
}

/// Replaces the keys of `recipe` that have a flag.
fn set_flags(recipe: &mut Recipe, args: &TrainArgs) {
    set_some(&mut recipe.data.path, &args.data);
    set_some(&mut recipe.data.img_size, &args.img_size);
    set(&mut recipe.model, args.model);
    set_some(&mut recipe.net.pretrained, &args.pretrained);
    let train = &mut recipe.train;
    set(&mut train.epochs, args.epochs);
    set(&mut train.batch_size, args.batch_size);
    set(&mut train.lr, args.lr);
    set(&mut train.opt, args.opt);
    set(&mut train.weight_decay, args.weight_decay);
    set(&mut train.smoothing, args.smoothing);
    set(&mut train.warmup_epochs, args.warmup_epochs);
    set(&mut train.patience, args.patience);
    set(&mut train.sched, args.sched);
    set(&mut train.loss, args.loss);
    set(&mut train.ema, args.ema);
    set(&mut train.seed, args.seed);
    set(&mut train.device, args.compute.device);
    set(&mut train.precision, args.compute.precision);
    let distill = &mut recipe.distill;
    if args.teacher.is_some() {
        distill.teacher.clone_from(&args.teacher);
        // They are of the recipe's own, unless a run goes on with its teacher, which may have been moved.
        if !args.resume {
            distill.teacher_sha256.clear();
            distill.soft_labels_sha256.clear();
        }
    }
    set(&mut distill.temperature, args.temperature);
    let transfer = &mut recipe.transfer;
    set(&mut transfer.freeze, args.freeze);
    set(&mut transfer.unfreeze_at, args.unfreeze_at);
    set(&mut transfer.layer_decay, args.layer_decay);
    transfer.cache &= !args.no_cache;
    if args.backbone.is_some() {
        transfer.backbone.clone_from(&args.backbone);
        transfer.backbone_sha256.clear();
    }
}

fn set<T>(key: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *key = value;
    }
}

fn set_some<T: Clone>(key: &mut Option<T>, flag: &Option<T>) {
    if flag.is_some() {
        key.clone_from(flag);
    }
}

/// Says what is otherwise than the recipe may lead to think, where only a head on an external ONNX backbone is trained.
///
/// # Errors
/// The recipe normalises pixels for a network of our own: whoever does that means the backbone's. Runs of before may have it.
fn check_backbone(recipe: &Recipe) -> Result<()> {
    if recipe.transfer.backbone.is_none() {
        return Ok(());
    }
    ensure!(
        recipe.data.mean.is_none() && recipe.data.std.is_none(),
        "data.mean and data.std are for a network of our own: pixels are normalised for transfer.backbone by \
         transfer.backbone-mean and transfer.backbone-std"
    );
    let ignored = recipe.ignored_keys();
    if !ignored.is_empty() {
        view::warn(&format!(
            "{}: ignored: has no effect with transfer.backbone, whose head is shaped by transfer.hidden and transfer.dropout",
            ignored.join(", ")
        ));
    }
    let views = recipe.transfer.cache_views;
    if views > 0 {
        view::note(&format!(
            "each training image is drawn in {views} variations, whose features are computed once: \
             --set transfer.cache-views=N draws N"
        ));
    }
    Ok(())
}

/// Warns before hours of training that no real board has room for the result.
fn warn_if_too_large(recipe: &Recipe, dataset: &Dataset) -> Result<()> {
    let boards = Board::all()?;
    let Some(board) = boards.iter().filter(|b| b.machine.is_none()).max_by_key(|b| b.plan_bytes) else {
        return Ok(());
    };
    let side = u16::try_from(dataset.train.width).unwrap_or(u16::MAX);
    let network = net::build(recipe, Shape::new(side, side, 3), dataset.classes.len())?;
    // One byte each, before anything is folded away.
    let bytes = summarise(&network)?.parameters;
    if bytes > board.plan_bytes {
        view::warn(&format!(
            "{} bytes of parameters fit no real board, {} has room for {}: for one, give a smaller --img-size than {side} or \
             another --model",
            report::thousands(bytes as u64),
            board.name,
            report::thousands(board.plan_bytes as u64)
        ));
    }
    Ok(())
}

fn print_summary(metrics: &Metrics, out: &Path, next: &str) -> Result<()> {
    report::print(&format!(
        "test accuracy {:.2} % on {} images (validation {:.2} %, epoch {} of {})\n\
         {:.1} minutes, {:.0} images/s; next: ocellus {next} {}",
        100.0 * metrics.test_accuracy,
        metrics.test_images,
        100.0 * metrics.val_accuracy,
        metrics.best_epoch,
        metrics.epochs,
        metrics.seconds / 60.0,
        metrics.images_per_s,
        out.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Enlarge, Freeze, LossKind, Model, OptimizerKind, ScheduleKind};

    #[test]
    fn flags_beat_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recipe.toml");
        std::fs::write(&file, "model = \"linear\"\n[train]\nlr = 0.25\nepochs = 7\nwarmup-epochs = 0.5\n").unwrap();
        let args = TrainArgs {
            recipe: Some(file),
            epochs: Some(3),
            opt: Some(OptimizerKind::Adam),
            img_size: Some(16),
            ..TrainArgs::default()
        };
        let recipe = resolve(&args).unwrap();
        assert!(recipe.transfer.cache);
        assert_eq!((recipe.model, recipe.train.lr, recipe.train.warmup_epochs), (Model::Linear, 0.25, 0.5));
        assert_eq!((recipe.train.epochs, recipe.train.opt), (3, OptimizerKind::Adam));
        assert_eq!(recipe.data.img_size, Some(16));
    }

    #[test]
    fn flags_say_what_stays_and_how_the_rest_is_trained() {
        let args = TrainArgs {
            sched: Some(ScheduleKind::Plateau),
            loss: Some(LossKind::Focal),
            ema: Some(0.5),
            freeze: Some(Freeze::First(2)),
            unfreeze_at: Some(4),
            layer_decay: Some(0.75),
            no_cache: true,
            ..TrainArgs::default()
        };
        let Recipe { train, transfer, .. } = resolve(&args).unwrap();
        assert_eq!((train.sched, train.loss, train.ema), (ScheduleKind::Plateau, LossKind::Focal, 0.5));
        assert_eq!((transfer.freeze, transfer.unfreeze_at, transfer.layer_decay), (Freeze::First(2), 4, 0.75));
        assert!(!transfer.cache);
    }

    #[test]
    fn a_resumed_run_keeps_its_images() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECIPE), "model = \"efficientnet-lite0\"\n").unwrap();
        let args = |resume| TrainArgs { out: Some(folder.path().to_owned()), resume, ..TrainArgs::default() };
        let data = resolve(&args(true)).unwrap().data;
        assert_eq!((data.enlarge, data.img_size), (None, Some(224)));
        let args = TrainArgs { model: Some(Model::EfficientNetLite0), ..args(false) };
        assert_eq!(resolve(&args).unwrap().data.enlarge, Some(Enlarge::Smooth));
        let gone = TrainArgs { out: Some(folder.path().join("gone")), resume: true, ..TrainArgs::default() };
        assert!(resolve(&gone).unwrap_err().to_string().contains("no run to go on with"));
    }

    #[test]
    fn pixels_of_a_backbone_are_normalised_by_its_own_keys() {
        let with = |key: &str| {
            let args = TrainArgs { backbone: Some("b.onnx".into()), set: vec![key.into()], ..TrainArgs::default() };
            check_backbone(&resolve(&args).unwrap())
        };
        assert!(with("net.dense=8").is_ok() && with("transfer.backbone-mean=[0.5,0.5,0.5]").is_ok());
        assert!(with("data.mean=[0.5,0.5,0.5]").unwrap_err().to_string().contains("transfer.backbone-mean"));
    }

    #[test]
    fn flags_are_checked_like_the_file() {
        let error = resolve(&TrainArgs { lr: Some(-1.0), ..TrainArgs::default() }).unwrap_err();
        assert!(format!("{error:#}").contains("train.lr = -1"), "{error:#}");
        // With no file and no key set too: neither the run's recipe nor its checkpoint could hold it.
        let error = resolve(&TrainArgs { seed: Some(u64::MAX), ..TrainArgs::default() }).unwrap_err();
        assert!(format!("{error:#}").contains("above 9223372036854775807"), "{error:#}");
    }
}
