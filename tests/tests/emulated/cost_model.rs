//! What a plan is predicted to cost against what it is counted to cost on every emulated core, and the fit behind it.
//!
//! QEMU and a compiler for the boards are needed; where they are missing this test fails and says how to get them.

use ocellus::board::Board;
use ocellus::client::{Client, Profile};
use ocellus::cost::{self, Core, Costs, Kernel};
use ocellus::toolchain;
use ocellus::transport::qemu::ClockMode;
use ocellus_shared::plan::{Plan, encode};
use ocellus_shared::{Op, Shape, Window};
use ocellus_tests::program::ocellus;
use ocellus_tests::{overlaps, plans, random::Random};
use std::collections::BTreeMap;
use std::path::Path;

fn boot(board: &Board) -> Client {
    let built = toolchain::build_firmware(board, &|_| ()).unwrap_or_else(|error| panic!("{error:#}"));
    Client::boot(board, &built.elf, ClockMode::Instructions).unwrap_or_else(|error| panic!("{error:#}"))
}

fn measure(client: &mut Client, plan: &[u8]) -> Profile {
    client.set_plan(plan).unwrap();
    client.profile(&vec![0; Plan::parse(plan).unwrap().input().shape.len()]).unwrap()
}

#[test]
fn predictions_are_within_their_error_of_what_is_counted() {
    let models = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")).unwrap();
    let committed = models.filter_map(|model| {
        let path = model.unwrap().path();
        Some((path.display().to_string(), std::fs::read(path.join("model.plan")).ok()?))
    });
    let mut plans: Vec<_> = committed.collect();
    assert!(!plans.is_empty());
    plans.push(("cifar_cnn".into(), encode::encode(&plans::cifar_cnn(1)).unwrap()));
    plans.push(("mobilenet".into(), encode::encode(&plans::mobilenet(1)).unwrap()));
    let in_strips = overlaps::overlapped(&plans::mobilenet(1), 1);
    plans.push(("mobilenet in strips".into(), encode::encode(&in_strips).unwrap()));
    let winograd = ("cifar_cnn, Winograd plan".into(), encode::encode(&plans::fast_cifar_cnn(1)).unwrap());
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_some()) {
        let core = Core::of(&board.cpu).unwrap();
        let costs = Costs::load(core).unwrap();
        let mut client = boot(&board);
        // A core that gains nothing has no Winograd plans.
        for (name, plan) in plans.iter().chain((core == Core::Dsp).then_some(&winograd)) {
            let counted: u64 = measure(&mut client, plan).steps.iter().sum();
            let predicted: u64 = Plan::parse(plan).unwrap().steps().map(|step| costs.predict(&step).1).sum();
            let error = predicted as f64 / counted as f64 - 1.0;
            println!("{} {name}: predicted {predicted}, counted {counted}, {:+.1} %", board.name, 100.0 * error);
            assert!(error.abs() <= cost::ERROR, "{} {name}: predicted {predicted}, counted {counted}", board.name);
        }
        client.end().unwrap();
    }
}

/// The stack that a run takes stands in each board's table, and it is no less than half of that.
#[test]
fn stacks_stay_within_what_boards_say() {
    let mut wrong = Vec::new();
    for board in Board::all().unwrap().into_iter().filter(|board| board.machine.is_some()) {
        let mut client = boot(&board);
        let named = [plans::cifar_cnn(1), plans::mobilenet(1), overlaps::overlapped(&plans::mobilenet(1), 1)];
        let random = (0..40).map(|seed| overlaps::overlapped(&plans::random(seed), seed));
        let of_many_sizes = (0..5).flat_map(|seed| [plans::depthwise, plans::attention].map(|kind| kind(seed)));
        let plans = named.into_iter().chain(random).chain(of_many_sizes);
        let most = plans.map(|plan| measure(&mut client, &encode::encode(&plan).unwrap()).stack_bytes).max().unwrap();
        client.end().unwrap();
        println!("{}: {most} bytes of stack, {} stated", board.name, board.stack_bytes);
        let (most, stated) = (most as usize, board.stack_bytes);
        if most > stated || most < stated / 2 {
            wrong.push((board.name, most, stated));
        }
    }
    assert!(wrong.is_empty(), "board, measured, stated: {wrong:?}");
}

