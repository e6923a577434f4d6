//! What does not work for a while: calls of one kind that are all refused, and a node that does not answer.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    agenda::Action,
    call::{Call, Verb},
    contract::{Rule, condition},
    kind::{Actor, Id, Kind},
    kubelet::PodEvent,
    refusal::Refusal,
    store::{Part, Store, controller, is_deleting, uid_of, version_of},
    world::{NS, State},
};

/// Within this time an object says what it is kept from, in a history where nothing else goes wrong.
const SAID_WITHIN: Duration = Duration::from_secs(5);
/// A pause between two calls that is longer than this, and more than twice as long as all of them took, is none between two attempts: the
/// object was well meanwhile.
const WELL: Duration = Duration::from_secs(6);
/// The nodes there are.
pub const NODES: [&str; 2] = ["node-a", "node-b"];

/// Calls that are refused for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    verb: Verb,
    kind: Option<Kind>,
    status: bool,
    code: u16,
    message: &'static str,
}

/// Who is refused, and since when.
#[derive(Debug)]
pub struct Refused {
    outage: Outage,
    kept: BTreeMap<Id, Spell>,
}

/// The first and the last of the calls for an object that were refused one after the other, while that could be told. An object that
/// changes meanwhile, and does not tell, is well in between.
#[derive(Clone, Debug)]
struct Spell {
    first: Instant,
    last: Instant,
    version: String,
}

impl Spell {
    /// Whether what is refused now may go on with it.
    fn goes_on(&self) -> bool {
        self.last.elapsed() <= WELL + 2 * (self.last - self.first)
    }
}

const POLICY: &str = "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no";
const WEBHOOK: &str = "Internal error occurred: failed calling webhook \"w\": connection refused";
const RIGHT: &str = "User \"system:serviceaccount:arl:arl\" cannot do that";
const QUOTA: &str = "exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3";
const QUOTA_CHANGED: &str = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified";

impl Refused {
    pub fn outage(&self) -> &Outage {
        &self.outage
    }
}

impl Outage {
    /// Any of those that a cluster's rights, quotas, policies and webhooks make.
    pub fn drawn(rng: &mut fastrand::Rng) -> Self {
        use Kind::{Pod, Sandbox, Task, WarmPool};
        let calls = [
            (Verb::Create, Some(Pod), false),
            (Verb::Create, Some(Pod), false),
            (Verb::Patch, Some(Pod), false),
            (Verb::Patch, Some(Pod), false),
            (Verb::Delete, Some(Pod), false),
            (Verb::Patch, Some(Sandbox), true),
            (Verb::Patch, Some(Task), true),
            (Verb::Patch, Some(WarmPool), true),
            (Verb::Delete, Some(Sandbox), false),
            (Verb::Delete, Some(Task), false),
            (Verb::List, Some(Task), false),
            (Verb::Watch, Some(Pod), false),
            (Verb::Watch, Some(Sandbox), false),
            (Verb::Create, None, false),
        ];
        let (verb, kind, status) = calls[rng.usize(..calls.len())];
        let refusals = match verb {
            Verb::Create if kind.is_some() => {
                &[(403, QUOTA), (409, QUOTA_CHANGED), (403, POLICY), (422, POLICY), (500, WEBHOOK)][..]
            }
            Verb::Create | Verb::List | Verb::Watch => &[(403, RIGHT)][..],
            _ => &[(403, RIGHT), (422, POLICY), (500, WEBHOOK), (403, POLICY)][..],
        };
        let (code, message) = refusals[rng.usize(..refusals.len())];
        Self { verb, kind, status, code, message }
    }

    /// That Tasks may not be listed.
    pub fn of_task_lists() -> Self {
        Self { verb: Verb::List, kind: Some(Kind::Task), status: false, code: 403, message: RIGHT }
    }

