//! QEMU as a child process that runs an emulated board's firmware: one thread writes its input, one reads its output, one keeps
//! what it says on standard error. The firmware reads the one and writes the two others by semihosting.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Transport;
use crate::board::Board;
use crate::{data, toolchain};

/// Lines of standard error that are kept.
const KEPT_LINES: usize = 8;
/// Longest wait for QEMU to end once the board has.
const EXIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The same once its output has.
const CLOSED_TIMEOUT: Duration = Duration::from_secs(5);

/// How QEMU's clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// As fast as it can: for scores.
    Free,
    /// One nanosecond per instruction, so that the board can count its own instructions: slower, and deterministic.
    Instructions,
}

/// A running QEMU, ended when dropped.
pub struct Qemu {
    board: String,
    child: Child,
    input: Sender<Vec<u8>>,
    output: Receiver<Vec<u8>>,
    /// What QEMU and the firmware said on standard error.
    errors: Arc<Mutex<VecDeque<String>>>,
}

impl Qemu {
    /// Starts the firmware `elf` on the machine of `board`.
    ///
    /// # Errors
    /// No QEMU (with the fix), or a board that is not emulated.
    pub fn start(board: &Board, elf: &Path, clock: ClockMode) -> Result<Self> {
        let machine = board.machine.as_ref().with_context(|| format!("{} is not an emulated board", board.name))?;
        let qemu = find()?;
        let mut child = command(&qemu, machine, elf, clock)
            .spawn()
            .with_context(|| format!("cannot start {}: {}", qemu.display(), remedy()))?;
        let (errors, (input, messages), (chunks, output)) = (Arc::default(), channel(), channel());
        if let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            let kept = Arc::clone(&errors);
            thread::spawn(move || write(stdin, &messages));
            thread::spawn(move || read(stdout, &chunks));
            thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).for_each(|l| keep(&kept, l)));
        }
        Ok(Self { board: board.name.clone(), child, input, output, errors })
    }

    /// How QEMU ended, if it does within `timeout`.
    fn wait_exit(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// What happened, with the last lines of standard error.
    fn failure(&self, what: &str) -> String {
        let lines = self.errors.lock().map(|lines| lines.iter().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let lines: String = lines.iter().map(|line| format!("\n  qemu: {line}")).collect();
        format!("the emulated board {} failed: {what}{lines}", self.board)
    }
}

impl Transport for Qemu {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        // Fails only where the writer has ended, because QEMU has; the next read then says so.
        let _ = self.input.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn read(&mut self, received: &mut Vec<u8>, timeout: Duration) -> Result<()> {
        match self.output.recv_timeout(timeout) {
            Ok(bytes) => received.extend(bytes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.wait_exit(CLOSED_TIMEOUT);
                let end = status.map_or_else(|| "it closed its output".to_owned(), |s| format!("it ended with {s}"));
                bail!(self.failure(&end));
            }
        }
        Ok(())
    }

    fn log(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn explain_silence(&self, timeout: Duration) -> String {
        self.failure(&format!("no answer within {} s", timeout.as_secs()))
    }

    fn close(&mut self) -> Result<()> {
        let status = self.wait_exit(EXIT_TIMEOUT).with_context(|| self.failure("it said that it ends, but goes on"))?;
        ensure!(status.success(), self.failure(&format!("QEMU ended with {status}")));
        Ok(())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only where QEMU has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(qemu: &Path, machine: &str, elf: &Path, clock: ClockMode) -> Command {
    let mut command = Command::new(qemu);
    command
        .args(["-machine", machine, "-display", "none", "-monitor", "none", "-serial", "none"])
        .args(["-semihosting-config", "enable=on,target=native,arg=fw,arg=/dev/stdin"])
        .arg("-kernel")
        .arg(elf)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if clock == ClockMode::Instructions {
        command.args(["-icount", "shift=0"]);
    }
    command
}

fn write(mut stdin: ChildStdin, messages: &Receiver<Vec<u8>>) {
    for message in messages {
        if stdin.write_all(&message).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read(mut stdout: ChildStdout, chunks: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stdout.read(&mut buffer) {
        // Nobody listens any more: the board is being dropped.
        if chunks.send(buffer[..len].to_vec()).is_err() {
            return;
        }
    }
}

fn keep(kept: &Mutex<VecDeque<String>>, line: String) {
    if let Ok(mut lines) = kept.lock() {
        lines.push_back(line);
        let surplus = lines.len().saturating_sub(KEPT_LINES);
        lines.drain(..surplus);
    }
}

/// The variable that names the QEMU program.
pub const VARIABLE: &str = "OCELLUS_QEMU";

/// What to do about a QEMU program that cannot be used: that depends on who chose it.
fn remedy() -> &'static str {
    match std::env::var_os(VARIABLE) {
        Some(_) => "OCELLUS_QEMU must name a qemu-system-arm, or be unset",
        None => "is qemu-system-arm installed?",
    }
}

/// What the program `qemu` says of its version; nothing where it does not run, or is another program.
pub fn version(qemu: &Path) -> Option<String> {
    toolchain::first_line(qemu, &["--version"]).filter(|line| line.starts_with("QEMU emulator"))
}

/// `error` of the program that was started, or that it is no QEMU.
pub fn explain(error: anyhow::Error) -> anyhow::Error {
    match find() {
        Ok(qemu) if version(&qemu).is_none() => error.context(format!("{} is no QEMU: {}", qemu.display(), remedy())),
        _ => error,
    }
}

/// What the QEMU program is called.
pub const PROGRAM: &str = "qemu-system-arm";

/// The QEMU program: `$OCELLUS_QEMU`, else `qemu-system-arm` in `PATH`, else the one that was unpacked into the cache.
///
/// # Errors
/// There is none.
pub fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    let unpacked = || Some(unpacked().ok()?.join(PROGRAM)).filter(|path| path.is_file());
    toolchain::find_program(PROGRAM).or_else(unpacked).context(
        "qemu-system-arm is not installed\nfix: `ocellus doctor --install`, or sudo apt-get install --no-remove qemu-system-arm",
    )
}

/// The folder that QEMU is unpacked into where it cannot be installed.
///
/// # Errors
/// There is no cache folder.
pub fn unpacked() -> Result<PathBuf> {
    let cache = std::path::absolute(data::fetch::cache_dir()?).context("cannot find the cache folder")?;
    Ok(cache.join("tools").join("qemu"))
}
