//! From pictures to a model through the API of `ocellus serve`: what a page does when it is clicked on.

use std::thread;
use std::time::{Duration, Instant};

use ocellus::data::picture::Picture;
use ocellus::data::shapes;
use ocellus_tests::program::ocellus;
use ocellus_tests::web::{Answer, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for a training of a few seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// Rows and columns of the pictures.
const SIDE: usize = 48;

/// A server of an empty folder: what somebody gets who has nothing yet.
fn serve() -> (Server, TempDir) {
    let place = tempfile::tempdir().unwrap();
    (Server::start(ocellus().current_dir(place.path()).arg("serve")), place)
}

fn parse(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn get(server: &Server, path: &str) -> Value {
    parse(&server.get(&format!("/api/v1/{path}")))
}

/// A picture of the built-in dataset, of class `index % 10`.
fn picture(index: usize) -> Vec<u8> {
    let pixels = shapes::pictures(index..index + 1, SIDE, 0).images;
    Picture { width: SIDE as u16, height: SIDE as u16, pixels }.to_png().unwrap()
}

#[test]
fn photos_are_added_to_classes_unless_there_is_one_like_it() {
    let (server, place) = serve();
    assert_eq!(get(&server, "photos")["classes"], json!([]));
    let add = |class: &str, body: &[u8]| server.post(&format!("/api/v1/photos/{class}"), body);
    for (count, index) in [(1, 0), (2, 10), (3, 20)] {
        assert_eq!(
            parse(&add("red%20cup", &picture(index))),
            json!({ "class": "red cup", "kept": true, "count": count })
        );
    }
    assert_eq!(parse(&add("red%20cup", &picture(10)))["kept"], false);
    assert_eq!(parse(&add("saucer", &picture(1)))["count"], 1);
    let classes = json!([{ "name": "red cup", "count": 3 }, { "name": "saucer", "count": 1 }]);
    assert_eq!(get(&server, "photos")["classes"], classes);
    assert!(place.path().join("photos/red cup/0003.png").is_file());
    // The newest of those that were added can be taken back, and nothing else.
    let undo =
        |class: &str, count: usize| parse(&server.post(&format!("/api/v1/photos/{class}/undo?count={count}"), &[]));
    assert_eq!(undo("red%20cup", 2), json!({ "class": "red cup", "removed": 2, "count": 1 }));
    assert!(!place.path().join("photos/red cup/0003.png").exists());
    assert_eq!(undo("..", 5)["removed"], 0);
    assert_eq!(undo("red%20cup", 9)["removed"], 1);
    for bad in ["..", ".hidden", "a%2fb", "%00", "train%0a", &"x".repeat(61)] {
        assert_eq!(add(bad, &picture(0)).status, 422, "{bad}");
    }
    let refused = add("red%20cup", b"no picture");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("JPEG"), "{}", refused.text());
}

#[test]
fn a_model_is_trained_exported_and_asked() {
    let (server, place) = serve();
    let set = json!({
        "data.img-size": "16", "train.epochs": "1", "train.batch-size": "100", "net.blocks": "[[4],[6]]",
        "net.block-dropout": "[0.1,0.1]", "net.dense": "0",
    });
    let train = |name: &str, data: &str, set: &Value| {
        let body = json!({ "name": name, "data": data, "set": set }).to_string();
        server.post("/api/v1/jobs/train", body.as_bytes())
    };
    for (name, data, status) in [("../out", "shapes", 422), ("mine", "given", 404), ("mine", "photos", 404)] {
        let answer = train(name, data, &set);
        assert_eq!(answer.status, status, "{name} {data}: {}", answer.text());
    }
    assert_eq!(parse(&train("mine", "shapes", &set))["job"]["kind"], "train");
    assert_eq!(train("second", "shapes", &set).status, 409, "one at a time");
    let start = Instant::now();
    let job = loop {
        let job = get(&server, "jobs")["job"].clone();
        if job["is_over"] == true {
            break job;
        }
        assert!(start.elapsed() < PATIENCE, "{job}");
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(job["state"], "finished", "{job}");
    assert!(place.path().join("runs/mine/model.plan").is_file());
    let run = get(&server, "runs/mine");
    assert_eq!((&run["state"], &run["epoch"], &run["exported"]), (&"finished".into(), &1.into(), &true.into()));
    assert_eq!(get(&server, "models")["models"][0]["id"], "mine");
    let answer = parse(&server.post("/api/v1/models/mine/classify", &picture(3)));
    assert_eq!(answer["scores"].as_array().unwrap().len(), 10);
    assert_eq!(train("mine", "shapes", &set).status, 409, "the name is taken");
}
