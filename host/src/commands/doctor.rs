//! `ocellus doctor`.

use anyhow::{Result, bail};
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::doctor::{self, Check};
use crate::report;

/// Says what this machine lacks, and installs it where asked to.
///
/// # Errors
/// Something is missing, and still missing after an installation.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let mut checks = doctor::check();
    let mut installation = Ok(());
    if args.install && checks.iter().any(|check| !check.ok) {
        installation = doctor::install(&checks);
        checks = doctor::check();
    }
    let ok = checks.iter().all(|check| check.ok);
    if args.json {
        report::print_json(&json!({ "ok": ok, "checks": checks }))?;
    } else {
        for check in &checks {
            report::print(&describe(check))?;
        }
    }
    installation?;
    match checks.iter().find(|check| !check.ok) {
        Some(check) if !check.is_installable() => bail!("{} is missing: {}", check.name, check.found),
        Some(check) if args.install => bail!("{} is still missing", check.name),
        Some(check) => bail!("{} is missing: `ocellus doctor --install` installs what it may", check.name),
        None => Ok(()),
    }
}

fn describe(check: &Check) -> String {
    let state = if check.ok { "ok     " } else { "missing" };
    let line = format!("{state}  {:<40} {}", check.name, check.found);
    check.fix.iter().fold(line, |line, fix| format!("{line}\n         fix: {fix}"))
}
