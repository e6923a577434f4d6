use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arl_agent::message::{Excerpt, RunId};
use arl_crds::ExecutorMode;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    object::{Key, Uid},
    pod::Target,
    runs::Share,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_000_000_000 + millis).unwrap()
}

/// Anything that an agent, or what runs in its place, may say of a run.
fn said() -> impl Strategy<Value = FromAgent> {
    let micros = || prop_oneof![0..5_000_000_u64, any::<u64>()];
    let words = || prop_oneof!["[a-z\u{e9}\u{1b}\n]{0,9}", Just("\u{e9}".repeat(MESSAGE_MAX))];
    let excerpt = || {
        let kept = (vec(any::<u8>(), 0..5), vec(any::<u8>(), 0..5), prop_oneof![0..12_u64, any::<u64>()]);
        kept.prop_map(|(head, tail, total)| Excerpt { head, tail, total })
    };
    let step_end = prop_oneof![
        prop_oneof![Just(0), any::<i32>()].prop_map(message::StepEnd::Exited),
        (any::<i32>(), words()).prop_map(|(code, message)| message::StepEnd::NotExecutable { code, message }),
        prop_oneof![Just(None), any::<i32>().prop_map(Some)].prop_map(message::StepEnd::OutOfMemory),
        Just(message::StepEnd::Written),
        words().prop_map(message::StepEnd::NotWritten),
        words().prop_map(message::StepEnd::StartError),
        Just(message::StepEnd::Stopped),
    ];
    let run_end = prop_oneof![
        Just(message::RunEnd::Completed),
        Just(message::RunEnd::TimedOut),
        Just(message::RunEnd::Cancelled),
        words().prop_map(message::RunEnd::Interrupted),
        Just(message::RunEnd::Forgotten),
        words().prop_map(message::RunEnd::Abandoned),
    ];
    let index = prop_oneof![0..4_u32, any::<u32>()];
    let step = (index, micros(), micros(), step_end, excerpt(), excerpt());
    prop_oneof![
        2 => micros().prop_map(|ago_us| FromAgent::Started { run: run(), ago_us }),
        8 => step.prop_map(|(index, started_us, ended_us, end, stdout, stderr)| FromAgent::Step {
            run: run(), index, started_us, ended_us, end, stdout, stderr
        }),
        1 => (run_end, vec(words(), 0..12)).prop_map(|(end, survivors)| FromAgent::Ended { run: run(), end, survivors }),
        1 => Just(FromAgent::Unknown { run: run() }),
        1 => words().prop_map(FromAgent::Refused),
        1 => Just(FromAgent::Pong),
    ]
}

proptest! {
    /// Whatever is said, and in whatever command: the report is one that a run of these steps can have.
    #[test]
    fn fuzz_what_an_agent_says(steps in 1..4_usize, messages in vec(said(), 0..12)) {
        let (report, end) = told(steps, messages);
        let progress = report.lock();
        let runs = &progress.steps;
        let known = |left: &Leftovers| *left != Leftovers::Unknown;
        prop_assert!(runs.len() <= steps, "{} of {steps} steps", runs.len());
        prop_assert!(runs.is_empty() || progress.started_at.is_some());
        prop_assert!(progress.started_at.is_none_or(|started| started <= at(10)));
        for (n, step) in runs.iter().enumerate() {
            let is_last = n + 1 == runs.len();
            prop_assert!(is_last || step.end.as_ref().is_some_and(StepEnd::is_success), "step {n} did not let {} run", n + 1);
            prop_assert!(step.ended_at.is_some() || (is_last && !end.as_ref().is_some_and(|(_, left)| known(left))), "step {n} is still in progress");
            prop_assert!(step.ended_at.is_none_or(|ended| step.started_at <= ended), "step {n} ended before it began");
            let before = n.checked_sub(1).map_or(progress.started_at, |before| runs[before].ended_at);
            prop_assert!(before.is_none_or(|before| before <= step.started_at), "step {n} began before the one before had ended");
            let words = match &step.end {
                Some(StepEnd::Exited(code)) => { prop_assert!((0..256).contains(code)); None }
                Some(StepEnd::NotExecutable { code, message: words }) => { prop_assert!((126..128).contains(code)); Some(words) }
                Some(StepEnd::NotWritten(words) | StepEnd::StartError(words) | StepEnd::NotDelivered(words)) => Some(words),
                Some(StepEnd::OutOfMemory(code)) => { prop_assert!((1..256).contains(code)); None }
                Some(StepEnd::Written) | None => None,
            };
            prop_assert!(words.is_none_or(|words| words.len() <= MESSAGE_MAX && !words.contains(char::is_control)));
        }
        if let Some((RunEnd::Completed, _)) = &end {
            let all_well = runs.iter().all(|step| step.end.as_ref().is_some_and(StepEnd::is_success));
            prop_assert!(!all_well || runs.len() == steps, "{} of {steps} steps pass for all", runs.len());
        }
        if let Some((_, Leftovers::Survivors(words))) = &end {
            prop_assert!(words.len() <= (NAMED_MAX + 1) * (MESSAGE_MAX + 20) && !words.contains(char::is_control));
        }
    }
}

