//! Fetching a dataset from a server on this machine that misbehaves in every way a real one may.

use flate2::{Compression, write::GzEncoder};
use ocellus::data::fetch::{Options, Source};
use ocellus::recipe::DataRecipe;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A tar.gz of a CIFAR-10 of 20 images per file, `damage` applied to each file.
fn archive(damage: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_owned()]);
    for (file, name) in names.enumerate() {
        let record = |i: usize| [vec![(i % 10) as u8], vec![(31 * file + 7 * i) as u8; 3072]].concat();
        let mut bytes: Vec<u8> = (0..20).flat_map(record).collect();
        damage(&name, &mut bytes);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A server of one file.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
}

/// How a server misbehaves.
#[derive(Clone, Copy)]
struct Behaviour {
    /// Whether it honours `Range`.
    ranges: bool,
    /// Most bytes it sends over one connection.
    cut_after: usize,
}

const GOOD: Behaviour = Behaviour { ranges: true, cut_after: usize::MAX };

impl Server {
    fn start(content: Vec<u8>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/archive.tar.gz", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                answer(stream.unwrap(), &content, behaviour);
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, content: &[u8], Behaviour { ranges, cut_after }: Behaviour) {
    let head: Vec<String> =
        BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    let range = head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let first = match range {
        Some(range) if ranges => range.trim_end_matches('-').parse().unwrap(),
        _ => 0,
    };
    let body = &content[first..];
    let status = if first > 0 {
        format!("206 Partial Content\r\nContent-Range: bytes {first}-{}/{}", content.len() - 1, content.len())
    } else {
        "200 OK".to_owned()
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // The client may have gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..body.len().min(cut_after)]));
}

fn fetch(server: &Server, checksum: &str, to: &Path) -> Result<std::path::PathBuf, String> {
    let (to, url, sha256) = (Some(to.to_owned()), Some(server.url.clone()), Some(checksum.to_owned()));
    let options = Options { to, url, sha256, ..Options::default() };
    let source = Source::named("cifar10").unwrap();
    source.fetch(&options, &|_, _| ()).map_err(|error| format!("{error:#}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_dataset_arrives_whole_and_once() {
    let content = archive(|_, _| ());
    let (server, dir) = (Server::start(content.clone(), GOOD), tempfile::tempdir().unwrap());
    let place = fetch(&server, &sha256(&content), dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["cifar-10-batches-bin"], "nothing else is left");
    let recipe = DataRecipe { path: Some(place.clone()), ..DataRecipe::default() };
    let dataset = ocellus::data::load(&recipe, &|_, _| ()).unwrap();
    assert_eq!((dataset.train.len(), dataset.val.len(), dataset.test.len()), (90, 10, 20));
    assert_eq!(fetch(&server, &sha256(&content), dir.path()).unwrap(), place);
    assert_eq!(server.requests(), 1, "it is not fetched again");
}

#[test]
fn a_connection_that_breaks_again_and_again_delivers_in_the_end() {
    let content = archive(|_, _| ());
    let pieces = Behaviour { cut_after: content.len() / 3 + 1, ..GOOD };
    let (server, dir) = (Server::start(content.clone(), pieces), tempfile::tempdir().unwrap());
    fetch(&server, &sha256(&content), dir.path()).unwrap();
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_later_call_goes_on_and_works_without_ranges_too() {
    let content = archive(|_, _| ());
    for (ranges, requests) in [(true, 1), (false, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("cifar-10-batches-bin.tar.gz.part");
        fs::write(&part, &content[..content.len() / 2]).unwrap();
        let server = Server::start(content.clone(), Behaviour { ranges, ..GOOD });
        fetch(&server, &sha256(&content), dir.path()).unwrap();
        assert_eq!(server.requests(), requests);
        assert_eq!(names(dir.path()), ["cifar-10-batches-bin"]);
    }
}

#[test]
fn a_server_that_always_breaks_leaves_what_came_for_the_next_call() {
    let content = archive(|_, _| ());
    let stuck = Behaviour { ranges: false, cut_after: 100 };
    let (server, dir) = (Server::start(content.clone(), stuck), tempfile::tempdir().unwrap());
    let message = fetch(&server, &sha256(&content), dir.path()).unwrap_err();
    assert!(message.contains("given up after 100 bytes"), "{message}");
    assert_eq!(names(dir.path()), ["cifar-10-batches-bin.tar.gz.part"]);
}

#[test]
fn a_wrong_archive_leaves_nothing() {
    let content = archive(|_, _| ());
    let (server, dir) = (Server::start(content.clone(), GOOD), tempfile::tempdir().unwrap());
    let expected = "0".repeat(64);
    let message = fetch(&server, &expected, dir.path()).unwrap_err();
    assert!(message.contains(&sha256(&content)) && message.contains(&expected), "{message}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_damaged_dataset_in_a_right_archive_is_not_installed() {
    let truncated = archive(|name, bytes| {
        if name == "data_batch_3.bin" {
            bytes.pop();
        }
    });
    let no_archive = b"<html>Moved</html>".to_vec();
    for (content, expected) in [(truncated, "data_batch_3.bin is truncated"), (no_archive, "cannot unpack")] {
        let (server, dir) = (Server::start(content.clone(), GOOD), tempfile::tempdir().unwrap());
        let message = fetch(&server, &sha256(&content), dir.path()).unwrap_err();
        assert!(message.contains(expected), "{message}");
        assert_eq!(names(dir.path()), [""; 0], "no later call could use it");
    }
}

#[test]
fn a_folder_that_is_there_is_never_touched() {
    let content = archive(|_, _| ());
    let (server, dir) = (Server::start(content.clone(), GOOD), tempfile::tempdir().unwrap());
    let place = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("data_batch_1.bin"), "mine").unwrap();
    let message = fetch(&server, &sha256(&content), dir.path()).unwrap_err();
    assert!(message.contains("move it away"), "{message}");
    assert_eq!(fs::read(place.join("data_batch_1.bin")).unwrap(), b"mine");
    assert_eq!(server.requests(), 0);
}

#[test]
fn what_a_killed_run_left_is_cleared_away() {
    let content = archive(|_, _| ());
    let (server, dir) = (Server::start(content.clone(), GOOD), tempfile::tempdir().unwrap());
    let staging = dir.path().join(".cifar-10-batches-bin.unpacking/cifar-10-batches-bin");
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("data_batch_1.bin"), "half").unwrap();
    fetch(&server, &sha256(&content), dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["cifar-10-batches-bin"]);
}
