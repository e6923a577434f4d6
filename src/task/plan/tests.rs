use std::sync::Arc;

use arl_crds::{
    Sandbox, StepState, Task, TaskState, TaskStatus, condition::Truth, labels, reason::EventReason, setup_task,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{SandboxRow, TaskRow},
    object::Uid,
    pod::Target,
    runs::StepRun,
    task::report,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_000_000_000 + millis).unwrap()
}

fn task(spec: &Value, status: &Value) -> Arc<TaskRow> {
    let steps = json!([{ "name": "a", "type": "Command", "command": ["true"] }]);
    let mut full = json!({ "sandboxRef": "s", "steps": steps });
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task",
        "metadata": { "name": "t", "namespace": "ns", "uid": "task", "resourceVersion": "3" },
        "spec": full, "status": status,
    });
    Arc::new(TaskRow::new(serde_json::from_value::<Task>(object).unwrap()))
}

fn sandbox(phase: &str) -> Arc<SandboxRow> {
    let object = json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox",
        "metadata": { "name": "s", "namespace": "ns", "uid": "sandbox", "resourceVersion": "3" },
        "spec": { "poolRef": "pool" },
        "status": { "phase": phase, "podName": "p", "podUID": "pod" },
    });
    Arc::new(SandboxRow::new(serde_json::from_value::<Sandbox>(object).unwrap()))
}

