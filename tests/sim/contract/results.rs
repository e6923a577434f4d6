//! Results of Tasks, held against what happened in the pods.

use std::time::Duration;

use arl_crds::labels;
use arl_operator::runs::{RunEnd, StepEnd};
use serde_json::Value;

use super::{Facts, Ledger, Rule, is_alive, is_finished, reason_of, runs, setups::set_up_by, time, times};
use crate::{
    agent::{AgentRun, Agents},
    kind::{Id, Kind},
    store::{Entry, Store, controller, is_deleting, set, uid_of},
};

/// At a timeout everything is gone within 5 s, and a silent agent is given up not long after.
const OVER: Duration = Duration::from_secs(20);

pub fn check(entry: &Entry, store: &Store, agents: &Agents, facts: &Facts, ledger: &mut Ledger) {
    let (Kind::Task, Some(was), Some(task)) = (entry.id.kind, entry.before.as_deref(), entry.after.as_deref()) else {
        return;
    };
    if is_finished(was) {
        return ledger.test(Rule::ResultStays, report(was) == report(task), || {
            format!("{} had ended and was changed: {} -> {}", entry.id, was["status"], task["status"])
        });
    }
    if !entry.by.is_operator() || was["status"] == task["status"] {
        return;
    }
    let (id, status) = (&entry.id, &task["status"]);
    on_record(id, was, status, ledger);
    if was["status"]["state"] != "Running" && status["state"] == "Running" {
        in_order(id, task, store, facts, ledger);
    }
    if !is_finished(task) {
        return;
    }
    steps(id, task, ledger);
    conditions(id, task, ledger);
    let (failed, blame) = (status["state"] == "Failed", &status["blame"]);
    let whose = match reason_of(task) {
        "StepFailed" | "TimedOut" => Some("Task"),
        "Cancelled" | "SandboxDeleted" | "SandboxReleased" | "InvalidSpec" => Some("Usage"),
        _ => None,
    };
    let is_true = failed == blame.is_string() && whose.is_none_or(|whose| blame == whose);
    ledger.test(Rule::FailureHasBlame, is_true, || format!("{id} blames {blame}: {status}"));
    if facts.is_plain() {
        is_shown(id, (was, task), agents.runs_of(uid_of(task)).last(), (store, facts), ledger);
    }
    let run = agents.runs_of(uid_of(task)).map(|(_, run)| run).last();
    as_in_the_pod(id, task, run, facts, ledger);
    if !facts.clock_jumped {
        times::check(id, task, run, facts, ledger);
    }
    reason(entry, (was, task), store, agents, facts, ledger);
}

fn on_record(id: &Id, was: &Value, status: &Value, ledger: &mut Ledger) {
    if status["state"].is_null() {
        return;
    }
    let recorded = |status: &Value| status["sandboxUID"].as_str().map(str::to_owned);
    let stays = was["status"]["startedAt"].is_null() || recorded(&was["status"]) == recorded(status);
    // Of a Sandbox that went before anything was written, nobody knows any more which it was.
    let went = super::condition_of(status, "Finished").is_some_and(|c| c["reason"] == "SandboxDeleted");
    let is_there = status["startedAt"].is_null() || went || recorded(status).is_some();
    ledger.test(Rule::SandboxOnRecord, stays && is_there, || format!("{id}: {} -> {status}", was["status"]));
}

/// Tasks of a Sandbox run one at a time, in order.
fn in_order(id: &Id, task: &Value, store: &Store, facts: &Facts, ledger: &mut Ledger) {
    // That of a setup comes before all others, and none of them has begun.
    let is_setup = set_up_by(task).is_some();
    let mine = super::arrival(task);
    let first = store.of(Kind::Task).find(|(other, found)| {
        *other != id
            && other.namespace == id.namespace
            && found["spec"]["sandboxRef"] == task["spec"]["sandboxRef"]
            && !is_finished(found)
            // When an object came that was changed before its arrival was on record, a process that starts then cannot know.
            && !facts.touched.contains(uid_of(found))
            && (found["status"]["state"] == "Running" || !is_setup && super::arrival(found) < mine)
    });
    ledger.test(Rule::TasksInOrder, first.is_none(), || {
        format!("{id} starts although {first:?} comes first and has not ended")
    });
}

