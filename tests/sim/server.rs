//! The API server as a service under kube's client: paths and verbs on one side, the store on the other, faults in between.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};

use crate::{
    call::{Call, Verb},
    contract::{Contract, Rule},
    fate::Fate,
    faults::Faults,
    kind::{Actor, Kind},
    patch,
    refusal::Refusal,
    store::{Part, is_deleting},
    watch,
    world::{State, World},
};

/// A connection that is silent for so long is given up, as main.rs sets it.
const SILENCE_MAX: Duration = Duration::from_secs(330);

/// The body of an answer.
pub type Answer = UnsyncBoxBody<Bytes, io::Error>;

/// The API server, as one client sees it.
#[derive(Clone)]
pub struct ApiServer {
    pub world: Arc<World>,
    pub who: Actor,
}

impl tower::Service<Request<Body>> for ApiServer {
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Response<Answer>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(io::Error::other)?;
            let call = Call::parse(&parts, body);
            server.answer(call).await
        })
    }
}

impl ApiServer {
    /// Answers, with the retries that kube's client makes by default: on 429, 503 and 504, whatever the verb.
    /// <https://docs.rs/kube/5.0.0/kube/client/retry/struct.RetryPolicy.html>
    async fn answer(self, call: Result<Call, Refusal>) -> io::Result<Response<Answer>> {
        let call = match call {
            Ok(call) => call,
            Err(refusal) => return Ok(response(refusal.code, &refusal.status())),
        };
        for attempt in 0..15_u32 {
            let answer = self.attempt(&call).await?;
            if !matches!(answer.status().as_u16(), 429 | 503 | 504) {
                return Ok(answer);
            }
            let longest = 5_u64 << attempt.min(17);
            let wait = self.world.with(|s| s.delay(longest / 2, longest));
            tokio::time::sleep(wait).await;
        }
        self.attempt(&call).await
    }

    /// Once sent, a request gets where it is going, whether or not somebody still waits for the answer.
    async fn attempt(&self, call: &Call) -> io::Result<Response<Answer>> {
        self.world.runs(self.who).await;
        let (fate, there, back) = self.world.with(|s| self.way(s, call));
        let (server, call, hangs) = (self.clone(), call.clone(), matches!(fate, Fate::Hangs { .. }));
        let broken = || Err(io::Error::from(io::ErrorKind::ConnectionReset));
        let under_way = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            match fate {
                Fate::Refused(refusal) => Ok(response(refusal.code, &refusal.status())),
                Fate::Broken { effect: false } | Fate::Hangs { effect: false } => broken(),
                Fate::Well => Ok(server.serve(&call)),
                Fate::Late { before, after } => {
                    tokio::time::sleep(before).await;
                    let answer = server.serve(&call);
                    tokio::time::sleep(after).await;
                    Ok(answer)
                }
                Fate::Broken { effect: true } | Fate::Hangs { effect: true } => {
                    drop(server.serve(&call));
                    broken()
                }
                Fate::Belied(refusal) => {
                    drop(server.serve(&call));
                    Ok(response(refusal.code, &refusal.status()))
                }
            }
        });
        let answer = under_way.await.map_err(io::Error::other)?;
        if hangs {
            tokio::time::sleep(SILENCE_MAX).await;
        }
        tokio::time::sleep(back).await;
        self.world.runs(self.who).await;
        answer
    }

    /// What happens to the request, and how long it and its answer are under way.
    fn way(&self, s: &mut State, call: &Call) -> (Fate, Duration, Duration) {
        if !self.who.is_operator() {
            return (Fate::Well, Duration::ZERO, Duration::ZERO);
        }
        let (there, back) = (s.faults.travel(&mut s.rng), s.faults.travel(&mut s.rng));
        let pick = |s: &mut State, of: &[u16]| {
            let code = of[s.rng.usize(..of.len())];
            Refusal::new(code, "InternalError", "the simulated API server fails")
        };
        let write = call.verb.is_write();
        let fate = if let Some(refusal) = s.refuses(call) {
            Fate::Refused(refusal)
        } else if Faults::happens(&mut s.rng, s.faults.before) {
            if s.rng.u8(..4) == 0 { Fate::Broken { effect: false } } else { Fate::Refused(pick(s, &[429, 500, 503])) }
        } else if write && Faults::happens(&mut s.rng, s.faults.after) {
            if s.rng.u8(..3) == 0 { Fate::Broken { effect: true } } else { Fate::Belied(pick(s, &[500, 504])) }
        } else if call.verb != Verb::Watch && Faults::happens(&mut s.rng, s.faults.hang) {
            match s.rng.u8(..4) {
                0 => Fate::Hangs { effect: false },
                1 => Fate::Hangs { effect: true },
                2 => Fate::Late { before: s.delay(4_000, 18_000), after: Duration::ZERO },
                _ => Fate::Late { before: Duration::ZERO, after: s.delay(4_000, 18_000) },
            }
        } else {
            Fate::Well
        };
        if let Some(said) = fate.said() {
            s.fault(&format!("{} {call} {said}", self.who));
        }
        (fate, there, back)
    }

    /// The request reaches the API server.
    fn serve(&self, call: &Call) -> Response<Answer> {
        if call.verb == Verb::Watch {
            return watch::open(self, call);
        }
        let died = self.world.with(|s| {
            let Actor::Operator(number) = self.who else { return false };
            if !call.is_list_of_a_watch() {
                s.processes[number].requests += 1;
            }
            if call.verb.is_write() {
                let faults = s.faults.clone();
                if Faults::happens(&mut s.rng, faults.touch) {
                    self.touch(s, call);
                }
                let process = &mut s.processes[number];
                process.writes += 1;
                let planned = process.death.is_some_and(|d| d.write == process.writes && !d.after_effect);
                if process.alive && (planned || Faults::happens(&mut s.rng, faults.crash / 2)) {
                    s.kill(number);
                    return true;
                }
            }
            false
        });
        if died {
            return response(500, &json!({}));
        }
        self.world.with(|s| {
            let before = s.store.version();
            let answer = perform(s, call, self.who);
            let outcome = answer.as_ref().map_or_else(|r| format!("{} {}", r.code, r.reason), |_| "ok".to_owned());
            if !call.is_event() {
                s.trace.say(&format!("{} {call} -> {outcome}", self.who));
            }
            if let Actor::Operator(number) = self.who
                && call.verb.is_write()
            {
                if answer.is_ok() && !call.is_event() {
                    let differs = s.store.version() != before;
                    s.contract.ledger.test(Rule::WriteMakesDifference, differs, || format!("{call}"));
                }
                let process = &s.processes[number];
                let planned = process.death.is_some_and(|d| d.write == process.writes && d.after_effect);
                let rate = s.faults.crash / 2;
                if planned || Faults::happens(&mut s.rng, rate) {
                    s.kill(number);
                }
            }
            match answer {
                Ok(value) => response(if call.verb == Verb::Create { 201 } else { 200 }, &value),
                Err(refusal) => response(refusal.code, &refusal.status()),
            }
        })
    }

    /// Somebody else changes the object first.
    fn touch(&self, s: &mut State, call: &Call) {
        let Some(id) = call.id() else { return };
        let mark = json!(s.store.version().to_string());
        if s.store.get(&id).is_some_and(|o| !is_deleting(o)) {
            s.fault(&format!("{id} is touched before {call} of {}", self.who));
            drop(s.store.modify(&id, Part::Main, Actor::User, |o| {
                if !o["metadata"]["annotations"].is_object() {
                    o["metadata"]["annotations"] = json!({});
                }
                o["metadata"]["annotations"]["touched"] = mark;
            }));
        }
    }
}