fn sent(steps: usize) -> Sent {
    let key = |name: &str| Key { namespace: "ns".into(), name: name.into() };
    let target = Target {
        pod: key("p"),
        pod_uid: Uid("pod".into()),
        container: "c".into(),
        container_id: "c1".into(),
        mode: ExecutorMode::Agent,
    };
    Sent { id: run(), target, steps, timeout: Duration::from_secs(30), started_at: None }
}

fn run() -> RunId {
    RunId::new("task").unwrap()
}

fn step(index: u32, end: message::StepEnd, text: &str) -> FromAgent {
    let mut stdout = Output::default();
    stdout.push(text.as_bytes());
    let (stdout, stderr) = (Excerpt::from(&stdout), Excerpt::default());
    FromAgent::Step { run: run(), index, started_us: 1000, ended_us: 3000, end, stdout, stderr }
}

fn ended(end: message::RunEnd) -> FromAgent {
    FromAgent::Ended { run: run(), end, survivors: Vec::new() }
}

fn told(steps: usize, messages: Vec<FromAgent>) -> (Report, Option<(RunEnd, Leftovers)>) {
    let report = Report::new(Share::default(), Arc::new(|| {}));
    for message in messages {
        if let ControlFlow::Break(end) = take(message, &sent(steps), &report, at(10)) {
            return (report, Some(end));
        }
    }
    (report, None)
}

/// An operator that was away for longer than the Task may take hears of a run that has ended, and not of when.
#[test]
fn a_run_that_is_on_record_as_started_began_then_and_not_when_it_is_heard_of() {
    let report = Report::new(Share::default(), Arc::new(|| {}));
    let run = Sent { started_at: Some(at(-57_000)), ..sent(1) };
    for message in [step(0, message::StepEnd::Exited(0), "done\n"), ended(message::RunEnd::Completed)] {
        let _ = take(message, &run, &report, at(10));
    }
    let progress = report.lock();
    assert_eq!(progress.started_at, Some(at(-57_000)));
    assert_eq!(progress.steps[0].started_at, at(-56_999));
    assert_eq!(progress.steps[0].ended_at, Some(at(-56_997)));
}

#[test]
fn a_run_is_put_together_from_what_is_said_of_it() {
    let (report, end) = told(
        2,
        vec![
            FromAgent::Started { run: run(), ago_us: 4000 },
            step(0, message::StepEnd::Exited(0), "one"),
            step(1, message::StepEnd::Exited(3), "two"),
            ended(message::RunEnd::Completed),
        ],
    );
    assert_eq!(end, Some((RunEnd::Completed, Leftovers::None)));
    let progress = report.lock();
    assert_eq!((progress.started_at, progress.steps.len()), (Some(at(6)), 2));
    assert_eq!(
        (progress.steps[1].stdout.text().0.as_str(), &progress.steps[1].end),
        ("two", &Some(StepEnd::Exited(3)))
    );
    assert_eq!((progress.steps[0].started_at, progress.steps[0].ended_at), (at(7), Some(at(9))));
}

#[test]
fn the_task_is_woken_as_each_step_begins() {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let report = Report::new(Share::default(), Arc::new(wake));
    let well = |index| step(index, message::StepEnd::Exited(0), "");
    let said = [FromAgent::Started { run: run(), ago_us: 0 }, well(0), well(0), well(1), well(2)];
    let woken = said.map(|message| {
        assert!(take(message, &sent(3), &report, at(10)).is_continue());
        woken.swap(0, Ordering::Relaxed)
    });
    assert_eq!(woken, [1, 1, 0, 1, 0]);
}

