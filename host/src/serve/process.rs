//! Calls of this very program as child processes, which are asked to end in good order.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a child is looked after.
const TURN: Duration = Duration::from_millis(50);
/// How long a child may take to save and end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variables of the environment that say where and on what to compute. Others would change what a form asks for.
const VARIABLES: [&str; 6] =
    ["OCELLUS_CACHE", "OCELLUS_LOG", "OCELLUS_QEMU", "OCELLUS_SIMD", "OCELLUS_SOURCE", "OCELLUS_THREADS"];

/// A call of this program, without the settings that the environment has for it.
///
/// # Errors
/// The program's own file cannot be found.
pub fn this_program() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OCELLUS_") && !VARIABLES.iter().any(|known| name == *known) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// How `command` ended. `hear` gets each line that it says; it is asked to end once `is_to_end` says so.
///
/// # Errors
/// It cannot be started or waited for.
pub fn run(
    mut command: Command,
    hear: impl Fn(&str) + Clone + Send + 'static,
    is_to_end: &dyn Fn() -> bool,
) -> Result<ExitStatus> {
    let mut child = start(&mut command)?;
    let readers =
        [child.stdout.take().map(|out| listen(out, hear.clone())), child.stderr.take().map(|err| listen(err, hear))];
    let status = wait(&mut child, is_to_end)?;
    readers.into_iter().flatten().for_each(|reader| _ = reader.join());
    Ok(status)
}

/// What `command` gave, which says what it knows on its output; it is ended where `go_on` fails.
///
/// # Errors
/// It cannot be started, or `go_on` failed.
pub fn output(mut command: Command, go_on: &dyn Fn() -> Result<()>) -> Result<Output> {
    let mut child = start(&mut command)?;
    let (out, err) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for it")? {
            break status;
        }
        if let Err(error) = go_on() {
            ask_to_end(&mut child);
            let _ = child.wait();
            return Err(error);
        }
        thread::sleep(TURN);
    };
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| reader.and_then(|r| r.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: text(out), stderr: text(err) })
}

fn start(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    set_apart(command);
    command.spawn().context("cannot start this program again")
}

/// Hands on what a child says, line by line.
fn listen(output: impl Read + Send + 'static, hear: impl Fn(&str) + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // A line without an end is cut.
        while matches!(reader.by_ref().take(1 << 16).read_until(b'\n', &mut line), Ok(1..)) {
            hear(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    })
}

/// The end of a child, which is asked to end where it is to.
fn wait(child: &mut Child, is_to_end: &dyn Fn() -> bool) -> Result<ExitStatus> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for it")? {
            return Ok(status);
        }
        match asked {
            None if is_to_end() => {
                ask_to_end(child);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > PATIENCE => {
                let _ = child.kill();
            }
            _ => {}
        }
        thread::sleep(TURN);
    }
}

/// All that comes.
fn collect(mut output: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.read_to_end(&mut bytes);
        bytes
    })
}

/// Gives a child a group of its own: a terminal's Ctrl-C is for the server, which then asks its children to end, once.
#[cfg(unix)]
fn set_apart(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// Asks a child and what it started to end.
#[cfg(unix)]
fn ask_to_end(child: &mut Child) {
    let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
}

#[cfg(not(unix))]
fn set_apart(_: &mut Command) {}

#[cfg(not(unix))]
fn ask_to_end(child: &mut Child) {
    let _ = child.kill();
}
