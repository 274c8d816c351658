//! Tests that need what not every machine has: a dataset, pretrained weights, packages of Python, a browser.
//!
//! Where it is missing, the summary lists the test as ignored, with what it needs; `-- --include-ignored` insists.

mod browser;
mod cargo_deny;
mod cifar;
mod lite0;
mod onnx_tools;
#[path = "../support/random/mod.rs"]
mod random;
mod webdriver;

use libtest_mimic::{Arguments, Trial};
use std::path::PathBuf;
use std::process::ExitCode;

/// A test and what must be there for it.
struct Optional {
    name: &'static str,
    /// What is needed, and how to give it.
    needs: &'static str,
    is_there: bool,
    run: fn(),
}

impl Optional {
    fn trial(self) -> Trial {
        let Self { name, needs, is_there, run } = self;
        let trial = Trial::test(name, move || {
            run();
            Ok(())
        });
        if is_there { trial } else { trial.with_kind(format!("needs {needs}")).with_ignored_flag(true) }
    }
}

/// The file or folder that the environment variable `name` names, if it is there.
fn named_by(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.exists())
}

fn main() -> ExitCode {
    let tests = cifar::tests().into_iter().chain(browser::tests()).chain(cargo_deny::tests());
    let tests = tests.chain([lite0::test(), onnx_tools::test()]);
    libtest_mimic::run(&Arguments::from_args(), tests.map(Optional::trial).collect()).exit_code()
}
