//! `ocellus train`.

use super::inputs;
use crate::board::Board;
use crate::cli::TrainArgs;
use crate::data::Dataset;
use crate::eval::backbone::OnnxBackbone;
use crate::features::Extractor;
use crate::net;
use crate::net::summary::summarise;
use crate::recipe::{Enlarge, Recipe};
use crate::train::metrics::Metrics;
use crate::train::{self, Outcome, Place};
use crate::{report, view};
use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Trains. Ctrl-C stops after the current step and saves; pressed again, it stops at once.
///
/// # Errors
/// The recipe or the dataset cannot be read, or training fails; see [`train::run`].
pub fn run(args: &TrainArgs) -> Result<()> {
    let mut recipe = resolve(args)?;
    if !args.resume {
        check_backbone(&recipe)?;
    }
    let backbone = open_backbone(&mut recipe)?;
    let out = inputs::run_folder(args.out.as_deref(), recipe.title())?;
    let dataset = inputs::load(&recipe.data)?;
    if !args.resume && backbone.is_none() {
        tell_if_too_large(&recipe, &dataset)?;
    }
    let stop = stop_on_interrupt()?;
    let threads = inputs::threads(args.threads);
    view::note(&format!("training {} on {} into {}", recipe.title(), dataset.name, out.display()));
    let cache = train::cache_folder();
    let place =
        Place { out: &out, resume: args.resume, threads, cache: cache.as_deref(), devices: &args.compute.devices };
    // There is no plan of a head on another program's network.
    let next = if backbone.is_some() { "eval" } else { "export" };
    let extractor = backbone.as_ref().map(|backbone| backbone as &dyn Extractor);
    match train::run_on(extractor, &recipe, &dataset, &place, &stop)? {
        Outcome::Finished { metrics, .. } if args.json => {
            println!("{}", serde_json::to_string(&metrics).expect("metrics are plain numbers"));
        }
        Outcome::Finished { metrics, .. } => report(&metrics, &out, next),
        Outcome::Stopped => {
            match args.json {
                true => println!("{}", serde_json::json!({ "stopped": true, "out": out })),
                false => println!("stopped and saved; go on with: ocellus train --resume --out {}", out.display()),
            }
            // Whoever wanted to export the result of the whole run must not.
            std::process::exit(INTERRUPTED);
        }
    }
    Ok(())
}

/// The recipe of the command line: flags beat environment (which clap has already settled), both beat the file.
///
/// # Errors
/// The file cannot be read, or it and the flags make no recipe.
pub fn resolve(args: &TrainArgs) -> Result<Recipe> {
    let of_run = args.out.as_ref().filter(|_| args.resume).map(|out| out.join("recipe.toml"));
    let mut recipe = match (&args.recipe, of_run) {
        (Some(path), _) => Recipe::load(path)?,
        (None, Some(path)) => {
            ensure!(path.exists(), "there is no run to go on with: {} does not exist; check --out", path.display());
            Recipe::load(&path)?
        }
        (None, None) => Recipe::default(),
    };
    if args.data.is_some() {
        recipe.data.path.clone_from(&args.data);
    }
    if args.img_size.is_some() {
        recipe.data.img_size = args.img_size;
    }
    set(&mut recipe.model, args.model);
    if args.pretrained.is_some() {
        recipe.net.pretrained.clone_from(&args.pretrained);
    }
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
    let transfer = &mut recipe.transfer;
    set(&mut transfer.freeze, args.freeze);
    set(&mut transfer.unfreeze_at, args.unfreeze_at);
    set(&mut transfer.layer_decay, args.layer_decay);
    transfer.cache &= !args.no_cache;
    if args.backbone.is_some() {
        transfer.backbone.clone_from(&args.backbone);
        transfer.backbone_sha256.clear();
    }
    let mut recipe = recipe.with(&args.set).context("in the recipe with the flags of the command line")?;
    if recipe.model.is_efficientnet() && recipe.data.img_size.is_none() {
        recipe.data.img_size = Some(recipe.model.img_size());
    }
    // A run that was stopped goes on with the images that it began with.
    if !args.resume && (recipe.model.is_efficientnet() || recipe.transfer.backbone.is_some()) {
        recipe.data.enlarge.get_or_insert(Enlarge::Smooth);
    }
    Ok(recipe.resolved())
}

