//! `ocellus probes`.

use anyhow::Result;

use crate::cli::ProbesArgs;
use crate::probe::{self, ProbeInfo};
use crate::report::{self, table};
use crate::view;

/// Lists the probes, and says how to get at those that this user may not open.
///
/// # Errors
/// Standard output cannot be written. To have no probe is none.
pub fn run(args: &ProbesArgs) -> Result<()> {
    let found = probe::list();
    if args.json {
        return report::print_json(&found);
    }
    if found.is_empty() {
        return report::print(probe::NONE_FOUND);
    }
    let row = |probe: &ProbeInfo| {
        let state = if probe.usable { "ready" } else { "permission denied" };
        vec![probe.selector.clone(), probe.name.clone(), probe.kind.clone(), state.to_owned()]
    };
    report::print(&table(&["--probe", "name", "kind", "state"], &found.iter().map(row).collect::<Vec<_>>()))?;
    if let Some(fix) = probe::access_fix(&found) {
        view::note(&fix);
    }
    Ok(())
}
