//! What turns on the client that uses a Sandbox live gets it nothing: a typed error at worst, with bounded memory, while the operator and
//! other Sandboxes notice nothing. The client is a process of its own, so that its memory is.

#[path = "../../agent/tests/agent/tar_entry.rs"]
mod tar_entry;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use arl_agent::{
    frame,
    message::{
        FromAgent,
        live::{Event, Id},
    },
};
use arl_client::{
    Command, Error, Fault, Files, LIST_MAX, Process, ProcessEvent, Sandbox, kind::Kind, live::Cause, live::Output,
};
use tar_entry::{entry, file};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::harness::{
    World,
    child::{memory, opened, told},
    wait::DEADLINE,
};

const CLIENT: &str = "hostile_live::a_client_of_other_tests";
/// What a client may need beyond what an idle session does, whatever the pod does: its windows, and a few of the largest messages.
const GROWN_MAX: u64 = 16 << 20;
/// The same of the operator, which has nothing to do with it.
const OPERATOR_MAX: u64 = 64 << 20;

/// Has a client do this in a Sandbox, beside a Task in another one, and uses a third afterwards.
async fn hostile(name: &str, works: &[&str]) {
    let (mut world, pod, bystander) = World::beside_a_bystander(name).await;

    for work in works {
        world.in_child(CLIENT, work).await;
    }

    assert_eq!(world.output("t", "s", "echo fine").await, "fine\n", "Tasks still run in it");
    assert_eq!(world.processes(&pod).await, ["sleep 2147483647"], "nothing is left of it");
    world.assert_unnoticed(&bystander).await;
    assert!(world.peak_memory() < OPERATOR_MAX, "{}", world.peak_memory());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_turn_on_their_client() {
    hostile("hostile-live", &["processes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_messages_break_only_the_stream() {
    hostile("hostile-forge", &["forgeries"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_and_files_that_want_too_much() {
    hostile("hostile-files", &["archives", "files", "list"]).await;
}

/// The other process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "other tests start it as a process of its own"]
async fn a_client_of_other_tests() {
    let Some((work, client)) = told().await else { return };
    let (sandbox, before) = opened(&client, "s").await;
    match work.as_str() {
        "processes" => processes(&sandbox).await,
        "forgeries" => forgeries(&sandbox).await,
        "archives" => archives(&sandbox).await,
        "files" => files(&sandbox).await,
        "list" => long_list(&sandbox).await,
        other => panic!("{other}"),
    }
    works(&sandbox).await;
    assert!(sandbox.session().list().await.unwrap().is_empty());
    let grown = memory().0.saturating_sub(before);
    println!("{work}: at most {} KiB more", grown / 1024);
    let limit = if work == "list" { 4 * LIST_MAX as u64 } else { GROWN_MAX };
    assert!(grown < limit, "{grown} bytes more than {before}");
}

async fn works(sandbox: &Sandbox) {
    let done = sandbox.run(Command::shell("echo fine")).await.unwrap();
    assert_eq!((done.exit.code, &*done.stdout_text()), (0, "fine\n"));
}

/// Ends it, and takes what it has printed until then.
async fn end(process: Process) -> u64 {
    process.kill(Duration::ZERO);
    let done = tokio::time::timeout(DEADLINE, process.wait(0)).await.expect("it ends").unwrap();
    assert_eq!(done.exit.cause, Some(Cause::Killed));
    done.printed.iter().sum()
}

async fn processes(sandbox: &Sandbox) {
    // A flood: all of it passes where somebody takes it, and what nobody takes is held up.
    let done = sandbox.run(Command::shell("yes | head -c 200000000").keep(10)).await.unwrap();
    assert_eq!((done.stdout.len(), done.printed), (10, [200_000_000, 0]));
    let mut floods = Vec::new();
    for script in ["yes", "yes >&2", "while :; do printf x; printf y >&2; done"] {
        for _ in 0..8 {
            floods.push(sandbox.start(Command::shell(script)).await.unwrap());
        }
    }
    // They print meanwhile.
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(2)).await;
    works(sandbox).await;
    for flood in floods {
        assert!(end(flood).await < 8 << 20, "it was held up");
    }
    // One that never reads its standard input.
    let mut deaf = sandbox.start(Command::new(["sleep", "1000"]).stdin()).await.unwrap();
    let mut stdin = deaf.take_stdin().unwrap();
    let writing = tokio::spawn(async move { stdin.write_all(&vec![7; 4 << 20]).await });
    works(sandbox).await;
    assert!(!writing.is_finished(), "it waits for the process");
    end(deaf).await;
    assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let done = sandbox.run(Command::new(["true"]).input(vec![7; 1 << 20])).await.unwrap();
    assert!(done.exit.success(), "a process need not read");
    // One that starts others without end, and one that leaves some behind that no signal to it reaches.
    let bomb = "bomb() { while :; do bomb & done; }; bomb & exec sleep 1000";
    let limit = Duration::from_secs(3);
    let bomb = sandbox.run(Command::shell(bomb).timeout(limit).grace(Duration::ZERO)).await.unwrap();
    assert_eq!(bomb.exit.cause, Some(Cause::TimedOut), "{:?}", bomb.exit);
    let mut daemon = sandbox
        .start(Command::shell("setsid sh -c 'trap : TERM; while :; do sleep 1000; done' & echo begun; wait"))
        .await
        .unwrap();
    assert_eq!(daemon.next().await.unwrap(), ProcessEvent::Output(Output::Stdout, b"begun\n".to_vec()));
    end(daemon).await;
    // One that prints what an agent would say.
    let forged = [FromAgent::Pong, FromAgent::Live(Event::InputClosed { id: Id(1) })].iter().flat_map(frame::encode);
    let forged: Vec<u8> = forged.collect();
    let printed = sandbox.run(Command::shell(format!("printf '{}'", octal(&forged)))).await.unwrap();
    assert_eq!(printed.stdout, forged);
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect::<Vec<_>>().concat()
}

/// Finds the standard output of the relay of this client, as another process of its user can.
const TO_THE_STREAM: &str = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '^/.arl/agent connect' && \
                             relays=\"$relays $p\"; done; to_all() { for relay in $relays; do cat \"$1\" >$relay/fd/1; done; }";

async fn forgeries(sandbox: &Sandbox) {
    let pong = frame::encode(&FromAgent::Pong);
    let list = frame::encode(&FromAgent::Live(Event::List { request: 1, processes: Vec::new() }));
    let long = [0xff; 4];
    let flood = |message: &[u8], times: usize| {
        format!(
            "printf '{}' >/tmp/one; i=0; while [ $i -lt {times} ]; do cat /tmp/one; i=$((i+1)); done >/tmp/bad",
            octal(message)
        )
    };
    for make in [
        "head -c 300000 /dev/urandom >/tmp/bad".to_owned(),
        flood(&pong, 2000),
        flood(&list, 2000),
        flood(&long, 1),
        // A frame that never ends, and what fills it.
        "printf '\\000\\002\\000\\000' >/tmp/bad; head -c 200000 /dev/zero >>/tmp/bad".to_owned(),
    ] {
        let script = format!("{make}; {TO_THE_STREAM}; to_all /tmp/bad; echo written");
        let done = tokio::time::timeout(DEADLINE, sandbox.run(Command::shell(&script))).await.expect("it ends");
        // Where the stream broke before it was said that it was started, it is started once all the same.
        let done = done.unwrap_or_else(|error| panic!("{error}: {make}"));
        assert_eq!((done.exit.code, &*done.stdout_text()), (0, "written\n"), "{make}");
        works(sandbox).await;
    }
}

fn assert_refused(result: Result<impl Sized, Error>, kind: Kind, what: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what} was done"));
    assert_eq!((error.kind(), error.fault()), (Some(kind), Fault::Task), "{what}: {error}");
}

async fn files(sandbox: &Sandbox) {
    let files = sandbox.files();
    let made = "cd /workspace && mkdir odd && truncate -s 10G odd/sparse && mknod odd/null c 1 3 && mkfifo odd/pipe && \
                ln -s /dev/zero odd/zero && ln /etc/passwd odd/hard 2>/dev/null; ls odd | wc -l";
    let made = sandbox.run(Command::shell(made)).await.unwrap();
    assert_eq!(made.stdout_text().trim().parse::<u32>().unwrap(), 4, "{made:?}");
    assert_eq!(files.stat("/workspace/odd/sparse").await.unwrap().size, 10 << 30);
    assert_refused(files.read("/workspace/odd/sparse").await, Kind::TooLarge, "reading ten gigabytes into memory");
    assert_eq!(files.read_range("/workspace/odd/sparse", (10 << 30) - 3, None).await.unwrap(), [0; 3]);
    for device in ["null", "pipe", "zero"] {
        let error = files.read(format!("/workspace/odd/{device}")).await.unwrap_err();
        assert_eq!(error.kind(), Some(Kind::Invalid), "{device}: {error}");
    }
    let error = files.pack("/workspace/odd", &mut Full(64 << 20)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Usage, "{error}");
    works(sandbox).await;
    files.remove("/workspace/odd", true).await.unwrap();
}

async fn archives(sandbox: &Sandbox) {
    let files = sandbox.files();
    let made = sandbox.run(Command::shell("mkdir /outside && echo secret >/secret")).await.unwrap();
    assert!(made.exit.success());
    let link = |name: &str, to: &str| entry(b'2', name, to, 0, b"");
    for (what, mut archive) in [
        ("above", file("../outside/f")),
        ("above in the middle", file("a/../../../outside/f")),
        ("absolute", file("/outside/f")),
        ("through a link", [link("x", "/outside"), file("x/f")].concat()),
        ("through two links", [link("x", "."), link("x/y", "../../outside"), file("x/y/f")].concat()),
        ("hard link to the outside", entry(b'1', "h", "/secret", 0, b"")),
        ("hard link above", entry(b'1', "h", "../../secret", 0, b"")),
        ("hard link through a link", [link("x", "/"), entry(b'1', "h", "x/secret", 0, b"")].concat()),
        ("character device", entry(b'3', "null", "", 0, b"")),
        ("block device", entry(b'4', "disk", "", 0, b"")),
        ("eight gigabytes that are not sent", entry(b'0', "f", "", (8 << 30) - 1, b"")),
        ("a sparse file", entry(b'S', "sparse", "", 4, b"evil")),
    ] {
        archive.extend([0; 1024]);
        assert_refused(files.unpack("/workspace/into", &mut &archive[..]).await, Kind::BadArchive, what);
        files.remove("/workspace/into", true).await.unwrap();
    }
    let seen = sandbox.run(Command::shell("ls /outside | wc -l; stat -c %h /secret; cat /secret")).await.unwrap();
    assert_eq!(seen.stdout_text(), "0\n1\nsecret\n");
    many_entries(&files).await;
}

/// How many entries an archive has.
fn entries() -> u64 {
    std::env::var("ARL_LIVE_ENTRIES").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000)
}

async fn many_entries(files: &Files) {
    let count = entries();
    let unpacked = files.unpack("/workspace/many", &mut Entries { made: 0, count, current: Vec::new() }).await.unwrap();
    assert_eq!(unpacked, count);
    let packed = files.pack("/workspace/many", &mut tokio::io::sink()).await.unwrap();
    assert_eq!(packed, count + 2, "and the directories");
    files.remove("/workspace/many", true).await.unwrap();
}

/// More than a list holds, with the longest names.
async fn long_list(sandbox: &Sandbox) {
    let made = "mkdir /workspace/many && cd /workspace/many && n=$(printf %0245d 0) && seq 1 1000 | sed \"s/^/$n/\" >/tmp/names && \
                head -80 /tmp/names | xargs mkdir && for d in *; do (cd $d && xargs touch </tmp/names); done; echo made";
    let made = sandbox.run(Command::shell(made)).await.unwrap();
    assert_eq!(made.stdout_text(), "made\n", "{}", made.stderr_text());
    let files = sandbox.files();
    assert_eq!(files.list("/workspace/many", Some(1)).await.unwrap().len(), 80);
    assert_refused(files.list("/workspace/many", None).await, Kind::TooLarge, "a list of everything");
    files.remove("/workspace/many", true).await.unwrap();
}

/// An archive of so many empty files, made while it is read.
struct Entries {
    made: u64,
    count: u64,
    current: Vec<u8>,
}

impl AsyncRead for Entries {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.current.is_empty() && this.made < this.count {
            this.current = entry(b'0', &format!("d/{}", this.made), "", 0, b"");
            this.made += 1;
        }
        let length = this.current.len().min(buf.remaining());
        buf.put_slice(&this.current[..length]);
        this.current.drain(..length);
        Poll::Ready(Ok(()))
    }
}

/// A disk with so much room.
struct Full(usize);

impl AsyncWrite for Full {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.0 = this.0.saturating_sub(bytes.len());
        if this.0 == 0 { Poll::Ready(Err(io::ErrorKind::StorageFull.into())) } else { Poll::Ready(Ok(bytes.len())) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
