//! Lists and watches.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    call::Call,
    faults::Faults,
    kind::{Actor, Kind},
    refusal::Refusal,
    select::Selector,
    server::{Answer, ApiServer, place, response},
    store::Entry,
    world::{State, World},
};

/// A quiet watch hears of the latest version this often.
const BOOKMARK: Duration = Duration::from_secs(60);

/// A list, in pages where a limit is asked for; later pages show what was there at the first.
pub fn list(s: &mut State, call: &Call, kind: Kind) -> Result<Value, Refusal> {
    let (version, mut items) = match call.asked("continue") {
        "" => (s.store.version(), matching(s, call, kind)),
        token => {
            s.pages.remove(token).filter(|(version, _)| *version >= s.store.compacted).ok_or_else(Refusal::expired)?
        }
    };
    let limit =
        call.number("limit").filter(|l| *l > 0).map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if items.len() > limit {
        let rest = items.split_off(limit);
        let token = format!("{}-{version}-{}", kind.plural(), rest.len());
        metadata["continue"] = json!(token);
        s.pages.insert(token, (version, rest));
    }
    Ok(json!({
        "kind": format!("{}List", kind.name()), "apiVersion": kind.api_version(), "metadata": metadata,
        "items": items.iter().map(|item| (**item).clone()).collect::<Vec<_>>(),
    }))
}

/// The objects that a call asks for, as they are now.
fn matching(s: &State, call: &Call, kind: Kind) -> Vec<Arc<Value>> {
    let selector = call.selector();
    let here = |namespace: &str| call.namespace.as_deref().is_none_or(|ns| ns == namespace);
    let found = s.store.of(kind).filter(|(id, object)| here(&id.namespace) && selector.matches(object));
    found.map(|(_, object)| Arc::clone(object)).collect()
}

/// A watch that is open.
struct Watcher {
    world: Arc<World>,
    who: Actor,
    kind: Kind,
    namespace: Option<String>,
    selector: Selector,
    at: u64,
    /// What there was when it was opened, where it was asked to begin with that.
    list: Option<VecDeque<Arc<Value>>>,
    until: Instant,
    bookmark_at: Instant,
    over: bool,
}

/// What a watch does next.
enum Step {
    Say(Value),
    Skip,
    /// Nothing to say before this.
    Wait(Instant),
    End,
    Break,
}

/// Answers a watch request.
pub fn open(server: &ApiServer, call: &Call) -> Response<Answer> {
    let Some(kind) = call.kind else { return response(404, &json!({})) };
    let streams_list = call.asked("sendInitialEvents") == "true";
    let (at, list) = server.world.with(|s| {
        if streams_list {
            (s.store.version(), Some(matching(s, call, kind).into()))
        } else {
            (call.number("resourceVersion").unwrap_or(0), None)
        }
    });
    let refused = server.world.with(|s| {
        s.trace.say(&format!("{} watches {} from {at}", server.who, kind.plural()));
        if streams_list && s.faults.no_streaming_lists {
            let why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
            return Some(Refusal::new(422, "Invalid", why));
        }
        let rate = s.faults.watch;
        let refused = server.who.is_operator() && Faults::happens(&mut s.rng, rate / 4);
        if refused {
            s.fault(&format!("{} is refused a watch of {}", server.who, kind.plural()));
        }
        refused.then(|| Refusal::new([429, 500, 503][s.rng.usize(..3)], "InternalError", "no watch"))
    });
    if let Some(refusal) = refused {
        return response(refusal.code, &refusal.status());
    }
    let watcher = Watcher {
        world: Arc::clone(&server.world),
        who: server.who,
        kind,
        namespace: call.namespace.clone(),
        selector: call.selector(),
        at,
        list,
        until: Instant::now() + Duration::from_secs(call.number("timeoutSeconds").unwrap_or(290)),
        bookmark_at: Instant::now() + BOOKMARK,
        over: false,
    };
    let lines = stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.line().await?;
        Some((line.map(|event| http_body::Frame::data(Bytes::from(written(&event)))), watcher))
    });
    Response::new(StreamBody::new(lines).boxed_unsync())
}

/// As the API server writes it: the type first, so that who reads it knows what follows.
fn written(event: &Value) -> String {
    format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"])
}

