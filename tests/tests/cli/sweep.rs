//! `ocellus sweep`: studies of tiny networks, by one worker and by many, some of which die.

use crate::commands::{Run, run_in, works_in};
use ocellus::data::picture::Picture;
use ocellus::data::shapes;
use ocellus::recipe::Recipe;
use ocellus::sweep::journal::{Event, JOURNAL, read};
use ocellus::sweep::trials::{State, Trial, fold};
use ocellus_tests::program::ocellus;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Pictures of the built-in dataset, in folders by class.
const PICTURES: usize = 300;
/// Longest that a study of tiny networks takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

const BASE: &str = "
name = \"tiny\"
[data]
path = \"pictures\"
img-size = 16
[net]
blocks = [[4], [6]]
block-dropout = [0.0, 0.0]
dense = 0
[train]
epochs = 3
batch-size = 32
[augment]
cutout = 0
";

const SEARCH: &str = "
recipe = \"base.toml\"
[search]
\"train.lr\" = { from = 0.01, to = 1.0, log = true }
\"net.blocks\" = [[[4], [6]], [[8], [8]], [[6], [12]]]
\"net.dense\" = { from = 0, to = 32, step = 8 }
";

/// A folder with pictures, the base recipe, and a study `study.toml` whose first lines are `head`.
fn workplace(head: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let classes = shapes::classes();
    let split = shapes::pictures(0..PICTURES, 16, 0);
    for (i, label) in split.labels.iter().enumerate() {
        let folder = place.path().join("pictures").join(&classes[usize::from(*label)]);
        fs::create_dir_all(&folder).unwrap();
        let picture = Picture { width: 16, height: 16, pixels: split.image(i).to_vec() };
        fs::write(folder.join(format!("{i}.png")), picture.to_png().unwrap()).unwrap();
    }
    fs::write(place.path().join("base.toml"), BASE).unwrap();
    write_study(place.path(), head);
    place
}

fn write_study(place: &Path, head: &str) {
    fs::write(place.join("study.toml"), format!("{head}\n{SEARCH}")).unwrap();
}

fn journal(place: &Path, folder: &str) -> PathBuf {
    place.join(folder).join(JOURNAL)
}

fn trials(place: &Path, folder: &str) -> Vec<Trial> {
    fold(&read(&journal(place, folder)).unwrap()).unwrap()
}

/// What the journal says, without who did it.
fn anonymous(path: &Path) -> Vec<Event> {
    let mut events = read(path).unwrap();
    for event in &mut events {
        if let Event::Start { worker, .. } | Event::Take { worker, .. } = event {
            worker.clear();
        }
    }
    events
}

/// Accuracies of all finished trials, by what was tried.
fn results(trials: &[Trial]) -> BTreeMap<String, String> {
    let result = |trial: &Trial| match trial.state {
        State::Finished { accuracy, test_accuracy, .. } => {
            Some((trial.set.join(" "), format!("{accuracy} {test_accuracy}")))
        }
        _ => None,
    };
    trials.iter().filter_map(result).collect()
}

fn json(run: &Run) -> Value {
    serde_json::from_str(run.stdout.trim()).unwrap_or_else(|error| panic!("{error} in {}", run.stdout))
}

