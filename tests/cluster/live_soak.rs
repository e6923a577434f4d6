//! Many live processes, with a client that is cut off: its connections are reset again and again, the way to the API server is gone for a
//! while, the client itself is stopped. Whatever the moment, every line arrives once or is said to be in a gap, and every end is true.

use std::time::Duration;

use arl_client::{Client, Command, Finished, Process, ProcessEvent, Sandbox, live::Output};
use futures::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep_until, timeout};

use crate::harness::{
    World,
    child::{memory, succeeded, told},
    proxy::Proxy,
    wait::DEADLINE,
};

const CLIENT: &str = "live_soak::a_client_of_other_tests";
const SANDBOXES: usize = 5;

/// So many cuts come one after the other, whatever the client has reached between them.
const CUTS_IN_A_ROW: usize = 20;

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// A process that prints numbered lines, some every moment, as long as this holds, and then how many there were; and its exit code.
fn printer(number: usize, holds: &str) -> (Command, i32) {
    let script = format!(
        "i=0; while {holds}; do echo {number}-$i; i=$((i+1)); [ $((i%25)) = 0 ] && sleep 0.4; done; echo $i >&2; exit {}",
        number % 50
    );
    // A client that is cut off more often than a stream takes to open is gone for longer than a foreground process may be alone.
    (Command::shell(script).background(), i32::try_from(number % 50).unwrap())
}

/// So many lines.
fn lines(count: usize) -> String {
    format!("[ $i -lt {count} ]")
}

/// What is wrong with what came of it, or how many bytes are in gaps, where each line is there once, or in a gap.
async fn followed(mut process: Process, number: usize, code: i32) -> Result<usize, String> {
    let (mut all, mut lines, mut count) = (Vec::new(), 0, Vec::new());
    let (mut at, mut missing) = (0, 0);
    loop {
        let event = process.next().await;
        let until = match &event {
            Ok(ProcessEvent::Output(Output::Stdout, data)) => at + data.len(),
            Ok(ProcessEvent::Gap(gap)) if gap.output == Output::Stdout => usize::try_from(gap.until).unwrap(),
            _ => at,
        };
        while all.len() < until {
            all.extend(format!("{number}-{lines}\n").into_bytes());
            lines += 1;
        }
        match event {
            Ok(ProcessEvent::Output(Output::Stdout, data)) if all[at..until] == data[..] => {}
            Ok(ProcessEvent::Output(Output::Stderr, data)) => count.extend(data),
            Ok(ProcessEvent::Gap(gap)) if gap.output == Output::Stdout && gap.from == at as u64 => {
                missing += until - at;
            }
            Ok(ProcessEvent::Ended(exit))
                if at == all.len()
                    && count == format!("{lines}\n").as_bytes()
                    && (exit.code, exit.cause) == (code, None) =>
            {
                return Ok(missing);
            }
            other => {
                let count = String::from_utf8_lossy(&count);
                return Err(format!("printer {number}: at {at}, line {lines} of {count}: {other:?}"));
            }
        }
        at = until;
    }
}

/// Runs so many processes in all Sandboxes to their end, each as long as what is said for its number holds; how many bytes were in gaps.
async fn print(sandboxes: &[Sandbox], processes: usize, holds: impl Fn(usize) -> String) -> usize {
    let all = (0..processes).map(|number| (number, holds(number))).map(|(number, holds)| async move {
        let (command, code) = printer(number, &holds);
        let process = sandboxes[number % sandboxes.len()].start(command).await.map_err(|e| format!("{number}: {e}"))?;
        followed(process, number, code).await
    });
    let missing =
        timeout(3 * DEADLINE, try_join_all(all)).await.expect("they end").unwrap_or_else(|wrong| panic!("{wrong}"));
    missing.iter().sum()
}

/// Nothing runs in the pods, and nothing waits to be asked for.
async fn nothing_is_left(world: &World, sandboxes: &[Sandbox]) {
    for sandbox in sandboxes {
        assert!(sandbox.session().list().await.unwrap().is_empty(), "what was waited for is forgotten");
        assert_eq!(world.processes(sandbox.pod()).await, ["sleep 2147483647"]);
    }
}

async fn claimed(client: &Client, count: usize) -> Vec<Sandbox> {
    try_join_all((0..count).map(|_| client.claim("p").into_future())).await.unwrap()
}

async fn world(name: &str, sandboxes: usize) -> World {
    let world = World::new(name).await;
    world.pool("p", i32::try_from(sandboxes).unwrap()).await;
    world
}

