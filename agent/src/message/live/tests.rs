use minicbor::bytes::ByteVec;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::message::{
    Variable,
    error::{Error, Kind},
    file::{self, Action, Success},
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9-]{0,12}", ".{0,20}"]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..30)
}

fn id() -> impl Strategy<Value = Id> {
    prop_oneof![0..9_u64, any::<u64>()].prop_map(Id)
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![Just(Output::Stdout), Just(Output::Stderr)]
}

fn size() -> impl Strategy<Value = Size> {
    any::<(u16, u16)>().prop_map(|(rows, columns)| Size { rows, columns })
}

fn start() -> impl Strategy<Value = Start> {
    let variable = (text(), text()).prop_map(|(name, value)| Variable { name, value });
    let times = (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u64>()));
    let place = (option::of(text()), option::of(text()), any::<bool>(), option::of(size()));
    (id(), vec(text(), 0..4), vec(variable, 0..3), place, times).prop_map(
        |(id, argv, env, (cwd, user, stdin, tty), (timeout_ms, grace_ms, alone_ms))| Start {
            id,
            argv,
            env,
            cwd,
            user,
            stdin,
            tty,
            timeout_ms,
            grace_ms,
            alone_ms,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let mode = || option::of(any::<u32>());
    prop_oneof![
        (bytes(), any::<u64>(), option::of(any::<u64>())).prop_map(|(path, offset, length)| Action::Read {
            path,
            offset,
            length
        }),
        (bytes(), mode()).prop_map(|(path, mode)| Action::Write { path, mode }),
        bytes().prop_map(|path| Action::Append { path }),
        (bytes(), any::<bool>()).prop_map(|(path, follow)| Action::Stat { path, follow }),
        (bytes(), option::of(any::<u32>())).prop_map(|(path, depth)| Action::List { path, depth }),
        (bytes(), mode()).prop_map(|(path, mode)| Action::MakeDirectory { path, mode }),
        (bytes(), any::<bool>()).prop_map(|(path, recursive)| Action::Remove { path, recursive }),
        (bytes(), bytes()).prop_map(|(from, to)| Action::Rename { from, to }),
        (bytes(), any::<u32>()).prop_map(|(path, mode)| Action::ChangeMode { path, mode }),
        (bytes(), vec(bytes().prop_map(ByteVec::from), 0..3))
            .prop_map(|(directory, names)| Action::Pack { directory, names }),
        bytes().prop_map(|directory| Action::Unpack { directory }),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let number = any::<u64>;
    prop_oneof![
        start().prop_map(|start| Request::Start(Box::new(start))),
        (id(), number(), number()).prop_map(|(id, stdout, stderr)| Request::Follow { id, stdout, stderr }),
        id().prop_map(|id| Request::Unfollow { id }),
        (id(), output(), number()).prop_map(|(id, output, offset)| Request::Acknowledge { id, output, offset }),
        (id(), number(), bytes()).prop_map(|(id, offset, data)| Request::Input { id, offset, data }),
        (id(), number()).prop_map(|(id, offset)| Request::CloseInput { id, offset }),
        (id(), any::<i32>()).prop_map(|(id, signal)| Request::Signal { id, signal }),
        (id(), size()).prop_map(|(id, size)| Request::Resize { id, size }),
        (id(), number()).prop_map(|(id, grace_ms)| Request::Kill { id, grace_ms }),
        id().prop_map(|id| Request::Forget { id }),
        number().prop_map(|request| Request::List { request }),
        Just(Request::WatchActivity),
        (id(), action(), option::of(text())).prop_map(|(id, action, user)| Request::File { id, action, user }),
    ]
}

fn error() -> impl Strategy<Value = Error> {
    let kind = prop::sample::select(vec![Kind::Other, Kind::NotFound, Kind::Unknown, Kind::BadArchive, Kind::Lost]);
    (kind, text(), option::of(any::<i32>())).prop_map(|(kind, message, errno)| Error { kind, message, errno })
}

fn end() -> impl Strategy<Value = End> {
    let status = prop_oneof![
        any::<i32>().prop_map(Status::Exited),
        any::<i32>().prop_map(Status::Signalled),
        text().prop_map(Status::Lost),
    ];
    let causes = vec![Cause::TimedOut, Cause::OutOfMemory, Cause::Killed, Cause::Abandoned];
    let cause = option::of(prop::sample::select(causes));
    (status, cause, vec(text(), 0..3), any::<(u64, u64, u64, u64)>()).prop_map(
        |(status, cause, survivors, (stdout, stderr, started_ago_us, ended_ago_us))| End {
            status,
            cause,
            survivors,
            stdout,
            stderr,
            started_ago_us,
            ended_ago_us,
        },
    )
}

fn process() -> impl Strategy<Value = Process> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<u32>());
    (id(), any::<i32>(), text(), flags, any::<(u64, u64, u64)>()).prop_map(
        |(id, pid, command, (background, tty, ended, clients), (started_ago_us, stdout, stderr))| Process {
            id,
            pid,
            command,
            background,
            tty,
            started_ago_us,
            ended,
            clients,
            stdout,
            stderr,
        },
    )
}

