//! `ocellus serve` as a process, and a client of HTTP that can also send what no browser would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that was started, ended when dropped.
pub struct Server {
    child: Child,
    /// The address that it printed.
    pub url: String,
    /// From the start of the process to its address.
    pub started_in: Duration,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// Header lines, as they came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Server {
    /// Starts `command`, a call of `ocellus serve`, and waits for its address.
    ///
    /// # Panics
    /// It prints none.
    pub fn start(command: &mut Command) -> Self {
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut url = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut url).expect("it prints text");
        assert!(url.starts_with("http://"), "{url:?} instead of an address; {}", said(child.stderr.take()));
        Self { child, url: url.trim().to_owned(), started_in: start.elapsed() }
    }

    /// Host and port, as an address and in a header.
    pub fn host(&self) -> &str {
        self.url.trim_start_matches("http://").split('/').next().unwrap_or_default()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it is reached from this machine.
    ///
    /// # Panics
    /// It printed no address.
    pub fn address(&self) -> SocketAddr {
        let mut address: SocketAddr = self.host().parse().expect("an address and a port");
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        address
    }

    /// A connection to it.
    ///
    /// # Panics
    /// It takes none.
    pub fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// Sends bytes as they are, and perhaps that there will be no more; nothing where the server ends the connection without an
    /// answer.
    pub fn raw(&self, bytes: &[u8], is_all: bool) -> Option<Answer> {
        let mut stream = self.connect();
        // The server may have heard enough before the end.
        let _ = stream.write_all(bytes);
        if is_all {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        read(&mut stream)
    }

    /// A request with these header lines.
    ///
    /// # Panics
    /// It is not answered.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let own = [("Host", self.host())];
        let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let headers = [if has_host { &[][..] } else { &own }, headers].concat();
        ask(self.address(), method, path, &headers, body).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// Reads what is at `path`.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], &[])
    }

    /// Sends `body` to `path`.
    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &[], body)
    }

    /// Ends it by `signal`, such as `-INT`: how it ended, and what it said on standard error.
    ///
    /// # Panics
    /// There is no `kill`.
    pub fn end(mut self, signal: &str) -> (ExitStatus, String) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.expect("there is a kill").success());
        let status = self.child.wait().expect("it can be waited for");
        (status, said(self.child.stderr.take()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time");
    stream
}

/// The answer of the server at `address` to a request with these headers; nothing where it gives none.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let mut stream = connect(address);
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    // A server that refuses by the header may close before the body is sent.
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
    read(&mut stream)
}

fn said(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut text));
    text
}

/// An answer whose end is that of the connection, or what its length says.
fn read(stream: &mut TcpStream) -> Option<Answer> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 1 << 16]);
    loop {
        if let Some(answer) = parse(&bytes, false) {
            return Some(answer);
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return parse(&bytes, true),
            Ok(count) => bytes.extend(&chunk[..count]),
        }
    }
}

/// The answer in `bytes`, once it is whole.
fn parse(bytes: &[u8], is_end: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
    let length: Option<usize> = answer.header("content-length").and_then(|length| length.parse().ok());
    (is_end || length.is_some_and(|length| answer.body.len() >= length)).then_some(answer)
}
