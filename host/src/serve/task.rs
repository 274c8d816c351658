//! Work that takes longer than a request: it goes on as long as somebody asks how far it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// How long work goes on that nobody asks for: pages ask every second.
const LEASE: Duration = Duration::from_secs(20);
/// How long the server waits for work that it ends.
const MOMENT: Duration = Duration::from_secs(1);

/// Some work, and what came of it.
#[derive(Debug)]
pub struct Task<T> {
    done: AtomicUsize,
    all: AtomicUsize,
    is_stopped: AtomicBool,
    asked: Mutex<Instant>,
    result: OnceLock<Result<T, String>>,
}

impl<T> Task<T> {
    /// `done` of `all` steps are done.
    ///
    /// # Errors
    /// Nobody wants it any more.
    pub fn progress(&self, done: usize, all: usize) -> Result<()> {
        self.done.store(done, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
        let waited = self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if self.is_stopped.load(Ordering::Relaxed) || waited > LEASE {
            self.is_stopped.store(true, Ordering::Relaxed);
            bail!("nobody waits for it");
        }
        Ok(())
    }

    /// What came of it, once it is done.
    pub fn result(&self) -> Option<Result<&T, &str>> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.result.get().map(|result| result.as_ref().map_err(String::as_str))
    }

    /// How far it is, for a page that asks again.
    pub fn so_far(&self) -> Value {
        json!({ "working": { "done": self.done.load(Ordering::Relaxed), "all": self.all.load(Ordering::Relaxed) } })
    }
}

/// The task that is being worked on, of which there is one at a time, or the last one.
#[derive(Debug)]
pub struct Desk<K, T>(Mutex<Option<(K, Arc<Task<T>>)>>);

impl<K, T> Default for Desk<K, T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: PartialEq, T: Send + Sync + 'static> Desk<K, T> {
    /// The task called `key`: the one that is there, or one that begins `work` now, instead of another one.
    pub fn ask(&self, key: K, work: impl FnOnce(&Task<T>) -> Result<T> + Send + 'static) -> Arc<Task<T>> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, task)) = &*place {
            // What failed is tried again by whoever asks again, since there may be another reason by now.
            let is_over = task.is_stopped.load(Ordering::Relaxed) || matches!(task.result.get(), Some(Err(_)));
            if *known == key && !is_over {
                return Arc::clone(task);
            }
            task.is_stopped.store(true, Ordering::Relaxed);
        }
        let task = Arc::new(Task {
            done: AtomicUsize::new(0),
            all: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
            asked: Mutex::new(Instant::now()),
            result: OnceLock::new(),
        });
        let worked = Arc::clone(&task);
        thread::spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&worked)));
            let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("it failed unexpectedly")));
            let _ = worked.result.set(result.map_err(|error| format!("{error:#}")));
        });
        *place = Some((key, Arc::clone(&task)));
        task
    }

    /// Ends what goes on, and waits a moment for it.
    pub fn end(&self) {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, task)) = &*place else { return };
        task.is_stopped.store(true, Ordering::Relaxed);
        let start = Instant::now();
        while task.result.get().is_none() && start.elapsed() < MOMENT {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T: Clone>(task: &Task<T>) -> Result<T, String> {
        loop {
            if let Some(result) = task.result() {
                return result.cloned().map_err(str::to_owned);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn one_is_done_at_a_time_and_kept() {
        let desk = Desk::default();
        let endless = |task: &Task<u32>| loop {
            task.progress(1, 2)?;
            thread::sleep(Duration::from_millis(1));
        };
        let first = desk.ask("a", endless);
        assert!(Arc::ptr_eq(&first, &desk.ask("a", endless)), "it goes on");
        let second = desk.ask("b", |_| Ok(7));
        assert_eq!((wait(&first).unwrap_err().as_str(), wait(&second)), ("nobody waits for it", Ok(7)));
        assert!(Arc::ptr_eq(&second, &desk.ask("b", |_| Ok(8))), "it is known");
        assert_eq!(wait(&desk.ask("c", |_| anyhow::bail!("broken"))).unwrap_err(), "broken");
        assert_eq!(wait(&desk.ask("c", |_| Ok(9))), Ok(9), "what failed is tried again");
        assert!(wait(&desk.ask("d", |_| panic!("on purpose"))).unwrap_err().contains("unexpectedly"));
    }
}
