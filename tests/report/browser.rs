//! Chromium without a window, controlled through its DevTools protocol over pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one tab. It ends when it is dropped.
pub(crate) struct Browser {
    process: Child,
    requests: File,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    events: Vec<Value>,
    _folder: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let program = std::env::var("TEST_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let found = Command::new(&program).arg("--version").output();
        assert!(
            found.is_ok_and(|output| output.status.success()),
            "this test needs Chromium, and `{program}` does not run. scripts/test.sh installs it on Debian as root; otherwise: \
             sudo apt-get install chromium, or TEST_CHROMIUM=/path/to/chromium"
        );
        let folder = tempfile::tempdir().unwrap();
        let pipes = ["requests", "messages"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // Chromium reads requests from descriptor 3 and writes messages to 4.
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars \
                      --remote-debugging-pipe --user-data-dir=\"$3\" 3<\"$1\" 4>\"$2\"";
        let process = Command::new("sh")
            .args(["-c", script, &program])
            .args(&pipes)
            .arg(folder.path().join("profile"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let requests = File::options().write(true).open(&pipes[0]).unwrap();
        let messages = BufReader::new(File::open(&pipes[1]).unwrap());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for message in messages.split(0).map_while(Result::ok) {
                let _ = sender.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let mut browser = Self {
            process,
            requests,
            messages: receiver,
            session: None,
            last_id: 0,
            events: Vec::new(),
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let message = self.receive();
            if message["id"] == json!(self.last_id) {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn receive(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("Chromium answers")
    }

    /// Opens a file, and waits until it is loaded.
    pub(crate) fn open(&mut self, file: &Path) {
        self.open_url(&format!("file://{}", file.display()));
    }

    /// Opens an address, and waits until it is loaded.
    pub(crate) fn open_url(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", json!({"url": url}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
    }

    /// Sets the width of the window, and what the page is shown on: `light`, `dark` or `print`.
    pub(crate) fn show(&mut self, width: u32, on: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let media = if on == "print" { "print" } else { "screen" };
        let features = json!([{"name": "prefers-color-scheme", "value": if on == "dark" { "dark" } else { "light" }}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
    }

    /// Evaluates JavaScript. If that is a promise, waits for it.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{result}");
        result["result"]["value"].clone()
    }

    /// Everything that went wrong since the page was opened, and every address that was asked for but its own.
    pub(crate) fn complaints(&self, file: &Path) -> Vec<String> {
        let own = format!("file://{}", file.display());
        self.complaints_but(|url| url == own)
    }

    /// As [`complaints`](Self::complaints), where some addresses may be asked for.
    pub(crate) fn complaints_but(&self, is_own: impl Fn(&str) -> bool) -> Vec<String> {
        let is_complaint = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Log.entryAdded" => true,
            "Runtime.consoleAPICalled" => event["params"]["type"] == "error",
            "Network.requestWillBeSent" => !event["params"]["request"]["url"].as_str().is_some_and(&is_own),
            _ => false,
        };
        self.events.iter().filter(is_complaint).map(ToString::to_string).collect()
    }

    /// Writes a picture of the whole page.
    pub(crate) fn screenshot(&mut self, file: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        std::fs::write(file.with_extension("base64"), picture["data"].as_str().unwrap()).unwrap();
        let decoded = Command::new("base64").arg("--decode").arg(file.with_extension("base64")).output().unwrap();
        std::fs::write(file, decoded.stdout).unwrap();
        std::fs::remove_file(file.with_extension("base64")).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