/// The networks that others were measured on, with random weights: fewer instructions than theirs, and in less RAM.
#[test]
fn the_benchmark_stays_below_its_references() {
    let output = ocellus().args(["bench", "engine", "--json"]).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let benches: Vec<serde_json::Value> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(benches.len(), 11, "two networks on four boards, and one of them as a Winograd plan on three");
    for bench in &benches {
        let ram = |bench: &serde_json::Value| bench["ram_bytes"].as_u64();
        let room = if bench["network"] == "resnet8" { 40 << 10 } else { 56 << 10 };
        assert!(ram(bench).is_some_and(|bytes| bytes <= room), "{bench}");
        if bench["optimize"] == "speed" {
            let plain = |other: &&serde_json::Value| {
                other["optimize"] == "size" && ["network", "board"].iter().all(|key| other[key] == bench[key])
            };
            let [size, speed] =
                [benches.iter().find(plain).unwrap(), bench].map(|b| b["instructions"].as_f64().unwrap());
            assert!(speed < 0.75 * size, "{bench}");
        }
        let references = bench["references"].as_array().unwrap();
        assert!(!references.is_empty(), "{bench}");
        for other in references {
            let (ratio, cycles) = (other["ratio"].as_f64(), other["cycles"].as_u64());
            assert!(ratio.is_none_or(|ratio| ratio > 1.0) && (ratio.is_some() || cycles.is_some()), "{other}");
            assert!(ram(other).is_none_or(|bytes| Some(bytes) > ram(bench)));
        }
    }
}

#[test]
fn a_plan_that_nobody_else_was_measured_on_has_no_references() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.plan"), encode::encode(&plans::watched(1)).unwrap()).unwrap();
    let output = ocellus().args(["bench", "engine"]).arg(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.contains(folder.path().to_str().unwrap())).collect();
    assert!(rows.len() == 4 && rows.iter().all(|row| row.contains("Ocellus")), "{text}");
}