/// ARL_LIVE_CUTS: how often, by chance of ARL_LIVE_SEED.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_two_hundred_times_misses_nothing() {
    let (cuts, seed) = (setting("ARL_LIVE_CUTS", 200), setting("ARL_LIVE_SEED", 17));
    println!("ARL_LIVE_CUTS={cuts} ARL_LIVE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let world = world("live-cuts", SANDBOXES).await;
    let claimed = claimed(&Client::new(world.client.clone(), world.ns.as_str()), SANDBOXES).await;
    let proxy = Proxy::start(&world).await;
    // One that only has sessions: a watch that breaks begins again later each time, and would not be there to be cut.
    let client = proxy.client(&world).await;
    let sandboxes = try_join_all(claimed.iter().map(|sandbox| client.open(sandbox.name()))).await.unwrap();
    // Every other one ends at some time between the cuts.
    let holds = |number| if number % 2 == 0 { "[ ! -e /tmp/enough ]".to_owned() } else { lines(60 * number) };
    let printing = print(&sandboxes, 50, holds);
    let cutting = async {
        let everywhere = |command: [&'static str; 2]| {
            try_join_all(sandboxes.iter().map(move |sandbox| sandbox.run(Command::new(command))))
        };
        let (mut done, mut in_a_row) = (0, 0);
        while done < cuts {
            // On a slow machine a stream takes longer to open than the next cut to come, and no session would ever get through.
            if in_a_row >= CUTS_IN_A_ROW {
                everywhere(["echo", "through"]).await.unwrap();
                in_a_row = 0;
            }
            sleep_until(Instant::now() + Duration::from_millis(random.u64(..500))).await;
            // Now and then all at once.
            let count = if random.u8(..10) == 0 { usize::MAX } else { 1 };
            let cut = proxy.cut(count, &mut random);
            (done, in_a_row) = (done + cut, in_a_row + cut);
        }
        everywhere(["touch", "/tmp/enough"]).await.unwrap();
    };
    let (missing, ()) = tokio::join!(printing, cutting);
    assert_eq!(missing, 0, "so little is printed that it is all kept");
    nothing_is_left(&world, &sandboxes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_delays_and_loses_nothing() {
    let world = world("live-away", SANDBOXES).await;
    let proxy = Proxy::start(&world).await;
    let client = proxy.client(&world).await;
    let sandboxes = claimed(&client, SANDBOXES).await;
    let printing = print(&sandboxes, 50, |_| lines(600));
    let away = async {
        sleep_until(Instant::now() + Duration::from_secs(2)).await;
        proxy.set_away(true);
        sleep_until(Instant::now() + Duration::from_secs(20)).await;
        proxy.set_away(false);
    };
    let (missing, ()) = tokio::join!(printing, away);
    assert_eq!(missing, 0, "so little is printed that it is all kept");
    nothing_is_left(&world, &sandboxes).await;
}

/// ARL_LIVE_STOPPED: for how many seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_stopped_for_a_while_misses_nothing() {
    let seconds = setting("ARL_LIVE_STOPPED", 8);
    let world = world("live-stopped", 1).await;
    world.sandbox("s", "p").await;
    let pod = world.pod_of("s").await;
    let child = world.child(CLIENT, "print");
    let pid = child.id().unwrap().to_string();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    };
    world.content_of(&pod, "/tmp/begun").await;
    let stopping = async {
        signal("-STOP");
        sleep_until(Instant::now() + Duration::from_secs(seconds as u64)).await;
        signal("-CONT");
    };
    tokio::join!(succeeded(child), stopping);
    assert_eq!(world.processes(&pod).await, ["sleep 2147483647"]);
}

/// The other process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another test starts it as a process of its own"]
async fn a_client_of_other_tests() {
    let Some((_, client)) = told().await else { return };
    let sandbox = client.open("s").await.unwrap();
    let begun = async { sandbox.run(Command::shell("sleep 1; echo begun >/tmp/begun")).await.unwrap() };
    let printing = print(std::slice::from_ref(&sandbox), 50, |_| lines(1000));
    let (missing, _) = tokio::join!(printing, begun);
    assert_eq!(missing, 0, "so little is printed that it is all kept");
    assert!(sandbox.session().list().await.unwrap().is_empty());
}

/// ARL_LIVE_COMMANDS, over ARL_LIVE_SANDBOXES.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_at_once_all_do_as_they_are_told() {
    let (commands, count) = (setting("ARL_LIVE_COMMANDS", 1000), setting("ARL_LIVE_SANDBOXES", 20));
    let world = world("live-many", count).await;
    let client = Client::new(world.client.clone(), world.ns.as_str());
    let sandboxes = claimed(&client, count).await;
    let (_, before) = memory();
    assert!(
        join_all(sandboxes.iter().map(|s| s.run(Command::new(["true"])))).await.into_iter().all(|done| done.is_ok())
    );
    let (_, opened) = memory();
    let sessions = u64::try_from(count).unwrap();
    println!("{} KiB of memory for each of {count} open sessions", opened.saturating_sub(before) / 1024 / sessions);
    let began = Instant::now();
    let all = (0..commands).map(|number| {
        let sandbox = &sandboxes[number % sandboxes.len()];
        let script = format!("read line; echo $line {number}; echo {number} >&2; exit {}", number % 100);
        async move {
            let done = sandbox.run(Command::shell(script).input(format!("in-{number}\n"))).await;
            (number, done, began.elapsed())
        }
    });
    let all = timeout(3 * DEADLINE, join_all(all)).await.expect("they end");
    let mut ends = vec![Vec::new(); count];
    for (number, done, at) in all {
        let done: Finished = done.unwrap_or_else(|error| panic!("command {number}: {error}"));
        assert_eq!(done.exit.code, i32::try_from(number % 100).unwrap(), "command {number}");
        assert_eq!(done.stdout_text(), format!("in-{number} {number}\n"));
        assert_eq!(done.stderr_text(), format!("{number}\n"));
        ends[number % count].push(at);
    }
    // Fair: the Sandbox whose last command ends first has not been given all that the others had to wait for.
    let last: Vec<Duration> = ends.iter().map(|ends| *ends.iter().max().unwrap()).collect();
    let (first, slowest) = (*last.iter().min().unwrap(), *last.iter().max().unwrap());
    println!("{commands} commands in {slowest:?}; the first Sandbox was done after {first:?}");
    nothing_is_left(&world, &sandboxes).await;
}
