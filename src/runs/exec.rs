//! Steps through plain pods/exec: one exec a step.
//!
//! What it cannot do is written where users look, in docs/limits.md: it cannot kill what it started, and a run ends with its
//! connection.

mod broken;
mod deadline;
mod follow;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use arl_client::stream::with_protocol_v4;
use arl_crds::{Action, Step};
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::AttachParams};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    exec_status,
    live::LiveReport,
    report::{Report, StepRun},
    run::{Leftovers, Request, RunControl, RunEnd, StepEnd, more_than},
    runner::Runner,
    script::{self, Call},
};
use crate::{clock::Clock, object::Uid, output::Output, pod::Target};
use broken::{Broken, PATIENCE, UNANSWERED};
use deadline::by;
use follow::follow;

/// pods/exec carries the command in the URL, which servers bound; measured after percent-encoding.
const URL_MAX: usize = 60_000;

/// A command that was not delivered is tried again this often.
const RETRY: Duration = Duration::from_millis(500);

/// An exec can hang for ever, though its node is well (kubernetes#129144). More than the agent's stream has: that can be opened again, while a
/// command whose exec was not answered is lost, so that a node that stands still for a moment is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The most bytes of a script's own message that are passed on.
const MESSAGE_MAX: usize = 1024;

/// What may wait in memory between the connection and the output kept of a stream.
const PIPE: usize = 64 * 1024;

/// What the steps of a run have in common.
struct Run<'a> {
    target: &'a Target,
    sandbox_env: &'a BTreeMap<String, String>,
    report: &'a Report,
    /// When its timeout comes.
    deadline: Instant,
    /// Set while exec was asked for and has not answered, so that nobody knows whether the command was started.
    is_unanswered: &'a AtomicBool,
}

/// The runner that uses pods/exec.
pub struct Exec {
    client: Client,
    clock: Clock,
}

impl Exec {
    /// Runs through `client`.
    pub fn new(client: Client, clock: Clock) -> Self {
        // One that takes a stream apart itself answers before the node has.
        Self { client: with_protocol_v4(client), clock }
    }

    async fn run_step(&self, run: &Run<'_>, step: &Step) -> Result<StepEnd, Broken> {
        let action = match step.action() {
            Ok(action) => action,
            Err(invalid) => return Ok(StepEnd::StartError(invalid.to_string())),
        };
        match action {
            Action::Command(command) => self.exec(run, script::command(step, command, run.sandbox_env), None).await,
            Action::FilePatch { path, content } => {
                let call = script::file_patch(step, path, content.len());
                let end = self.exec(run, call, Some(content.as_bytes())).await?;
                Ok(file_end(&end, path, run.report))
            }
        }
    }

    async fn exec(&self, run: &Run<'_>, call: Call, input: Option<&[u8]>) -> Result<StepEnd, Broken> {
        let size = call.encoded_size();
        if size > URL_MAX {
            let of_sandbox = match call.of_sandbox {
                0 => String::new(),
                bytes => format!(" ({bytes} of them those of the variables in spec.env of the Sandbox)"),
            };
            return Ok(StepEnd::StartError(format!(
                "the command and its variables need {size} bytes{of_sandbox} in the URL of pods/exec, which carries {URL_MAX}; \
                 write a script with a FilePatch step and run that"
            )));
        }
        let params = AttachParams {
            container: Some(run.target.container.clone()),
            stdin: input.is_some(),
            max_stdin_buf_size: Some(PIPE),
            max_stdout_buf_size: Some(PIPE),
            max_stderr_buf_size: Some(PIPE),
            ..AttachParams::default()
        };
        let mut ticks = tokio::time::interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let mut last: Option<Broken> = None;
        loop {
            ticks.tick().await;
            // Where this process stood still meanwhile.
            if let Some(end) =
                last.as_ref().filter(|_| Instant::now() >= run.deadline).and_then(|b| b.end(begun.elapsed()))
            {
                return Ok(end);
            }
            match self.attempt(run, &call, &params, input).await {
                Err(broken) => {
                    let (now, tried) = (Instant::now(), begun.elapsed());
                    // Where the timeout would come before another attempt, it would say that something was started.
                    let is_over = tried >= PATIENCE || now + RETRY >= run.deadline;
                    match broken.end(tried) {
                        Some(end) if is_over => return Ok(end),
                        Some(_) => last = Some(broken),
                        None => return Err(broken),
                    }
                }
                ended => return ended,
            }
        }
    }

