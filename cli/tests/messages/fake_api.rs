//! An API server that refuses: what it says depends on the namespace alone.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

/// In the namespace `many`.
pub const TASKS: usize = 10_000;

/// One that can be lost and come back.
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_lost: AtomicBool,
    is_new: AtomicBool,
    /// The connections over which somebody watches.
    watching: Mutex<Vec<TcpStream>>,
}

impl Api {
    /// Starts one, which goes on until the test's process ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<State>::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || answer(&stream.unwrap(), &state));
            }
        });
        Self { address, state }
    }

    /// Cuts all watches, and answers nobody from now on.
    pub fn lose(&self) {
        self.state.is_lost.store(true, Ordering::SeqCst);
        for stream in self.state.watching.lock().unwrap().drain(..) {
            // Who watched may have left.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many have begun to watch.
    pub fn watches(&self) -> usize {
        self.state.watching.lock().unwrap().len()
    }

    /// Knows our kinds only once somebody has looked whether they are defined.
    pub fn forget_kinds(&self) {
        self.state.is_new.store(true, Ordering::SeqCst);
    }

    /// Answers again.
    pub fn come_back(&self) {
        self.state.is_lost.store(false, Ordering::SeqCst);
    }
}

/// Writes a kubeconfig for it.
pub fn kubeconfig(address: SocketAddr, file: &Path) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u", "namespace": "empty" } }],
    });
    std::fs::write(file, config.to_string()).unwrap();
}

fn answer(stream: &TcpStream, state: &State) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (mut length, mut authorization) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header == "\r\n" {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if header.to_ascii_lowercase().starts_with("authorization:") {
                header.trim().clone_into(&mut authorization);
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        let mut out = stream;
        if words[0] == "CONNECT" {
            // As a proxy that leads nowhere else: what comes next is for us.
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            continue;
        }
        if state.is_lost.load(Ordering::SeqCst) {
            return;
        }
        if words[1].starts_with("/apis/metrics.k8s.io/") && words[1].contains("/namespaces/silent/") {
            continue;
        }
        if words[1].contains("/pods/p/exec?") {
            // The pod never answers; its Task ends all the same.
            let event = format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", task("Succeeded"));
            for mut watch in state.watching.lock().unwrap().drain(..) {
                write!(watch, "{:x}\r\n{event}\r\n", event.len()).unwrap();
            }
            continue;
        }
        let (code, body) =
            defined(&words[0], &words[1], state).unwrap_or_else(|| respond(&words[0], &words[1], &authorization));
        if code == 200 && words[1].contains("watch=true") {
            // It goes on, and nothing changes.
            state.watching.lock().unwrap().push(stream.try_clone().unwrap());
            let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            out.write_all(head.as_bytes()).unwrap();
            continue;
        }
        let head =
            format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        // A client that has what it wants may have left.
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(body.as_bytes())).is_err() {
            return;
        }
    }
}

/// What an API server says to which the definitions were applied a moment ago: they are there, and not known at first.
fn defined(method: &str, target: &str, state: &State) -> Option<(u16, String)> {
    let is_new = state.is_new.load(Ordering::SeqCst);
    if is_new && target.starts_with("/apis/apiextensions.k8s.io/") {
        state.is_new.store(false, Ordering::SeqCst);
        let found =
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "name": "x" } });
        return Some((200, found.to_string()));
    }
    if is_new {
        return Some((404, "404 page not found\n".to_owned()));
    }
    (method == "POST" && target.contains("/namespaces/late/")).then(|| (201, pool(0).to_string()))
}