fn steps(id: &Id, task: &Value, ledger: &mut Ledger) {
    let (status, specs) = (&task["status"], task["spec"]["steps"].as_array().cloned().unwrap_or_default());
    let said = status["steps"].as_array().cloned().unwrap_or_default();
    let seen: Vec<&str> = said.iter().filter_map(|step| step["state"].as_str()).collect();
    let named = said.iter().map(|s| &s["name"]).eq(specs.iter().map(|s| &s["name"]));
    let after: Vec<&&str> = seen.iter().skip_while(|state| **state == "Succeeded").collect();
    let in_order = match after.split_first() {
        None => status["state"] == "Succeeded" || OUTSIDE.contains(&reason_of(task)),
        // Where nothing is known of the run, any of its steps may have been the last.
        Some(_) if said.iter().all(|step| step.get("startedAt").is_none() && step["state"] == "Failed") => true,
        Some((first, rest)) => {
            matches!(**first, "Failed" | "Skipped")
                && rest.iter().all(|s| **s == "Skipped")
                && status["state"] == "Failed"
        }
    };
    let codes = said.iter().all(|step| step["state"] != "Skipped" || step.get("exitCode").is_none());
    ledger.test(Rule::StepsStopAtFailure, named && in_order && codes, || format!("{id}: {status}"));
    let mut commands = said.iter().zip(&specs).filter(|(_, spec)| spec["type"] == "Command");
    if let Some((last, _)) = commands.rfind(|(step, _)| step.get("startedAt").is_some()) {
        let same = ["exitCode", "stdout", "stderr"].iter().all(|field| status.get(field) == last.get(field));
        ledger.test(Rule::TopIsLastCommand, same, || format!("{id}: {status}"));
    }
}

/// What was on record of a run when its end was written.
fn is_shown(
    id: &Id,
    (was, task): (&Value, &Value),
    run: Option<(&crate::agent::RunId, &AgentRun)>,
    (store, facts): (&Store, &Facts),
    ledger: &mut Ledger,
) {
    let Some(((pod, _), run)) = run.filter(|_| ["StepFailed", "Succeeded", "TimedOut"].contains(&reason_of(task)))
    else {
        return;
    };
    let moment = jiff::SignedDuration::try_from(facts.stale + Duration::from_secs(3)).unwrap_or_default();
    let lasted = |since: jiff::Timestamp| store.time().duration_since(since) > moment;
    // What it was at when it ended, unless the end itself was noticed late.
    let Some(ended) = run.done.last().and_then(|step| step.ended_at).filter(|at| !lasted(*at)) else { return };
    if ended.duration_since(run.started_at) < moment {
        return;
    }
    let sandbox = store.by_uid(Kind::Sandbox, task["status"]["sandboxUID"].as_str().unwrap_or_default());
    let bound = sandbox.filter(|(_, s)| !is_deleting(s) && s["status"]["podUID"] == pod.as_str());
    let bound = bound.filter(|_| set_up_by(task).is_none());
    let bound = bound.is_none_or(|(_, s)| ["Bound", "Released"].iter().any(|phase| s["status"]["phase"] == *phase));
    let is_running = was["status"]["state"] == "Running";
    let last = run.done.last().filter(|step| ended.duration_since(step.started_at) > moment);
    let step = last.and(run.steps.get(run.done.len() - 1)).is_none_or(|step| was["status"]["step"] == *step.name);
    ledger.test(Rule::RunningIsShown, is_running && bound && step, || {
        format!("{id} ran for a while, and this was on record: {} and {sandbox:?}", was["status"])
    });
}

fn conditions(id: &Id, task: &Value, ledger: &mut Ledger) {
    let of = |type_: &str| super::condition(task, type_).cloned().unwrap_or_default();
    let (finished, succeeded) = (of("Finished"), of("Succeeded"));
    let wanted = if task["status"]["state"] == "Succeeded" { "True" } else { "False" };
    let fits =
        finished["status"] == "True" && succeeded["status"] == wanted && finished["reason"] == succeeded["reason"];
    let says = (finished["reason"] == "Succeeded") == (wanted == "True");
    ledger.test(Rule::ConditionsFollowState, fits && says, || format!("{id}: {}", task["status"]));
}

/// Ends that come from outside of the run: whatever it came to, they may be what is said.
const OUTSIDE: [&str; 6] = ["PodLost", "ContainerRestarted", "OOMKilled", "SandboxDeleted", "Cancelled", "Interrupted"];

fn as_in_the_pod(id: &Id, task: &Value, run: Option<&AgentRun>, facts: &Facts, ledger: &mut Ledger) {
    let (status, reason) = (&task["status"], reason_of(task));
    let wanted = run.and_then(|run| {
        let last = run.done.last().and_then(|step| step.end.clone());
        Some(match run.end.as_ref()? {
            RunEnd::TimedOut => "TimedOut",
            RunEnd::Completed
                if last.as_ref().is_some_and(StepEnd::is_success) && run.done.len() == run.steps.len() =>
            {
                "Succeeded"
            }
            RunEnd::Completed => "StepFailed",
            _ => return None,
        })
    });
    let fits = match wanted {
        // What an agent was asked to start by an operator that died before it was on record, its pod alone knew.
        Some(_) if reason == "SandboxReleased" => status.get("startedAt").is_none(),
        Some(wanted) => reason == wanted || OUTSIDE.contains(&reason),
        None => !["Succeeded", "StepFailed", "TimedOut"].contains(&reason),
    };
    // Of plain exec a broken stream loses what happened.
    let is_known = !facts.is_alone() || fits;
    let run_words = || format!("{id} says {reason}: {status}; {run:?}");
    ledger.test(Rule::ResultIsTheRuns, if reason == "Succeeded" { fits } else { is_known }, run_words);
    if reason == "TimedOut" || wanted == Some("TimedOut") {
        let timeout =
            arl_crds::duration::parse(task["spec"]["timeout"].as_str().unwrap_or_default()).unwrap_or_default();
        let took =
            time(&status["startedAt"]).zip(time(&status["completedAt"])).map(|(from, to)| to.duration_since(from));
        let took = took.and_then(|took| Duration::try_from(took).ok());
        let orderly = facts.is_orderly && facts.is_alone();
        let at_timeout =
            took.is_some_and(|took| took >= timeout && took < timeout + OVER) || facts.clock_jumped || !orderly;
        let at_timeout = at_timeout || reason != "TimedOut";
        ledger.test(Rule::TimedOutAtTimeout, fits && at_timeout, || format!("{id} of {timeout:?}: {status}"));
    }
    let Some(run) = run else { return };
    for (said, did) in status["steps"].as_array().into_iter().flatten().zip(&run.done) {
        if let Some(StepEnd::Exited(code)) = did.end
            && (said.get("exitCode").is_some() || ["Succeeded", "StepFailed"].contains(&reason))
        {
            let same = said["exitCode"] == code && (code == 0) == (said["state"] == "Succeeded");
            let same = same && said["stdout"] == "out" && said["stderr"] == "" && said["startedAt"].is_string();
            ledger.test(Rule::ResultIsTheRuns, same, || format!("{id} says {said}, and it was {did:?}"));
        }
    }
}