/// What the API server does for everybody.
fn perform(s: &mut State, call: &Call, who: Actor) -> Result<Value, Refusal> {
    if call.is_event() {
        let event = serde_json::from_slice(&call.body).map_err(|e| Refusal::new(400, "BadRequest", e.to_string()))?;
        if call.verb.is_write() {
            let Contract { ledger, facts, events, .. } = &mut s.contract;
            events.received(&event, &s.store, facts, ledger);
        }
        return Ok(event);
    }
    let kind =
        call.kind.ok_or_else(|| Refusal::new(404, "NotFound", "the server could not find the requested resource"))?;
    let parsed =
        || serde_json::from_slice::<Value>(&call.body).map_err(|e| Refusal::new(400, "BadRequest", e.to_string()));
    let id = call.id();
    let named = || id.clone().ok_or_else(|| Refusal::new(405, "MethodNotAllowed", "a name is needed"));
    match call.verb {
        Verb::Get => {
            let id = named()?;
            s.store.get(&id).map(|o| (**o).clone()).ok_or_else(|| Refusal::not_found(&id))
        }
        Verb::List => watch::list(s, call, kind),
        Verb::Create => {
            let object = parsed()?;
            let id = call.created(kind, &object);
            s.store.create(&id, object, who).map(|o| (*o).clone())
        }
        Verb::Replace | Verb::Patch => {
            let id = named()?;
            let current = s.store.get(&id).cloned().ok_or_else(|| Refusal::not_found(&id))?;
            let wanted = match call.verb {
                Verb::Patch => patch::apply(&call.content_type, &call.body, &current)?,
                _ => parsed()?,
            };
            let part = if call.status { Part::Status } else { Part::Main };
            s.store.update(&id, wanted, part, who).map(|o| (*o).clone())
        }
        Verb::Delete => {
            let deletion = call.deletion()?;
            s.store.delete(&named()?, &deletion, who).map(|o| (*o).clone())
        }
        Verb::Watch => Err(Refusal::new(500, "InternalError", "watches are answered elsewhere")),
    }
}

pub fn response(code: u16, value: &Value) -> Response<Answer> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a status code");
    response
}

/// Kinds in the order of a process's lags.
pub fn place(kind: Kind) -> usize {
    kind as usize
}