    /// That what has ended may not be looked at, or not be deleted.
    pub fn of_ends(rng: &mut fastrand::Rng) -> Self {
        use Kind::{Pod, Sandbox, Task};
        let calls = [(Verb::List, Task), (Verb::Delete, Task), (Verb::Delete, Sandbox), (Verb::Delete, Pod)];
        let (verb, kind) = calls[rng.usize(..calls.len())];
        Self { verb, kind: Some(kind), ..Self::of_task_lists() }
    }

    /// That nothing may be claimed, or that the status of Sandboxes or of Tasks may not be written.
    pub fn of_beginnings(rng: &mut fastrand::Rng) -> Self {
        let kind = [Kind::Pod, Kind::Sandbox, Kind::Task][rng.usize(..3)];
        Self { verb: Verb::Patch, kind: Some(kind), status: kind != Kind::Pod, ..Self::of_task_lists() }
    }

    fn is_of(&self, call: &Call) -> bool {
        let kind = if call.is_event() { None } else { call.kind };
        self.verb == call.verb && self.kind == kind && self.status == call.status && (kind.is_some() || call.is_event())
    }
}

impl State {
    /// Why this call is refused, if it is.
    pub fn refuses(&mut self, call: &Call) -> Option<Refusal> {
        let outage = self.outages.iter().find(|refused| refused.outage.is_of(call))?.outage.clone();
        if let Some(id) = kept_by(call, &self.store) {
            self.keep(&id, &outage);
        }
        let Outage { code, message, .. } = outage;
        let reason = match code {
            403 => "Forbidden",
            409 => "Conflict",
            422 => "Invalid",
            _ => "InternalError",
        };
        Some(Refusal::new(code, reason, message))
    }

    /// A call for this object is refused once more.
    fn keep(&mut self, id: &Id, outage: &Outage) {
        let can_be_told = !self.outages.iter().any(|other| other.outage.status);
        let object = self.store.get(id);
        let version = object.map(|object| version_of(object).to_owned()).unwrap_or_default();
        let is_told = object.is_some_and(|object| self.says(object, outage));
        let Some(refused) = self.outages.iter_mut().find(|refused| refused.outage == *outage) else { return };
        let goes_on = |spell: &Spell| can_be_told && spell.goes_on() && (is_told || spell.version == version);
        let spell = refused.kept.remove(id).filter(goes_on);
        if can_be_told {
            let now = Instant::now();
            let next = Spell { first: spell.as_ref().map_or(now, |spell| spell.first), last: now, version };
            refused.kept.insert(id.clone(), next);
        }
        if let Some(spell) = spell {
            self.refusal_is_said(id, outage, spell.last - spell.first);
        }
    }

    /// A call is refused, as it was for so long before: its object says so by now.
    fn refusal_is_said(&mut self, id: &Id, outage: &Outage, lasted: Duration) {
        let facts = &self.contract.facts;
        if lasted < SAID_WITHIN || !facts.only_outages || !facts.is_alone() || outage.status {
            return;
        }
        let Some(object) = self.store.get(id).filter(|object| !is_deleting(object)) else { return };
        // Whom no pod was left for said that a moment ago.
        let waits = |reason: &Value| ["PoolEmpty", "PoolAtLimit", "PoolNotFound"].iter().any(|word| reason == word);
        if condition(object, "Ready").is_some_and(|c| waits(&c["reason"])) {
            return;
        }
        let says = self.says(object, outage);
        let status = object["status"].clone();
        self.contract.ledger.test(Rule::RefusalIsSaid, says, || {
            format!("{id} was refused {outage:?} for {lasted:?} and says {status}")
        });
    }

    pub fn begin_outage(&mut self, outage: &Outage, lasts: Duration) {
        self.fault(&format!("from now on for {lasts:?} this is refused: {outage:?}"));
        self.contract.facts.is_orderly = false;
        self.outages.push(Refused { outage: outage.clone(), kept: BTreeMap::new() });
        self.agenda.after(lasts, Action::EndOutage(outage.clone()));
    }

