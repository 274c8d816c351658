//! Several emulated boards at once, for many images.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ocellus_shared::plan::Plan;

use super::Client;
use crate::board::Board;
use crate::transport::qemu::ClockMode;

/// int8 scores `(n, classes)` of int8 images `(n, h, w, c)`, from as many boards as this machine has cores.
///
/// `done` is called once per image, from any thread.
///
/// # Errors
/// The images are not a whole number of the plan's inputs; or the first failure of any board, after which the others
/// stop.
pub fn scores_of(board: &Board, elf: &Path, plan: &[u8], images: &[i8], done: &(dyn Fn() + Sync)) -> Result<Vec<i8>> {
    let parsed = Plan::parse(plan)?;
    let (image_len, classes) = (parsed.input().shape.len(), parsed.output().shape.len());
    ensure!(images.len().is_multiple_of(image_len), "the images are not a whole number of {image_len} values");
    let count = images.len() / image_len;
    let mut scores = vec![0; count * classes];
    let work = Mutex::new(images.chunks_exact(image_len).zip(scores.chunks_exact_mut(classes)).enumerate());
    let failed = AtomicBool::new(false);
    let serve = || -> Result<()> {
        let mut client = Client::boot_with(board, elf, ClockMode::Free, plan)?;
        while !failed.load(Ordering::Relaxed) {
            let next = work.lock().map_err(|_| anyhow!("another board's thread panicked"))?.next();
            let Some((index, (image, scores))) = next else { break };
            let answer = client.scores(image).with_context(|| format!("image {index}"))?;
            ensure!(answer.len() == classes, "image {index}: {} scores instead of {classes}", answer.len());
            scores.copy_from_slice(&answer);
            done();
        }
        client.end()
    };
    let guarded = || serve().inspect_err(|_| failed.store(true, Ordering::Relaxed));
    let boards = thread::available_parallelism().map_or(1, usize::from).min(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..boards).map(|_| scope.spawn(guarded)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a board's thread panicked"))))
    })?;
    Ok(scores)
}