#[test]
fn what_is_said_twice_counts_once_and_what_is_out_of_order_not_at_all() {
    let one = || step(0, message::StepEnd::Exited(0), "one");
    let started = || FromAgent::Started { run: run(), ago_us: 0 };
    let wild = step(7, message::StepEnd::Exited(0), "wild");
    let (report, _) = told(2, vec![started(), one(), started(), one(), wild]);
    let progress = report.lock();
    assert_eq!(progress.steps.len(), 2);
    assert_eq!((progress.steps[0].stdout.text().0.as_str(), progress.steps[1].ended_at), ("one", None));
}

#[test]
fn a_step_whose_turn_did_not_come_is_not_reported() {
    let (report, _) = told(2, vec![step(0, message::StepEnd::Exited(0), ""), ended(message::RunEnd::TimedOut)]);
    assert_eq!(report.lock().steps.len(), 1);
}

#[test]
fn words_and_numbers_of_the_agent_are_held_to_reason() {
    let (report, _) = told(1, vec![FromAgent::Started { run: run(), ago_us: u64::MAX }]);
    assert!(report.lock().started_at.unwrap() > at(-60_000));
    let long = message::StepEnd::StartError("\u{1b}[2J\u{e9}".repeat(10_000));
    let (report, _) = told(1, vec![step(0, long, "")]);
    let Some(StepEnd::StartError(words)) = report.lock().steps[0].end.clone() else { panic!() };
    assert!(words.len() <= MESSAGE_MAX && !words.contains(char::is_control));
    let names: Vec<String> = (0..1000).map(|i| format!("{i} (x)")).collect();
    let Leftovers::Survivors(words) = left(&names) else { panic!() };
    assert!(words.contains("0 (x)") && words.ends_with("and 992 more"));
}

#[test]
fn the_earliest_estimate_of_the_start_holds() {
    for (ago_us, started) in [(2000, at(7)), (4000, at(6))] {
        let said = vec![FromAgent::Started { run: run(), ago_us }, step(0, message::StepEnd::Exited(0), "")];
        let (report, _) = told(1, said);
        let progress = report.lock();
        assert_eq!(progress.started_at, Some(started), "{ago_us}");
        assert_eq!(progress.steps[0].ended_at, Some(started + Duration::from_millis(3)), "never in the future");
    }
}

#[test]
fn what_may_live_on_is_not_taken_for_ended() {
    let words = || "killed".to_owned();
    for (end, left) in [
        (message::RunEnd::Interrupted(words()), Leftovers::None),
        (message::RunEnd::Abandoned(words()), Leftovers::Unknown),
    ] {
        assert_eq!(told(1, vec![ended(end)]).1, Some((RunEnd::Lost(words()), left)));
    }
}

/// What arrives late makes the run seem to have begun late; a later message corrects that for the steps before as well.
#[test]
fn no_step_begins_before_the_one_before_has_ended() {
    let step = |index, started_us, ended_us| FromAgent::Step {
        run: run(),
        index,
        started_us,
        ended_us,
        end: message::StepEnd::Exited(0),
        stdout: Excerpt::default(),
        stderr: Excerpt::default(),
    };
    let report = Report::new(Share::default(), Arc::new(|| {}));
    for (message, heard) in [(step(0, 0, 5000), 100), (step(1, 5100, 9000), 101), (step(2, 9100, 9200), 90)] {
        assert!(take(message, &sent(3), &report, at(heard)).is_continue());
    }
    let progress = report.lock();
    let times: Vec<_> = progress.steps.iter().flat_map(|step| [step.started_at, step.ended_at.unwrap()]).collect();
    let base = progress.started_at.unwrap();
    let since: Vec<_> = times.iter().map(|time| time.duration_since(base).as_micros()).collect();
    assert_eq!(since, [0, 5000, 5100, 9000, 9100, 9200]);
    assert_eq!(times[5], at(90), "the earliest estimate holds for all");
}

#[test]
fn what_ran_out_of_memory_keeps_its_exit_code() {
    for (said, code) in [(None, 137), (Some(1), 1), (Some(137), 137), (Some(0), 1), (Some(9999), 255)] {
        let (report, _) = told(1, vec![step(0, message::StepEnd::OutOfMemory(said), "")]);
        assert_eq!(report.lock().steps[0].end, Some(StepEnd::OutOfMemory(code)), "{said:?}");
    }
}