    async fn attempt(
        &self,
        run: &Run<'_>,
        call: &Call,
        params: &AttachParams,
        input: Option<&[u8]>,
    ) -> Result<StepEnd, Broken> {
        let (target, report) = (run.target, run.report);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &target.pod.namespace);
        run.is_unanswered.store(true, Ordering::Relaxed);
        let exec = api.exec(&target.pod.name, call.arguments.clone(), params);
        let answer = by(Instant::now() + ANSWER_MAX, exec).await.ok_or(Broken::Unanswered)?;
        run.is_unanswered.store(false, Ordering::Relaxed);
        match answer {
            Ok(process) => {
                let end = follow(process, call.shell, input, report).await?;
                confirmed(end, call, || last_step(report, |step| &step.stdout))
            }
            Err(error) => match Broken::of(error) {
                Broken::Lost(message) => exec_status::start_failure(&message, call.shell).ok_or(Broken::Lost(message)),
                broken => Err(broken),
            },
        }
    }
}

impl Exec {
    async fn run_steps(
        &self,
        request: Request,
        report: &Report,
        deadline: Instant,
        is_unanswered: &AtomicBool,
    ) -> RunEnd {
        let Request { target, steps, sandbox_env, mut room, .. } = request;
        let run = Run { target: &target, sandbox_env: &sandbox_env, report, deadline, is_unanswered };
        // One clock from here on, whatever is done to the other: steps are in order.
        let (started, since) = (self.clock.now(), Instant::now());
        let now = || started + since.elapsed();
        report.started(started);
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            // What is heard late is only heard.
            if Instant::now() >= deadline {
                return RunEnd::TimedOut;
            }
            report.begin_step(now());
            let end = match self.run_step(&run, &step).await {
                Ok(end) => end,
                Err(broken) => return RunEnd::Lost(broken.into_message()),
            };
            let success = end.is_success();
            report.step(|step| (step.end, step.ended_at) = (Some(end), Some(now())));
            report.lock().bound();
            if !success {
                break;
            }
            drop(step);
            if let Some(room) = &mut room {
                room.shrink(steps.as_slice().iter().map(Step::size).sum());
            }
        }
        RunEnd::Completed
    }
}

impl Runner for Exec {
    fn run<'a>(
        &'a self,
        request: Request,
        report: &'a Report,
        mut control: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        async move {
            let deadline = Instant::now() + request.timeout;
            let is_unanswered = AtomicBool::new(false);
            let end = tokio::select! {
                biased;
                end = by(deadline, self.run_steps(request, report, deadline, &is_unanswered)) => match end {
                    Some(end) => end,
                    None if is_unanswered.load(Ordering::Relaxed) => RunEnd::Lost(UNANSWERED.into()),
                    None => RunEnd::TimedOut,
                },
                asked = more_than(&mut control, RunControl::Continue) => match asked {
                    RunControl::Cancel => RunEnd::Cancelled,
                    RunControl::Settle | RunControl::Continue => {
                        RunEnd::Lost("the container was started again".into())
                    }
                },
            };
            let left = if end == RunEnd::Completed { Leftovers::None } else { Leftovers::Unknown };
            (end, left)
        }
        .boxed()
    }

    fn prepare(&self, _: &Target, _: &LiveReport) {}

    fn ask_live(&self, _: &Target) {}

    fn forget(&self, _: &Target, _: &Uid) {}
}

