//! QEMU as a child process: one thread writes its input, one decodes its output, one keeps its complaints.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use defmt_decoder::{DecodeError, Table};

use super::Clock;

/// Lines of QEMU's standard error that are kept.
const KEPT_COMPLAINTS: usize = 8;

/// What comes from the board.
pub(super) enum Event {
    /// One decoded log line.
    Line(String),
    /// Bytes that are no log of this firmware.
    Damaged(String),
    /// Nothing in the time given.
    Silence,
    /// QEMU closed its output: it is ending.
    Closed,
}

/// A running QEMU, ended when dropped.
pub(super) struct Process {
    child: Child,
    input: Sender<Vec<u8>>,
    events: Receiver<Event>,
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    pub(super) fn spawn(qemu: &Path, machine: &str, elf: &Path, clock: Clock) -> Result<Self> {
        let image = std::fs::read(elf).with_context(|| format!("cannot read the firmware {}", elf.display()))?;
        let table = Table::parse(&image)
            .and_then(|table| table.ok_or_else(|| anyhow!("it holds no defmt log table")))
            .with_context(|| format!("{} is not firmware of Ocellus", elf.display()))?;
        let mut child = command(qemu, machine, elf, clock)
            .spawn()
            .with_context(|| format!("cannot start {}: {}", qemu.display(), super::qemu_remedy()))?;
        let complaints = Arc::default();
        let (input, messages) = channel();
        let (lines, events) = channel();
        if let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            let kept = Arc::clone(&complaints);
            thread::spawn(move || write(stdin, &messages));
            thread::spawn(move || decode(stdout, &table, &lines));
            thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).for_each(|l| keep(&kept, l)));
        }
        Ok(Self { child, input, events, complaints })
    }

    /// Queues `bytes` for the board; never blocks.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        // Fails only where the writer has ended, because QEMU has; the next wait then tells the story.
        let _ = self.input.send(bytes);
    }

    /// The next thing the board says within `patience`.
    pub(super) fn next(&self, patience: Duration) -> Event {
        match self.events.recv_timeout(patience) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => Event::Silence,
            Err(RecvTimeoutError::Disconnected) => Event::Closed,
        }
    }

    /// How QEMU ended, if it does within `patience`.
    pub(super) fn wait_exit(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// The last lines of QEMU's standard error.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where QEMU has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(qemu: &Path, machine: &str, elf: &Path, clock: Clock) -> Command {
    let mut command = Command::new(qemu);
    command
        .args(["-machine", machine, "-display", "none", "-monitor", "none", "-serial", "none"])
        .args(["-semihosting-config", "enable=on,target=native,arg=fw,arg=/dev/stdin"])
        .arg("-kernel")
        .arg(elf)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if clock == Clock::Instructions {
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

/// Turns the output's bytes into log lines until it ends.
fn decode(mut stdout: ChildStdout, table: &Table, lines: &Sender<Event>) {
    let mut decoder = table.new_stream_decoder();
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stdout.read(&mut buffer) {
        decoder.received(&buffer[..len]);
        loop {
            let event = match decoder.decode() {
                Ok(frame) => Event::Line(frame.display_message().to_string()),
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => Event::Damaged("its log cannot be decoded".to_owned()),
            };
            // Nobody listens any more: the board is being dropped.
            if lines.send(event).is_err() {
                return;
            }
        }
    }
}

fn keep(kept: &Mutex<VecDeque<String>>, line: String) {
    if let Ok(mut lines) = kept.lock() {
        lines.push_back(line);
        let surplus = lines.len().saturating_sub(KEPT_COMPLAINTS);
        lines.drain(..surplus);
    }
}
