//! Options for another `--on` than the one that was chosen: they are refused, since a command that ignores one does not
//! do what it was asked for. Environment variables are no part of one command, and are not refused.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Commands whose options of boards go with `--on`.
const COMMANDS: [&str; 5] = ["run", "validate", "profile", "monitor", "capture"];
/// What only a real board is reached by.
const REACH: [&str; 4] = ["elf", "probe", "speed", "connect_under_reset"];
/// What the camera of an emulated board is told.
const CAMERA: [&str; 3] = ["source", "frame_format", "frame_size"];

/// What is wrong with the options of `command`, if anything is.
pub(super) fn find(command: &str, options: &ArgMatches) -> Option<String> {
    if command == "eval" {
        let is_stray = is_given(options, "board") && value(options, "with") != Some("sim");
        return is_stray.then(|| "--board has no effect without --with sim".to_owned());
    }
    if !COMMANDS.contains(&command) {
        return None;
    }
    let on = value(options, "on")?;
    let mut given = options.ids().map(clap::Id::as_str).filter(|id| is_given(options, id));
    let id = given.find(|id| !is_for(command, on, id))?;
    let remedy = match (on, id) {
        ("engine", "board") => "add --on sim or --on board",
        (_, "source" | "frame_format" | "frame_size") => "add --on sim",
        _ => "add --on board",
    };
    Some(format!("--{} has no effect with --on {on}: {remedy}", id.replace('_', "-")))
}

/// The value of the option `id`, as it was typed or is by default.
fn value<'a>(options: &'a ArgMatches, id: &str) -> Option<&'a str> {
    options.get_raw(id)?.next_back()?.to_str()
}

/// Whether the option `id` is one that was typed.
fn is_given(options: &ArgMatches, id: &str) -> bool {
    options.value_source(id) == Some(ValueSource::CommandLine)
}

/// Whether the option `id` of `command` has an effect where it runs `on`.
fn is_for(command: &str, on: &str, id: &str) -> bool {
    match id {
        // The camera of `capture --on sim` is no board's in particular.
        "board" => on == "board" || (on == "sim" && command != "capture"),
        _ if REACH.contains(&id) => on == "board",
        // `run` shows its pictures to any board's camera, and to none.
        _ if CAMERA.contains(&id) => on == "sim" || command == "run",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn stray(line: &str) -> Option<String> {
        let matches = Cli::command().try_get_matches_from(line.split(' ')).unwrap();
        let (command, options) = matches.subcommand().unwrap();
        find(command, options)
    }

    #[test]
    fn options_of_a_board_need_one() {
        for (line, what) in [
            ("ocellus validate m --board b", "--board has no effect with --on engine: add --on sim or --on board"),
            ("ocellus validate m --elf e", "--elf has no effect with --on engine: add --on board"),
            ("ocellus run m p.png --probe simulated", "--probe has no effect with --on engine"),
            ("ocellus run m p.png --on sim --speed 9", "--speed has no effect with --on sim: add --on board"),
            ("ocellus profile m --connect-under-reset", "--connect-under-reset has no effect with --on sim"),
            ("ocellus monitor m --on sim --elf e", "--elf has no effect with --on sim"),
            ("ocellus monitor m --source s", "--source has no effect with --on board: add --on sim"),
            ("ocellus capture --label l --frame-size 9x9", "--frame-size has no effect with --on board"),
            ("ocellus eval m --board b", "--board has no effect without --with sim"),
            ("ocellus eval m --board b --with engine", "--board has no effect without --with sim"),
            ("ocellus capture --label l --on sim --board b", "--board has no effect with --on sim: add --on board"),
        ] {
            let found = stray(line).unwrap_or_default();
            assert!(found.contains(what), "{line}: {found}");
        }
    }

    #[test]
    fn options_of_the_chosen_board_are_no_strays() {
        for line in [
            "ocellus validate m",
            "ocellus validate m --on sim --board b",
            "ocellus validate m --on board --board b --elf e --probe simulated --speed 9 --connect-under-reset",
            "ocellus run m p.png --frame-size 9x9 --frame-format rgb888",
            "ocellus run m p.png --on board --board b --frame-size 9x9",
            "ocellus profile m --board b",
            "ocellus monitor m --board b --elf e",
            "ocellus monitor m --on sim --board b --source s",
            "ocellus capture --label l --on sim --source s --frame-size 9x9",
            "ocellus compare a b --board c",
            "ocellus eval m --with sim --board b",
            "ocellus eval m",
            "ocellus doctor",
        ] {
            assert_eq!(stray(line), None, "{line}");
        }
    }
}
