//! The pages of `ocellus serve` in a real browser: Chromium without a window, by the WebDriver protocol (W3C, *WebDriver*).

use ocellus::data::picture::Picture;
use ocellus::data::shapes;
use ocellus::transport::qemu;
use ocellus_tests::elf;
use ocellus_tests::program::{TINY, ocellus};
use ocellus_tests::web::Server;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

use crate::Optional;
use crate::webdriver::{Browser, ENTER, TAB, programs};

/// Rows and columns of the pictures that are shown to it.
const SIDE: usize = 96;

pub fn tests() -> [Optional; 6] {
    let test = |name, run| Optional {
        name,
        needs: "Chromium: sudo apt-get install --no-remove chromium chromium-driver",
        is_there: programs().is_some(),
        run,
    };
    [
        test("browser::pictures_and_errors_are_shown_as_they_are", pictures_and_errors_are_shown_as_they_are),
        test("browser::a_run_is_started_watched_stopped_and_resumed", a_run_is_started_watched_stopped_and_resumed),
        test("browser::photos_become_a_model_by_clicks", photos_become_a_model_by_clicks),
        test("browser::who_has_nothing_gets_an_example_by_one_click", who_has_nothing_gets_an_example_by_one_click),
        test("browser::a_real_board_is_flashed_and_watched", a_real_board_is_flashed_and_watched),
        test("browser::pages_of_the_readme", pages_of_the_readme),
    ]
}

