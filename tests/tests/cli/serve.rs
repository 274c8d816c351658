//! `ocellus serve` from the outside: what programs get, who is refused, and that nothing a client does breaks it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ocellus::data::picture::Picture;
use ocellus_tests::program::ocellus;
use ocellus_tests::web::{Answer, Server};
use ocellus_tests::{cases, random::Random};
use serde_json::Value;
use tempfile::TempDir;

use crate::commands::{Model, run};

/// A server of one model, called `model`.
fn serve(model: &Model, more: &[&str]) -> (Server, TempDir) {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("model");
    fs::create_dir(&link).unwrap();
    for file in ["model.plan", "model.onnx"] {
        fs::copy(model.file(file), link.join(file)).unwrap();
    }
    let mut command = ocellus();
    command.current_dir(place.path()).args(["serve", "model"]).args(more);
    (Server::start(&mut command), place)
}

/// A picture of noise.
fn picture(width: u16, height: u16) -> Vec<u8> {
    let mut random = Random::new(u64::from(width) << 16 | u64::from(height));
    let pixels = (0..usize::from(width) * usize::from(height) * 3).map(|_| random.bits() as u8).collect();
    Picture { width, height, pixels }.to_png().unwrap()
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e} in {}", answer.text()))
}

#[test]
fn programs_get_what_run_prints() {
    let model = Model::new();
    let (server, place) = serve(&model, &[]);
    for (width, height) in [(32, 32), (160, 120), (7, 90), (1, 1)] {
        let file = place.path().join("picture.png");
        fs::write(&file, picture(width, height)).unwrap();
        let name = file.to_str().unwrap();
        let plan = model.file("model.plan");
        let arguments = ["run", plan.to_str().unwrap(), name, "--json"];
        for (camera, more) in [("false", &[][..]), ("true", &["--frame-format", "rgb565"])] {
            let expected = run(&[&arguments[..], more].concat()).json();
            let path = format!("/api/v1/models/model/classify?camera={camera}&name={name}");
            let answer = server.post(&path, &fs::read(&file).unwrap());
            assert_eq!((answer.status, json(&answer)), (200, expected.clone()), "{width}x{height} {camera}");
            let seen =
                json(&server.post(
                    &format!("/api/v1/models/model/inspect?camera={camera}&float=false"),
                    &fs::read(&file).unwrap(),
                ));
            assert_eq!(seen["int8"]["scores"], expected["scores"]);
            assert_eq!(seen["int8"]["top"].as_array().unwrap()[..3], expected["top"].as_array().unwrap()[..]);
        }
    }
    let map = json(&server.post("/api/v1/models/model/occlusion", &picture(32, 32)));
    assert_eq!(map["map"].as_array().unwrap().len(), 16);
    assert_eq!(json(&server.get("/api/v1/models"))["models"][0]["id"], "model");
    let described = json(&server.get("/api/v1/openapi.json"));
    assert!(described["paths"]["/api/v1/models/{model}/classify"].is_object());
    let (status, said) = server.end("-INT");
    assert!(status.success() && !said.contains("panicked"), "{status} {said}");
}

#[test]
fn pages_are_guarded_and_load_nothing_from_elsewhere() {
    let (server, _place) = serve(&Model::new(), &[]);
    let page = server.get("/");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    let named = text.split(['"', '\'']).filter(|part| part.starts_with("/assets/"));
    let assets: Vec<&str> = named.collect();
    assert!(assets.len() >= 3, "{text}");
    for asset in assets {
        assert_eq!(server.get(asset).status, 200, "{asset}");
    }
    assert!(!text.contains("style=") && !text.contains("onclick"), "what the policy forbids");
    let elsewhere = text.matches("://").count() - text.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(elsewhere, 0, "{text}");
}

