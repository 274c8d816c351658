//! Threads that compute parts of the same work side by side.
//!
//! burn-flex runs much of a training step on the calling thread only, so that parts of a batch on a thread each finish
//! sooner than the whole batch on all threads.

use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::panic::resume_unwind;

/// A fixed number of threads; whatever one of them calls runs on it alone.
#[derive(Debug)]
pub struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(count: usize) -> Result<Self> {
        let pool = || ThreadPoolBuilder::new().num_threads(1).build();
        let pools = (0..count.max(1)).map(|_| pool()).collect::<Result<_, _>>().context("cannot start a thread")?;
        Ok(Self { pools })
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// `work` of every item, in the items' order, whatever the number of threads. A panic of it goes on here.
    pub fn map<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
        let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
        let turns = results.iter_mut().zip(items).enumerate();
        let mut shares: Vec<Vec<_>> = self.pools.iter().map(|_| Vec::new()).collect();
        turns.for_each(|turn| shares[turn.0 % self.pools.len()].push(turn));
        std::thread::scope(|scope| {
            let mut started = Vec::new();
            for (pool, share) in self.pools.iter().zip(shares) {
                let work = &work;
                let run = move || share.into_iter().for_each(|(i, (result, item))| *result = Some(work(i, item)));
                started.push(scope.spawn(move || pool.install(run)));
            }
            // Whoever calls must learn what a panic said.
            started.into_iter().for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        });
        results.into_iter().map(|result| result.expect("every item had its turn")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_for_any_number_of_threads() {
        let items: Vec<u32> = (0..7).collect();
        for threads in [0, 1, 3, 20] {
            let results = Workers::new(threads).unwrap().map(&items, |i, item| (i, item * item));
            assert_eq!(results, items.iter().map(|&n| (n as usize, n * n)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_worker_computes_alone() {
        let threads = Workers::new(3).unwrap().map(&[(); 3], |_, ()| rayon::current_num_threads());
        assert_eq!(threads, [1; 3]);
    }
}
