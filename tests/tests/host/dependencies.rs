//! `deny.toml` without cargo-deny and without the network: licences and origins of everything that the lock file names for this
//! workspace, and the crates that nobody maintains. Advisories take cargo-deny and RustSec's database.

use ocellus_tests::program::cargo;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One line for each package that is compiled for the programs, tests and boards, with its licence.
const TREE: [&str; 11] = [
    "tree",
    "--workspace",
    "--all-features",
    "--edges",
    "normal,build,dev",
    "--prefix",
    "none",
    "--format",
    "{p}\t{l}\t",
    "--locked",
    "--quiet",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(workspace().join("deny.toml")).unwrap().parse().unwrap()
}

/// A package: `name v1.2.3`, where it comes from if that is not the registry of crates, and its licence.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    origin: Option<String>,
    licence: String,
}

/// Every package: of all platforms where all are downloaded or can be, else of this one.
fn packages() -> BTreeSet<Package> {
    let ask = |more: &[&str]| {
        let output = cargo().args(TREE).args(more).current_dir(workspace()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    };
    let mut why = String::new();
    for more in [&["--target", "all", "--offline"][..], &["--target", "all"], &["--offline"]] {
        match ask(more) {
            Ok(text) => return text.lines().filter(|line| !line.is_empty()).map(package).collect(),
            Err(error) => why = error,
        }
    }
    panic!("cargo does not know all packages; `cargo fetch --locked` downloads them: {why}")
}

fn package(line: &str) -> Package {
    let fields: Vec<&str> = line.split('\t').collect();
    let [package, licence, _] = fields[..] else { panic!("{line:?}") };
    let (name, notes) = package.split_once(" (").unwrap_or((package, ""));
    let origin =
        notes.split(" (").map(|note| note.trim_end_matches(')')).find(|note| !["", "proc-macro"].contains(note));
    Package { name: name.to_owned(), origin: origin.map(str::to_owned), licence: licence.to_owned() }
}

/// Whether the expression of licences is satisfied by those that `allowed` says yes to. A slash is an old `OR`.
///
/// Source: SPDX specification, annex D; `AND` binds tighter than `OR`.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any_of(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression:?} is no expression of licences");
    result
}

fn any_of(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut result = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all_of(words, at, allowed);
    }
    result
}

fn all_of(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    if words.get(*at) == Some(&"(") {
        *at += 1;
        let result = any_of(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"));
        *at += 1;
        return result;
    }
    let name = words[*at];
    *at += 1;
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
        return allowed(&format!("{name} WITH {}", words[*at - 1]));
    }
    allowed(name)
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
    let yes =
        ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC", "GPL-3.0 AND X OR ISC"];
    for expression in yes.into_iter().chain(["Apache-2.0 WITH LLVM-exception", "X OR (Y OR (ISC))"]) {
        assert!(satisfied(expression, &allowed), "{expression}");
    }
    for expression in
        ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR ISC) AND GPL-3.0", "ISC WITH LLVM-exception"]
    {
        assert!(!satisfied(expression, &allowed), "{expression}");
    }
}

#[test]
fn licences_and_origins_are_those_that_deny_toml_allows() {
    let rules = rules();
    let names = |list: &toml::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let allow = names(&rules["licenses"]["allow"]);
    let exceptions: BTreeMap<&str, Vec<String>> = rules["licenses"]["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|exception| (exception["crate"].as_str().unwrap(), names(&exception["allow"])))
        .collect();
    let banned = names(&rules["bans"]["deny"]);
    let own = workspace();
    let (mut wrong, mut found) = (vec![], BTreeSet::new());
    for Package { name, origin, licence } in packages() {
        let short = name.split(' ').next().unwrap_or_default().to_owned();
        let allowed = |licence: &str| {
            let also = exceptions.get(&*short).is_some_and(|also| also.iter().any(|name| name == licence));
            also || allow.iter().any(|name| name == licence)
        };
        if licence.is_empty() || !satisfied(&licence, &allowed) {
            wrong.push(format!("{name}: the licence {licence:?}"));
        }
        if let Some(origin) = origin.filter(|origin| !Path::new(origin).starts_with(&own)) {
            wrong.push(format!("{name}: from {origin}"));
        }
        if banned.contains(&short) {
            wrong.push(format!("{name}: banned"));
        }
        found.insert(short);
    }
    assert!(wrong.is_empty(), "not allowed by deny.toml:\n{}", wrong.join("\n"));
    assert!(found.len() > 200, "only {} packages were looked at", found.len());
    let gone: Vec<_> = exceptions.keys().filter(|name| !found.contains(**name)).collect();
    assert!(gone.is_empty(), "deny.toml excepts what is gone: {gone:?}");
}

#[test]
fn what_nobody_maintains_is_listed_as_long_as_it_is_there() {
    let rules = rules();
    let ignored = rules["advisories"]["ignore"].as_array().unwrap();
    let listed: BTreeSet<&str> =
        ignored.iter().map(|entry| entry["reason"].as_str().unwrap().split_once(' ').unwrap().0).collect();
    assert_eq!(listed, BTreeSet::from(["bare-metal", "bincode", "paste", "proc-macro-error2"]));
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    for name in listed {
        assert!(lock.contains(&format!("name = \"{name}\"\n")), "{name} is gone: take it out of deny.toml");
    }
}
