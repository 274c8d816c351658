//! `ocellus bench host`: how many images the engine takes a second on one thread of this machine.

use super::{Subject, subjects};
use crate::cli::HostBenchArgs;
use crate::eval::engine::EngineModel;
use crate::report;
use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// What one repetition aims to take: long beside the clock's resolution, shorter than a scheduler lets other work wait.
const REPETITION: Duration = Duration::from_millis(2);

/// What a network takes on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostBench {
    /// The network, or the plan's path where it is none of those that `ocellus bench engine` knows.
    pub network: String,
    /// Multiply-accumulates of an image.
    pub macs: u64,
    /// Images a second on one thread, in the best repetition.
    pub images_per_second: f64,
    /// Repetitions.
    pub repetitions: usize,
    /// Images of each.
    pub images: u32,
    /// The vector instructions that the engine used.
    pub instruction_set: &'static str,
}

/// Measures.
///
/// # Errors
/// A plan cannot be read.
pub fn run(args: &HostBenchArgs) -> Result<()> {
    let subjects = subjects(&super::references()?, &args.models)?;
    let time = Duration::from_secs(args.seconds);
    let benches = subjects.iter().map(|subject| measure(subject, time)).collect::<Result<Vec<_>>>()?;
    if args.json { report::print_json(&benches) } else { report::print(&shown(&benches)) }
}

/// Repetitions for as long as `time`, one at least, after one for caches and clock to warm up.
fn measure(subject: &Subject, time: Duration) -> Result<HostBench> {
    let model = EngineModel::new(&subject.plan)?;
    let image: Vec<i8> = (0..model.plan().input().shape.len()).map(|i| (i * 89 % 256) as u8 as i8).collect();
    let one = model.time(&image, 1)?.max(Duration::from_nanos(1));
    let images = (REPETITION.as_nanos() / one.as_nanos()).clamp(1, 1_000_000) as u32;
    let (start, mut best, mut repetitions) = (Instant::now(), Duration::MAX, 0);
    model.time(&image, images)?;
    while repetitions == 0 || start.elapsed() < time {
        best = best.min(model.time(&image, images)?);
        repetitions += 1;
    }
    Ok(HostBench {
        network: subject.name.clone(),
        macs: model.plan().macs(),
        images_per_second: f64::from(images) / best.as_secs_f64(),
        repetitions,
        images,
        instruction_set: EngineModel::instruction_set(),
    })
}

fn shown(benches: &[HostBench]) -> String {
    let row = |bench: &HostBench| {
        vec![
            bench.network.clone(),
            report::thousands(bench.images_per_second as u64),
            format!("{:.3}", 1e3 / bench.images_per_second),
            format!("{:.1}", bench.macs as f64 * bench.images_per_second / 1e9),
            format!("{} x {}", bench.repetitions, bench.images),
        ]
    };
    let rows: Vec<_> = benches.iter().map(row).collect();
    let table = report::markdown(&["network", "images/s", "ms", "GMAC/s", "repetitions x images"], &rows);
    let set = EngineModel::instruction_set();
    format!("{table}\n\nOne thread with {set}, the best repetition; {}.", report::machine())
}
