//! A headless Chromium, controlled by its protocol over two pipes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one open page. It is killed with this value.
pub(crate) struct Chrome {
    process: Child,
    to: File,
    from: BufReader<File>,
    last: u64,
    session: String,
    /// What the browser reported: refusals by the policy, and errors of scripts.
    pub(crate) complaints: Vec<String>,
    _folder: TempDir,
}

impl Chrome {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        let made = Command::new("mkfifo").args([&to, &from]).status().unwrap();
        assert!(made.success());
        // The browser reads from descriptor 3, and writes to descriptor 4.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-background-networking --disable-component-update --disable-extensions --hide-scrollbars \
             --remote-debugging-pipe --user-data-dir=\"$0/data\" about:blank 3<\"$0/to\" 4>\"$0/from\"";
        let process = Command::new("sh")
            .args(["-c", script])
            .arg(folder.path())
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let opened = OpenOptions::new().write(true).open(&to).unwrap();
        let from = BufReader::new(File::open(&from).unwrap());
        let mut chrome = Self {
            process,
            to: opened,
            from,
            last: 0,
            session: String::new(),
            complaints: Vec::new(),
            _folder: folder,
        };
        let target = chrome.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = chrome.ask("Target.attachToTarget", &attached);
        attached["sessionId"].as_str().unwrap().clone_into(&mut chrome.session);
        for domain in ["Page", "Runtime", "Log"] {
            chrome.ask(&format!("{domain}.enable"), &json!({}));
        }
        chrome
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "chromium has ended: run the tests by tests/run, which installs it");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        if ["Log.entryAdded", "Runtime.exceptionThrown"].contains(&message["method"].as_str().unwrap_or_default()) {
            self.complaints.push(message["params"].to_string());
        }
        message
    }

    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.next();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Opens an address, and waits until the page has loaded.
    pub(crate) fn open(&mut self, address: &str) {
        self.ask("Page.navigate", &json!({ "url": address }));
        while self.next()["method"] != "Page.loadEventFired" {}
    }

    /// Sets the size of the window, and the colour scheme that its user prefers.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.ask("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Switches scripts on or off.
    pub(crate) fn scripts(&mut self, on: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", &json!({ "value": !on }));
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let found = self.ask("Runtime.evaluate", &params);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    /// Waits until the expression is true in the page.
    pub(crate) fn until(&mut self, expression: &str) {
        let wait = format!(
            "new Promise((done, failed) => {{ const start = Date.now(); const look = () => {{ if ({expression}) {{ done(true); }} \
             else if (Date.now() - start > 60000) {{ failed(new Error('it did not come about')); }} \
             else {{ setTimeout(look, 20); }} }}; look(); }})"
        );
        assert_eq!(self.value(&wait), true, "{expression}");
    }

    pub(crate) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let code = if key == "Tab" { 9 } else { 13 };
            let params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.ask("Input.dispatchKeyEvent", &params);
        }
    }

    /// A picture of the whole page, in base64.
    pub(crate) fn picture(&mut self) -> String {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        self.ask("Page.captureScreenshot", &params)["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
