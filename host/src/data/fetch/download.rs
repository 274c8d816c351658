//! HTTP, with resumption.

use super::ByteProgress;
use anyhow::{Context, Result, anyhow, ensure};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

/// No archive that is fetched is nearly as long.
const MAX_BYTES: u64 = 2 << 30;
/// Attempts in a row that bring nothing, after which it is given up.
const ATTEMPTS: u32 = 4;
/// Attempts in all, however little each of them brings.
const ALL_ATTEMPTS: u32 = 100;
/// How long a server may take for so many bytes.
const MINIMUM_RATE: MinimumRate =
    MinimumRate { bytes: 60_000, time: if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(60) } };
/// A connection over which nothing comes for this long counts as cut.
const SILENCE: Duration = Duration::from_secs(30);

/// Completes `file` with what `url` answers, going on after the bytes that it holds already where the server can do
/// that. A connection that breaks is made again.
///
/// # Errors
/// The server cannot be reached, refuses, or sends without an end; the file cannot be written. What arrived over a connection that
/// broke stays in `file`; after any other failure it is empty.
pub fn download(url: &str, file: &mut File, progress: ByteProgress) -> Result<()> {
    let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    ensure!(
        matches!(scheme.as_str(), "http" | "https"),
        "the address begins with neither http:// nor https://; a file of this machine need not be fetched"
    );
    let agent = agent();
    let mut failures = 0;
    for all in 1.. {
        let before = file.metadata()?.len();
        let error = match attempt(&agent, url, file, progress) {
            Ok(()) => return file.sync_all().context("cannot save the download"),
            Err(Failure::Final(error)) => {
                file.set_len(0).context("cannot throw away what came")?;
                return Err(error);
            }
            Err(Failure::Temporary(error)) => error,
        };
        failures = if file.metadata()?.len() > before { 1 } else { failures + 1 };
        if failures == ATTEMPTS || all == ALL_ATTEMPTS {
            return Err(error.context(given_up(file.metadata()?.len())));
        }
        sleep(Duration::from_millis(250) * failures * failures);
    }
    unreachable!("there is a last attempt")
}

/// The least that a server must send.
struct MinimumRate {
    bytes: u64,
    time: Duration,
}

/// When so many bytes were there.
struct Mark {
    held: u64,
    at: Instant,
}

impl MinimumRate {
    /// Looks at a download that holds `held` bytes now.
    ///
    /// # Errors
    /// Too few came since `mark` for too long.
    fn check(&self, mark: &mut Mark, held: u64, now: Instant) -> Result<()> {
        if held - mark.held >= self.bytes {
            *mark = Mark { held, at: now };
        }
        ensure!(
            now.duration_since(mark.at) < self.time,
            "the server sends less than {} bytes in {} s: try later, or another address",
            self.bytes,
            self.time.as_secs()
        );
        Ok(())
    }
}

/// What to tell people who have `held` bytes after the last attempt.
fn given_up(held: u64) -> String {
    match held {
        0 => format!("given up after {ATTEMPTS} attempts: is there a network, and is the address right?"),
        _ => format!("given up after {held} bytes; the same command goes on from there"),
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("ocellus/", env!("CARGO_PKG_VERSION")))
        // The archive is wanted as it is: its length, its ranges and its checksum are those of the packed bytes.
        .accept_encoding("identity")
        .build()
        .new_agent()
}

/// How an attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Temporary(anyhow::Error),
    /// None will, and what came is of no use.
    Final(anyhow::Error),
}

fn attempt(agent: &Agent, url: &str, file: &mut File, progress: ByteProgress) -> Result<(), Failure> {
    let held = file.metadata().context("cannot read the download").map_err(Failure::Final)?.len();
    let request = agent.get(url);
    let request = if held > 0 { request.header(header::RANGE, format!("bytes={held}-")) } else { request };
    let response = request.call().map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Failure::Final(anyhow::Error::from(error).context("the address is malformed"))
        }
        _ => Failure::Temporary(error.into()),
    })?;
    match start(&response, held)? {
        Start::Complete => Ok(()),
        Start::At { offset, total } => append(response, file, offset, total, progress),
    }
}

