//! The reference of all commands, made from the same definitions as their help.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Cli;

/// What stands at the top of the page.
const HEAD: &str = "\
# Commands of `ocellus`

Written by the program from its own definitions: `ocellus COMMAND --help` says the same. Square brackets mark what may be left
out. A flag overrides its environment variable, which overrides the recipe.
";

/// The words behind `ocellus` of every command that has a help text, the program itself (no words) first.
pub fn commands() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    visit(&built(), &mut Vec::new(), &mut |path, _| all.push(path.to_vec()));
    all
}

/// The page, as Markdown.
pub fn reference() -> String {
    let command = built();
    let mut page = HEAD.to_owned();
    let mut sections = String::new();
    visit(&command, &mut Vec::new(), &mut |path, command| {
        if let [first] = path {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = write!(page, "{}- [`{first}`](#{first}): {about}", if sections.is_empty() { "\n" } else { "" });
            page.push('\n');
        }
        if !path.is_empty() {
            sections += &section(path, command);
        }
    });
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    format!("{page}\n```text\n{after}\n```\n{sections}")
}

fn built() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Calls `each` with every command below `command`, itself included, and the words that lead there.
fn visit(command: &Command, path: &mut Vec<String>, each: &mut dyn FnMut(&[String], &Command)) {
    each(path, command);
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        path.push(sub.get_name().to_owned());
        visit(sub, path, each);
        path.pop();
    }
}

fn section(path: &[String], command: &Command) -> String {
    let name = path.join(" ");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!("\n{} {name}\n\n{about}.\n\n```text\n{usage}\n```\n", "#".repeat(path.len() + 1));
    let rows: Vec<String> = command.get_arguments().filter(|arg| !is_of_clap(arg)).map(row).collect();
    if !rows.is_empty() {
        let _ = write!(text, "\n| argument | meaning |\n|---|---|\n{}", rows.concat());
    }
    if let Some(examples) = command.get_after_help() {
        let _ = write!(text, "\n```text\n{examples}\n```\n");
    }
    text
}

/// Whether clap adds the argument to every command.
fn is_of_clap(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
        || arg.is_hide_set()
}

/// An argument, what it means, its values, and where else its value comes from.
fn row(arg: &Arg) -> String {
    let values: Vec<String> = arg.get_value_names().into_iter().flatten().map(|name| format!("<{name}>")).collect();
    let takes_value = arg.get_action().takes_values();
    let shown = match arg.get_long() {
        Some(long) if takes_value => format!("--{long} {}", values.join(" ")),
        Some(long) => format!("--{long}"),
        None => values.join(" "),
    };
    let required = if arg.is_required_set() && arg.get_long().is_some() { " (required)" } else { "" };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> = if takes_value {
        let described = |value: clap::builder::PossibleValue| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        };
        arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set()).map(described).collect()
    } else {
        Vec::new()
    };
    if !possible.is_empty() {
        let _ = write!(meaning, "; one of {}", possible.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() {
        let _ = write!(meaning, "; default `{}`", defaults.join(" "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(meaning, "; environment `{}`", variable.to_string_lossy());
    }
    format!("| `{}`{required} | {} |\n", shown.replace('|', "\\|"), meaning.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stray;

    /// The words of a line as a shell splits them: quoted text and the output of a command are part of one word.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut depth, mut is_quoted) = (Vec::new(), String::new(), 0, false);
        for c in line.chars() {
            match c {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted && depth == 0 => words.push(std::mem::take(&mut word)),
                _ => word.push(c),
            }
            depth += i32::from(c == '(') - i32::from(c == ')');
        }
        words.push(word);
        words
    }

    #[test]
    fn examples_are_valid_command_lines() {
        let mut seen = 0;
        visit(&built(), &mut Vec::new(), &mut |path, command| {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            // A shell joins lines at a backslash.
            let after = after.replace("\\\n", "");
            for line in after.lines().map(str::trim).filter(|line| line.starts_with("ocellus ")) {
                seen += 1;
                let words: Vec<String> = words(line).into_iter().filter(|word| !word.is_empty()).collect();
                assert_eq!(&words[1..=path.len()], path, "{line}");
                let matches =
                    Cli::command().try_get_matches_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
                let (name, options) = matches.subcommand().unwrap();
                assert_eq!(stray::find(name, options), None, "{line}");
            }
        });
        assert!(seen > 30, "{seen} examples");
    }

    #[test]
    fn every_command_has_a_section_and_every_flag_a_row() {
        let page = reference();
        for part in ["\n## train\n", "\n### data check\n", "| `--epochs <N>` |", "environment `OCELLUS_EPOCHS`"] {
            assert!(page.contains(part), "{part:?} is not in the page");
        }
        for path in commands().iter().filter(|path| !path.is_empty()) {
            let heading = format!("\n{} {}\n", "#".repeat(path.len() + 1), path.join(" "));
            assert_eq!(page.matches(&heading).count(), 1, "{path:?}");
        }
    }
}