/// A success that the command has not said itself is none; who has a last word may be started again.
fn confirmed(end: StepEnd, call: &Call, printed: impl FnOnce() -> String) -> Result<StepEnd, Broken> {
    match call.last_word {
        Some(word) if end == StepEnd::Exited(0) && !printed().ends_with(word) => {
            Err(Broken::NotDelivered("the container runtime reported success for a command that did not end".into()))
        }
        _ => Ok(end),
    }
}

fn last_step(report: &Report, output: fn(&StepRun) -> &Output) -> String {
    report.lock().steps.last().map(|step| output(step).text().0).unwrap_or_default()
}

fn file_end(end: &StepEnd, path: &str, report: &Report) -> StepEnd {
    match end {
        StepEnd::Exited(0) => StepEnd::Written,
        StepEnd::Exited(code) => {
            let said = said(&last_step(report, |step| &step.stderr));
            let unsaid = || format!("{path} was not written (exit code {code})");
            StepEnd::NotWritten(if said.is_empty() { unsaid() } else { said })
        }
        StepEnd::NotExecutable { message, .. } => StepEnd::NotWritten(format!("{path} was not written: {message}")),
        other => other.clone(),
    }
}

/// The one message that the script of a FilePatch leaves, on one line. A name in it may have several.
pub(super) fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    stderr[..stderr.floor_char_boundary(MESSAGE_MAX)].replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
    };

    use arl_crds::ExecutorMode;
    use jiff::Timestamp;
    use kube::client::Body;
    use serde_json::json;
    use tokio::time::{advance, sleep_until};
    use tower::service_fn;

    use super::*;
    use crate::{object::Key, runs::quota::Share};

    /// How a run of one step ends that the API server refuses to pass on with these words, which are heard after a pause of this process.
    async fn refused(
        code: u16,
        message: &str,
        (timeout, pause): (Duration, Duration),
        sandbox_env: &[(&str, &str)],
    ) -> (RunEnd, Leftovers, Option<StepEnd>) {
        let status =
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message });
        let answer = service_fn(move |_: http::Request<Body>| {
            let body = Body::from(status.to_string().into_bytes());
            let answer = http::Response::builder().status(code).body(body).unwrap();
            async move {
                if !pause.is_zero() {
                    advance(pause).await;
                    sleep_until(Instant::now() + Duration::from_millis(20)).await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        // One that is set back all the time.
        let reads = AtomicI64::new(0);
        let clock = Clock::new(move || Timestamp::from_second(-reads.fetch_add(1, Ordering::Relaxed)).unwrap());
        let (end, left, report) = run_one(Client::new(answer, "ns"), clock, timeout, sandbox_env).await;
        let step = report.lock().steps.last().cloned().unwrap();
        assert!(step.ended_at >= Some(step.started_at), "{step:?}");
        (end, left, step.end)
    }

    /// How a run of one step ends, and what it reports.
    async fn run_one(
        client: Client,
        clock: Clock,
        timeout: Duration,
        sandbox_env: &[(&str, &str)],
    ) -> (RunEnd, Leftovers, Report) {
        let exec = Exec::new(client, clock);
        let report = Report::new(Share::default(), Arc::new(|| {}));
        let mut step: Step =
            serde_json::from_value(json!({"name": "a", "type": "Command", "command": ["true"]})).unwrap();
        let sandbox_env = sandbox_env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        step.add_env(&sandbox_env);
        let request = Request {
            task: Key::new("ns", "t"),
            task_uid: Uid("t".into()),
            created: None,
            steps: vec![step],
            sandbox_env,
            room: None,
            timeout,
            target: Target {
                pod: Key::new("ns", "pod"),
                pod_uid: Uid("pod".into()),
                container: "c".into(),
                container_id: "id".into(),
                mode: ExecutorMode::Exec,
            },
            started_at: None,
        };
        let (_control, controls) = watch::channel(RunControl::Continue);
        let (end, left) = exec.run(request, &report, controls).await;
        (end, left, report)
    }

    /// A node that is stopped takes the connection, and says nothing.
    #[tokio::test(start_paused = true)]
    async fn an_exec_that_is_never_answered_is_no_timeout_of_the_task_and_is_not_sent_again() {
        for (timeout, ends_after) in [(8, 8), (60, 60), (3600, 60)] {
            let calls = Arc::new(AtomicI64::new(0));
            let counted = Arc::clone(&calls);
            let silent = service_fn(move |request: http::Request<Body>| {
                let protocol = request.headers().get("sec-websocket-protocol").map(|value| value.as_bytes().to_vec());
                assert_eq!(protocol.as_deref(), Some(&b"v4.channel.k8s.io"[..]), "in which the node answers");
                counted.fetch_add(1, Ordering::Relaxed);
                pending::<Result<http::Response<Body>, Infallible>>()
            });
            let (begun, clock) = (Instant::now(), Clock::new(|| Timestamp::UNIX_EPOCH));
            let (end, left, report) =
                run_one(Client::new(silent, "ns"), clock, Duration::from_secs(timeout), &[]).await;
            let RunEnd::Lost(said) = &end else { panic!("{timeout}: {end:?}") };
            assert!(said.contains("did not answer"), "{said}");
            assert_eq!((left, begun.elapsed().as_secs()), (Leftovers::Unknown, ends_after), "{timeout}");
            assert_eq!(calls.load(Ordering::Relaxed), 1, "it may have been started");
            assert_eq!(report.lock().steps.last().unwrap().end, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_that_ends_before_a_command_was_taken_is_not_the_tasks() {
        for (code, message) in [(403, "no exec for you"), (500, "error dialing backend: dial tcp")] {
            for (timeout, tried) in [(100, "0.0 s"), (3000, "2.5 s"), (30_000, "15.0 s")] {
                let (end, left, step) =
                    refused(code, message, (Duration::from_millis(timeout), Duration::ZERO), &[]).await;
                assert_eq!((end, left), (RunEnd::Completed, Leftovers::None), "{code} {timeout}");
                let Some(StepEnd::NotDelivered(said)) = step else { panic!("{code} {timeout}: {step:?}") };
                assert!(said.contains(tried) && said.contains("nothing was started"), "{code} {timeout}: {said}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_a_pause_kept_from_being_heard_in_time_is_the_end() {
        let times = (Duration::from_secs(10), Duration::from_secs(12));
        let (end, _, step) = refused(403, "no exec for you", times, &[]).await;
        assert_eq!(end, RunEnd::Completed, "{step:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_variables_of_the_sandbox_need_is_said_of_them() {
        let message = "exec: \"sh\": executable file not found in $PATH: unknown";
        let long = "\u{1f980}".repeat(5000);
        for (value, words) in [
            ("1", "this image has no `sh`, which plain exec needs for spec.env of the Sandbox"),
            (&long, "60013 of them those of the variables in spec.env of the Sandbox"),
        ] {
            let (_, _, step) = refused(500, message, (Duration::from_secs(30), Duration::ZERO), &[("V", value)]).await;
            let Some(StepEnd::StartError(said)) = step else { panic!("{step:?}") };
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_file_is_written_where_the_script_says_so_and_not_where_only_the_runtime_does() {
        let step = |value| serde_json::from_value::<Step>(value).unwrap();
        let patch = step(serde_json::json!({"name": "a", "type": "FilePatch", "path": "f", "content": "x"}));
        let plain = step(serde_json::json!({"name": "a", "type": "Command", "command": ["true"]}));
        let patch = script::file_patch(&patch, "f", 1);
        let plain = script::command(&plain, &["true".to_owned()], &BTreeMap::new());
        let ended = |call: &Call, code, printed: &str| confirmed(StepEnd::Exited(code), call, || printed.to_owned());
        assert_eq!(ended(&patch, 0, "arl: written"), Ok(StepEnd::Exited(0)));
        assert!(matches!(ended(&patch, 0, ""), Err(Broken::NotDelivered(_))), "it is tried again");
        assert_eq!(ended(&patch, 1, ""), Ok(StepEnd::Exited(1)));
        assert_eq!(ended(&plain, 0, ""), Ok(StepEnd::Exited(0)), "a user's command says what it likes");
    }
}
