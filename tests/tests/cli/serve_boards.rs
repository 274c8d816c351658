//! Real boards through the API of `ocellus serve`: the firmware itself answers, on the simulated probe's board.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ocellus_tests::elf;
use ocellus_tests::program::ocellus;
use ocellus_tests::web::{Answer, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for something on a board.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of one model, and of a board's program.
struct Bench {
    server: Server,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::create_dir(file("model")).unwrap();
        fs::write(file("model/model.plan"), crate::model::random_plan()).unwrap();
        fs::write(file("program.elf"), elf::rehearsed()).unwrap();
        let arguments = ["serve", "model", "--elf", "program.elf", "--probe", "simulated"];
        Self { server: Server::start(ocellus().current_dir(folder.path()).args(arguments)), _folder: folder }
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.server.post(&format!("/api/v1/{path}"), body.to_string().as_bytes())
    }

    fn get(&self, path: &str) -> Value {
        parse(&self.server.get(&format!("/api/v1/{path}")))
    }

    /// Asks at `path` until `is_so`: everything that was answered.
    #[track_caller]
    fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
        let start = Instant::now();
        let mut answers = Vec::new();
        loop {
            answers.push(self.get(path));
            if is_so(&answers[answers.len() - 1]) {
                return answers;
            }
            assert!(start.elapsed() < PATIENCE, "{}", answers[answers.len() - 1]);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The end of a flash that was started, and what was said of it on the way.
    fn flash(&self, probe: &str) -> (Value, Vec<Value>) {
        let body = json!({ "id": "model", "board": "weact-h743", "probe": probe });
        let started = self.post("jobs/flash", &body);
        assert_eq!(started.status, 200, "{}", started.text());
        let mut answers = self.until("jobs", |answer| answer["job"]["is_over"] == true);
        (answers.pop().unwrap()["job"].clone(), answers)
    }

    fn watch(&self, probe: &str, pictures: bool) {
        let body = json!({ "id": "model", "board": "weact-h743", "probe": probe, "pictures": pictures });
        let started = self.post("live/start", &body);
        assert_eq!(started.status, 200, "{}", started.text());
    }
}

fn parse(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn last_line(of: &Value) -> &str {
    of["log"].as_array().and_then(|lines| lines.last()?.as_str()).unwrap_or_default()
}

#[test]
fn a_board_is_flashed_with_progress() {
    let bench = Bench::new();
    let (job, on_the_way) = bench.flash("simulated");
    assert_eq!((&job["kind"], &job["state"]), (&"flash".into(), &"finished".into()), "{job}");
    let said = last_line(&job);
    assert!(said.starts_with("weact-h743: program ") && said.contains("written and verified"), "{said}");
    let phases: Vec<&str> = on_the_way.iter().filter_map(|one| one["job"]["progress"]["what"].as_str()).collect();
    assert!(phases.iter().any(|what| ["erasing", "programming", "verifying"].contains(what)), "{phases:?}");
    let part = |one: &Value| {
        let progress = &one["job"]["progress"];
        Some((progress["done"].as_u64()?, progress["all"].as_u64()?))
    };
    assert!(on_the_way.iter().filter_map(part).all(|(done, all)| done <= all), "{on_the_way:?}");
}

#[test]
fn a_board_is_watched_with_its_pictures_or_as_it_tells_itself() {
    let bench = Bench::new();
    bench.watch("simulated", true);
    let seen = bench.until("live?after=0", |answer| answer["live"]["frames"].as_u64() >= Some(3)).pop().unwrap();
    let live = &seen["live"];
    assert_eq!(
        (&live["state"], &live["rehearsal"], &live["board"]),
        (&"watching".into(), &true.into(), &"weact-h743".into())
    );
    assert!(live["newest"]["picture"].as_str().unwrap().starts_with("data:image/png;base64,"), "{live}");
    assert_eq!(live["newest"]["label"], live["newest"]["top"][0]["label"]);
    assert!(live["fps"].as_f64() > Some(0.0) && live["latency_ms"].as_f64() > Some(0.0), "{live}");
    // Nothing else is done with the board meanwhile.
    let flash = bench.post("jobs/flash", &json!({ "id": "model", "board": "weact-h743" }));
    assert_eq!(flash.status, 409);
    assert!(flash.text().contains("stop that first"), "{}", flash.text());
    // Another view takes its place.
    bench.watch("simulated", false);
    let told = bench.until("live", |answer| answer["live"]["frames"].as_u64() >= Some(3)).pop().unwrap();
    assert_eq!(told["live"]["newest"]["picture"], Value::Null);
    assert_eq!(told["live"]["newest"]["top"].as_array().unwrap().len(), 5);
    assert_eq!(bench.post("live/stop", &json!({})).status, 200);
    let over = bench.until("live", |answer| answer["live"]["is_over"] == true).pop().unwrap();
    assert_eq!(over["live"]["state"], "stopped");
}

#[test]
fn a_view_ends_when_nobody_looks_or_the_server_ends() {
    let bench = Bench::new();
    bench.watch("simulated", true);
    bench.until("live", |answer| answer["live"]["frames"].as_u64() >= Some(1));
    // Longer than pages leave between two questions.
    thread::sleep(Duration::from_secs(11));
    assert_eq!(bench.get("live")["live"]["state"], "stopped");
    bench.watch("simulated", true);
    bench.until("live", |answer| answer["live"]["frames"].as_u64() >= Some(1));
    let (status, said) = bench.server.end("-INT");
    assert!(status.success() && !said.contains("panicked"), "{status} {said}");
}

#[test]
fn what_a_board_does_wrong_is_shown_with_the_remedy() {
    let bench = Bench::new();
    for (fault, part) in [("absent", "no debug probe"), ("worn", "weact-h743"), ("unplugged", "run the command again")]
    {
        let (job, _) = bench.flash(&format!("simulated:{fault}"));
        assert_eq!(job["state"], "failed", "{job}");
        assert!(last_line(&job).contains(part), "{job}");
    }
    bench.watch("simulated:unplugged-later", false);
    let failed = bench.until("live", |answer| answer["live"]["is_over"] == true).pop().unwrap();
    assert_eq!(failed["live"]["state"], "failed");
    assert!(failed["live"]["doing"].as_str().unwrap().contains("was lost"), "{failed}");
    bench.watch("simulated:resets", false);
    bench.until("live", |answer| answer["live"]["log"].to_string().contains("the board started anew"));
}

#[test]
fn what_is_no_board_or_probe_is_refused() {
    let bench = Bench::new();
    for (board, probe, status) in [
        ("toaster", "simulated", 404),
        ("mps2-an500", "simulated", 422),
        ("weact-h743", "somewhere", 422),
        ("weact-h743", "simulated:moody", 422),
    ] {
        for call in ["jobs/flash", "live/start"] {
            let answer = bench.post(call, &json!({ "id": "model", "board": board, "probe": probe }));
            assert_eq!(answer.status, status, "{call} {board} {probe}: {}", answer.text());
        }
    }
    assert_eq!(bench.post("live/stop", &json!({})).status, 409);
    assert_eq!(bench.get("live")["live"], Value::Null);
    assert!(bench.get("probes")["probes"].is_array());
}
