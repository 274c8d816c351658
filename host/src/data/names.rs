//! Class names: they reach files, tables and terminals, and must be told apart there.

use crate::view;
use anyhow::{Result, ensure};
use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// `name` in the form in which two that look the same are the same: Unicode's NFC (Unicode Standard Annex 15). macOS stores names
/// of files in another form, and so do archives that were made there.
pub fn composed(name: &str) -> Cow<'_, str> {
    if is_nfc(name) { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// Whether two lists hold names that look the same, in the same order.
pub fn are_same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| composed(a) == composed(b))
}

/// Refuses a class name that would break a line or that a terminal obeys.
///
/// # Errors
/// It does.
pub fn check(name: &str) -> Result<()> {
    ensure!(!name.is_empty(), "a class has no name");
    ensure!(
        !name.contains(view::is_obeyed),
        "the class name \"{}\" holds a control character or a line break: rename it",
        view::plain(name)
    );
    Ok(())
}

/// As [`check`] for all of `names`.
///
/// # Errors
/// The first one that is refused.
pub fn check_all<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    names.into_iter().try_for_each(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_is_the_same() {
        assert_eq!(composed("Pe\u{301}rez"), "P\u{e9}rez");
        assert_eq!(composed("\u{1112}\u{1161}\u{11ab}"), "\u{d55c}");
        assert!(are_same(&["e\u{301}".into(), "b".into()], &["\u{e9}".into(), "b".into()]));
        assert!(!are_same(&["e".into()], &["\u{e9}".into()]) && !are_same(&[], &["a".into()]));
    }

    #[test]
    fn names_are_of_one_line_and_shown_as_they_are() {
        for name in ["cat", "sea lion", "=1+1", "größer", "猫", "a\u{300}"] {
            check(name).unwrap();
        }
        for name in ["", "a\nb", "a\r", "\x1b[31m", "a\tb", "a\u{202e}b", "\u{85}", "a\u{7f}", "x\u{2028}"] {
            let error = check(name).unwrap_err().to_string();
            assert!(!error.contains(view::is_obeyed), "{error:?}");
        }
    }
}