fn pod(container: &Value) -> Arc<Pod> {
    let object = json!({
        "metadata": {
            "name": "p", "namespace": "ns", "uid": "pod", "labels": { labels::WARMPOOL: "pool", labels::POD_STATE: "allocated" },
        },
        "spec": { "containers": [{ "name": "executor" }] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [container] },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn container(id: &str) -> Value {
    json!({ "name": "executor", "containerID": id, "state": { "running": {} } })
}

fn fresh(spec: &Value) -> Observed {
    Observed {
        row: task(spec, &json!({})),
        sandbox: Some(sandbox("Ready")),
        pod: Some(pod(&container("c1"))),
        behind: None,
        run: None,
        finished_ttl: None,
        run_pod: Some(pod(&container("c1"))),
        given_away: None,
        sandbox_is_unread: false,
        sandbox_is_gone: false,
        awaits_claim: false,
    }
}

fn running(run: impl Into<Option<RunView>>) -> Observed {
    let status =
        json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox", "containerID": "c1" });
    Observed { row: task(&json!({}), &status), run: run.into(), ..fresh(&json!({})) }
}

fn in_flight() -> RunView {
    let mode = ExecutorMode::Agent;
    let target = pod(&container("c1")).target().map(|target| Target { mode, ..target }).unwrap();
    RunView {
        target,
        begun_at: at(0),
        started_at: Some(at(0)),
        obstacle: None,
        steps: 1,
        step_started_at: Some(at(0)),
        last_step: None,
        ended: None,
    }
}

fn over(end: RunEnd, last_step: Option<StepEnd>) -> RunView {
    RunView { last_step, ended: Some(Ended { end, left: Leftovers::None, at: at(1000) }), ..in_flight() }
}

fn by_exec(run: RunView) -> RunView {
    RunView { target: Target { mode: ExecutorMode::Exec, ..run.target }, ..run }
}

fn reason(observed: &Observed, now: Timestamp) -> Option<TaskReason> {
    match plan(observed, now).decision {
        Decision::Finish(verdict) => Some(verdict.reason),
        _ => None,
    }
}

#[test]
fn many_variables_of_a_sandbox_count_as_what_a_task_carries() {
    let carried = |length: usize| {
        let mut object = (*sandbox("Ready").sandbox).clone();
        object.spec.env = [("A".to_owned(), "x".repeat(length))].into();
        Observed { sandbox: Some(Arc::new(SandboxRow::new(object))), ..fresh(&json!({})) }.carried()
    };
    assert_eq!((fresh(&json!({})).carried(), carried(4095), carried(4096)), (0, 0, 4097));
}

#[test]
fn a_task_waits_with_a_reason_and_starts_when_it_is_its_turn() {
    let waits = |observed: &Observed| match plan(observed, at(0)).decision {
        Decision::Wait(reason) => Some(reason),
        _ => None,
    };
    let spec = json!({});
    assert_eq!(waits(&Observed { sandbox: None, pod: None, ..fresh(&spec) }), Some(TaskReason::SandboxNotFound));
    let unread = Observed { sandbox: None, pod: None, sandbox_is_unread: true, ..fresh(&spec) };
    assert_eq!(waits(&unread), Some(TaskReason::SandboxNotReady), "it is there");
    assert_eq!(waits(&Observed { pod: None, ..fresh(&spec) }), Some(TaskReason::SandboxNotReady));
    assert_eq!(waits(&Observed { behind: Some("first".into()), ..fresh(&spec) }), Some(TaskReason::Queued));
    let starting = json!({ "name": "executor", "state": { "waiting": { "reason": "x" } } });
    assert_eq!(waits(&Observed { pod: Some(pod(&starting)), ..fresh(&spec) }), Some(TaskReason::SandboxNotReady));
    let Decision::Start(target) = plan(&fresh(&spec), at(0)).decision else { panic!("not started") };
    assert_eq!((target.container.as_str(), target.container_id.as_str()), ("executor", "c1"));
}

#[test]
fn what_cannot_run_ends_before_anything_runs() {
    assert_eq!(reason(&fresh(&json!({ "cancel": true })), at(0)), Some(TaskReason::Cancelled));
    assert_eq!(reason(&fresh(&json!({ "timeout": "1d" })), at(0)), Some(TaskReason::InvalidSpec));
    let released = Observed { sandbox: Some(sandbox("Released")), ..fresh(&json!({})) };
    assert_eq!(reason(&released, at(0)), Some(TaskReason::SandboxReleased));
    let status = json!({ "state": "Pending", "sandboxUID": "an earlier sandbox", "arrival": 2 });
    let orphan = Observed { row: task(&json!({}), &status), ..fresh(&json!({})) };
    assert_eq!(reason(&orphan, at(0)), Some(TaskReason::SandboxDeleted));
}

#[test]
fn a_task_that_came_after_its_sandbox_was_made_anew_is_of_the_new_one() {
    let recorded = |uid: &str, arrival: i64| {
        let status = json!({ "state": "Pending", "sandboxUID": uid, "arrival": arrival });
        Observed { row: task(&json!({}), &status), ..fresh(&json!({})) }
    };
    let starts = |observed: &Observed| matches!(plan(observed, at(0)).decision, Decision::Start(_));
    assert!(starts(&recorded("another", 4)), "an old cache named the other one");
    assert_eq!(recorded("another", 4).sandbox_uid(), Some(Uid("sandbox".into())));
    assert_eq!(reason(&recorded("another", 2), at(0)), Some(TaskReason::SandboxDeleted), "it came before");
    let gone = Observed { sandbox: None, pod: None, ..recorded("another", 4) };
    assert!(gone.is_in_doubt(), "the new one may not be in the cache yet");
    assert_eq!(reason(&gone, at(0)), Some(TaskReason::SandboxDeleted));
    let mut found = Observed { sandbox: None, pod: None, ..recorded("another", 4) };
    found.confirm_sandbox(Some(SandboxRow::new(Arc::unwrap_or_clone(sandbox("Ready").sandbox.clone()))));
    assert_eq!(reason(&found, at(0)), None, "it waits for the new one's pod");
    let status = json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "another", "arrival": 4 });
    let started = Observed { row: task(&json!({}), &status), pod: None, ..fresh(&json!({})) };
    assert_eq!(reason(&started, at(0)), Some(TaskReason::SandboxDeleted), "it was started in the other one");
}

#[test]
fn what_may_have_started_is_never_started_again() {
    assert_eq!(reason(&running(None), at(0)), Some(TaskReason::Interrupted));
    assert_eq!(plan(&running(in_flight()), at(0)).decision, Decision::Rest);
}

#[test]
fn what_was_started_is_followed_where_the_pod_has_the_agent() {
    let with_agent = |container: &Value| {
        let mut pod = (*pod(container)).clone();
        pod.metadata.annotations = Some([(labels::AGENT.to_owned(), "1".to_owned())].into());
        Observed { pod: Some(Arc::new(pod)), ..running(None) }
    };
    for id in ["c1", "c2"] {
        assert!(matches!(plan(&with_agent(&container(id)), at(0)).decision, Decision::Start(_)), "{id}");
    }
    let stopped =
        json!({ "name": "executor", "state": { "waiting": {} }, "lastState": { "terminated": { "reason": "Error" } } });
    assert_eq!(reason(&with_agent(&stopped), at(0)), Some(TaskReason::ContainerRestarted));
    assert_eq!(reason(&Observed { pod: None, ..running(None) }, at(0)), Some(TaskReason::PodLost));

    // Of one that was put on record without its container, and whose container is not there yet, nothing is known.
    let status = json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox" });
    let waiting = json!({ "name": "executor", "state": { "waiting": {} } });
    let unknown = |observed| Observed { row: task(&json!({}), &status), ..observed };
    assert_eq!(plan(&unknown(with_agent(&waiting)), at(0)), Plan::from(Decision::Rest), "the agent knows");
    let without_agent = Observed { pod: Some(pod(&waiting)), ..running(None) };
    assert_eq!(reason(&unknown(without_agent), at(0)), Some(TaskReason::Interrupted));
}

#[test]
fn a_task_is_shown_to_run_once_it_is_not_short() {
    let unrecorded = |run| Observed { run: Some(run), ..fresh(&json!({})) };
    let early = plan(&unrecorded(in_flight()), at(99));
    assert_eq!((early.decision, early.look_again), (Decision::Rest, Some(at(100))));
    assert_eq!(plan(&unrecorded(in_flight()), at(100)).decision, Decision::Record);
    let unreached = RunView { started_at: None, steps: 0, step_started_at: None, ..in_flight() };
    assert_eq!(plan(&unrecorded(unreached.clone()), at(1999)).decision, Decision::Rest);
    let hindered = RunView { obstacle: Some(("no stream".into(), at(0))), ..unreached };
    assert_eq!(plan(&unrecorded(hindered.clone()), at(9000)).decision, Decision::Wait(TaskReason::SandboxNotReady));
    assert_eq!(plan(&running(Some(hindered)), at(9000)).decision, Decision::Rest, "it is on record as running");
}

#[test]
fn a_task_whose_stream_is_not_open_soon_says_so_once() {
    let begins = plan(&fresh(&json!({})), at(0));
    assert!(matches!(begins.decision, Decision::Start(_)));
    assert_eq!(begins.look_again, Some(at(2000)), "nothing else would wake it");
    let opening = RunView { started_at: None, steps: 0, step_started_at: None, ..in_flight() };
    let of = |run: &RunView, recorded: &Value| Observed {
        row: task(&json!({}), recorded),
        run: Some(run.clone()),
        ..fresh(&json!({}))
    };
    let early = plan(&of(&opening, &Value::Null), at(1999));
    assert_eq!(early, Plan { decision: Decision::Rest, look_again: Some(at(2000)) }, "it costs no write");
    let waits = Plan::from(Decision::Wait(TaskReason::SandboxNotReady));
    assert_eq!(plan(&of(&opening, &Value::Null), at(2000)), waits);
    let said = |recorded: &Value, now| status::waiting(&of(&opening, recorded), TaskReason::SandboxNotReady, now);
    let shown = said(&Value::Null, at(2000));
    assert!(shown.conditions[0].message.contains("the agent in pod p has not answered yet"), "{shown:?}");
    let recorded = serde_json::to_value(&shown).unwrap();
    assert_eq!(said(&recorded, at(9000)), shown, "one write");
    assert_eq!((shown.state, shown.started_at), (Some(TaskState::Pending), None), "its timeout has not begun");
}

#[test]
fn a_run_whose_pod_cannot_be_reached_goes_on_and_says_so() {
    let unheard = RunView { obstacle: Some(("no stream".into(), at(0))), ..in_flight() };
    let seen = |run: RunView, spec: &Value, message: &str| {
        let condition = |type_: &str| json!({ "type": type_, "status": "False", "reason": "Running", "message": message, "lastTransitionTime": at(0).to_string() });
        let status = json!({
            "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox", "containerID": "c1", "step": "a",
            "conditions": [condition("Finished"), condition("Succeeded")],
        });
        Observed { row: task(spec, &status), ..running(run) }
    };
    let place = "running in container executor of pod p";
    let observed = seen(unheard.clone(), &json!({}), place);
    let early = plan(&observed, at(9_999));
    assert_eq!((early.decision, early.look_again), (Decision::Rest, Some(at(10_000))));
    assert_eq!(plan(&observed, at(10_000)).decision, Decision::Record);
    let shown = status::in_progress(&observed, &unheard.target, &[], at(10_000)).conditions[0].message.clone();
    assert!(shown.contains("no stream") && shown.contains("its result counts when"), "{shown}");

    let told = plan(&seen(unheard.clone(), &json!({}), &shown), at(10_000));
    assert_eq!(told, Plan::from(Decision::Rest), "there is nothing more to say");
    let hour = at(3_600_000);
    assert_eq!(plan(&seen(unheard.clone(), &json!({}), &shown), hour).decision, Decision::Rest, "however long");
    assert_eq!(plan(&seen(in_flight(), &json!({}), &shown), hour).decision, Decision::Record, "it is heard of again");

    let cancel = json!({ "cancel": true });
    let asked = plan(&seen(unheard.clone(), &cancel, place), at(1_000));
    assert_eq!((asked.decision, asked.look_again), (Decision::Ask(RunControl::Cancel), Some(at(10_000))));
    let observed = seen(unheard.clone(), &cancel, place);
    assert_eq!(plan(&observed, at(10_000)).decision, Decision::Record);
    let shown = status::in_progress(&observed, &unheard.target, &[], at(10_000)).conditions[0].message.clone();
    assert!(shown.contains("it is ended when"), "{shown}");
}

#[test]
fn a_later_step_is_shown_once_it_is_not_short() {
    let step = |name: &str| json!({ "name": name, "type": "Command", "command": ["true"] });
    let status = json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox", "step": "a", "containerID": "c1" });
    let row = task(&json!({ "steps": [step("a"), step("b")] }), &status);
    let second = RunView { steps: 2, step_started_at: Some(at(500)), ..in_flight() };
    let observed = Observed { row, run: Some(second), ..fresh(&json!({})) };
    let early = plan(&observed, at(1499));
    assert_eq!((early.decision, early.look_again), (Decision::Rest, Some(at(1500))));
    assert_eq!(plan(&observed, at(1500)).decision, Decision::Record);
}

#[test]
fn a_pod_with_processes_that_cannot_be_ended_is_given_up() {
    let left = |left: Leftovers| {
        let mut run = over(RunEnd::TimedOut, None);
        run.ended.as_mut().unwrap().left = left;
        match plan(&running(run), at(1000)).decision {
            Decision::Finish(verdict) => verdict,
            other => panic!("{other:?}"),
        }
    };
    assert!(!left(Leftovers::None).gives_up_pod && !left(Leftovers::Unknown).gives_up_pod);
    let survived = left(Leftovers::Survivors("12 (sudo)".into()));
    assert!(survived.gives_up_pod && survived.message.contains("12 (sudo)"), "{survived:?}");
}

#[test]
fn a_run_ends_as_its_last_step_says() {
    for (end, expected) in [
        (StepEnd::Exited(0), TaskReason::Succeeded),
        (StepEnd::Written, TaskReason::Succeeded),
        (StepEnd::Exited(3), TaskReason::StepFailed),
        (StepEnd::NotWritten("full".into()), TaskReason::StepFailed),
        (StepEnd::StartError("no".into()), TaskReason::StartError),
        (StepEnd::NotExecutable { code: 127, message: "no".into() }, TaskReason::StepFailed),
        (StepEnd::OutOfMemory(KILLED), TaskReason::OOMKilled),
        (StepEnd::OutOfMemory(1), TaskReason::OOMKilled),
        (StepEnd::Exited(KILLED), TaskReason::StepFailed),
    ] {
        assert_eq!(reason(&running(over(RunEnd::Completed, Some(end.clone()))), at(1000)), Some(expected), "{end:?}");
    }
    assert_eq!(reason(&running(over(RunEnd::TimedOut, None)), at(1000)), Some(TaskReason::TimedOut));
    for (code, killed) in [
        (KILLED, "the command was killed for lack of memory;"),
        (1, "a process of the command was killed for lack of memory, and the command then exited with code 1;"),
    ] {
        let verdict = of_steps(&over(RunEnd::Completed, Some(StepEnd::OutOfMemory(code))));
        assert!(verdict.message.contains(killed), "{}", verdict.message);
    }
}

#[test]
fn a_timeout_names_the_field_that_was_too_short() {
    for (setup_of, field) in [(None, "raise spec.timeout"), (Some("sandbox"), "raise the Sandbox's spec.setup.timeout")]
    {
        let mut observed = running(over(RunEnd::TimedOut, None));
        Arc::get_mut(&mut observed.row).unwrap().setup_of = setup_of.map(|uid| Uid(uid.into()));
        let Decision::Finish(verdict) = plan(&observed, at(1000)).decision else { panic!("not over") };
        assert!(verdict.message.contains(field), "{}", verdict.message);
    }
}

#[test]
fn a_kill_and_a_broken_stream_wait_for_the_kubelet_to_say_more() {
    let killed = || by_exec(over(RunEnd::Completed, Some(StepEnd::Exited(KILLED))));
    let broken = || over(RunEnd::Lost("reset".into()), None);
    for (run, otherwise) in [(killed(), TaskReason::StepFailed), (broken(), TaskReason::Interrupted)] {
        let early = plan(&running(run.clone()), at(1001));
        assert_eq!((early.decision, early.look_again), (Decision::Rest, Some(at(1000) + GRACE)));
        assert_eq!(reason(&running(run.clone()), at(1000) + GRACE), Some(otherwise));
        let restarted = Observed { pod: Some(pod(&container("c2"))), ..running(run.clone()) };
        assert_eq!(reason(&restarted, at(1001)), Some(TaskReason::ContainerRestarted));
        let mut oom = container("c2");
        oom["lastState"] = json!({ "terminated": { "reason": "OOMKilled", "exitCode": 137 } });
        let killed_by_limit = Observed { pod: Some(pod(&oom)), ..running(run.clone()) };
        assert_eq!(reason(&killed_by_limit, at(1001)), Some(TaskReason::OOMKilled));
        assert_eq!(reason(&Observed { pod: None, ..running(run) }, at(1001)), Some(TaskReason::PodLost));
    }
}

#[test]
fn a_result_that_is_in_counts_though_the_pod_goes_afterwards() {
    let done = || over(RunEnd::Completed, Some(StepEnd::Exited(0)));
    assert_eq!(reason(&Observed { pod: None, ..running(done()) }, at(1001)), Some(TaskReason::Succeeded));
}

#[test]
fn a_run_in_flight_ends_when_what_it_needs_is_gone() {
    let gone = Observed { sandbox: None, pod: None, run_pod: None, ..running(in_flight()) };
    assert_eq!(reason(&gone, at(0)), Some(TaskReason::SandboxDeleted));
    let confirmed = Observed { sandbox_is_gone: true, pod: None, run_pod: None, ..running(in_flight()) };
    assert_eq!(reason(&confirmed, at(0)), Some(TaskReason::SandboxDeleted));
    assert_eq!(reason(&Observed { pod: None, ..running(in_flight()) }, at(0)), Some(TaskReason::PodLost));
    let status =
        json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox", "containerID": "c1" });
    let cancelled = Observed { row: task(&json!({ "cancel": true }), &status), ..running(in_flight()) };
    assert_eq!(plan(&cancelled, at(0)).decision, Decision::Ask(RunControl::Cancel), "its processes end first");
    let restarted = Observed { pod: Some(pod(&container("c2"))), ..running(in_flight()) };
    assert_eq!(
        plan(&restarted, at(0)).decision,
        Decision::Ask(RunControl::Settle),
        "what the pod has on record is read first"
    );
    let ended_by_another = running(over(RunEnd::Cancelled, None));
    assert_eq!(plan(&ended_by_another, at(1000)).decision, Decision::Rest, "why comes by the watch");
    assert_eq!(reason(&ended_by_another, at(100_000)), Some(TaskReason::Interrupted));
    assert_eq!(reason(&running(over(RunEnd::NotStarted("no".into()), None)), at(1000)), Some(TaskReason::StartError));
}

#[test]
fn what_a_pod_has_on_record_is_waited_for_until_its_container_is_started_again() {
    let since = at(500);
    let down = || {
        let ended = json!({ "name": "executor", "containerID": "c1", "state": { "terminated": { "reason": "Error", "exitCode": 1 } } });
        // A sidecar has kept it from being ready for longer than is waited.
        let mut before = (*pod(&container("c1"))).clone();
        before.status.conditions.clear();
        let mut then = before.clone();
        then.status.container_statuses = vec![serde_json::from_value(ended).unwrap()];
        let mut then = then.seen_at(since);
        then.succeed(&before.seen_at(at(100)));
        let mut pod = then.clone().seen_at(at(501));
        pod.succeed(&then);
        pod.metadata.annotations = Some([(labels::AGENT.to_owned(), "i".to_owned())].into());
        Some(Arc::new(pod))
    };
    let status =
        json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox", "containerID": "c1" });
    let unfollowed = || Observed { run: None, row: task(&json!({}), &status), pod: down(), ..running(in_flight()) };
    let followed = || Observed { pod: down(), ..running(in_flight()) };
    let until = after(since, COMES_BACK);
    for observed in [unfollowed(), followed()] {
        assert_eq!(plan(&observed, since), Plan { decision: Decision::Rest, look_again: Some(until) });
    }
    assert_eq!(reason(&unfollowed(), until), Some(TaskReason::ContainerRestarted));
    assert_eq!(plan(&followed(), until).decision, Decision::Ask(RunControl::Settle));
    let cancelled = Observed { row: task(&json!({ "cancel": true }), &status), ..followed() };
    assert_eq!(plan(&cancelled, since).decision, Decision::Ask(RunControl::Settle), "nobody wants it any more");
    let mut over = (*down().unwrap()).clone();
    over.spec.restart_policy = "Never".into();
    let over = Observed { pod: Some(Arc::new(over)), ..followed() };
    assert_eq!(plan(&over, since).decision, Decision::Ask(RunControl::Settle), "it never is");
}

#[test]
fn a_task_of_which_nothing_was_sent_begins_again_in_the_next_container() {
    let unsent = |pod| {
        let run = RunView { started_at: None, steps: 0, step_started_at: None, ..over(RunEnd::NotSent, None) };
        Observed { pod, run: Some(run), ..fresh(&json!({})) }
    };
    let waiting =
        json!({ "name": "executor", "containerID": "c1", "state": { "waiting": { "reason": "CrashLoopBackOff" } } });
    for container in [container("c2"), waiting] {
        let again = plan(&unsent(Some(pod(&container))), at(1000));
        assert_eq!(again, Plan { decision: Decision::BeginAgain, look_again: Some(at(1000)) }, "{container}");
    }
    assert_eq!(reason(&unsent(None), at(1000)), Some(TaskReason::PodLost));
    let ended = json!({ "name": "executor", "containerID": "c1", "state": { "terminated": { "exitCode": 0 } } });
    let mut never = (*pod(&ended)).clone();
    never.spec.restart_policy = "Never".into();
    let never = unsent(Some(Arc::new(never)));
    assert_eq!(reason(&never, at(1000)), Some(TaskReason::ContainerRestarted), "there is no next one");
}

#[test]
fn who_ended_a_task_is_told_and_nothing_keeps_one_that_has_ended() {
    let cancelled = json!({ "cancel": true });
    for (observed, why) in [
        (deleting(fresh(&json!({}))), "the Task was deleted"),
        (deleting(fresh(&cancelled)), "spec.cancel was set"),
        (fresh(&cancelled), "spec.cancel was set"),
    ] {
        assert_eq!(crate::task::deletion::why_cancelled(&observed), why);
    }
    let stalled = json!({ "type": "Stalled", "status": "True", "reason": "r", "message": "m",
        "lastTransitionTime": at(0).to_string() });
    let observed = Observed { row: task(&json!({}), &json!({ "conditions": [stalled] })), ..fresh(&json!({})) };
    for (finished, is_kept) in [(Truth::True, false), (Truth::False, true)] {
        let why = (TaskReason::StepFailed, "m");
        let status = status::with_conditions(&observed, TaskStatus::default(), (finished, Truth::False), why, at(0));
        assert_eq!(status.conditions.iter().any(|c| c.type_ == "Stalled"), is_kept, "{finished:?}");
    }
}

#[test]
fn one_output_that_is_cut_is_said_to_be() {
    let done = over(RunEnd::Completed, Some(StepEnd::Exited(0)));
    for (length, truncated) in [(1, None), (1 << 20, Some(true))] {
        for on_stderr in [false, true] {
            let mut run = StepRun { ended_at: Some(at(9)), end: Some(StepEnd::Exited(0)), ..StepRun::new(at(0)) };
            let output = if on_stderr { &mut run.stderr } else { &mut run.stdout };
            output.push(&vec![b'x'; length]);
            let status = report::finished(&running(done.clone()), &of_steps(&done), &[run], at(10));
            assert_eq!((status.truncated, status.steps[0].truncated), (truncated, truncated), "{length} {on_stderr}");
        }
    }
}

#[test]
fn a_finished_task_rests_until_its_ttl() {
    let status = json!({ "state": "Succeeded", "completedAt": at(0).to_string(), "sandboxUID": "sandbox" });
    let finished = |spec: &Value| Observed { row: task(spec, &status), sandbox: None, pod: None, ..fresh(&json!({})) };
    assert_eq!(plan(&finished(&json!({})), at(9_999_999)), Plan::from(Decision::Rest));
    let timed = finished(&json!({ "ttlSecondsAfterFinished": 60 }));
    assert_eq!(plan(&timed, at(0)).look_again, Some(at(60_000)));
    assert_eq!(plan(&timed, at(60_000)).decision, Decision::Expire);
}

#[test]
fn times_that_anybody_wrote_into_a_status_are_no_end_of_the_operator() {
    for (time, ttl) in [(Timestamp::MAX, i32::MAX), (Timestamp::MAX, 1), (at(0), i32::MAX)] {
        let status = json!({ "state": "Succeeded", "completedAt": time.to_string(), "startedAt": time.to_string() });
        let spec = json!({ "ttlSecondsAfterFinished": ttl });
        let seen = Observed { row: task(&spec, &status), finished_ttl: Some(Duration::MAX), ..fresh(&spec) };
        assert_eq!(plan(&seen, at(1)).decision, Decision::Rest, "{time} {ttl}");
        let seen = Observed { row: task(&json!({}), &status), finished_ttl: Some(Duration::MAX), ..fresh(&json!({})) };
        assert_eq!(plan(&seen, at(1)).decision, Decision::Rest, "{time}, by default");
    }
}

#[test]
fn a_pod_that_its_executor_ended_says_so() {
    for (reason, code, expected, message) in [
        ("OOMKilled", 137, TaskReason::OOMKilled, "container executor was killed for lack of memory"),
        ("Error", 3, TaskReason::PodLost, "container executor exited with code 3"),
    ] {
        let ended = json!({ "name": "executor", "state": { "terminated": { "reason": reason, "exitCode": code } } });
        let mut lost = (*pod(&ended)).clone();
        lost.status.phase = "Failed".into();
        lost.spec.restart_policy = "Never".into();
        let observed = Observed { pod: Some(Arc::new(lost.clone())), ..running(in_flight()) };
        let Decision::Finish(verdict) = plan(&observed, at(0)).decision else { panic!("not over") };
        assert_eq!(verdict.reason, expected);
        assert!(verdict.message.contains(message), "{}", verdict.message);

        // Another container keeps the pod alive.
        lost.status.phase = "Running".into();
        let verdict = container_restarted(&Observed { pod: Some(Arc::new(lost)), ..running(in_flight()) }).unwrap();
        assert!(verdict.message.contains("is not started again (restartPolicy Never)"), "{}", verdict.message);
    }
}

#[test]
fn a_container_that_could_not_be_started_again_is_told_by_how_it_ended_and_why_it_was_not() {
    let cannot =
        json!({ "reason": "StartError", "exitCode": 128, "message": "no such file", "containerID": "attempt" });
    let crashed = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } });
    for (reason, code, expected, message) in [
        ("OOMKilled", 137, TaskReason::OOMKilled, "container executor was killed for lack of memory while"),
        ("Error", 3, TaskReason::ContainerRestarted, "container executor exited with code 3 while"),
    ] {
        let end = json!({ "reason": reason, "exitCode": code, "containerID": "c1" });
        let before = pod(&json!({ "name": "executor", "state": { "terminated": end } }));
        let mut after =
            (*pod(&json!({ "name": "executor", "state": crashed, "lastState": { "terminated": cannot } }))).clone();
        after = after.seen_at(at(0));
        after.succeed(&(*before).clone().seen_at(at(0)));
        let verdict = container_restarted(&Observed { pod: Some(Arc::new(after)), ..running(in_flight()) }).unwrap();
        assert_eq!(verdict.reason, expected, "{}", verdict.message);
        let then = "and could not be started again (StartError: no such file): use another Sandbox";
        assert!(verdict.message.contains(message) && verdict.message.contains(then), "{}", verdict.message);
    }
    let waits = pod(
        &json!({ "name": "executor", "state": crashed, "lastState": { "terminated": { "reason": "Error", "exitCode": 3 } } }),
    );
    let verdict = container_restarted(&Observed { pod: Some(waits), ..running(in_flight()) }).unwrap();
    assert!(verdict.message.contains("has not been started again yet"), "{}", verdict.message);
}