/// Where a response begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// There is nothing more to come.
    Complete,
    /// At a byte of the whole, whose length may be known.
    At { offset: u64, total: Option<u64> },
}

/// Makes sense of the answer to a request for the bytes from `held` on.
fn start(response: &Response<Body>, held: u64) -> Result<Start, Failure> {
    let range =
        response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range);
    match (response.status(), range) {
        (StatusCode::OK, _) => Ok(Start::At { offset: 0, total: response.body().content_length() }),
        (StatusCode::PARTIAL_CONTENT, Some((Some(offset), total))) if offset <= held => Ok(Start::At { offset, total }),
        // The server has no more than what is held: all of it came before, or the checksum will tell.
        (StatusCode::RANGE_NOT_SATISFIABLE, _) if held > 0 => Ok(Start::Complete),
        (status, _) => {
            let error = anyhow!("the server answers {status}: check the address, or try another one with --url");
            let temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            Err(if temporary { Failure::Temporary(error) } else { Failure::Final(error) })
        }
    }
}

/// First byte and length of the whole in `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`.
fn parse_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let first = match range {
        "*" => None,
        _ => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((first, total.parse().ok()))
}

/// Writes the body from `offset` on, and checks that all of it came.
fn append(
    response: Response<Body>,
    file: &mut File,
    offset: u64,
    total: Option<u64>,
    progress: ByteProgress,
) -> Result<(), Failure> {
    let cannot = "cannot write the download: is the disk full?";
    file.set_len(offset).and_then(|()| file.seek(SeekFrom::Start(offset))).context(cannot).map_err(Failure::Final)?;
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 1 << 16];
    let mut held = offset;
    check_length(total.unwrap_or_default()).map_err(Failure::Final)?;
    let mut mark = Mark { held, at: Instant::now() };
    loop {
        progress(held, total);
        let count = body.read(&mut buffer).context("the connection broke").map_err(Failure::Temporary)?;
        if count == 0 {
            break;
        }
        held += count as u64;
        check_length(held)
            .and_then(|()| MINIMUM_RATE.check(&mut mark, held, Instant::now()))
            .map_err(Failure::Final)?;
        file.write_all(&buffer[..count]).context(cannot).map_err(Failure::Final)?;
    }
    match total {
        Some(total) if held < total => Err(Failure::Temporary(anyhow!("{held} of {total} bytes came"))),
        _ => Ok(()),
    }
}