/// Says which keys do nothing to a head on another program's backbone.
///
/// # Errors
/// The normalisation of a network's pixels is among them: whoever gives one means the backbone's. Runs of before may have it.
fn check_backbone(recipe: &Recipe) -> Result<()> {
    if recipe.transfer.backbone.is_none() {
        return Ok(());
    }
    ensure!(
        recipe.data.mean.is_none() && recipe.data.std.is_none(),
        "data.mean and data.std are for a network of our own: pixels are normalised for transfer.backbone by \
         transfer.backbone-mean and transfer.backbone-std"
    );
    let mut plain = recipe.clone();
    let usual = Recipe::default();
    (plain.model, plain.net, plain.transfer.layer_decay) = (usual.model, usual.net, usual.transfer.layer_decay);
    // The pixels' normalisation would differ by the model.
    let idle: Vec<String> = recipe.differing_keys(&plain).into_iter().filter(|key| !key.starts_with("data.")).collect();
    if !idle.is_empty() {
        let keys = idle.join(", ");
        view::warn(&format!(
            "{keys}: nothing to a head on transfer.backbone, which has transfer.hidden and transfer.dropout"
        ));
    }
    Ok(())
}

/// The recipe's backbone of another program, if it has one. What the recipe says of it becomes exact.
pub(super) fn open_backbone(recipe: &mut Recipe) -> Result<Option<OnnxBackbone>> {
    let Some(path) = &recipe.transfer.backbone else { return Ok(None) };
    let path = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let backbone = OnnxBackbone::load(&recipe.transfer, recipe.data.img_size)?;
    recipe.transfer.backbone = Some(path);
    recipe.transfer.backbone_sha256 = backbone.sha256();
    recipe.data.img_size.get_or_insert(backbone.input().h);
    view::note(&format!("the backbone makes {} features of an image of {}", backbone.width(), backbone.input()));
    Ok(Some(backbone))
}

/// Says before hours of training that no real board has room for the result.
fn tell_if_too_large(recipe: &Recipe, dataset: &Dataset) -> Result<()> {
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

fn set<T>(key: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *key = value;
    }
}

fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        view::note("stopping after this step; once more to stop at once");
    };
    ctrlc::set_handler(handler).context("cannot catch Ctrl-C")?;
    Ok(stop)
}

fn report(metrics: &Metrics, out: &Path, next: &str) {
    println!(
        "test accuracy {:.2} % on {} images (validation {:.2} %, epoch {} of {})",
        100.0 * metrics.test_accuracy,
        metrics.test_images,
        100.0 * metrics.val_accuracy,
        metrics.best_epoch,
        metrics.epochs
    );
    println!(
        "{:.1} minutes, {:.0} images/s; next: ocellus {next} {}",
        metrics.seconds / 60.0,
        metrics.images_per_s,
        out.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Freeze, LossKind, Model, OptimizerKind, ScheduleKind};

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
    fn an_efficientnet_has_its_own_image_size_unless_told() {
        let size = |args| resolve(&args).unwrap().data.img_size;
        let args = || TrainArgs { model: Some(Model::EfficientNetB2), ..TrainArgs::default() };
        assert_eq!(size(args()), Some(260));
        assert_eq!(size(TrainArgs { img_size: Some(96), ..args() }), Some(96));
        assert_eq!(size(TrainArgs { set: vec!["data.img-size=64".into()], ..args() }), Some(64));
        assert_eq!(size(TrainArgs::default()), None);
    }

    #[test]
    fn weights_of_photos_get_smooth_pictures_unless_told() {
        let enlarge = |args| resolve(&args).unwrap().data.enlarge;
        let lite0 = || TrainArgs { model: Some(Model::EfficientNetLite0), ..TrainArgs::default() };
        assert_eq!(enlarge(lite0()), Some(Enlarge::Smooth));
        assert_eq!(
            enlarge(TrainArgs { backbone: Some("b.onnx".into()), ..TrainArgs::default() }),
            Some(Enlarge::Smooth)
        );
        assert_eq!(enlarge(TrainArgs { set: vec!["data.enlarge=area".into()], ..lite0() }), Some(Enlarge::Area));
        assert_eq!(enlarge(TrainArgs { resume: true, ..lite0() }), None);
        assert_eq!(enlarge(TrainArgs::default()), None);
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