#[test]
fn the_same_seed_and_one_worker_make_the_same_study_twice() {
    let head = "sampler = \"tpe\"\nseed = 3\ntrials = 12\nhalving = { method = \"hyperband\", factor = 2 }\n\
                objectives = [\"accuracy\", \"flash\"]\nbudget.flash-bytes = 6000";
    let place = workplace(head);
    works_in(place.path(), &["sweep", "study.toml", "--threads", "2", "--out", "one"]);
    let other = works_in(place.path(), &["sweep", "run", "study.toml", "--threads", "1", "--out", "two", "--json"]);
    let (one, two) = (anonymous(&journal(place.path(), "one")), anonymous(&journal(place.path(), "two")));
    assert_eq!(one, two);
    let trials = trials(place.path(), "one");
    assert_eq!(trials.iter().filter(|trial| !trial.is_rejected()).count(), 12);
    let status = json(&other);
    assert_eq!(status["finished"].as_u64().unwrap() + status["stopped"].as_u64().unwrap(), 12);

    // Early ends are ordinary runs, which go on if somebody wants them to.
    let stopped = trials.iter().find_map(|trial| match trial.state {
        State::Stopped { epoch, .. } => Some((trial.number, epoch)),
        _ => None,
    });
    let (number, epoch) = stopped.expect("some trial is worse than others");
    let run = format!("one/trials/{number:04}");
    let lines = fs::read_to_string(place.path().join(&run).join("results.csv")).unwrap().lines().count();
    assert_eq!(lines, 1 + epoch as usize);
    works_in(place.path(), &["train", "--resume", "--out", &run]);
    assert!(place.path().join(&run).join("metrics.json").exists());

    // The winner is a recipe, which trains to what the trial was.
    let best =
        works_in(place.path(), &["sweep", "best", "one", "--board", "weact-h743", "--out", "best.toml", "--json"]);
    let best = json(&best);
    let text = fs::read_to_string(place.path().join("best.toml")).unwrap();
    assert!(text.starts_with("# Trial ") && Recipe::parse(&text).is_ok(), "{text}");
    let again = works_in(place.path(), &["train", "--recipe", "best.toml", "--out", "again", "--json"]);
    let (again, best) = (json(&again), &best["best"]);
    assert_eq!(again["val_accuracy"], best["accuracy"]);
    assert_eq!(again["test_accuracy"], best["test_accuracy"]);

    let report = works_in(place.path(), &["sweep", "report", "one", "--plots", "plots", "--out", "report.html"]);
    assert_eq!(report.stdout.trim(), "report.html");
    let page = fs::read_to_string(place.path().join("report.html")).unwrap();
    assert!(page.contains("Pareto front") && page.contains("data:image/svg+xml") && !page.contains("<script"));
    for plot in ["history.svg", "parallel.svg", "pareto.svg"] {
        assert!(fs::read_to_string(place.path().join("plots").join(plot)).unwrap().starts_with("<svg"), "{plot}");
    }
}

#[test]
fn what_does_not_fit_is_rejected_before_training_and_what_fits_really_does() {
    let place = workplace("trials = 1");
    let small = SEARCH.replace("{ from = 0.01, to = 1.0, log = true }", "[0.1]");
    fs::write(place.path().join("study.toml"), format!("sampler = \"grid\"\nbudget.flash-bytes = 3200\n{small}"))
        .unwrap();
    works_in(place.path(), &["sweep", "study.toml"]);
    let trials = trials(place.path(), "sweeps/study");
    assert_eq!(trials.len(), 15, "all points of the grid");
    let (rejected, trained): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(|trial| trial.is_rejected());
    assert!(!rejected.is_empty() && !trained.is_empty(), "{trials:?}");
    let run = |trial: &Trial| format!("sweeps/study/trials/{:04}", trial.number);
    for trial in rejected {
        assert!(!place.path().join(run(trial)).exists(), "nothing of it is trained");
        let State::Rejected { why, violation } = &trial.state else { unreachable!() };
        assert!(why.contains("bytes of flash, the budget has 3200") && *violation > 0.0, "{why}");
    }
    for trial in trained {
        let cost = trial.cost.unwrap();
        works_in(place.path(), &["export", &run(trial)]);
        let analysis = json(&works_in(place.path(), &["analyze", &run(trial), "--board", "mps2-an500", "--json"]));
        let (flash, ram) = (analysis["plan_bytes"].as_u64().unwrap(), analysis["arena_bytes"].as_u64().unwrap());
        // Dead-channel elimination may take something away, never add to it.
        assert!(flash <= cost.flash_bytes && ram <= cost.ram_bytes, "{cost:?}, {analysis}");
        assert!(2 * flash > cost.flash_bytes && cost.flash_bytes <= 3200, "{cost:?}, {flash}");
        assert!(analysis["instructions"].as_u64().unwrap() <= cost.instructions, "{cost:?}");
    }
}

