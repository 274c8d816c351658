//! Panics of tract as errors. Many of its operators take for granted what nobody checked.

use anyhow::{Result, anyhow};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread's panics become errors.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, whose panics become errors, without a word on them.
///
/// # Errors
/// Those of `work`, or it panicked: what it said, in one line.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    silence();
    let before = CAUGHT.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    outcome.unwrap_or_else(|payload| {
        let line = text(&*payload).lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("without a word");
        Err(anyhow!("tract cannot go on: {line}"))
    })
}

/// Takes the panics that become errors away from whoever else reports panics.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                usual(panic);
            }
        }));
    });
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_errors_with_what_they_said() {
        let none = |text: &str| text.parse::<u8>().ok();
        let message = |work: &dyn Fn() -> Result<u8>| caught(work).unwrap_err().to_string();
        assert!(message(&|| Ok(none("x").unwrap())).contains("tract cannot go on: called `Option::unwrap()`"));
        assert_eq!(message(&|| panic!("\n  two\nlines")), "tract cannot go on: two");
        assert_eq!(message(&|| Err(anyhow!("an error"))), "an error");
        assert_eq!(caught(|| Ok(3)).unwrap(), 3);
    }
}