#[test]
fn a_container_that_ended_with_its_node_is_nobodys_fault_in_it() {
    for (reason, code, blame, advice) in [
        ("Unknown", 255, Blame::Infrastructure, "see kubectl get nodes"),
        ("ContainerStatusUnknown", 137, Blame::Infrastructure, "see kubectl get nodes"),
        ("Error", 255, Blame::Task, "; see kubectl logs --previous"),
        ("Error", 143, Blame::Task, "; a liveness probe that fails ends it like this"),
    ] {
        let ended = json!({ "name": "executor", "state": { "running": {} }, "containerID": "another",
            "lastState": { "terminated": { "reason": reason, "exitCode": code } } });
        let verdict = container_restarted(&Observed { pod: Some(pod(&ended)), ..running(in_flight()) }).unwrap();
        assert_eq!((verdict.reason, verdict.blame), (TaskReason::ContainerRestarted, Some(blame)), "{reason}");
        assert!(verdict.message.contains(advice), "{}", verdict.message);
    }
}

#[test]
fn a_change_of_the_spec_is_put_on_record_whatever_the_task_is_at() {
    let edited = |spec: &Value, status: &Value| {
        let mut observed = fresh(spec);
        let mut object = (*task(spec, status).task).clone();
        object.metadata.generation = Some(2);
        observed.row = Arc::new(TaskRow::new(object));
        observed
    };
    let finished = |generation: i64| json!({ "state": "Succeeded", "observedGeneration": generation, "completedAt": "1970-01-12T13:46:40.000000Z" });
    let behind = edited(&json!({ "ttlSecondsAfterFinished": 60 }), &finished(1));
    let plan_of = |observed: &Observed, now: i64| plan(observed, at(now));
    assert_eq!(plan_of(&behind, 0).decision, Decision::Acknowledge);
    assert!(plan_of(&behind, 0).look_again.is_some(), "its ttl goes on");
    assert_eq!(plan_of(&behind, 60_000).decision, Decision::Expire);
    assert_eq!(plan_of(&edited(&json!({}), &finished(2)), 0).decision, Decision::Rest);
    let in_progress = |generation: i64| {
        let status = json!({
            "state": "Running", "observedGeneration": generation, "startedAt": at(0).to_string(), "sandboxUID": "sandbox",
            "containerID": "c1", "step": "a",
        });
        plan_of(&Observed { run: Some(in_flight()), ..edited(&json!({}), &status) }, 10).decision
    };
    assert_eq!([in_progress(1), in_progress(2)], [Decision::Record, Decision::Rest]);

    let waiting = json!({ "state": "Pending", "observedGeneration": 1, "conditions": [{
        "type": "Finished", "status": "False", "reason": "Queued", "message": "first", "observedGeneration": 1,
        "lastTransitionTime": "2001-09-09T01:46:40Z",
    }] });
    let mut observed = edited(&json!({}), &waiting);
    observed.sandbox = None;
    let status = super::super::status::waiting(&observed, TaskReason::Queued, at(0));
    assert_eq!((status.observed_generation, status.conditions[0].observed_generation), (Some(2), Some(2)));
    assert_ne!(status.conditions[0].message, "first");
    observed.sandbox = Some(sandbox("Ready"));
    observed.row = {
        let mut object = (*observed.row.task).clone();
        object.status.as_mut().unwrap().sandbox_uid = Some("sandbox".into());
        Arc::new(TaskRow::new(object))
    };
    observed.behind = Some("another".into());
    let status = super::super::status::waiting(&observed, TaskReason::Queued, at(0));
    assert_eq!((status.observed_generation, status.conditions[0].observed_generation), (Some(2), Some(2)));
    assert_eq!(status.conditions[0].message, "first", "who is first is not worth a write");
}