/// A worker of the study in `folder`.
fn worker(place: &Path, folder: &str) -> Child {
    let mut command = ocellus();
    command.current_dir(place).env("OCELLUS_CACHE", place.join("cache"));
    command.args(["sweep", "run", "study.toml", "--threads", "1", "--out", folder]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn four_workers_of_which_one_is_killed_again_and_again_lose_and_double_no_trial() {
    const TRIALS: usize = 16;
    let place = workplace(&format!("sampler = \"random\"\ntrials = {TRIALS}\nset.train.epochs = 12"));
    works_in(place.path(), &["sweep", "study.toml", "--out", "calm"]);
    let start = Instant::now();
    let mut workers: Vec<Child> = (0..4).map(|_| worker(place.path(), "storm")).collect();
    let mut kills = 0;
    loop {
        let path = journal(place.path(), "storm");
        let now = if path.exists() { trials(place.path(), "storm") } else { Vec::new() };
        assert!(start.elapsed() < PATIENCE, "{now:?}");
        if results(&now).len() == TRIALS {
            break;
        }
        // Whoever trains is killed, and no trial more than once by intent: one that kills its workers is given up.
        let open = now.iter().filter(|trial| trial.state == State::Open && trial.workers.len() == 1);
        let holders: Vec<&String> = open.map(|trial| &trial.workers[0]).collect();
        let trains = |child: &Child| holders.iter().any(|name| name.ends_with(&format!(":{}", child.id())));
        if let Some(victim) = workers.iter_mut().filter(|_| kills < TRIALS / 2).find(|child| trains(child)) {
            kills += usize::from(victim.try_wait().unwrap().is_none());
            let _ = victim.kill();
            victim.wait().unwrap();
            *victim = worker(place.path(), "storm");
        }
        sleep(Duration::from_millis(100));
    }
    for mut worker in workers {
        assert!(worker.wait().unwrap().success(), "who finds nothing left to do ends well");
    }
    let (calm, storm) = (trials(place.path(), "calm"), trials(place.path(), "storm"));
    let taken_again = storm.iter().filter(|trial| trial.workers.len() > 1).count();
    // A victim may have just written its result.
    assert!(kills == TRIALS / 2 && taken_again >= 4, "{kills} kills, {taken_again} trials taken again");
    assert_eq!(storm.len(), TRIALS, "none is begun twice");
    assert_eq!(results(&storm).len(), TRIALS, "none is lost");
    assert_eq!(results(&storm), results(&calm), "and each is what it is where nobody dies");
    let finishes = read(&journal(place.path(), "storm")).unwrap();
    let finishes = finishes.iter().filter(|event| matches!(event, Event::Finish { .. })).count();
    assert_eq!(finishes, TRIALS, "none is doubled");
}

#[test]
fn a_worker_that_is_asked_to_stop_leaves_its_trial_to_the_next_one() {
    let place = workplace("sampler = \"random\"\ntrials = 1\nset.train.epochs = 40");
    let mut first = worker(place.path(), "out");
    let start = Instant::now();
    while !place.path().join("out/trials/0000/last.safetensors").exists() {
        assert!(start.elapsed() < PATIENCE && first.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-TERM", &first.id().to_string()]).status().unwrap().success());
    assert_eq!(first.wait().unwrap().code(), Some(143));
    let status = json(&works_in(place.path(), &["sweep", "status", "out", "--json"]));
    assert_eq!((&status["abandoned"], &status["running"]), (&1.into(), &0.into()));
    works_in(place.path(), &["sweep", "run", "study.toml", "--out", "out"]);
    let trials = trials(place.path(), "out");
    assert_eq!((trials.len(), trials[0].workers.len(), trials[0].is_finished()), (1, 2, true));
}

#[test]
fn a_study_of_hours_ends_and_its_trials_stay() {
    // A second and a bit.
    let place = workplace("sampler = \"random\"\nhours = 0.0003\nset.train.epochs = 1");
    let first = json(&works_in(place.path(), &["sweep", "run", "study.toml", "--json"]));
    let done = first["finished"].as_u64().unwrap();
    assert!(done > 0 && first["abandoned"] == 0, "{first}");
    let second = json(&works_in(place.path(), &["sweep", "run", "study.toml", "--json"]));
    assert!(second["finished"].as_u64().unwrap() > done, "each worker has its own hours");
}

#[test]
fn a_journal_survives_what_was_cut_off_and_refuses_what_is_damaged() {
    let place = workplace("sampler = \"random\"\ntrials = 1\nset.train.epochs = 1");
    let run = || run_in(place.path(), &["sweep", "study.toml"]);
    assert_eq!(run().code, 0);
    let path = journal(place.path(), "sweeps/study");
    let whole = fs::read_to_string(&path).unwrap();
    // A worker died while it wrote.
    fs::write(&path, format!("{whole}{{\"seq\":4,\"event\":{{\"sta")).unwrap();
    write_study(place.path(), "sampler = \"random\"\ntrials = 2\nset.train.epochs = 1");
    assert_eq!(run().code, 0);
    assert_eq!(results(&trials(place.path(), "sweeps/study")).len(), 2);
    let lines: Vec<&str> = whole.lines().collect();
    for (damaged, part) in [
        (format!("{}\n{}\n", lines[0], lines[2]), "are missing before it"),
        (format!("{whole}{}\n", lines[2]), "two workers wrote at once"),
        (whole.replace("\"start\"", "\"sta\u{0}t\""), "it is damaged"),
    ] {
        fs::write(&path, &damaged).unwrap();
        let before = fs::read(&path).unwrap();
        run().fails(1, &[part, JOURNAL]);
        run_in(place.path(), &["sweep", "status", "study.toml"]).fails(1, &[part]);
        assert_eq!(fs::read(&path).unwrap(), before, "nothing is written into it");
    }
    fs::write(&path, &whole).unwrap();
    write_study(place.path(), "sampler = \"random\"\ntrials = 2\nseed = 9");
    run().fails(1, &["another study, which differs in seed", "--out"]);
    write_study(place.path(), "sampler = \"random\"\ntrials = 2\nset.train.epochs = 1");
    fs::rename(place.path().join("pictures"), place.path().join("photos")).unwrap();
    run().fails(1, &["pictures"]);
}

#[test]
fn mistakes_in_a_study_are_told_before_anything_is_read_or_written() {
    let place = workplace("trials = 1");
    for (text, parts) in [
        (
            "trials = 1\n[search]\n\"train.rate\" = [1, 2]",
            &["study.toml", "search.train.rate", "unknown field `rate`"][..],
        ),
        ("trials = 1\nrecipe = \"gone.toml\"\n[search]\n\"train.lr\" = [1, 2]", &["study.toml", "gone.toml"]),
        ("[search]\n\"train.lr\" = [1, 2]", &["study.toml", "no end", "trials = N"]),
        ("trials = 1\n[search]\n\"train.lr\" = 1", &["search.train.lr", "[set]"]),
        ("trials = ", &["study.toml"]),
    ] {
        fs::write(place.path().join("study.toml"), text).unwrap();
        for command in ["run", "status", "best", "report"] {
            run_in(place.path(), &["sweep", command, "study.toml"]).fails(1, parts);
        }
        run_in(place.path(), &["sweep", "script", "study.toml", "--for", "slurm"]).fails(1, parts);
        assert!(!place.path().join("sweeps").exists());
    }
    write_study(place.path(), "trials = 1");
    for command in ["status", "best", "report"] {
        run_in(place.path(), &["sweep", command, "study.toml"]).fails(1, &["holds no study", "ocellus sweep run"]);
    }
    run_in(place.path(), &["sweep", "script", "study.toml", "--for", "magic"]).fails(2, &["slurm", "hyperqueue"]);
    run_in(place.path(), &["sweep", "run"]).fails(2, &["STUDY"]);
}

#[test]
fn trials_that_fail_are_told_and_end_a_study_that_is_wrong_as_a_whole() {
    let place = workplace("sampler = \"random\"\ntrials = 9\nset.net.pretrained = \"gone.safetensors\"");
    let run = run_in(place.path(), &["sweep", "study.toml"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("gone.safetensors"), "{}", run.stderr);
    // A rate at which nothing converges is a trial's own fault.
    write_study(place.path(), "name = \"hot\"\nsampler = \"grid\"");
    let study = "name = \"hot\"\nsampler = \"grid\"\nrecipe = \"base.toml\"\n[search]\n\"train.lr\" = [1e30, 0.1]\n";
    fs::write(place.path().join("study.toml"), study).unwrap();
    works_in(place.path(), &["sweep", "study.toml"]);
    let trials = trials(place.path(), "sweeps/hot");
    assert!(matches!(&trials[0].state, State::Failed { why } if why.contains("diverged")), "{:?}", trials[0]);
    assert!(trials[1].is_finished());
}

#[test]
fn printed_scripts_start_workers() {
    let place = workplace("sampler = \"random\"\ntrials = 5\nset.train.epochs = 2");
    let script = |launcher: &str| {
        let arguments = ["sweep", "script", "study.toml", "--for", launcher, "--workers", "3", "--out", "my study"];
        works_in(place.path(), &arguments).stdout
    };
    for launcher in ["slurm", "hyperqueue", "parallel"] {
        let path = place.path().join(format!("{launcher}.sh"));
        fs::write(&path, script(launcher)).unwrap();
        assert!(Command::new("sh").arg("-n").arg(&path).status().unwrap().success(), "{launcher}");
    }
    assert!(script("kubernetes").contains("\"--out\",\"my study\""));
    // With whatever this machine has: GNU parallel, or xargs.
    let program = PathBuf::from(ocellus().get_program());
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let mut sh = Command::new("sh");
    sh.arg("parallel.sh").current_dir(place.path()).env("PATH", path).env("OCELLUS_CACHE", place.path().join("cache"));
    let output = sh.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trials = trials(place.path(), "my study");
    assert_eq!((trials.len(), results(&trials).len()), (5, 5));
    let workers: std::collections::BTreeSet<&String> = trials.iter().flat_map(|trial| &trial.workers).collect();
    assert!(workers.len() > 1, "{workers:?}");
}

#[test]
fn heads_on_frozen_backbones_are_searched_on_features_that_are_computed_once() {
    let place = workplace("trials = 1");
    works_in(place.path(), &["train", "--recipe", "base.toml", "--out", "backbone"]);
    works_in(place.path(), &["export", "backbone"]);
    let features = || {
        let files = fs::read_dir(place.path().join("cache/features")).into_iter().flatten();
        files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "features")).count()
    };
    // A network of our own, and a file of another program as far as we know.
    for (name, set, key) in [
        (
            "own",
            "net.pretrained = \"backbone\"\ntransfer.freeze = \"all\"\ntransfer.cache-views = 2",
            "train.smoothing = [0.0, 0.1]",
        ),
        (
            "foreign",
            "transfer.backbone = \"backbone/float.onnx\"",
            "transfer.hidden = { from = 0, to = 64, step = 16 }",
        ),
    ] {
        let study = |trials: u32| {
            let text = format!(
                "name = \"{name}\"\nrecipe = \"base.toml\"\ntrials = {trials}\n[set]\n{set}\n[search]\n{key}\n\
                 train.lr = {{ from = 0.01, to = 1.0, log = true }}\ntrain.weight-decay = {{ from = 1e-6, to = 1e-2, log = true }}\n"
            );
            fs::write(place.path().join("study.toml"), text).unwrap();
        };
        let before = features();
        study(1);
        works_in(place.path(), &["sweep", "study.toml"]);
        let first = features();
        assert!(first > before, "the backbone's features are kept");
        study(20);
        let start = Instant::now();
        works_in(place.path(), &["sweep", "study.toml"]);
        println!("{name}: 19 heads in {:.1} s", start.elapsed().as_secs_f64());
        let trials = trials(place.path(), &format!("sweeps/{name}"));
        assert_eq!((features(), results(&trials).len()), (first, 20), "{name}");
    }
}
