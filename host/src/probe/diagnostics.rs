//! What probe-rs's errors mean to somebody with a board on the desk, and what to do.

use std::error::Error;

use probe_rs::architecture::arm::{ArmError, DapError};
use probe_rs::flashing::FlashError;
use probe_rs::probe::DebugProbeError;
use probe_rs::rtt;

/// Why a chip could not be attached to, in a remedy.
pub fn attach_remedy(error: &(dyn Error + 'static), under_reset: bool) -> String {
    if is_unplugged(error) {
        return "the probe was unplugged: plug it in and run the command again".to_owned();
    }
    if let Some(DebugProbeError::UnsupportedSpeed(_)) = find(error) {
        return "choose another --speed, or leave it to the probe".to_owned();
    }
    if is_silent(error) {
        let next = match under_reset {
            true => "try a lower --speed",
            false => "try a lower --speed, or --connect-under-reset (needs the wire to NRST)",
        };
        return format!(
            "it does not answer; see that the board has power and SWDIO, SWCLK and GND are wired, then {next}"
        );
    }
    match under_reset {
        true => "see that NRST is wired and the board is the one that --board names".to_owned(),
        false => "see that the board is the one that --board names; else try --connect-under-reset".to_owned(),
    }
}

/// What it means that a command to a chip that was attached to failed.
pub fn lost(board: &str) -> String {
    format!(
        "the connection to {board} was lost: see that the probe is plugged in and the board has power, then try again"
    )
}

/// `what` it means that a channel of a running program cannot be used, with its cause, unless that only says so again at
/// length, with advice for other programs.
pub fn without_channel(error: rtt::Error, what: String) -> anyhow::Error {
    match error {
        rtt::Error::ControlBlockNotFound | rtt::Error::ReadPointerChanged => anyhow::anyhow!(what),
        error => anyhow::Error::new(error).context(what),
    }
}

/// Why flash could not be programmed, in a remedy; `erase_all` was already allowed.
pub fn flash_remedy(error: &(dyn Error + 'static), erase_all: bool) -> &'static str {
    if is_unplugged(error) {
        return "the probe was unplugged in the middle: what was being written is incomplete, and the board will say \
                that it has no valid model or not start; plug the probe in and run the command again";
    }
    if is_silent(error) {
        return "the chip no longer answers: see that the board has power, then run the command again with a lower --speed";
    }
    if any(error, |error| matches!(error, FlashError::Verify)) {
        return "what is in flash is not what was written: run the command again; if it stays so, look at the board's \
                supply, or the flash is worn out";
    }
    if any(error, |error| matches!(error, FlashError::RoutineCallFailed { .. })) {
        return match erase_all {
            true => {
                "the flash refuses: it is locked; clear its write protection (option bytes) with the vendor's programmer"
            }
            false => {
                "the flash refuses: it is locked; clear its write protection (option bytes) with the vendor's programmer, \
                 or let everything be erased with --allow-erase-all"
            }
        };
    }
    "run the command again; a lower --speed helps with long wires"
}

/// Whether the probe itself is gone.
fn is_unplugged(error: &(dyn Error + 'static)) -> bool {
    any(error, |error| matches!(error, DebugProbeError::Usb(_)))
}

/// Whether the chip gives no answer.
fn is_silent(error: &(dyn Error + 'static)) -> bool {
    any(error, |error| matches!(error, ArmError::NoTargetResponse { .. } | ArmError::Timeout))
        || any(error, |error| matches!(error, probe_rs::Error::Timeout))
        || any(error, |error: &DapError| *error == DapError::NoAcknowledge)
}

/// The first error of type `T` among `error` and its causes.
fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// Whether `error` or one of its causes is a `T` that `is` holds for.
fn any<T: Error + 'static>(error: &(dyn Error + 'static), is: impl Fn(&T) -> bool) -> bool {
    causes(error).filter_map(|error| error.downcast_ref()).any(is)
}

/// `error` and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source())
}
