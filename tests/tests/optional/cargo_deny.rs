//! cargo-deny itself on `deny.toml`, where it is installed, and RustSec's advisories, where its database is. Neither is fetched.

use crate::Optional;
use ocellus_tests::program::cargo;
use std::env;
use std::path::{Path, PathBuf};

pub fn tests() -> [Optional; 2] {
    let is_there = cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    [
        Optional {
            name: "cargo_deny::licences_bans_and_sources",
            needs: "cargo-deny: cargo install --locked cargo-deny",
            is_there,
            run: || check(&["bans", "licenses", "sources"]),
        },
        Optional {
            name: "cargo_deny::advisories",
            needs: "cargo-deny and RustSec's database: cargo deny fetch",
            is_there: is_there && database().is_some_and(|folder| folder.is_dir()),
            run: || check(&["advisories"]),
        },
    ]
}

/// Where cargo-deny keeps advisory databases.
fn database() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    Some(home?.join("advisory-dbs"))
}

fn check(what: &[&str]) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // A licence that is allowed and used by nothing any more is a warning.
    let mut command = cargo();
    command.args(["deny", "--offline", "check", "--hide-inclusion-graph"]).args(what).current_dir(workspace);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo deny check {}:\n{said}", what.join(" "));
    let verdict = String::from_utf8_lossy(&output.stdout);
    for what in what {
        assert!(verdict.contains(&format!("{what} ok")) || said.contains(&format!("{what} ok")), "{verdict}\n{said}");
    }
}