impl Watcher {
    /// The next line; none at the end.
    async fn line(&mut self) -> Option<io::Result<Value>> {
        let world = Arc::clone(&self.world);
        while !self.over {
            world.runs(self.who).await;
            let pulse = world.pulse();
            match world.with(|s| self.step(s)) {
                Step::Say(value) => return Some(Ok(value)),
                Step::Skip => {}
                Step::Wait(until) => drop(tokio::time::timeout_at(until, pulse).await),
                Step::End => self.over = true,
                Step::Break => {
                    self.over = true;
                    return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
                }
            }
        }
        None
    }

    fn step(&mut self, s: &mut State) -> Step {
        let now = Instant::now();
        if now >= self.until {
            return Step::End;
        }
        // Once a watch is open, errors are events in it.
        if self.at < s.store.compacted {
            return self.expire(now);
        }
        if let Some(list) = &mut self.list {
            let (next, left) = (list.pop_front(), list.len());
            // Before the last object, or before the mark of the end: once or twice a list, however long it is.
            if left == 0
                && let Some(step) = self.fails(s, now)
            {
                return step;
            }
            return match next {
                Some(object) => Step::Say(json!({ "type": "ADDED", "object": *object })),
                None => self.list_ends(),
            };
        }
        let Some(entry) = s.store.after(self.at).cloned() else {
            if now >= self.bookmark_at {
                self.bookmark_at = now + BOOKMARK;
                return Step::Say(self.bookmark());
            }
            return Step::Wait(self.until.min(self.bookmark_at));
        };
        let visible = entry.at + Duration::from_millis(self.lag(s));
        if visible > now {
            return Step::Wait(self.until.min(visible));
        }
        let Some(event) = self.event(&entry) else {
            self.at = entry.version;
            return Step::Skip;
        };
        if let Some(step) = self.fails(s, now) {
            return step;
        }
        self.at = entry.version;
        Step::Say(event)
    }

    /// How it ends before its time, if it does.
    fn fails(&mut self, s: &mut State, now: Instant) -> Option<Step> {
        let rate = s.faults.watch;
        if !self.who.is_operator() || !Faults::happens(&mut s.rng, rate) {
            return None;
        }
        s.fault(&format!("{}'s watch of {} ends at {}", self.who, self.kind.plural(), self.at));
        Some(match s.rng.u8(..3) {
            0 => Step::End,
            1 => Step::Break,
            _ => self.expire(now),
        })
    }

    /// All that there was has been said.
    fn list_ends(&mut self) -> Step {
        self.list = None;
        let mut bookmark = self.bookmark();
        bookmark["object"]["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        Step::Say(bookmark)
    }

    fn expire(&mut self, now: Instant) -> Step {
        self.until = now;
        Step::Say(json!({ "type": "ERROR", "object": Refusal::expired().status() }))
    }

    fn lag(&self, s: &State) -> u64 {
        match self.who {
            Actor::Operator(number) => s.processes[number].lag[place(self.kind)],
            _ => 0,
        }
    }

    fn bookmark(&self) -> Value {
        json!({ "type": "BOOKMARK", "object": {
            "kind": self.kind.name(), "apiVersion": self.kind.api_version(),
            "metadata": { "resourceVersion": self.at.to_string(), "creationTimestamp": null },
        }})
    }

    /// What a change looks like to this watch: an object that no longer matches is deleted, one that now does is added.
    fn event(&self, entry: &Entry) -> Option<Value> {
        let here = entry.id.kind == self.kind && self.namespace.as_ref().is_none_or(|ns| *ns == entry.id.namespace);
        let matching = |object: &Option<Arc<Value>>| object.clone().filter(|o| here && self.selector.matches(o));
        let (type_, mut object) = match (matching(&entry.before), matching(&entry.after)) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", (*after).clone()),
            (Some(_), Some(after)) => ("MODIFIED", (*after).clone()),
            (Some(before), None) => {
                ("DELETED", entry.after.as_ref().map_or_else(|| (*before).clone(), |a| (**a).clone()))
            }
        };
        object["metadata"]["resourceVersion"] = json!(entry.version.to_string());
        Some(json!({ "type": type_, "object": object }))
    }
}