fn deleting(mut observed: Observed) -> Observed {
    let row = Arc::get_mut(&mut observed.row).unwrap();
    Arc::get_mut(&mut row.task).unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    observed
}

fn in_a_sandbox_that_goes(mut observed: Observed) -> Observed {
    let row = Arc::get_mut(observed.sandbox.as_mut().unwrap()).unwrap();
    Arc::get_mut(&mut row.sandbox).unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    observed
}

#[test]
fn a_task_that_is_being_deleted_is_ended_and_never_started() {
    assert_eq!(reason(&deleting(fresh(&json!({}))), at(1)), Some(TaskReason::Cancelled));
    assert_eq!(plan(&deleting(running(in_flight())), at(1)).decision, Decision::Ask(RunControl::Cancel));
    let ended = plan(&deleting(running(over(RunEnd::Cancelled, None))), at(1_500)).decision;
    let Decision::Finish(verdict) = ended else { panic!("{ended:?}") };
    assert_eq!(verdict.message, "the Task was deleted");
}

#[test]
fn what_runs_in_a_sandbox_that_is_being_deleted_is_ended_before_the_task_is() {
    let running = |run: RunView| in_a_sandbox_that_goes(running(run));
    assert_eq!(plan(&running(in_flight()), at(1)).decision, Decision::Ask(RunControl::Cancel));
    assert_eq!(reason(&running(over(RunEnd::Cancelled, None)), at(1_500)), Some(TaskReason::SandboxDeleted));
    let unrecorded = Observed { run: Some(in_flight()), ..in_a_sandbox_that_goes(fresh(&json!({}))) };
    assert_eq!(plan(&unrecorded, at(1)).decision, Decision::Ask(RunControl::Cancel));
    let without_pod = Observed { pod: None, run_pod: None, ..running(in_flight()) };
    assert_eq!(reason(&without_pod, at(1)), Some(TaskReason::SandboxDeleted));
    let without_sandbox = || Observed { pod: None, sandbox: None, ..running(in_flight()) };
    assert_eq!(
        plan(&without_sandbox(), at(1)).decision,
        Decision::Ask(RunControl::Cancel),
        "its pod is not collected yet"
    );
    let mut goes = Pod::clone(&pod(&container("c1")));
    goes.metadata.deletion_timestamp = Some(Time(at(0)));
    let collected = Observed { run_pod: Some(Arc::new(goes)), ..without_sandbox() };
    assert_eq!(reason(&collected, at(1)), Some(TaskReason::SandboxDeleted));
    let unreached = RunView { obstacle: Some(("away".into(), at(1))), ..in_flight() };
    let unreached = Observed { pod: None, sandbox: None, ..running(unreached) };
    assert_eq!(plan(&unreached, at(2)).decision, Decision::Ask(RunControl::Cancel));
    assert_eq!(reason(&unreached, at(60_000)), Some(TaskReason::SandboxDeleted), "it is not waited for without end");
    assert_eq!(plan(&unreached, at(10_000)).decision, Decision::Ask(RunControl::Cancel));
    assert_eq!(reason(&unreached, at(10_001)), Some(TaskReason::SandboxDeleted), "nor longer than is said");
}