/// A folder that somebody types `ocellus serve` in.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    /// One with nothing in it.
    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// One with a model of the built-in pictures, 32x32, trained for a few seconds, in `runs/shapes`.
    fn new(epochs: &str) -> Self {
        Self::trained(TINY, epochs)
    }

    /// The same, trained by `recipe`.
    fn trained(recipe: &str, epochs: &str) -> Self {
        let place = Self::empty();
        fs::write(place.path("recipe.toml"), recipe).unwrap();
        let arguments = ["train", "--recipe", "recipe.toml", "--img-size", "32", "--out", "runs/shapes", "--epochs"];
        place.call(&[&arguments[..], &[epochs]].concat());
        place.call(&["export", "runs/shapes"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn call(&self, arguments: &[&str]) -> String {
        let output = ocellus().current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    fn serve_with(&self, more: &[&str]) -> Server {
        Server::start(ocellus().current_dir(self.folder.path()).arg("serve").args(more))
    }

    /// Test picture `index` of the built-in dataset as a file.
    fn picture(&self, index: usize) -> PathBuf {
        let path = self.path(&format!("picture-{index}.png"));
        fs::write(&path, picture(index).to_png().unwrap()).unwrap();
        path
    }

    /// What `run --json` says of a picture.
    fn scores(&self, picture: &Path) -> Value {
        let said = self.call(&["run", "runs/shapes", picture.to_str().unwrap(), "--json"]);
        serde_json::from_str(&said).unwrap()
    }
}

fn picture(index: usize) -> Picture {
    let first = shapes::TRAINING + index;
    let pixels = shapes::pictures(first..first + 1, SIDE, 0).images;
    Picture { width: SIDE as u16, height: SIDE as u16, pixels }
}

/// A film of pictures in YUV4MPEG2, 4:2:0, each for half a second, which Chromium shows as its webcam.
fn film(path: &Path, pictures: &[Picture]) {
    let (width, height) = (usize::from(pictures[0].width), usize::from(pictures[0].height));
    let mut bytes = format!("YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1\n").into_bytes();
    for picture in pictures {
        let pixels = picture.pixels.as_chunks::<3>().0;
        let value = |at: usize, weights: [f32; 3], middle: f32| {
            let sum: f32 = (0..3).map(|c| weights[c] * f32::from(pixels[at][c])).sum();
            (middle + sum).round().clamp(0.0, 255.0) as u8
        };
        // BT.601, limited range; the colours of every other pixel of every other row.
        let coarse: Vec<usize> =
            (0..height).step_by(2).flat_map(|y| (0..width).step_by(2).map(move |x| y * width + x)).collect();
        let mut frame = b"FRAME\n".to_vec();
        frame.extend((0..width * height).map(|at| value(at, [0.257, 0.504, 0.098], 16.0)));
        frame.extend(coarse.iter().map(|&at| value(at, [-0.148, -0.291, 0.439], 128.0)));
        frame.extend(coarse.iter().map(|&at| value(at, [0.439, -0.368, -0.071], 128.0)));
        bytes.extend(frame.repeat(5));
    }
    fs::write(path, bytes).unwrap();
}

/// Every page, at a desk's and a phone's width, in light and dark: nothing sticks out, and no message is in the console.
fn look_at_all_pages(browser: &Browser, server: &Server, what: &str) {
    for page in ["", "errors", "data", "capture", "runs", "board"] {
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
            browser.resize(width, 900);
            browser.colours(scheme);
            browser.go(&format!("{}{page}", server.url));
            browser
                .wait("the page stands", "return document.readyState === 'complete' && !!document.querySelector('h1')");
            let sticks_out = "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, .skip, .hidden, pre, legend') \
                && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && e.tagName !== 'LEGEND') \
                .map((e) => `${e.tagName}#${e.id}.${e.className}`)";
            assert_eq!(browser.run(sticks_out), json!([]), "/{page} at {width}");
            keep(browser, &format!("{what}-{}-{width}-{scheme}", if page.is_empty() { "try" } else { page }));
        }
    }
    browser.resize(1280, 900);
    browser.colours("light");
}

/// Whoever has no mouse reaches the pages, the model and the buttons.
fn walk_by_keyboard(browser: &Browser, server: &Server) {
    browser.go(&server.url);
    let mut reached = Vec::new();
    for _ in 0..18 {
        browser.press(TAB);
        let name = "const e = document.activeElement; return e.id || e.textContent.trim() || e.tagName";
        reached.push(browser.run(name).as_str().unwrap_or_default().to_owned());
    }
    for expected in
        ["Skip to the content", "Errors", "Runs", "model", "file", "choose", "live", "sample", "camera", "heat"]
    {
        assert!(reached.iter().any(|name| name == expected), "{expected} is not among {reached:?}");
    }
}

fn pictures_and_errors_are_shown_as_they_are() {
    let place = Workplace::new("6");
    let video = place.path("webcam.y4m");
    let shown = place.picture(3);
    film(&video, &[picture(3)]);
    let server = place.serve();
    let browser = Browser::start(&video);
    look_at_all_pages(&browser, &server, "full");
    walk_by_keyboard(&browser, &server);

    browser.go(&server.url);
    for index in [3, 14] {
        let file = place.picture(index);
        browser.send_keys("#file", file.to_str().unwrap());
        let expected = place.scores(&file);
        let label = expected["label"].as_str().unwrap();
        browser.wait(
            "its label stands there",
            &format!("return document.getElementById('label').textContent === {}", json!(label)),
        );
        let integers =
            "return [...document.querySelectorAll('#score-table td.int8')].map((cell) => Number(cell.textContent))";
        browser.wait(
            "its integers are those of `run --json`",
            &format!("return JSON.stringify((() => {{ {integers} }})()) === JSON.stringify({})", expected["scores"]),
        );
        let float = "return document.querySelector('#float .bar.best .name').textContent.length > 0";
        browser.wait("float says something", float);
    }
    look_and_ask(&browser);
    if qemu::find().is_ok() {
        browser.wait("its integers are there", "return document.querySelectorAll('td.board.same').length === 10");
    }

    keep(&browser, "answered");

    // The webcam shows the same picture, in the colours of a video.
    let label = place.scores(&shown)["label"].clone();
    browser.click("#live");
    browser.wait("the webcam's label is the picture's", &format!(
        "return document.getElementById('rate').textContent && document.getElementById('label').textContent === {label}"
    ));
    let rate = "return parseFloat(document.getElementById('rate').textContent)";
    browser.wait("ten frames a second", &format!("{rate} >= 10"));
    // The average has settled.
    std::thread::sleep(std::time::Duration::from_secs(3));
    println!("live webcam, 32x32, float and int8: {} frames/s", browser.run(rate));
    browser.click("#live");

    browser.go(&format!("{}errors", server.url));
    browser.wait("the figures stand there", "return document.querySelectorAll('.figure').length === 3");
    let evaluated: Value = serde_json::from_str(&place.call(&["eval", "runs/shapes", "--json"])).unwrap();
    browser.click("[name=images][value='1000000'] + span");
    let accuracy = format!("{:.1} %", 100.0 * evaluated["accuracy"].as_f64().unwrap());
    browser.wait(
        "int8's accuracy is that of `eval`",
        &format!("return document.querySelector('.figure strong')?.textContent === {}", json!(accuracy)),
    );
    let matrix = "return JSON.stringify([...document.querySelectorAll('#matrix tbody tr')].map((row) => [...row.querySelectorAll('button')].map((b) => Number(b.textContent) || 0)))";
    assert_eq!(browser.run(matrix), json!(evaluated["confusion"].to_string()));
    browser.wait(
        "mistakes are shown",
        "const p = [...document.querySelectorAll('#gallery img')]; return p.length > 0 && p[0].naturalWidth > 0",
    );
    keep(&browser, "evaluated");
    // By the keyboard.
    browser.run("document.querySelector('#matrix tbody tr:nth-child(1) td.right button').focus()");
    browser.press(ENTER);
    browser.wait(
        "a cell opens its pictures",
        &format!(
            "return document.getElementById('list-title').textContent.endsWith(': {}')",
            evaluated["confusion"][0][0]
        ),
    );

    browser.go(&format!("{}data", server.url));
    browser.wait("classes are counted", "return document.querySelectorAll('#classes tbody tr').length === 10 && document.querySelectorAll('#class-images img').length > 0");
    browser.run(
        "const s = document.querySelector('[data-key=rotate]'); s.value = 30; s.dispatchEvent(new Event('input'))",
    );
    browser.wait(
        "a slider is a key of the recipe",
        "return document.getElementById('keys').textContent === '[augment]\\nrotate = 30'",
    );
    browser.wait("the preview is drawn", "const s = document.getElementById('sheet'); return s.src.includes('rotate=30') && s.complete && s.naturalWidth > 300");
    browser.click("#judge");
    browser.wait("suspects are shown", "return document.querySelectorAll('#suspects img').length > 0");
    keep(&browser, "looked-through");

    browser.go(&format!("{}board", server.url));
    browser.wait("gauges are drawn, or it is said why not", "return document.querySelectorAll('.gauge').length >= 6 || document.getElementById('fits').textContent.length > 30");
    if qemu::find().is_ok() {
        browser.click("#watch-data");
        browser.wait("the board watches and agrees", "return /^[3-9]/.test(document.getElementById('equal').textContent) && document.getElementById('equal').className.includes('good')");
        keep(&browser, "watched");
        browser.click("#watch-data");
    }
    browser.nothing_went_wrong(&server.url);
}

fn a_run_is_started_watched_stopped_and_resumed() {
    let place = Workplace::new("1");
    let video = place.path("webcam.y4m");
    film(&video, &[picture(0)]);
    let server = place.serve();
    let browser = Browser::start(&video);
    browser.go(&format!("{}runs", server.url));
    browser.wait("the run that is there is listed", "return document.querySelectorAll('#runs tbody tr').length === 1");
    let set = |selector: &str, value: &str| {
        browser.run(&format!("document.querySelector({}).value = {}", json!(selector), json!(value)));
    };
    set("#name", "clicked");
    set("#data", "shapes");
    set("[data-key='data.img-size']", "16");
    set("[data-key='train.epochs']", "300");
    set("[data-key='train.batch-size']", "100");
    set("#more-keys", "net.blocks=[[4],[6]]\nnet.block-dropout=[0.1,0.1]\nnet.dense=0");
    browser.click("#start-training");
    let points = |count: u32| format!("return Number(document.getElementById('accuracy').dataset.points) >= {count}");
    browser.wait("the curve begins", &points(1));
    browser.wait("the curve grows", &points(3));
    browser.click("#stop");
    browser.wait("it stops and is saved", "return document.getElementById('run-state').textContent === 'stopped' && !document.getElementById('resume').hidden");
    assert!(place.path("runs/clicked/last.safetensors").is_file());
    let done =
        browser.run("return Number(document.getElementById('accuracy').dataset.points)").as_u64().unwrap() as u32;
    browser.click("#resume");
    browser.wait("it goes on where it was", &points(done + 2));
    // A second one is refused while the first goes on.
    let answer = server.post("/api/v1/jobs/train", br#"{"name": "second", "data": "shapes"}"#);
    assert_eq!(answer.status, 409, "{}", answer.text());
    // It ends with the server, in good order.
    browser.nothing_went_wrong(&server.url);
    let (status, said) = server.end("-INT");
    assert!(status.success() && !said.contains("panicked"), "{status} {said}");
    let free = ocellus::files::FolderLock::is_taken(&place.path("runs/clicked"), ocellus::files::Purpose::Training);
    assert!(!free, "the training outlived its server");
}

/// The way of a person who has pictures, and typed `ocellus serve` in an empty folder.
fn photos_become_a_model_by_clicks() {
    let place = Workplace::empty();
    let video = place.path("webcam.y4m");
    // Figures in turn, so that what is held down is not one picture alone.
    film(&video, &[picture(0), picture(10), picture(20), picture(30)]);
    let server = place.serve();
    let browser = Browser::start(&video);
    look_at_all_pages(&browser, &server, "empty");
    browser.go(&server.url);
    browser.click(".welcome a");
    browser.wait("it leads to the page Capture", "return location.pathname === '/capture'");
    let classes = shapes::classes();
    for (class, name) in classes.iter().take(2).enumerate() {
        browser.send_keys("#new-class", &format!("{name}{ENTER}"));
        let files: Vec<String> = (1..13).map(|i| place.picture(10 * i + class).to_str().unwrap().to_owned()).collect();
        browser.send_keys(&format!("[data-files='{name}']"), &files.join("\n"));
        let added = format!(
            "return document.getElementById('taken').textContent.startsWith('{name}: 1') && Number(document.querySelector('[data-name=\"{name}\"] .count').textContent) >= 8"
        );
        browser.wait("several pictures are added at once", &added);
    }
    // A picture with another name is still the same picture; what is none is told.
    fs::copy(place.picture(10), place.path("again.png")).unwrap();
    fs::write(place.path("broken.png"), "no picture").unwrap();
    let both = ["again.png", "broken.png"].map(|name| place.path(name).to_str().unwrap().to_owned());
    browser.send_keys(&format!("[data-files='{}']", classes[0]), &both.join("\n"));
    browser.wait("it is said what became of them", "const said = document.getElementById('taken').textContent; return said.includes('0 added, 1 left out') && said.includes('1 cannot be used')");
    browser.click("#live");
    browser.wait("the webcam shows", "return document.getElementById('video').videoWidth > 0");
    let hold = format!("document.querySelector('[data-key=\"take:{}\"]')", classes[0]);
    browser.run(&format!("{hold}.dispatchEvent(new PointerEvent('pointerdown', {{ bubbles: true }}))"));
    browser.wait(
        "photos of the webcam are taken, and near-duplicates are not",
        "return /: [1-9][0-9]* taken, [1-9]/.test(document.getElementById('taken').textContent)",
    );
    browser.run("document.dispatchEvent(new PointerEvent('pointerup'))");
    browser.wait("what was taken can be taken back", "return !document.getElementById('undo').hidden");
    keep(&browser, "capture");
    browser.click("#undo");
    browser.wait("it is gone", "return /^[1-9][0-9]* removed/.test(document.getElementById('taken').textContent)");
    browser.click("#train");
    browser.wait("it is trained and exported", "return !document.getElementById('try').hidden");
    browser.click("#try");
    browser.wait("the new model is chosen", "return document.getElementById('model')?.value === 'captured'");
    browser.send_keys("#file", place.picture(11).to_str().unwrap());
    browser.wait(
        "it names the class",
        &format!("return document.getElementById('label').textContent === {}", json!(classes[1])),
    );
    if qemu::find().is_ok() {
        browser.wait("the board can be asked", "return !document.getElementById('ask-board').disabled");
        browser.click("#ask-board");
        browser.wait(
            "the emulated board names the same",
            &format!(
                "return document.getElementById('equal').className.includes('good') \
            && document.querySelector('#board .bar.best .name').textContent === {}",
                json!(classes[1])
            ),
        );
    }
    browser.go(&format!("{}data", server.url));
    browser.wait("the pictures are a dataset", "return document.querySelectorAll('#classes tbody tr').length === 2");
    browser.nothing_went_wrong(&server.url);
}

/// The way of a person who has no pictures either.
fn who_has_nothing_gets_an_example_by_one_click() {
    let place = Workplace::empty();
    let video = place.path("webcam.y4m");
    film(&video, &[picture(0)]);
    let server = place.serve();
    let browser = Browser::start(&video);
    browser.go(&server.url);
    browser.click("#example");
    browser.wait("it says how far it is", "return document.getElementById('example-note')?.textContent.length > 0");
    browser.wait(
        "the example is there",
        "return document.getElementById('model')?.value === 'example' && !document.querySelector('.welcome')",
    );
    browser.click("#sample");
    browser.wait(
        "a test image is named",
        &format!("return {}.includes(document.getElementById('label').textContent)", json!(shapes::classes())),
    );
    look_and_ask(&browser);
    browser.nothing_went_wrong(&server.url);
}

/// The rehearsal of what happens with a board and a probe.
fn a_real_board_is_flashed_and_watched() {
    let place = Workplace::new("1");
    let video = place.path("webcam.y4m");
    film(&video, &[picture(0)]);
    fs::write(place.path("program.elf"), elf::rehearsed()).unwrap();
    let server = place.serve_with(&["--elf", "program.elf"]);
    let browser = Browser::start(&video);
    browser.go(&format!("{}board", server.url));
    browser.wait(
        "probes are looked for",
        "return [...document.getElementById('probe').options].some((o) => o.value === 'simulated')",
    );
    browser
        .run("const p = document.getElementById('probe'); p.value = 'simulated'; p.dispatchEvent(new Event('change'))");
    browser.run("document.getElementById('real-board').value = 'weact-h743'");
    browser.click("#flash");
    browser.wait("it says how far it is", "return document.getElementById('real-note').textContent.length > 0");
    let note = "document.getElementById('real-note')";
    browser.wait(
        "it is written and verified",
        &format!("return {note}.className.includes('good') && {note}.textContent.includes('written and verified')"),
    );
    browser.click("#watch-real");
    browser.wait(
        "frames are shown",
        &format!(
            "const f = document.getElementById('real-frame'); return !f.hidden && f.naturalWidth === 160 \
        && /^weact-h743, rehearsed: ([3-9]|[1-9][0-9]+) frames/.test({note}.textContent)"
        ),
    );
    browser.wait(
        "bars and rate are shown",
        "return document.querySelectorAll('#real-bars .bar').length === 5 && document.getElementById('real-rate').textContent.includes('frames/s')",
    );
    keep(&browser, "real-board");
    // A page that goes away stops the view.
    browser.go(&format!("{}runs", server.url));
    let is_over = || {
        let live: Value = serde_json::from_slice(&server.get("/api/v1/live").body).unwrap();
        live["live"]["is_over"] == true
    };
    let start = std::time::Instant::now();
    while !is_over() {
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "the view goes on without its page");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    browser.nothing_went_wrong(&server.url);
}

/// Where screenshots go, if they are to be kept: the folder that the variable names, below the top of the workspace.
fn screenshots() -> Option<PathBuf> {
    let folder = std::env::var_os("OCELLUS_SCREENSHOTS")?;
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder))
}

/// Keeps a whole page, to be looked at.
fn keep(browser: &Browser, name: &str) {
    if let Some(folder) = screenshots() {
        // What is asked for has come.
        std::thread::sleep(std::time::Duration::from_secs(1));
        fs::write(folder.join(format!("{name}.png")), browser.whole_png()).unwrap();
    }
}

/// Bytes that a picture of a document may have.
const MOST_BYTES: usize = 150_000;

/// Shows where the model looks and, where there is an emulator, what the board says of the picture: the same as the engine.
fn look_and_ask(browser: &Browser) {
    browser.click("#heat");
    browser.wait("it is shown where it looks", "return !document.getElementById('heat-note').hidden");
    if qemu::find().is_ok() {
        browser.wait("the board can be asked", "return !document.getElementById('ask-board').disabled");
        browser.click("#ask-board");
        browser.wait("engine and board agree", "return document.getElementById('equal').className.includes('good')");
    }
}

/// A recipe of a model that is worth showing, and still small.
const SHOWN: &str = "
name = \"shapes\"
[net]
blocks = [[8], [16], [32]]
block-dropout = [0.0, 0.0, 0.0]
dense = 64
dense-dropout = 0.1
[train]
batch-size = 64
lr = 0.05
[augment]
flip = 0.0
shift = 2
cutout = 0
";

fn pages_of_the_readme() {
    let place = Workplace::trained(SHOWN, "8");
    let video = place.path("webcam.y4m");
    film(&video, &[picture(0)]);
    let server = place.serve();
    let browser = Browser::start(&video);
    browser.resize(1280, 860);
    browser.colours("light");
    let keep = |name: &str| {
        // What moves has come to rest.
        std::thread::sleep(std::time::Duration::from_millis(400));
        let bytes = browser.webp();
        assert!((10_000..MOST_BYTES).contains(&bytes.len()), "{name}: {} bytes", bytes.len());
        if let Some(folder) = screenshots() {
            fs::write(folder.join(format!("{name}.webp")), bytes).unwrap();
        }
    };
    browser.go(&server.url);
    browser.send_keys("#file", place.picture(0).to_str().unwrap());
    browser.wait("it is classified", "return document.querySelectorAll('#int8 .bar').length === 5");
    browser.click("#camera");
    look_and_ask(&browser);
    browser.run("window.scrollTo(0, 0)");
    keep("serve-try");
    browser.go(&format!("{}errors", server.url));
    browser.wait(
        "mistakes are shown",
        "const p = [...document.querySelectorAll('#gallery img')]; return p.length > 0 && p[0].naturalWidth > 0",
    );
    keep("serve-errors");
    browser.go(&format!("{}runs", server.url));
    browser.wait("the curve is drawn", "return Number(document.getElementById('accuracy').dataset.points) >= 8");
    keep("serve-runs");
    browser.nothing_went_wrong(&server.url);
}