#[test]
fn names_are_escaped() {
    let place = tempfile::tempdir().unwrap();
    let evil = "<img src=x onerror=alert(1)>\"'&";
    let model = Model::new();
    fs::create_dir(place.path().join(evil)).unwrap();
    fs::copy(model.file("model.plan"), place.path().join(evil).join("model.plan")).unwrap();
    let server = Server::start(ocellus().current_dir(place.path()).args(["serve", "."]));
    let page = server.get("/").text();
    assert!(!page.contains("<img src=x") && page.contains("&lt;img src=x"), "{page}");
    let id = json(&server.get("/api/v1/models"))["models"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(id, evil);
    let address: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(server.post(&format!("/api/v1/models/{address}/classify"), &picture(8, 8)).status, 200);
}

#[test]
fn it_starts_within_a_second_and_ends_in_good_order() {
    let model = Model::new();
    let start = || serve(&model, &[]).0;
    // Other tests share the cores.
    let times: Vec<Duration> = (0..5).map(|_| start().started_in).collect();
    assert!(times.iter().min().unwrap() < &Duration::from_secs(1), "{times:?}");
    let server = start();
    assert_eq!(server.get("/").status, 200);
    let (status, said) = server.end("-TERM");
    assert_eq!(status.code(), Some(143), "{said}");
}

#[test]
fn from_elsewhere_it_takes_the_token() {
    let (server, _place) = serve(&Model::new(), &["--host", "0.0.0.0", "--port", "18431"]);
    let (_, token) = server.url.split_once("?token=").expect("a token is printed");
    assert_eq!(server.get("/").status, 401);
    assert_eq!(server.post("/api/v1/models/model/classify", &picture(8, 8)).status, 401);
    let bearer = format!("Bearer {token}");
    assert_eq!(server.ask("GET", "/api/v1/models", &[("Authorization", &bearer)], &[]).status, 200);
    let visit = server.get(&format!("/?token={token}"));
    assert_eq!((visit.status, visit.header("location")), (303, Some("/")));
    let cookie = visit.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(server.ask("GET", "/", &[("Cookie", cookie)], &[]).status, 200);
    assert_eq!(server.get("/?token=guess").status, 401);
}

#[test]
fn what_cannot_be_served_is_told() {
    run(&["serve", "gone"]).fails(1, &["gone does not exist"]);
    run(&["serve", "--data", "gone"]).fails(1, &["gone does not exist"]);
    run(&["serve", "--host", "example.org"]).fails(2, &["--host"]);
    run(&["serve", "--host", "203.0.113.7"]).fails(1, &["203.0.113.7", "--port"]);
    run(&["serve", "--board", "weact-h743"]).fails(2, &["real board"]);
}

/// A request that somebody sends who means no good, and whether any answer must come at all.
fn hostile(random: &mut Random, host: &str, good: &[u8]) -> (Vec<u8>, bool) {
    let request = |line: &str, headers: &str, body: &[u8]| {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        [format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}{length}\r\n").as_bytes(), body].concat()
    };
    let own = format!("Host: {host}\r\n");
    let get = |path: &str| request(&format!("GET {path}"), &own, &[]);
    let classify = "POST /api/v1/models/model/classify";
    let noise = |random: &mut Random, most: usize| -> Vec<u8> {
        (0..random.between(1, most)).map(|_| random.bits() as u8).collect()
    };
    match random.between(0, 17) {
        0 => (request("GET /", "Host: evil.example\r\n", &[]), true),
        1 => (request("GET /", "", &[]), true),
        2 => (request(classify, &format!("{own}Origin: http://evil.example\r\n"), good), true),
        3 => (request(classify, &format!("{own}Sec-Fetch-Site: cross-site\r\n"), good), true),
        4 => (get("/../../../../etc/passwd"), true),
        5 => (get("/assets/..%2f..%2fserve.rs"), true),
        6 => (get("/api/v1/models/..%2f..%2fetc/nothing"), true),
        7 => (get("/%ff%fe"), true),
        8 => (request("DELETE /api/v1/models/model", &own, &[]), true),
        9 => (request("PUT /", &own, b"x"), true),
        10 => (request(classify, &own, &noise(random, 4000)), true),
        11 => (request(classify, &own, &good[..random.between(1, good.len() - 13)]), true),
        12 => (request(classify, &format!("{own}Content-Length: 99999999999\r\n"), &[]), true),
        13 => (get(&format!("/{}", "a".repeat(random.between(70_000, 200_000)))), true),
        14 => (request("GET /api/v1/runs/..%2f..", &own, &[]), true),
        15 => (request("POST /api/v1/models/model/classify?camera=perhaps", &own, good), true),
        // Not HTTP at all: it may be answered, or not.
        16 => (noise(random, 3000), false),
        _ => {
            let mut bytes = request(classify, &own, good);
            // The request's first line or its headers.
            let at = random.between(0, 40);
            bytes[at] = bytes[at].wrapping_add(random.between(1, 255) as u8);
            (bytes, false)
        }
    }
}

#[test]
fn hostile_requests_are_refused_one_by_one() {
    let (server, _place) = serve(&Model::new(), &[]);
    let good = picture(24, 20);
    let expected = server.post("/api/v1/models/model/classify", &good).body;
    let count = cases(600, 10_000);
    let threads = 4;
    thread::scope(|scope| {
        for part in 0..threads {
            let (server, good, expected) = (&server, &good, &expected);
            scope.spawn(move || {
                let mut random = Random::new(part);
                for _ in 0..count / threads {
                    if random.once_in(3) {
                        let answer = server.post("/api/v1/models/model/classify", good);
                        assert_eq!((answer.status, &answer.body), (200, expected));
                        continue;
                    }
                    let (bytes, is_answered) = hostile(&mut random, server.host(), good);
                    // Who says that there is no more is taken for gone.
                    let answer = server.raw(&bytes, !is_answered);
                    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
                    match answer {
                        Some(answer) if is_answered => {
                            assert!((400..500).contains(&answer.status), "{} to {start}", answer.head);
                        }
                        // A byte that was changed may have made another good request.
                        Some(answer) => assert!(answer.status < 500, "{} to {start}", answer.head),
                        None => assert!(!is_answered, "no answer to {start}"),
                    }
                }
            });
        }
    });
    assert_eq!(server.get("/").status, 200);
    let (status, said) = server.end("-INT");
    assert!(status.success() && !said.contains("panicked"), "{status} {said}");
}

/// The most memory that a process has had, in MB.
fn peak_mb(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() / 1024
}

#[test]
fn two_hundred_uploads_at_once_take_bounded_memory() {
    if !Path::new("/proc/self/status").exists() {
        return;
    }
    let (server, _place) = serve(&Model::new(), &[]);
    // 6 MB as a file and decoded: 2.4 GB for all of them with their copies.
    let large = picture(1600, 1250);
    assert!(large.len() > 5_000_000);
    let expected = server.post("/api/v1/models/model/classify", &large).body;
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let answer = server.post("/api/v1/models/model/classify", &large);
                assert_eq!((answer.status, &answer.body), (200, &expected));
            });
        }
    });
    let peak = peak_mb(server.id());
    assert!(peak < 400, "{peak} MB");
}

#[test]
fn slow_clients_are_in_nobodys_way() {
    let (server, _place) = serve(&Model::new(), &[]);
    // More than there are places; each sends a byte of its header now and then.
    let mut slow: Vec<_> = (0..150).map(|_| server.connect()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET / HT");
    }
    let start = Instant::now();
    assert_eq!(server.get("/").status, 200);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    // They were closed.
    let mut rest = Vec::new();
    slow[0].set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow[0].read_to_end(&mut rest).unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}