#[test]
fn in_a_sandbox_that_is_being_deleted_only_what_an_agent_may_run_is_looked_for() {
    let mut with_agent = Pod::clone(&pod(&container("c1")));
    with_agent.metadata.annotations = Some([(labels::AGENT.to_owned(), "1".to_owned())].into());
    let with_agent = Arc::new(with_agent);
    for (is_started, has_agent, is_looked_for) in
        [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
    {
        let waits = task(&json!({}), &json!({ "state": "Pending", "sandboxUID": "sandbox" }));
        let observed = if is_started { running(None) } else { Observed { row: waits, ..fresh(&json!({})) } };
        let pod = if has_agent { Arc::clone(&with_agent) } else { pod(&container("c1")) };
        let observed = in_a_sandbox_that_goes(Observed { pod: Some(pod), ..observed });
        let decision = plan(&observed, at(1)).decision;
        assert_eq!(matches!(decision, Decision::Start(_)), is_looked_for, "{is_started} {has_agent}: {decision:?}");
    }
}

#[test]
fn why_a_task_waits_is_said_anew_when_the_cause_changes_and_not_when_the_order_does() {
    let waits = |obstacle: Option<&str>, recorded: &Value| {
        let run = obstacle.map(|message| RunView {
            started_at: None,
            obstacle: Some((message.into(), at(0))),
            ..in_flight()
        });
        Observed { row: task(&json!({}), recorded), run, ..fresh(&json!({})) }
    };
    let said = |observed: &Observed, reason| crate::task::status::waiting(observed, reason, at(1));
    let first = said(&waits(None, &Value::Null), TaskReason::SandboxNotReady);
    let recorded = serde_json::to_value(&first).unwrap();
    let cause = said(&waits(Some("the agent cannot be reached: refused"), &recorded), TaskReason::SandboxNotReady);
    assert!(cause.conditions[0].message.contains("the agent cannot be reached"), "{:?}", cause.conditions);
    let recorded = serde_json::to_value(&cause).unwrap();
    let again = said(&waits(Some("the agent cannot be reached: refused"), &recorded), TaskReason::SandboxNotReady);
    assert_eq!(again, cause);
    let behind = |first: &str, recorded: &Value| {
        let queued = Observed { behind: Some(first.into()), ..waits(None, recorded) };
        said(&queued, TaskReason::Queued)
    };
    let queued = behind("a", &Value::Null);
    assert_eq!(behind("b", &serde_json::to_value(&queued).unwrap()), queued);
}

#[test]
fn a_failure_says_whose_fault_it_is_and_what_a_sandbox_can_do_to_itself_is_its_own() {
    let late = at(100_000);
    let ended = |end, step| running(over(end, step));
    let lost = || RunEnd::Lost("the agent was killed".into());
    for (observed, expected) in vec![
        (ended(RunEnd::Completed, Some(StepEnd::Exited(0))), None),
        (ended(RunEnd::Completed, Some(StepEnd::Exited(1))), Some(Blame::Task)),
        (ended(RunEnd::Completed, Some(StepEnd::OutOfMemory(137))), Some(Blame::Task)),
        (ended(RunEnd::TimedOut, None), Some(Blame::Task)),
        (ended(RunEnd::NotStarted("no".into()), None), Some(Blame::Task)),
        (ended(RunEnd::Completed, Some(StepEnd::StartError("E2BIG".into()))), Some(Blame::Task)),
        (ended(RunEnd::Completed, Some(StepEnd::NotDelivered("refused".into()))), Some(Blame::Infrastructure)),
        (ended(lost(), None), Some(Blame::Task)),
        (running(by_exec(over(lost(), None))), Some(Blame::Infrastructure)),
        (running(None), Some(Blame::Infrastructure)),
        (Observed { pod: None, ..running(in_flight()) }, Some(Blame::Infrastructure)),
        (ended(RunEnd::Cancelled, None), Some(Blame::Infrastructure)),
        (fresh(&json!({ "timeout": "1d" })), Some(Blame::Usage)),
        (Observed { sandbox: Some(sandbox("Released")), ..fresh(&json!({})) }, Some(Blame::Usage)),
    ] {
        let Decision::Finish(verdict) = plan(&observed, late).decision else { panic!("not over") };
        assert_eq!(report::finished(&observed, &verdict, &[], late).blame, expected, "{verdict:?}");
    }
}

#[test]
fn a_task_that_waits_says_for_what() {
    let spec = json!({});
    let behind = Observed { behind: Some("first".into()), ..fresh(&spec) };
    let unset = Observed { sandbox: Some(set_up(None)), ..fresh(&spec) };
    let unread = Observed { sandbox_is_unread: true, ..fresh(&spec) };
    for (observed, reason, message) in [
        (&fresh(&spec), TaskReason::SandboxNotFound, "Sandbox s does not exist in this namespace"),
        (&behind, TaskReason::Queued, "Tasks of it that were created earlier come first"),
        (&unset, TaskReason::SandboxNotReady, "Sandbox s is not set up yet"),
        (&unread, TaskReason::SandboxNotReady, "Sandbox s is there, but the operator cannot read it"),
        (&fresh(&spec), TaskReason::SandboxNotReady, "Sandbox s has no ready pod"),
    ] {
        let status = status::waiting(observed, reason, at(0));
        assert!(status.conditions[0].message.contains(message), "{}", status.conditions[0].message);
        assert_eq!((status.state, status.sandbox_uid.as_deref()), (Some(TaskState::Pending), Some("sandbox")));
        assert_eq!((status.arrival, status.step), (Some(3), None));
    }
    let full = status::without_room(&fresh(&spec), at(0)).conditions;
    assert!(full[0].reason == "Queued" && full[0].message.contains("goes when there is room"), "{full:?}");
}

#[test]
fn a_task_that_runs_shows_how_far_it_is() {
    use StepState::{Pending, Running, Succeeded};
    let step = |name: &str| json!({ "name": name, "type": "Command", "command": ["true"] });
    let spec = json!({ "steps": [step("a"), step("b")] });
    let shown = |status: &TaskStatus| {
        let time = |at: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| at.as_ref().map(|at| at.0);
        let steps = status.steps.iter();
        let steps: Vec<_> = steps.map(|s| (s.state, time(&s.started_at), time(&s.completed_at))).collect();
        (status.state, status.step.clone().unwrap_or_default(), time(&status.started_at), steps)
    };
    let target = in_flight().target;
    let status = status::starting(&fresh(&spec), &target, at(5));
    let steps = vec![(Running, None, None), (Pending, None, None)];
    assert_eq!(shown(&status), (Some(TaskState::Running), "a".into(), Some(at(5)), steps));
    assert_eq!(status.container_id.as_deref(), Some("c1"));
    assert_eq!(status.conditions[0].message, "running in container executor of pod p");
    assert_eq!(status::event(&status), None);

    let ended = StepRun { ended_at: Some(at(10)), end: Some(StepEnd::Exited(0)), ..StepRun::new(at(5)) };
    let runs = [ended, StepRun::new(at(10))];
    let observed = Observed { run: Some(in_flight()), ..fresh(&spec) };
    let status = status::in_progress(&observed, &target, &runs, at(20));
    let steps = vec![(Succeeded, Some(at(5)), Some(at(10))), (Running, Some(at(10)), None)];
    assert_eq!(shown(&status), (Some(TaskState::Running), "b".into(), Some(at(0)), steps));
    assert_eq!(status.container_id.as_deref(), Some("c1"), "of its run");

    let recorded = |recorded: &Value, runs: &[StepRun]| {
        let observed = Observed { row: task(&spec, recorded), run: Some(in_flight()), ..fresh(&spec) };
        let status = status::in_progress(&observed, &target, runs, at(20));
        (status.state, status.step.unwrap_or_default())
    };
    let second = json!({ "state": "Running", "step": "b", "startedAt": at(0).to_string(), "sandboxUID": "sandbox" });
    let running = |step: &str| (Some(TaskState::Running), step.to_owned());
    assert_eq!(recorded(&second, &[]), running("b"), "another process has heard more");
    assert_eq!(recorded(&second, &runs[..1]), running("a"));
    assert_eq!(recorded(&json!({ "state": "Pending" }), &[]), running("a"));
}

/// What a report says of each step: its state, its exit code and its reason.
fn of_each(status: &TaskStatus) -> Vec<(StepState, Option<i32>, Option<&str>)> {
    status.steps.iter().map(|step| (step.state, step.exit_code, step.reason.as_deref())).collect()
}

#[test]
fn a_report_says_what_became_of_each_step_and_at_the_top_what_the_last_command_did() {
    use StepState::{Failed, Skipped, Succeeded};
    let command = |name: &str| json!({ "name": name, "type": "Command", "command": ["true"] });
    let file = json!({ "name": "file", "type": "FilePatch", "path": "/f", "content": "" });
    let spec = json!({ "steps": [command("a"), file, command("c"), command("d")] });
    let recorded =
        json!({ "state": "Running", "startedAt": at(0).to_string(), "sandboxUID": "sandbox", "containerID": "c1" });
    let observed = |run: Option<RunView>| Observed { row: task(&spec, &recorded), ..running(run) };
    let ran = |from: i64, to: i64, end: StepEnd, printed: &str| {
        let mut run = StepRun { ended_at: Some(at(to)), end: Some(end), ..StepRun::new(at(from)) };
        run.stdout.push(printed.as_bytes());
        run
    };
    let first = [ran(0, 10, StepEnd::Exited(0), "first"), ran(10, 20, StepEnd::Written, "")];
    let late = at(9_000);

    let failed = over(RunEnd::Completed, Some(StepEnd::Exited(3)));
    let verdict = of_steps(&failed);
    let runs = [&first[..], &[ran(20, 1_500, StepEnd::Exited(3), "third")]].concat();
    let status = report::finished(&observed(Some(failed)), &verdict, &runs, late);
    let (done, skipped) = ((Succeeded, Some(0), None), (Skipped, None, None));
    assert_eq!(of_each(&status), [done, (Succeeded, None, None), (Failed, Some(3), Some("StepFailed")), skipped]);
    assert_eq!((status.state, status.step.as_deref()), (Some(TaskState::Failed), Some("c")));
    assert_eq!((status.stdout.as_deref(), status.exit_code, status.truncated), (Some("third"), Some(3), None));
    let times = |status: &TaskStatus| (status.completed_at.as_ref().map(|at| at.0), status.duration.clone());
    assert_eq!(times(&status), (Some(at(1_500)), Some("1.5s".into())), "it ended in the pod");
    assert_eq!(status.conditions[0].message, "step c: a command exited with code 3");
    let event = "StepFailed after 1.5s: step c: a command exited with code 3";
    assert_eq!(status::event(&status), Some((EventReason::TaskFailed, event.into())));
    assert_eq!(status.conditions.iter().map(|c| c.status.as_str()).collect::<Vec<_>>(), ["True", "False"]);

    // The file is written after the last command that ran.
    let over_well = over(RunEnd::Completed, Some(StepEnd::Written));
    let status = report::finished(&observed(Some(over_well.clone())), &of_steps(&over_well), &first, late);
    assert_eq!((status.state, status.step.as_deref()), (Some(TaskState::Succeeded), Some("file")));
    assert_eq!((status.stdout.as_deref(), status.exit_code), (Some("first"), Some(0)));
    assert_eq!(status.conditions.iter().map(|c| c.status.as_str()).collect::<Vec<_>>(), ["True", "True"]);

    let timed_out = observed(Some(over(RunEnd::TimedOut, None)));
    let Decision::Finish(verdict) = plan(&timed_out, late).decision else { panic!("not over") };
    for (steps, exit_code) in [(1, None), (2, Some(124))] {
        // A file that is being written has no exit code.
        let runs = [&first[..steps], &[StepRun::new(at(20))]].concat();
        let status = report::finished(&timed_out, &verdict, &runs, late);
        assert_eq!(of_each(&status)[steps], (Failed, exit_code, Some("TimedOut")));
        assert_eq!(times(&status), (Some(at(1_000)), Some("1.0s".into())), "it ended when that was heard");
        assert_eq!(status.steps[steps].completed_at.as_ref().map(|at| at.0), Some(at(1_000)));
        assert!(status.conditions[0].message.starts_with("not done within"), "{}", status.conditions[0].message);
    }
    let interrupted = Verdict::new(TaskReason::Interrupted, "why");
    let status = report::finished(&observed(None), &interrupted, &[], late);
    assert_eq!(of_each(&status), [(Failed, None, Some("Interrupted")); 4], "which ran is not known");
    assert_eq!((status.step.as_deref(), times(&status).0), (Some("a"), Some(late)));
    let runs = [&first[..], &[StepRun::new(at(20))]].concat();
    let status = report::finished(&observed(None), &interrupted, &runs, late);
    assert_eq!(of_each(&status)[2], (Failed, None, Some("Interrupted")), "its exit code is not known");
    let never = Observed { row: task(&spec, &Value::Null), ..fresh(&spec) };
    let status = report::finished(&never, &interrupted, &[], late);
    assert_eq!(of_each(&status), [skipped; 4]);
    assert_eq!((status.step.as_deref(), times(&status)), (None, (Some(late), None)));
}

/// Clocks are set back, and those of two operators differ.
#[test]
fn nothing_ends_before_it_was_started() {
    let recorded = json!({ "state": "Running", "startedAt": at(50_000).to_string(), "sandboxUID": "sandbox" });
    let observed = |run: Option<RunView>| Observed { row: task(&json!({}), &recorded), ..running(run) };
    let interrupted = Verdict::new(TaskReason::Interrupted, "why");
    let completed = RunView { started_at: Some(at(50_000)), ..over(RunEnd::Completed, Some(StepEnd::Exited(0))) };
    let ended = StepRun { ended_at: Some(at(9_000)), end: Some(StepEnd::Exited(0)), ..StepRun::new(at(50_000)) };
    for (run, runs) in [(None, vec![]), (None, vec![StepRun::new(at(50_000))]), (Some(completed), vec![ended])] {
        let status = report::finished(&observed(run), &interrupted, &runs, at(9_000));
        let ends: Vec<_> = status.steps.iter().map(|step| &step.completed_at).chain([&status.completed_at]).collect();
        assert!(ends.iter().all(|end| end.as_ref().is_some_and(|end| end.0 == at(50_000))), "{ends:?}");
        assert_eq!(status.duration.as_deref(), Some("0ms"));
    }
}

/// A Sandbox with a setup, of which this is on record: the uid of its Task and its state.
fn set_up(recorded: Option<(&str, &str)>) -> Arc<SandboxRow> {
    let mut object = serde_json::to_value(&*sandbox("Pending").sandbox).unwrap();
    object["spec"]["setup"] = json!({ "steps": [] });
    if let Some((uid, state)) = recorded {
        object["status"]["setup"] = json!({ "task": setup_task("s", "sandbox"), "taskUID": uid, "state": state });
    }
    Arc::new(SandboxRow::new(serde_json::from_value::<Sandbox>(object).unwrap()))
}

/// The Task that is named for the setup of the Sandbox with this uid, and owned by it.
fn of_setup(sandbox: &str) -> Arc<TaskRow> {
    let mut object = serde_json::to_value(&*task(&json!({}), &Value::Null).task).unwrap();
    object["metadata"]["name"] = json!(setup_task("s", sandbox));
    object["metadata"]["ownerReferences"] = json!([{ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "name": "s", "uid": sandbox, "controller": true }]);
    Arc::new(TaskRow::new(serde_json::from_value::<Task>(object).unwrap()))
}

#[test]
fn a_task_waits_until_its_sandbox_is_set_up_and_that_which_sets_it_up_goes_first() {
    let waits = Decision::Wait(TaskReason::SandboxNotReady);
    let decide = |row: Option<Arc<TaskRow>>, recorded| {
        let fresh = fresh(&json!({}));
        let row = row.unwrap_or_else(|| Arc::clone(&fresh.row));
        plan(&Observed { row, sandbox: Some(set_up(recorded)), ..fresh }, at(0)).decision
    };
    let starts = |decision: &Decision| matches!(decision, Decision::Start(_));
    for recorded in [None, Some(("task", "Pending"))] {
        // Its own uid is on record, which makes no difference to one that is not named for it.
        let other = recorded.map(|(_, state)| ("setup", state));
        assert_eq!(decide(None, other), waits, "{other:?}");
    }
    assert!(starts(&decide(None, Some(("setup", "Succeeded")))));
    let setup = || Some(of_setup("sandbox"));
    assert_eq!(decide(setup(), None), waits, "what is not on record could be run again");
    assert!(starts(&decide(setup(), Some(("task", "Pending")))));
    for state in ["Pending", "Succeeded"] {
        let Decision::Finish(verdict) = decide(setup(), Some(("another", state))) else {
            panic!("{state}: it is not over")
        };
        assert_eq!((verdict.reason, verdict.blame), (TaskReason::InvalidSpec, Some(Blame::Usage)));
    }
    let Decision::Finish(verdict) = decide(Some(of_setup("another")), None) else {
        panic!("it is of a Sandbox that is no more")
    };
    assert_eq!(verdict.reason, TaskReason::SandboxDeleted);
}

#[test]
fn what_was_created_before_a_setup_and_runs_after_it_is_not_taken_for_forgotten() {
    let created = |name: &str, second| {
        let mut object = Task::clone(&of_setup("sandbox").task);
        let owner = json!({ "apiVersion": "v1", "kind": "Sandbox", "name": "s", "uid": "sandbox" });
        object.metadata.owner_references = Some(vec![serde_json::from_value(owner).unwrap()]);
        (object.metadata.name, object.metadata.creation_timestamp) = (Some(name.to_owned()), Some(Time(at(second))));
        Observed { row: Arc::new(TaskRow::new(object)), ..fresh(&json!({})) }.created()
    };
    let (setup, before) = (created(&setup_task("s", "sandbox"), 100), created("t", 50));
    assert_eq!(before, Some(at(50)));
    assert!(setup < before, "{setup:?}");
}

#[test]
fn the_task_of_a_setup_is_kept_with_its_sandbox() {
    let finished_ttl = Some(Duration::from_secs(1));
    assert_eq!(Observed { finished_ttl, ..fresh(&json!({})) }.ttl(), finished_ttl);
    assert_eq!(Observed { finished_ttl, row: of_setup("sandbox"), ..fresh(&json!({})) }.ttl(), None);
}

#[test]
fn a_new_task_says_nothing_of_what_may_be_over_in_a_moment() {
    let wait = |reason| Plan::from(Decision::Wait(reason));
    let rest = Plan { decision: Decision::Rest, look_again: Some(at(1_000)) };
    let observed = |status: &Value, sandbox: Option<&str>, awaits_claim| {
        let row = Arc::into_inner(task(&json!({}), status)).unwrap().heard_of(at(0));
        Observed {
            row: Arc::new(row),
            sandbox: sandbox.map(self::sandbox),
            pod: None,
            awaits_claim,
            ..fresh(&json!({}))
        }
    };
    let said = json!({ "state": "Pending" });
    for (status, sandbox, awaits_claim, now, wanted) in [
        (&Value::Null, None, false, at(999), rest.clone()),
        (&Value::Null, Some("Pending"), true, at(999), rest),
        (&Value::Null, None, false, at(1_000), wait(TaskReason::SandboxNotFound)),
        (&Value::Null, Some("Pending"), true, at(1_000), wait(TaskReason::SandboxNotReady)),
        (&Value::Null, Some("Pending"), false, at(1), wait(TaskReason::SandboxNotReady)),
        (&said, Some("Pending"), true, at(1), wait(TaskReason::SandboxNotReady)),
        (&Value::Null, None, false, at(-1), wait(TaskReason::SandboxNotFound)),
    ] {
        assert_eq!(plan(&observed(status, sandbox, awaits_claim), now), wanted, "{status} {sandbox:?} {awaits_claim}");
    }
}