/// Whether the reason of an end is so.
fn reason(
    entry: &Entry,
    (was, task): (&Value, &Value),
    store: &Store,
    agents: &Agents,
    facts: &Facts,
    ledger: &mut Ledger,
) {
    let id = &entry.id;
    let run = agents.runs_of(uid_of(task)).next();
    let name = task["spec"]["sandboxRef"].as_str().unwrap_or_default();
    let named = store.get(&Id::new(Kind::Sandbox, &id.namespace, name));
    let recorded = task["status"]["sandboxUID"].as_str().unwrap_or_default();
    let sandbox = named.filter(|s| uid_of(s) == recorded);
    let pod = sandbox.and_then(|s| store.by_uid(Kind::Pod, s["status"]["podUID"].as_str()?)).map(|(_, pod)| pod);
    let pod = pod.filter(|pod| sandbox.is_some_and(|s| controller(pod) == Some(("Sandbox", uid_of(s)))));
    let restarted = pod.is_none_or(|pod| {
        let executor = &pod["status"]["containerStatuses"][0];
        executor["restartCount"].as_i64() > Some(0) || executor["state"].get("terminated").is_some()
    });
    let has_agent = pod.is_some_and(|pod| pod["metadata"]["annotations"].get(labels::AGENT).is_some());
    let reason = reason_of(task);
    // It may have run in the pod of a Sandbox of the same name before this one.
    let is_gone = |pod: &str| !store.by_uid(Kind::Pod, pod).is_some_and(|(_, pod)| is_alive(pod));
    let ran_elsewhere = agents.runs_of(uid_of(task)).any(|((pod, _), _)| is_gone(pod));
    let is_true = match reason {
        "Cancelled" => task["spec"]["cancel"] == true || is_deleting(task),
        "SandboxDeleted" => sandbox.is_none_or(|s| is_deleting(s)),
        "SandboxReleased" => sandbox.is_none_or(|s| s["status"]["phase"] == "Released"),
        "PodLost" => !pod.is_some_and(|pod| is_alive(pod)) || ran_elsewhere,
        // Of what an agent was never asked to start, nothing can have been lost with its container.
        "ContainerRestarted" | "OOMKilled" => (restarted && (run.is_some() || !has_agent)) || !facts.is_alone(),
        // Where there is an agent, whatever happened to the operator can be found out, but not why one that died had a run ended.
        "Interrupted" => {
            let is_lost = |run: &AgentRun| matches!(run.end, Some(RunEnd::Lost(_) | RunEnd::Cancelled));
            let known = |run: &AgentRun| !(run.is_exec() || restarted || is_lost(run) && facts.processes > 1);
            !run.is_some_and(|(_, run)| known(run)) || ran_elsewhere || facts.operators > 1
        }
        _ => true,
    };
    ledger.test(Rule::ReasonIsTrue, is_true, || format!("{id} says {reason}: {}", task["status"]));
    // What a process that died had started, and had not put on record yet, is found and ended a moment later.
    let is_known = facts.is_alone() || was["status"].get("startedAt").is_some();
    if run.is_some() && is_known && ["Cancelled", "TimedOut", "StepFailed", "Succeeded"].contains(&reason) {
        let left = runs::goes_on(uid_of(task), store, agents);
        ledger.test(Rule::EndAfterTree, left.is_none(), || format!("{id} says {reason}, and runs in {left:?}"));
    }
}

/// What a Task says came of it. That it cannot be deleted for its ttl may be said later, and which spec it has seen.
fn report(task: &Value) -> Value {
    let mut status = task["status"].clone();
    set(&mut status, "observedGeneration", None);
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != arl_crds::condition::STALLED);
        for condition in conditions {
            set(condition, "observedGeneration", None);
        }
    }
    status
}