fn check_length(held: u64) -> Result<()> {
    ensure!(
        held <= MAX_BYTES,
        "the server sends more than {MAX_BYTES} bytes: this is not the archive; check the address"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;

    /// Serves `answers` one after the other, a connection each; sends the range that each request asked for.
    fn serve(answers: Vec<Vec<u8>>) -> (String, mpsc::Receiver<Option<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x.tar.gz", listener.local_addr().unwrap());
        let (sender, ranges) = mpsc::channel();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                sender.send(requested_range(&stream)).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        (url, ranges)
    }

    fn requested_range(stream: &TcpStream) -> Option<String> {
        let lines = BufReader::new(stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.to_lowercase().strip_prefix("range: ").map(str::to_owned)).last()
    }

    /// An answer that promises `length` bytes.
    fn answer(status: &str, length: usize, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    }

    fn run(url: &str, held: &[u8]) -> (Result<()>, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(held).unwrap();
        let result = download(url, &mut file, &|_, _| ());
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        (result, content)
    }

    #[test]
    fn a_whole_file_arrives() {
        let (url, ranges) = serve(vec![answer("200 OK", 10, "", b"0123456789")]);
        let (result, content) = run(&url, b"");
        result.unwrap();
        assert_eq!(content, b"0123456789");
        assert_eq!(ranges.recv().unwrap(), None);
    }

    #[test]
    fn a_cut_connection_is_made_again_where_it_was_cut() {
        let (url, ranges) = serve(vec![
            answer("200 OK", 10, "", b"0123"),
            answer("206 Partial Content", 6, "Content-Range: bytes 4-9/10\r\n", b"456789"),
        ]);
        let (result, content) = run(&url, b"");
        result.unwrap();
        assert_eq!(content, b"0123456789");
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [None, Some("bytes=4-".to_owned())]);
    }

    #[test]
    fn a_server_without_ranges_starts_again() {
        let (url, ranges) = serve(vec![answer("200 OK", 10, "", b"0123456789")]);
        let (result, content) = run(&url, b"abc");
        result.unwrap();
        assert_eq!(content, b"0123456789");
        assert_eq!(ranges.recv().unwrap(), Some("bytes=3-".to_owned()));
    }

    #[test]
    fn what_is_complete_is_left_alone() {
        let (url, _ranges) = serve(vec![answer("416 Range Not Satisfiable", 0, "Content-Range: bytes */10\r\n", b"")]);
        let (result, content) = run(&url, b"0123456789");
        result.unwrap();
        assert_eq!(content, b"0123456789");
    }

    #[test]
    fn a_server_that_only_drips_is_given_up_and_nothing_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x.tar.gz", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            requested_range(&stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
            // Until the other side has had enough.
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let (result, content) = run(&url, b"");
        let message = format!("{:#}", result.unwrap_err());
        assert!(message.contains("the server sends less than"), "{message}");
        assert_eq!(content, b"");
    }

    #[test]
    fn a_pace_is_that_of_every_stretch() {
        let (rate, start) = (MinimumRate { bytes: 100, time: Duration::from_secs(10) }, Instant::now());
        let mut mark = Mark { held: 0, at: start };
        let mut check = |held, seconds| rate.check(&mut mark, held, start + Duration::from_secs(seconds)).is_ok();
        // A hundred bytes after nine seconds, then a stretch of its own.
        assert_eq!([check(1, 9), check(100, 9), check(150, 18), check(199, 19)], [true, true, true, false]);
    }

    #[test]
    fn what_promises_too_much_is_not_begun() {
        let (url, _ranges) = serve(vec![answer("200 OK", 3 << 30, "", b"0123")]);
        let (result, content) = run(&url, b"");
        assert!(format!("{:#}", result.unwrap_err()).contains("sends more than"));
        assert_eq!(content, b"");
    }

    #[test]
    fn a_missing_file_is_not_asked_for_twice() {
        let (url, ranges) = serve(vec![answer("404 Not Found", 9, "", b"not found")]);
        let (result, content) = run(&url, b"abc");
        let message = result.unwrap_err().to_string();
        assert!(message.contains("404") && message.contains("--url"), "{message}");
        assert_eq!(content, b"", "nothing can come of what was there");
        assert_eq!(ranges.iter().count(), 1);
    }

    #[test]
    fn it_is_given_up_when_nothing_comes() {
        let (url, ranges) = serve(vec![answer("503 Service Unavailable", 0, "", b""); 4]);
        let (result, content) = run(&url, b"abc");
        let message = format!("{:#}", result.unwrap_err());
        assert!(message.contains("given up after 3 bytes") && message.contains("503"), "{message}");
        assert_eq!(content, b"abc", "what came before is kept");
        assert_eq!(ranges.iter().count(), 4);
    }

    #[test]
    fn nobody_is_told_to_go_on_from_nothing() {
        assert!(given_up(0).contains("given up after 4 attempts") && !given_up(0).contains("goes on"));
        assert!(given_up(1).contains("goes on from there"));
        assert!(run("ftp://x/y", b"").0.unwrap_err().to_string().contains("neither http:// nor https://"));
    }

    #[test]
    fn ranges_are_understood() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(parse_range("bytes */10"), Some((None, Some(10))));
        assert_eq!(parse_range("items 5-9/10"), None);
        assert_eq!(parse_range("bytes 5/10"), None);
    }
}