#[test]
fn what_does_not_fit_says_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let analyse = |spec: &encode::PlanSpec, json: bool| {
        let path = folder.path().join("model.plan");
        std::fs::write(&path, encode::encode(spec).unwrap()).unwrap();
        let mut command = ocellus();
        command.arg("analyze").arg(path).args(["--board", "mps2-an386"]).args(json.then_some("--json"));
        let output = command.output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), stdout, stderr)
    };
    let spec = plans::cifar_cnn(1);
    let (code, stdout, stderr) = analyse(&spec, true);
    assert_eq!(code, Some(0), "{stderr}");
    let small: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let plan_bytes = encode::encode(&spec).unwrap().len();
    assert_eq!((&small["fits"], &small["plan_bytes"]), (&true.into(), &plan_bytes.into()));
    let parts = |whole: &str, parts: &[&str]| {
        let sum: u64 = parts.iter().map(|part| small[part].as_u64().unwrap()).sum();
        assert_eq!(small[whole].as_u64(), Some(sum), "{whole}");
    };
    parts("flash_bytes", &["program_bytes", "plan_bytes"]);
    parts("ram_bytes", &["arena_bytes", "stack_bytes", "frame_bytes", "static_bytes"]);
    assert_eq!(small["layers"].as_array().unwrap().len(), spec.steps.len());
    assert!(small["instructions"].as_u64().unwrap() > 10_000_000);

    let large = encode::PlanSpec { arena_bytes: 9_000_000, ..spec };
    let (code, stdout, _) = analyse(&large, true);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &report["fits"]), (Some(3), &false.into()));
    let (code, stdout, stderr) = analyse(&large, false);
    assert_eq!(code, Some(3));
    assert!(stdout.contains("fits          no"), "{stdout}");
    // Layer 1 works on the largest maps, 32x32x32 each; 32 pixels times the square root of 4,194,304 / 9,000,000.
    for part in ["the most memory is for layer 1, conv", "--img-size of 21"] {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

/// Layers on one image for each plan.
const LAYERS: usize = 24;

#[test]
#[ignore = "measures `firmware/costs.toml` anew and prints it"]
fn fit() {
    for (name, core, board) in [("dsp", Core::Dsp, "mps2-an386"), ("vector", Core::Vector, "mps3-an547")] {
        let mut client = boot(&Board::load(board).unwrap());
        let mut samples: BTreeMap<Kernel, Vec<(Vec<f64>, f64)>> = BTreeMap::new();
        for seed in 0..60 {
            let plan = encode::encode(&sample(seed)).unwrap();
            let counted = measure(&mut client, &plan).steps;
            for (step, counted) in Plan::parse(&plan).unwrap().steps().zip(counted) {
                let (kernel, counts) = cost::counts(core, &step);
                samples.entry(kernel).or_default().push((counts, counted as f64));
            }
        }
        client.end().unwrap();
        println!("\n[{name}]");
        for (kernel, samples) in samples {
            let fitted = least_squares(&samples);
            let costs = fitted.iter().map(|c| format!("{c:.2}")).collect::<Vec<_>>().join(", ");
            let worst = samples.iter().map(|(counts, counted)| dot(counts, &fitted) / counted - 1.0);
            let worst = worst.map(f64::abs).fold(0.0, f64::max);
            println!("# {} layers, each within {:.0} %.", samples.len(), 100.0 * worst);
            println!("{} = [{costs}]", kernel.key);
        }
    }
}

/// Layers of all kinds on one image.
fn sample(seed: u64) -> encode::PlanSpec {
    let mut random = Random::new(seed);
    let side = random.between(4, 40);
    let channels = match random.between(0, 5) {
        0 => 3,
        1 => random.between(1, 24),
        _ => 8 * random.between(1, 16),
    };
    let channels = channels.min(24_000 / (side * side)).max(3);
    let input = Shape::new(side as u16, random.between(3, side) as u16, channels as u16);
    let layers: Vec<_> = (0..LAYERS).map(|_| layer(&mut random)).collect();
    plans::layers(seed, input, &layers)
}

/// A layer and how often it reads the image.
fn layer(random: &mut Random) -> (Op, usize) {
    let kernel = random.choose(&[1, 3, 3, 5]);
    let stride = random.between(1, 2) as u8;
    let same = Window { stride: [stride; 2], ..Window::same(kernel) };
    let window = random.choose(&[same, same, Window::valid(kernel, stride)]);
    let out_channels = if random.once_in(4) { random.between(1, 40) } else { 8 * random.between(1, 12) } as u16;
    match random.between(0, 21) {
        21 => (Op::MatMul { heads: random.choose(&[1, 1, 2, 4]), transpose_b: true }, 2),
        17.. => (
            Op::Winograd { window: Window { pad: window.pad.map(|p| p.min(2)), ..Window::valid(3, 1) }, out_channels },
            1,
        ),
        0..=4 => (Op::Conv { window, out_channels }, 1),
        5..=7 => (Op::Depthwise { window }, 1),
        8 => (Op::Dense { out_channels: out_channels.min(12) }, 1),
        9 => (Op::MaxPool { window }, 1),
        10 => (Op::AvgPool { window: Window { pad: [0; 4], ..window } }, 1),
        11 => (Op::Add, 2),
        12 => (Op::Lut, 1),
        13 => (Op::ChannelScale, 1),
        14 => (Op::Mul, 2),
        15 => (Op::Concat, random.between(2, 4)),
        _ => (Op::Flatten, 1),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The coefficients that leave the least sum of squared relative errors, each held back a little from growing without need.
fn least_squares(samples: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let n = samples[0].0.len();
    let mut system = vec![vec![0.0; n + 1]; n];
    for (counts, counted) in samples {
        let row: Vec<f64> = counts.iter().map(|count| count / counted).collect();
        for i in 0..n {
            (0..n).for_each(|j| system[i][j] += row[i] * row[j]);
            system[i][n] += row[i];
        }
    }
    // Relative to each count's own size; a count that is always 0 gets 0.
    (0..n).for_each(|i| system[i][i] = system[i][i] * (1.0 + 1e-7) + f64::from(system[i][i] == 0.0));
    solve(system)
}

/// Gaussian elimination; the last column is the right-hand side.
fn solve(mut system: Vec<Vec<f64>>) -> Vec<f64> {
    let n = system.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| system[a][i].abs().total_cmp(&system[b][i].abs())).unwrap();
        system.swap(i, pivot);
        for row in (0..n).filter(|&row| row != i) {
            let factor = system[row][i] / system[i][i];
            (i..=n).for_each(|k| system[row][k] -= factor * system[i][k]);
        }
    }
    (0..n).map(|i| system[i][n] / system[i][i]).collect()
}