    /// It works again.
    pub fn end_outage(&mut self, outage: &Outage) {
        let before = self.outages.len();
        self.outages.retain(|refused| refused.outage != *outage);
        if self.outages.len() < before {
            self.trace.say(&format!("no longer refused: {outage:?}"));
        }
    }

    fn says(&self, object: &Value, outage: &Outage) -> bool {
        let said: Vec<&Value> = object["status"]["conditions"].as_array().into_iter().flatten().collect();
        let word = outage.message.split_whitespace().next().unwrap_or_default();
        let in_words = said.iter().any(|c| c["message"].as_str().is_some_and(|message| message.contains(word)));
        let failing = condition(object, "PodsFailing").is_some_and(|c| c["status"] == "True");
        in_words || failing || self.contract.events.has(uid_of(object), "Stalled")
    }

    /// A node stops to answer, and is noticed to a moment later.
    pub fn lose_node(&mut self, node: &str, lasts: Duration) {
        if !self.away.insert(node.to_owned()) {
            return;
        }
        self.contract.facts.is_orderly = false;
        self.fault(&format!("{node} does not answer for {lasts:?}"));
        let noticed = self.delay(100, 5_000);
        self.agenda.after(noticed, Action::NodeUnready(node.to_owned()));
        self.agenda.after(lasts, Action::NodeBack(node.to_owned()));
    }

    /// The node controller calls the pods of a node that is away unready.
    pub fn notice_lost_node(&mut self, node: &str) {
        if !self.away.contains(node) {
            return;
        }
        self.live.cut();
        let now = json!(crate::store::seconds(self.store.time()));
        for id in self.pods_on(node) {
            drop(self.store.modify(&id, Part::Status, Actor::Controllers, |pod| {
                if pod["status"]["conditions"][0]["status"] == "True" {
                    let unready = json!({ "type": "Ready", "status": "False", "lastTransitionTime": now });
                    pod["status"]["conditions"] = json!([unready]);
                }
            }));
        }
    }

    pub fn find_node(&mut self, node: &str) {
        if !self.away.remove(node) {
            return;
        }
        self.trace.say(&format!("{node} answers again"));
        for id in self.pods_on(node) {
            let uid = self.store.get(&id).map(|pod| uid_of(pod).to_owned()).unwrap_or_default();
            self.soon((50, 2_000), Action::Kubelet(PodEvent::ReadyAgain, uid));
        }
    }

    /// Whether the node of a pod does not answer.
    pub fn is_away(&self, pod: &Value) -> bool {
        pod["spec"]["nodeName"].as_str().is_some_and(|node| self.away.contains(node))
    }

    fn pods_on(&self, node: &str) -> Vec<Id> {
        self.store.of(Kind::Pod).filter(|(_, pod)| pod["spec"]["nodeName"] == node).map(|(id, _)| id.clone()).collect()
    }
}

/// The object that a call is made for.
fn kept_by(call: &Call, store: &Store) -> Option<Id> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    match (call.verb, call.kind?) {
        (Verb::Create, Kind::Pod) => {
            let pool = body["metadata"]["ownerReferences"][0]["name"].as_str()?;
            Some(Id::new(Kind::WarmPool, NS, pool))
        }
        (Verb::Patch, Kind::Pod) => {
            let owner = body.as_array()?.iter().find(|op| op["path"] == "/metadata/ownerReferences")?;
            Some(Id::new(Kind::Sandbox, NS, owner["value"][0]["name"].as_str()?))
        }
        (Verb::Delete, Kind::Pod) => {
            let owner = match controller(store.get(&call.id()?)?)? {
                ("WarmPool", uid) => store.by_uid(Kind::WarmPool, uid),
                (_, uid) => store.by_uid(Kind::Sandbox, uid),
            };
            owner.map(|(id, _)| id.clone())
        }
        (Verb::Delete, Kind::Sandbox | Kind::Task) => call.id(),
        (Verb::List, Kind::Task) => {
            Some(Id::new(Kind::Sandbox, NS, call.asked("fieldSelector").strip_prefix("spec.sandboxRef=")?))
        }
        _ => None,
    }
}
