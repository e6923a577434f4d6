//! A headless Chromium that is told what to do through two pipes, by the DevTools protocol.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::harness::wait::DEADLINE;

/// One with one page. It ends with this.
pub struct Browser {
    _process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    /// What the page threw, and what the browser refused it.
    pub errors: Vec<String>,
    _profile: TempDir,
}

/// Where it is; none where this machine has none, which is said.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    let found = named.into_iter().chain(usual).find(|path| path.exists());
    if found.is_none() {
        eprintln!("no Chromium is installed (CHROMIUM names another): the page is not tested in a browser");
    }
    found
}

impl Browser {
    /// Starts it; none where there is none.
    pub async fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(program()?)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--hide-scrollbars", "--remote-debugging-pipe", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let (session, errors) = (None, Vec::new());
        let mut browser = Self { _process: process, input, output, session, calls: 0, errors, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// What a method returns.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let called = tokio::time::timeout(DEADLINE, self.answered(method, parameters)).await;
        let answer = called.unwrap_or_else(|_| panic!("{method} is not answered"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn answered(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut request = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{request}\0").as_bytes()).await.unwrap();
        loop {
            let mut message = Vec::new();
            self.output.read_until(0, &mut message).await.unwrap();
            assert_eq!(message.pop(), Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&message).unwrap();
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.errors.push(message["params"]["exceptionDetails"].to_string()),
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.errors.push(message["params"]["entry"].to_string());
                }
                _ => {}
            }
            if message["id"] == self.calls {
                return message;
            }
        }
    }

    /// Goes there.
    pub async fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address })).await;
    }

    /// What an expression is worth in the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression holds in the page, which may not be there yet.
    pub async fn until(&mut self, expression: &str) {
        let mut ticks = interval(Duration::from_millis(50));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Instant::now() + DEADLINE;
        loop {
            ticks.tick().await;
            let parameters = json!({ "expression": format!("Boolean({expression})"), "returnByValue": true });
            let evaluated = self.answered("Runtime.evaluate", parameters).await;
            if evaluated["result"]["result"]["value"] == true {
                return;
            }
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText").await;
                panic!("it does not hold: {expression}\n{}\n{:?}", text.as_str().unwrap_or_default(), self.errors);
            }
        }
    }

    /// Presses a key, as the page's user does.
    pub async fn press(&mut self, key: &str, text: &str, modifiers: u32) {
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            _ => 0,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "text": text, "modifiers": modifiers });
        if code > 0 {
            event["windowsVirtualKeyCode"] = json!(code);
            event["code"] = json!(key);
        }
        self.call("Input.dispatchKeyEvent", event.clone()).await;
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", event).await;
    }

    /// Types it.
    pub async fn write(&mut self, text: &str) {
        for char in text.chars() {
            self.press(&char.to_string(), &char.to_string(), 0).await;
        }
    }
}
