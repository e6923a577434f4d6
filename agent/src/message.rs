//! The messages between the operator and the agent.
//!
//! The operator greets first, with the version it speaks and the uid of the pod it means. Fields and variants are numbered and
//! are only ever added: unknown fields are skipped, so that an operator understands the agents of pods made before it. A variant
//! that an old agent does not know may only be sent to one whose [`FromAgent::Hello`] says a version that has it.

pub mod error;
mod excerpt;
pub mod file;
pub mod live;
mod run;
mod variable;

use minicbor::{Decode, Encode};

pub use excerpt::Excerpt;
pub use run::{Nothing, RunId, Unfinished};
pub use variable::Variable;

/// The version of these messages.
pub const VERSION: u32 = 2;
/// The first version that has [`ToAgent::Live`] and [`FromAgent::Live`].
pub const LIVE_VERSION: u32 = 2;

/// From the operator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToAgent {
    /// The first message of a stream.
    #[n(0)]
    Hello {
        /// The version that the operator speaks.
        #[n(0)]
        version: u32,
        /// The pod that is meant: names are used again, and exec goes by name.
        #[n(1)]
        pod: String,
    },
    /// Run this, unless it has ever been started here, and follow it.
    #[n(1)]
    Start(#[n(0)] Start),
    /// Send the log of a run, and then what is added to it.
    #[n(2)]
    Follow {
        /// The run.
        #[n(0)]
        run: RunId,
    },
    /// End everything that the run's step in progress started.
    #[n(3)]
    Cancel {
        /// The run.
        #[n(0)]
        run: RunId,
    },
    /// The result is on record elsewhere: drop the output. That the run was started is never forgotten.
    #[n(4)]
    Forget {
        /// The run.
        #[n(0)]
        run: RunId,
    },
    /// Are you there?
    #[n(5)]
    Ping,
    /// About live processes and files. Since version 2.
    #[n(6)]
    Live(#[n(0)] live::Request),
}

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Start {
    /// The run.
    #[n(0)]
    pub run: RunId,
    /// The Task's name, for whoever finds the run.
    #[n(1)]
    pub task: String,
    /// How long it may take, in milliseconds from its start.
    #[n(2)]
    pub timeout_ms: u64,
    /// What it does, in order, until one fails.
    #[n(3)]
    pub steps: Vec<Step>,
    /// The second in which the Task was created, the order of a Sandbox's Tasks: it tells a new one from one long forgotten. 0: the setup.
    #[n(4)]
    pub created: Option<u64>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Step {
    /// What it does.
    #[n(0)]
    pub action: Action,
    /// Where; unset: the container's working directory.
    #[n(1)]
    pub work_dir: Option<String>,
    /// Variables added to the container's own.
    #[n(2)]
    pub env: Vec<Variable>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// Run a program with arguments.
    #[n(0)]
    Command(#[n(0)] Vec<String>),
    /// Replace a file.
    #[n(1)]
    File {
        /// Which.
        #[n(0)]
        path: String,
        /// All of its content.
        #[n(1)]
        content: String,
    },
}

/// From the agent.
pub type FromAgent = AgentMessage<live::Event>;

/// What is said of runs, and put on record: nothing of live processes.
pub type RunMessage = AgentMessage<Nothing>;

/// From the agent, where `L` is what may be said of live processes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AgentMessage<L> {
    /// The answer to the operator's.
    #[n(0)]
    Hello {
        /// The version that the agent speaks.
        #[n(0)]
        version: u32,
        /// The runs that have not ended.
        #[n(1)]
        unfinished: Vec<Unfinished>,
        /// Another number where the live processes of earlier are not known: only the same one is asked for them again.
        #[n(2)]
        instance: Option<u64>,
    },
    /// The agent does not work for this operator, and why: the last message of a stream.
    #[n(1)]
    Refused(#[n(0)] String),
    /// A run has been started. Left out where its end follows at once.
    #[n(2)]
    Started {
        /// The run.
        #[n(0)]
        run: RunId,
        /// How long ago, in microseconds.
        #[n(1)]
        ago_us: u64,
    },
    /// A step has ended.
    #[n(3)]
    Step {
        /// The run.
        #[n(0)]
        run: RunId,
        /// Which of its steps, from 0.
        #[n(1)]
        index: u32,
        /// When it was started, in microseconds after the run.
        #[n(2)]
        started_us: u64,
        /// When it ended, in microseconds after the run was started.
        #[n(3)]
        ended_us: u64,
        /// How it ended.
        #[n(4)]
        end: StepEnd,
        /// What it printed.
        #[n(5)]
        stdout: Excerpt,
        /// What it printed on standard error.
        #[n(6)]
        stderr: Excerpt,
    },
    /// A run has ended; its last message.
    #[n(4)]
    Ended {
        /// The run.
        #[n(0)]
        run: RunId,
        /// How.
        #[n(1)]
        end: RunEnd,
        /// Processes of its last step that could not be ended, such as `12 (sudo)`.
        #[n(2)]
        survivors: Vec<String>,
    },
    /// The run was never started here.
    #[n(5)]
    Unknown {
        /// The run.
        #[n(0)]
        run: RunId,
    },
    /// I am here.
    #[n(6)]
    Pong,
    /// About live processes and files. Only where it was asked for. Since version 2.
    #[n(7)]
    Live(#[n(0)] L),
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StepEnd {
    /// The command exited with this code, or was killed by the signal 128 less than it.
    #[n(0)]
    Exited(#[n(0)] i32),
    /// The command cannot be executed: 127, not found; 126, not executable, or no such working directory.
    #[n(1)]
    NotExecutable {
        /// 126 or 127.
        #[n(0)]
        code: i32,
        /// Why.
        #[n(1)]
        message: String,
    },
    /// The command failed, and the kernel's count of the container's processes killed for memory rose meanwhile: it was killed, or a child of
    /// it was. Its exit code; an agent that does not say one means 137.
    #[n(2)]
    OutOfMemory(#[n(0)] Option<i32>),
    /// The file was written.
    #[n(3)]
    Written,
    /// The file could not be written, and why.
    #[n(4)]
    NotWritten(#[n(0)] String),
    /// The step could not be started, and why.
    #[n(5)]
    StartError(#[n(0)] String),
    /// It was ended, by the timeout or on request, or the agent was.
    #[n(6)]
    Stopped,
}

impl StepEnd {
    /// Whether the next step may run.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0) | Self::Written)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RunEnd {
    /// All steps succeeded, or one failed.
    #[n(0)]
    Completed,
    /// The timeout came first.
    #[n(1)]
    TimedOut,
    /// On request.
    #[n(2)]
    Cancelled,
    /// The process that ran the step was ended, and what the step had started with it; why.
    #[n(3)]
    Interrupted(#[n(0)] String),
    /// It ended, and what it printed has been dropped on request.
    #[n(4)]
    Forgotten,
    /// The agent was ended meanwhile, so that what the step started may live on; why.
    #[n(5)]
    Abandoned(#[n(0)] String),
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::{excerpt::tests::excerpt, *};
    use crate::output::{HEAD, Output, TAIL};

    /// Texts as they come: some are empty, some are no names.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9-]{0,12}", ".{0,20}"]
    }

    fn run_id() -> impl Strategy<Value = RunId> {
        text().prop_map(RunId)
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            vec(text(), 0..4).prop_map(Action::Command),
            (text(), text()).prop_map(|(path, content)| Action::File { path, content }),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let variable = (text(), text()).prop_map(|(name, value)| Variable { name, value });
        (action(), option::of(text()), vec(variable, 0..3)).prop_map(|(action, work_dir, env)| Step {
            action,
            work_dir,
            env,
        })
    }

    pub(crate) fn to_agent() -> impl Strategy<Value = ToAgent> {
        let start = (run_id(), text(), any::<u64>(), vec(step(), 0..3), option::of(any::<u64>()));
        prop_oneof![
            (any::<u32>(), text()).prop_map(|(version, pod)| ToAgent::Hello { version, pod }),
            start.prop_map(|(run, task, timeout_ms, steps, created)| {
                ToAgent::Start(Start { run, task, timeout_ms, steps, created })
            }),
            run_id().prop_map(|run| ToAgent::Follow { run }),
            run_id().prop_map(|run| ToAgent::Cancel { run }),
            run_id().prop_map(|run| ToAgent::Forget { run }),
            Just(ToAgent::Ping),
            super::live::tests::request().prop_map(ToAgent::Live),
        ]
    }

    fn step_end() -> impl Strategy<Value = StepEnd> {
        prop_oneof![
            any::<i32>().prop_map(StepEnd::Exited),
            (any::<i32>(), text()).prop_map(|(code, message)| StepEnd::NotExecutable { code, message }),
            option::of(any::<i32>()).prop_map(StepEnd::OutOfMemory),
            Just(StepEnd::Written),
            text().prop_map(StepEnd::NotWritten),
            text().prop_map(StepEnd::StartError),
            Just(StepEnd::Stopped),
        ]
    }

    fn run_end() -> impl Strategy<Value = RunEnd> {
        prop_oneof![
            Just(RunEnd::Completed),
            Just(RunEnd::TimedOut),
            Just(RunEnd::Cancelled),
            text().prop_map(RunEnd::Interrupted),
            Just(RunEnd::Forgotten),
            text().prop_map(RunEnd::Abandoned),
        ]
    }

    pub(crate) fn from_agent() -> impl Strategy<Value = FromAgent> {
        let unfinished = (run_id(), text()).prop_map(|(run, task)| Unfinished { run, task });
        let step = (run_id(), any::<u32>(), any::<(u64, u64)>(), step_end(), excerpt(), excerpt());
        prop_oneof![
            (any::<u32>(), vec(unfinished, 0..4), option::of(any::<u64>()))
                .prop_map(|(version, unfinished, instance)| FromAgent::Hello { version, unfinished, instance }),
            text().prop_map(FromAgent::Refused),
            (run_id(), any::<u64>()).prop_map(|(run, ago_us)| FromAgent::Started { run, ago_us }),
            step.prop_map(|(run, index, (started_us, ended_us), end, stdout, stderr)| FromAgent::Step {
                run,
                index,
                started_us,
                ended_us,
                end,
                stdout,
                stderr,
            }),
            (run_id(), run_end(), vec(text(), 0..4)).prop_map(|(run, end, survivors)| FromAgent::Ended {
                run,
                end,
                survivors
            }),
            run_id().prop_map(|run| FromAgent::Unknown { run }),
            Just(FromAgent::Pong),
            super::live::tests::event().prop_map(FromAgent::Live),
        ]
    }

    proptest! {
        #[test]
        fn fuzz_names_of_runs(name in ".{0,70}|[a-zA-Z0-9-]{60,70}|[a-z0-9./\\\\-]{0,9}") {
            let others = |c: char| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-');
            let is_name = !name.is_empty() && name.len() <= 64 && !name.contains(others);
            prop_assert_eq!(RunId::new(&name).is_some(), is_name);
        }
    }

    fn run() -> RunId {
        RunId::new("6d0f-1").unwrap()
    }

    fn examples() -> Vec<FromAgent> {
        let mut output = Output::default();
        output.push(&vec![b'x'; HEAD + TAIL + 1]);
        let step = |end| FromAgent::Step {
            run: run(),
            index: 1,
            started_us: 5,
            ended_us: 70_000,
            end,
            stdout: Excerpt::from(&output),
            stderr: Excerpt::default(),
        };
        vec![
            FromAgent::Hello {
                version: VERSION,
                unfinished: vec![Unfinished { run: run(), task: "t".into() }],
                instance: Some(u64::MAX),
            },
            FromAgent::Refused("no".into()),
            FromAgent::Started { run: run(), ago_us: 12 },
            step(StepEnd::Exited(3)),
            step(StepEnd::NotExecutable { code: 127, message: "x: not found".into() }),
            step(StepEnd::OutOfMemory(Some(1))),
            FromAgent::Ended {
                run: run(),
                end: RunEnd::Interrupted("killed".into()),
                survivors: vec!["3 (sudo)".into()],
            },
            FromAgent::Unknown { run: run() },
            FromAgent::Pong,
        ]
    }

    #[test]
    fn messages_survive_the_way() {
        for message in examples() {
            let mut frames = crate::frame::Frames::new(crate::frame::FROM_AGENT_MAX);
            frames.push(&crate::frame::encode(&message));
            assert_eq!(frames.take::<FromAgent>(), Ok(Some(message)));
        }
    }

    /// What agents and operators of the first release say and read.
    #[derive(Debug, PartialEq, Encode, Decode)]
    enum FirstStepEnd {
        #[n(0)]
        Exited(#[n(0)] i32),
        #[n(2)]
        OutOfMemory,
    }

    #[test]
    fn fields_that_were_added_are_passed_over_and_may_be_absent() {
        let bytes = minicbor::to_vec(StepEnd::OutOfMemory(Some(1))).unwrap();
        assert_eq!(minicbor::decode::<FirstStepEnd>(&bytes).unwrap(), FirstStepEnd::OutOfMemory);
        let bytes = minicbor::to_vec(FirstStepEnd::OutOfMemory).unwrap();
        assert_eq!(minicbor::decode::<StepEnd>(&bytes).unwrap(), StepEnd::OutOfMemory(None));
        let bytes = minicbor::to_vec(FirstStepEnd::Exited(3)).unwrap();
        assert_eq!(minicbor::decode::<StepEnd>(&bytes).unwrap(), StepEnd::Exited(3));
    }

    #[test]
    fn names_of_runs_are_no_paths() {
        for bad in ["", "..", "a/b", "a\0", &"x".repeat(65)] {
            assert_eq!(RunId::new(bad), None, "{bad:?}");
        }
        assert!(RunId::new("6d0fa0b1-3c1f-4a53-9f5b-6b0ad5f7b7a1").is_some());
    }
}
