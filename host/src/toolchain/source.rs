//! The source tree, which only building firmware needs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::board::{self, Board};

/// The environment variable that names the source tree's folder. Empty, it stands for none.
const VARIABLE: &str = "OCELLUS_SOURCE";

/// The folder of this project's source: `$OCELLUS_SOURCE`, the nearest ancestor of the current folder that holds it, or
/// the place this program was compiled in.
///
/// # Errors
/// None of them holds it; a wrong `$OCELLUS_SOURCE` is not passed over.
pub fn source_tree() -> Result<PathBuf> {
    find()?.context(
        "building firmware needs the source tree of Ocellus, which was not found: work in its folder, or set OCELLUS_SOURCE \
         to it",
    )
}

/// The same where there is one.
///
/// # Errors
/// `$OCELLUS_SOURCE` names a folder that holds no source tree.
pub fn find() -> Result<Option<PathBuf>> {
    if let Some(path) = env::var_os(VARIABLE).map(PathBuf::from) {
        return match () {
            () if path.as_os_str().is_empty() => Ok(None),
            () if is_source_tree(&path) => Ok(Some(path)),
            () => bail!(
                "{VARIABLE} is {}, which holds no firmware/boards: set it to the source tree of Ocellus",
                path.display()
            ),
        };
    }
    let here = env::current_dir().unwrap_or_default();
    // The only use of the place of compilation: everything else that a program needs is built into it.
    let compiled_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    Ok(here.ancestors().chain([compiled_in]).find(|path| is_source_tree(path)).map(Path::to_path_buf))
}

fn is_source_tree(path: &Path) -> bool {
    path.join("firmware/boards").is_dir() && path.join("Cargo.toml").is_file()
}

/// Makes sure that firmware built in `source` has the memory that this program expects of `board`.
///
/// # Errors
/// The source tree has another table of the board than the one built into this program, or none.
pub(super) fn check_table(source: &Path, board: &Board) -> Result<()> {
    let path = source.join("firmware/boards").join(format!("{}.toml", board.name));
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        board::table(&board.name) == Some(text.as_str()),
        "{} is not the table that this program was built with, so it would judge the board wrongly: build the program anew \
         with `cargo install --path {}`, or set {VARIABLE} to its own source tree",
        path.display(),
        source.join("host").display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_tree_with_another_table_is_refused() {
        let board = Board::load(board::DEFAULT).unwrap();
        let tree = tempfile::tempdir().unwrap();
        let boards = tree.path().join("firmware/boards");
        std::fs::create_dir_all(&boards).unwrap();
        let table = boards.join(format!("{}.toml", board.name));
        let error = || format!("{:#}", check_table(tree.path(), &board).unwrap_err());
        assert!(error().contains("cannot read"), "{}", error());
        std::fs::write(&table, board::table(&board.name).unwrap()).unwrap();
        check_table(tree.path(), &board).unwrap();
        std::fs::write(&table, "plan-bytes = 1").unwrap();
        assert!(error().contains("cargo install --path"), "{}", error());
    }
}