fn respond(method: &str, target: &str, authorization: &str) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let (group, namespace, rest) = match parts.as_slice() {
        ["", "api", _, "namespaces", namespace, rest @ ..] => ("", *namespace, rest),
        ["", "apis", group, _, "namespaces", namespace, rest @ ..] => (*group, *namespace, rest),
        _ => return refused(404, "the server could not find the requested resource", &Value::Null),
    };
    let plural = rest.first().copied().unwrap_or_default();
    let name = rest.get(1).copied();
    let full = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let verb = match (method, name) {
        ("GET", _) if query.contains("watch=true") => "watch",
        ("GET", Some(_)) => "get",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("DELETE", _) => "delete",
        _ => "patch",
    };
    if namespace == "absent" && (rest.is_empty() || verb == "create") {
        let why = "namespaces \"absent\" not found";
        return refused(404, why, &json!({ "name": "absent", "kind": "namespaces" }));
    }
    let is_unknown = namespace == "expired" || namespace == "private" && !authorization.ends_with(" Bearer secret");
    match (namespace, name) {
        ("forbidden", _) => {
            let place = format!("in API group \"{group}\" in the namespace \"{namespace}\"");
            let words = format!("{full} is forbidden: User \"tester\" cannot {verb} resource \"{plural}\" {place}");
            refused(403, &words, &Value::Null)
        }
        _ if is_unknown => refused(401, "Unauthorized", &Value::Null),
        ("many", None) if plural == "tasks" && verb == "list" => page(query),
        ("bare", _) if group == arl_crds::GROUP => (404, "404 page not found\n".to_owned()),
        ("large", None) if plural == "warmpools" => (200, list(&(0..1000).map(pool).collect::<Vec<_>>())),
        ("wide", None) => (200, list(&wide(plural))),
        ("wide", Some(_)) if !wide(plural).is_empty() => (200, wide(plural)[0].to_string()),
        ("silent", None) if plural == "tasks" => (200, list(&[task("Running")])),
        ("silent", Some("s")) => {
            let ready = json!([{ "type": "Ready", "status": "True", "reason": "Allocated", "message": "pod p is allocated",
                "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
            let status =
                json!({ "podName": "p", "podUID": "u", "container": "c", "phase": "Bound", "conditions": ready });
            (200, object("Sandbox", "s", &json!({ "poolRef": "p" }), &status).to_string())
        }
        (_, None) if matches!(verb, "list" | "watch") => (200, list(&[])),
        (_, name) => {
            let name = name.unwrap_or_default();
            refused(
                404,
                &format!("{full} \"{name}\" not found"),
                &json!({ "name": name, "group": group, "kind": plural }),
            )
        }
    }
}

fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items }).to_string()
}

/// A page of ten thousand Tasks. Who asks for all of them at once gets none.
fn page(query: &str) -> (u16, String) {
    let parameter = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)).and_then(|n| n.parse().ok());
    let Some(limit) = parameter("limit=") else { return refused(413, "ask for pages", &Value::Null) };
    let from: usize = parameter("continue=").unwrap_or(0);
    let until = (from + limit).min(TASKS);
    let items: Vec<_> = (from..until)
        .map(|number| {
            json!({
                "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "metadata": { "name": format!("t{number}") },
                "spec": { "sandboxRef": "s", "steps": [] }, "status": { "state": "Pending" },
            })
        })
        .collect();
    let metadata = if until < TASKS {
        json!({ "resourceVersion": "1", "continue": until.to_string() })
    } else {
        json!({ "resourceVersion": "1" })
    };
    (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items }).to_string())
}

fn object(kind: &str, name: &str, spec: &Value, status: &Value) -> Value {
    let metadata = json!({ "name": name, "namespace": "silent", "uid": "u", "resourceVersion": "1" });
    json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status })
}

/// A Task in a pod that never answers.
fn task(state: &str) -> Value {
    let step = json!({ "name": "run", "state": state, "stdout": "printed\n" });
    object("Task", "t", &json!({ "sandboxRef": "s", "steps": [] }), &json!({ "state": state, "steps": [step] }))
}

fn pool(number: usize) -> Value {
    json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": { "name": format!("p{number}") },
        "spec": { "replicas": 1, "template": { "spec": { "containers": [{ "name": "c", "image": "x".repeat(500) }] } } },
    })
}

/// Objects with much to say.
fn wide(plural: &str) -> Vec<Value> {
    let words = "the image cannot be pulled: its name is wrong, or the registry wants credentials ".repeat(2);
    let name = "a-name-that-is-longer-than-others";
    let why = |kind: &str, reason: &str| json!([{ "type": kind, "status": "False", "reason": reason, "message": words, "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    let (kind, spec, status) = match plural {
        "warmpools" => (
            "WarmPool",
            json!({ "replicas": 3, "template": { "spec": { "containers": [{ "name": "c", "image": name }] } } }),
            json!({ "ready": 1, "allocated": 2, "phase": "Scaling", "conditions": why("Ready", "ImagePullBackOff") }),
        ),
        "sandboxes" => {
            let status = json!({ "phase": "Pending", "conditions": why("Ready", "PoolEmpty") });
            ("Sandbox", json!({ "poolRef": name }), status)
        }
        "tasks" => {
            let status = json!({ "state": "Failed", "conditions": why("Succeeded", "StepFailed") });
            ("Task", json!({ "sandboxRef": name, "steps": [] }), status)
        }
        _ => return Vec::new(),
    };
    vec![json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": { "name": name, "namespace": "wide", "creationTimestamp": "2026-01-01T00:00:00Z" } })]
}

fn refused(code: u16, message: &str, details: &Value) -> (u16, String) {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
        "reason": "", "details": details });
    (code, status.to_string())
}
