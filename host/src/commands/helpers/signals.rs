//! Signals that ask a command to come to an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::Result;

use crate::commands::Failure;
use crate::view;

/// Ctrl-C.
const INTERRUPT: i32 = 2;
/// The terminal was closed.
#[cfg(unix)]
const HANG_UP: i32 = 1;
/// What `kill`, a service manager or a container sends.
#[cfg(unix)]
const TERMINATE: i32 = 15;

/// Whether the command was asked to come to an end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// The first signal; 0 for none yet.
    signal: Arc<AtomicI32>,
}

impl Stop {
    /// From now on, the first Ctrl-C, SIGTERM or SIGHUP only sets the flag, and tells `advice` if there is one; where `may_force`,
    /// the second one ends the process at once. Under `nohup`, SIGHUP means nothing, as before.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn on_signals(advice: Option<&'static str>, may_force: bool) -> Result<Self> {
        let stop = Self::default();
        let heard = stop.clone();
        listen(move |signal| {
            if heard.asked.load(Ordering::Relaxed) {
                if may_force {
                    std::process::exit(code(signal).into());
                }
                return;
            }
            heard.signal.store(signal, Ordering::Relaxed);
            heard.asked.store(true, Ordering::Release);
            advice.into_iter().for_each(view::note);
        })?;
        Ok(stop)
    }

    /// The flag.
    pub fn asked(&self) -> &AtomicBool {
        &self.asked
    }

    /// The failure of a command that was stopped before its end.
    pub fn failure(&self) -> Failure {
        let signal = self.signal.load(Ordering::Relaxed);
        Failure::Stopped(code(if signal == 0 { INTERRUPT } else { signal }))
    }

    /// As [`Stop::failure`] where a command ended for another reason than Ctrl-C, by which its user ends it.
    ///
    /// # Errors
    /// It did.
    pub fn ended_by_user(&self) -> Result<()> {
        match self.signal.load(Ordering::Relaxed) {
            0 | INTERRUPT => Ok(()),
            _ => Err(self.failure().into()),
        }
    }
}

/// The exit code that a shell expects of a program that `signal` ended.
fn code(signal: i32) -> u8 {
    128 + signal as u8
}

#[cfg(unix)]
fn listen(mut hear: impl FnMut(i32) + Send + 'static) -> Result<()> {
    use anyhow::Context;
    let signals = [INTERRUPT, TERMINATE].into_iter().chain((!is_ignored(HANG_UP)).then_some(HANG_UP));
    let mut signals = signal_hook::iterator::Signals::new(signals).context("cannot catch signals")?;
    std::thread::spawn(move || signals.forever().for_each(&mut hear));
    Ok(())
}

#[cfg(not(unix))]
fn listen(mut hear: impl FnMut(i32) + Send + 'static) -> Result<()> {
    use anyhow::Context;
    ctrlc::set_handler(move || hear(INTERRUPT)).context("cannot catch Ctrl-C")
}

/// Whether whoever started this process had it ignore `signal`. Told by Linux; elsewhere it is not known.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!([HANG_UP, INTERRUPT, TERMINATE].map(code), [129, 130, 143]);
    }

    #[test]
    fn rust_ignores_only_broken_pipes() {
        assert!(is_ignored(13) && ![HANG_UP, INTERRUPT, TERMINATE].map(is_ignored).contains(&true));
    }
}
