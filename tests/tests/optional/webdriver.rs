//! A browser that is driven by the WebDriver protocol (W3C, *WebDriver*), with what Chromium adds to it.

use base64::prelude::{BASE64_STANDARD, Engine};
use ocellus_tests::web;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for what a page is to show: trainings and emulators are slow on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Keys by the protocol's numbers.
pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';
/// What the protocol calls a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The driver and the browser, if both are there.
pub fn programs() -> Option<[PathBuf; 2]> {
    let find = |name: &str| {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    Some([find("chromedriver")?, find("chromium")?])
}

/// A browser without a window, ended when dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// The profile, which belongs to this browser alone.
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one whose webcam shows the film at `video`.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(video: &Path) -> Self {
        let [driver, chromium] = programs().expect("Chromium and its driver are installed");
        let mut driver =
            Command::new(driver).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("the driver says its port")));
        let profile = tempfile::tempdir().unwrap();
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            format!("--use-file-for-fake-video-capture={}", video.display()),
            format!("--user-data-dir={}", profile.path().display()),
        ]);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let answer = browser.call("POST", "/session", &wanted);
        browser.session = format!("/session/{}", answer["sessionId"].as_str().expect("a session"));
        browser
    }

    /// Asks the driver.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let headers = [("Host", "127.0.0.1"), ("Content-Type", "application/json")];
        let answer = web::ask(self.address, method, path, &headers, body.as_bytes()).expect("the driver answers");
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()));
        assert_eq!(answer.status, 200, "{path}: {}", value["value"]["message"]);
        value["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    /// Opens a page.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns what is true.
    #[track_caller]
    pub fn wait(&self, what: &str, script: &str) {
        let start = Instant::now();
        loop {
            let value = self.run(script);
            if !matches!(value, Value::Null | Value::Bool(false)) && value != json!(0) && value != json!("") {
                return;
            }
            if start.elapsed() > PATIENCE {
                let shown = self.run("return document.body.innerText");
                panic!("not so: {what}\n{}", shown.as_str().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        format!("/element/{}", found[ELEMENT].as_str().expect("an element"))
    }

    /// Clicks on what `selector` names.
    pub fn click(&self, selector: &str) {
        // What is below the header is not clicked on by a person either.
        self.run(&format!("document.querySelector({}).scrollIntoView({{ block: 'center' }})", json!(selector)));
        self.post(&format!("{}/click", self.find(selector)), &json!({}));
    }

    /// Types into what `selector` names; into a field for files, their paths.
    pub fn send_keys(&self, selector: &str, text: &str) {
        self.post(&format!("{}/value", self.find(selector)), &json!({ "text": text }));
    }

    /// Presses a key: [`TAB`] goes to the next field.
    pub fn press(&self, key: char) {
        let key = |kind: &str| json!({ "type": kind, "value": key });
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": [key("keyDown"), key("keyUp")] }]);
        self.post("/actions", &json!({ "actions": actions }));
    }

    /// Gives the page another size, in pixels, as a phone has it.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Prefers `light` or `dark` colours.
    pub fn colours(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the page shows, as a WebP file.
    pub fn webp(&self) -> Vec<u8> {
        self.capture(&json!({ "format": "webp", "quality": 85 }))
    }

    /// The whole page, also what is below the part that is shown, as a PNG file.
    pub fn whole_png(&self) -> Vec<u8> {
        self.capture(&json!({ "captureBeyondViewport": true }))
    }

    fn capture(&self, how: &Value) -> Vec<u8> {
        let shot = self.devtools("Page.captureScreenshot", how);
        BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("a picture")
    }

    /// Makes sure that no page complained, of its policy, of a script, or of something that was not there; and that all that
    /// pages asked for was at `url` or within themselves.
    #[track_caller]
    pub fn nothing_went_wrong(&self, url: &str) {
        let log = |kind: &str| self.post("/se/log", &json!({ "type": kind })).as_array().cloned().unwrap_or_default();
        let bad: Vec<Value> = log("browser").into_iter().filter(|entry| entry["level"] == "SEVERE").collect();
        assert!(bad.is_empty(), "{bad:?}");
        // An entry is an event of the DevTools protocol, as text.
        let event = |entry: Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
        let events: Vec<Value> = log("performance").into_iter().filter_map(event).collect();
        let asked: Vec<&str> = events
            .iter()
            .map(|event| &event["message"])
            .filter(|message| message["method"] == "Network.requestWillBeSent")
            .filter_map(|message| message["params"]["request"]["url"].as_str())
            .collect();
        assert!(asked.iter().any(|address| address.starts_with(url)), "its own page is among {asked:?}");
        let within = ["data:", "blob:", "about:", "chrome:"];
        let elsewhere = |address: &&&str| !address.starts_with(url) && !within.iter().any(|w| address.starts_with(w));
        let elsewhere: Vec<&&str> = asked.iter().filter(elsewhere).collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends the browser; the driver alone would leave it.
            let _ = web::ask(self.address, "DELETE", &self.session, &[("Host", "127.0.0.1")], &[]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
