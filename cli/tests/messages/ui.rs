//! The page of `ui`, asked by what is no browser: who is answered, and who is not.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{home, home_and_api, kubectl_arl, unread};

struct Served {
    child: Child,
    host: String,
    token: String,
}

impl Served {
    fn start(home: &std::path::Path, flags: &[&str]) -> Self {
        let mut command = kubectl_arl(home);
        let mut child = command
            .env("PATH", home)
            .arg("ui")
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let (host, token) = line.trim().strip_prefix("http://").unwrap().split_once("/#").unwrap();
        Self { child, host: host.to_owned(), token: token.to_owned() }
    }

    /// The head of the answer, and its body or the beginning of one that goes on.
    fn ask(&self, method: &str, path: &str, headers: &str) -> (String, String) {
        let stream = TcpStream::connect(&self.host).unwrap();
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.host) };
        let request =
            format!("{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(&stream);
        let mut head = String::new();
        while reader.read_line(&mut head).unwrap() > 2 {}
        let mut body = vec![0; 64 * 1024];
        let count = reader.read(&mut body).unwrap();
        (head.to_ascii_lowercase(), String::from_utf8_lossy(&body[..count]).into_owned())
    }

    fn code(&self, method: &str, path: &str, headers: &str) -> u16 {
        self.ask(method, path, headers).0.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn only_the_page_itself_is_answered() {
    let (home, _) = home();
    let mut served = Served::start(home.path(), &["--no-browser"]);
    assert!(served.host.starts_with("127.0.0.1:"), "{}", served.host);
    let (head, page) = served.ask("GET", "/", "");
    assert!(head.starts_with("http/1.1 200") && page.starts_with("<!doctype html>"), "{head}{page}");
    for header in ["content-security-policy: default-src 'none'; script-src 'self'", "cache-control: no-store"] {
        assert!(head.contains(header), "{header}: {head}");
    }
    let token = format!("x-arl-token: {}\r\n", served.token);
    for (method, path, headers, code) in [
        ("GET", "/page.js", "", 200),
        ("GET", "/terminal.js", "", 200),
        ("GET", "/chart.js", "", 200),
        ("GET", "/elements.js", "", 200),
        ("GET", "/page.css", "", 200),
        ("GET", "/nosuch", "", 404),
        ("GET", "/api/state", "", 401),
        ("GET", "/api/state", "x-arl-token: 0\r\n", 401),
        ("GET", "/api/state", &format!("{token}Origin: http://evil.example\r\n"), 403),
        ("GET", "/api/state", &format!("{token}Host: evil.example\r\n"), 421),
        ("GET", "/", "Host: evil.example\r\n", 421),
        ("GET", "/api/open/s/1/80/24", &token, 405),
        ("POST", "/api/open/s/1/80/24", "", 401),
        ("POST", "/api/open/s/1/80/24", &token, 502),
        ("POST", "/api/input/1", &token, 404),
    ] {
        assert_eq!(served.code(method, path, headers), code, "{method} {path} {headers}");
    }
    let (_, refused) = served.ask("POST", "/api/open/s/1/80/24", &token);
    assert!(refused.contains("there is no Sandbox s in namespace empty"), "{refused}");
    let (_, state) = served.ask("GET", "/api/state", &token);
    let line = state.lines().find(|line| line.starts_with("{\"fill\"")).unwrap_or_else(|| panic!("{state}"));
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["fill"], serde_json::json!({}));
    unread::signal(&served.child, rustix::process::Signal::TERM);
    assert_eq!(unread::code(&mut served.child), Some(143));
}

#[test]
fn a_page_whose_watches_fail_says_so_and_goes_on_later() {
    let (home, api) = home_and_api();
    let mut served = Served::start(home.path(), &["--no-browser"]);
    let stream = TcpStream::connect(&served.host).unwrap();
    stream.set_read_timeout(Some(unread::DEADLINE)).unwrap();
    let request = format!("GET /api/state HTTP/1.1\r\nHost: {}\r\nx-arl-token: {}\r\n\r\n", served.host, served.token);
    (&stream).write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
    // The first state for which this holds.
    let mut until = |holds: &dyn Fn(&Value) -> bool| {
        let states = lines.by_ref().filter(|line| line.starts_with("{\"namespace\""));
        states.map(|line| serde_json::from_str::<Value>(&line).unwrap()).find(holds).unwrap()
    };
    until(&|state| state["stale"].is_null());
    api.lose();
    let lost = until(&|state| !state["stale"].is_null());
    let why = lost["stale"]["why"].as_str().unwrap();
    assert!(why.starts_with("cannot watch ") && why.contains("is the cluster there?"), "{lost}");
    assert!(lost["stale"]["since"].as_i64() <= lost["at"].as_i64(), "{lost}");
    let again = until(&|state| state["stale"]["why"].as_str().is_some_and(|why| why.starts_with("cannot list ")));
    assert_eq!(again["stale"]["since"], lost["stale"]["since"], "it has not been heard of since");
    api.come_back();
    until(&|state| state["stale"].is_null());
    unread::signal(&served.child, rustix::process::Signal::TERM);
    assert_eq!(unread::code(&mut served.child), Some(143));
}

#[test]
fn the_browser_gets_the_address_by_a_file_that_others_cannot_read() {
    let (home, _) = home();
    let opener = home.path().join(if cfg!(target_os = "macos") { "open" } else { "xdg-open" });
    std::fs::write(&opener, "#!/bin/sh\necho $$ $(/bin/ps -o pgid= -p $$) >\"$HOME/group\"\n/bin/stat -c %a \"$1\" >\"$HOME/mode\"\n/bin/cp \"$1\" \"$HOME/new\"\n/bin/mv \"$HOME/new\" \"$HOME/page\"\n").unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut served = Served::start(home.path(), &[]);
    let page = unread::eventually("the browser is opened", || std::fs::read_to_string(home.path().join("page")).ok());
    assert!(page.contains(&format!("url=http://{}/#{}", served.host, served.token)), "{page}");
    assert_eq!(std::fs::read_to_string(home.path().join("mode")).unwrap(), "600\n");
    let group = std::fs::read_to_string(home.path().join("group")).unwrap();
    let (process, group) = group.trim().split_once(' ').unwrap();
    assert_eq!(process, group, "Ctrl-C does not reach it");
    unread::signal(&served.child, rustix::process::Signal::INT);
    assert_eq!(unread::code(&mut served.child), Some(130));
}

#[test]
fn without_a_browser_the_address_is_all() {
    let (home, _) = home();
    let mut served = Served::start(home.path(), &[]);
    let mut said = String::new();
    BufReader::new(served.child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("open the address yourself"), "{said}");
    unread::signal(&served.child, rustix::process::Signal::TERM);
    assert_eq!(unread::code(&mut served.child), Some(143));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let done = kubectl_arl(home.path()).args(["ui", "--no-browser", "--port", &port]).output().unwrap();
    let words = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(125) && words.contains("--port chooses another"), "{words}");
}