fn entry() -> impl Strategy<Value = file::Entry> {
    let kinds = vec![file::Kind::File, file::Kind::Directory, file::Kind::Link, file::Kind::Device];
    let numbers = any::<(u64, u32, u32, u32, i64, u32)>();
    let target = option::of(bytes().prop_map(ByteVec::from));
    (bytes(), prop::sample::select(kinds), numbers, target).prop_map(
        |(path, kind, (size, mode, uid, gid, modified, modified_ns), target)| file::Entry {
            path,
            kind,
            size,
            mode,
            uid,
            gid,
            modified,
            modified_ns,
            target,
        },
    )
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let number = any::<u64>;
    prop_oneof![
        (id(), any::<i32>(), number()).prop_map(|(id, pid, ago_us)| Event::Started { id, pid, ago_us }),
        (id(), output(), number(), bytes()).prop_map(|(id, output, offset, data)| Event::Output {
            id,
            output,
            offset,
            data
        }),
        (id(), number(), number()).prop_map(|(id, received, until)| Event::InputRoom { id, received, until }),
        id().prop_map(|id| Event::InputClosed { id }),
        (id(), end()).prop_map(|(id, end)| Event::Ended { id, end }),
        (id(), error()).prop_map(|(id, error)| Event::Failed { id, error }),
        (id(), error()).prop_map(|(id, error)| Event::Rejected { id, error }),
        (number(), vec(process(), 0..4)).prop_map(|(request, processes)| Event::List { request, processes }),
        any::<(u32, u32, Option<u64>)>().prop_map(|(live, clients, idle_us)| Event::Activity {
            live,
            clients,
            idle_us
        }),
        (id(), number()).prop_map(|(id, count)| Event::Done { id, result: Success::Count(count) }),
        (id(), entry()).prop_map(|(id, entry)| Event::Done { id, result: Success::Entry(entry) }),
    ]
}

/// A peer of version 1 closes the stream at such a message, so that one must ask for the version first.
#[test]
fn version_1_cannot_read_what_is_live() {
    #[derive(Debug, minicbor::Decode)]
    enum First {
        #[n(5)]
        Ping,
    }
    let live = minicbor::to_vec(crate::message::ToAgent::Live(Request::WatchActivity)).unwrap();
    assert!(minicbor::decode::<First>(&live).is_err());
    let ping = minicbor::to_vec(crate::message::ToAgent::Ping).unwrap();
    assert!(matches!(minicbor::decode(&ping), Ok(First::Ping)));
}

/// The largest messages of each kind fit into a frame.
#[test]
fn a_whole_list_fits_into_a_frame() {
    let process = Process {
        id: Id(u64::MAX),
        pid: i32::MAX,
        command: "\u{1f980}".repeat(COMMAND_MAX / 4),
        background: true,
        tty: true,
        started_ago_us: u64::MAX,
        ended: true,
        clients: u32::MAX,
        stdout: u64::MAX,
        stderr: u64::MAX,
    };
    let event = Event::List { request: u64::MAX, processes: vec![process; LIVE_MAX + ENDED_MAX] };
    assert!(crate::frame::encode(&crate::message::FromAgent::Live(event)).len() < crate::frame::FROM_AGENT_MAX);
}
