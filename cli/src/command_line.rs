//! The command line: what can be written, and which verb does it.

use std::{cell::OnceCell, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use tokio::time::timeout;

use crate::{
    connect::{Cluster, Connection},
    failure::Failure,
    interrupt::Interrupts,
    verbs::{
        claim, completion, cp, doctor, exec, get, kill, man, pool, ps, reap, release, report, run, shell, snapshot,
        task, top, ui, version, wait, why,
    },
};

/// Runs commands in warm pods: Sandboxes of the ARL operator, their files and Tasks, and what is there and why.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-arl",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit code: the command's own; 124: its --timeout; 125: a failure that is not the command's; 126 and 127: it cannot \
    be executed, or is not there; 128+n: signal n."
)]
pub struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Flags),
    Exec(exec::Flags),
    Shell(shell::Flags),
    Cp(cp::Flags),
    Ps(ps::Flags),
    Kill(kill::Flags),
    Claim(claim::Flags),
    Release(release::Flags),
    Snapshot(snapshot::Flags),
    Fork(snapshot::Fork),
    Get(get::Flags),
    Top(top::Flags),
    Ui(ui::Flags),
    Wait(wait::Flags),
    Why(why::Flags),
    Logs(task::Logs),
    Task(task::Flags),
    Pool(pool::Flags),
    Reap(reap::Flags),
    Doctor(doctor::Flags),
    Report(report::Flags),
    Version(version::Flags),
    Completion(completion::Flags),
    Man(man::Flags),
}

/// How long the API server may take to delete what we give up.
const SETTLED_MAX: Duration = Duration::from_secs(20);

/// Does what the command line says; the exit code.
pub async fn execute(arguments: Arguments, interrupts: Interrupts) -> Result<u8, Failure> {
    let Arguments { cluster, verb } = arguments;
    let used = OnceCell::new();
    let connect = async || {
        let connection = interrupts.or(Connection::to(&cluster)).await?;
        Ok::<_, Failure>(used.get_or_init(|| connection).clone())
    };
    let code = match verb {
        Verb::Run(flags) => run::run(&connect().await?, flags, &interrupts).await,
        Verb::Exec(flags) => exec::exec(&connect().await?, flags, &interrupts).await,
        Verb::Shell(flags) => shell::shell(&connect().await?, flags, &interrupts).await,
        Verb::Cp(flags) => interrupts.or(cp::cp(&connect().await?, flags)).await.map(done),
        Verb::Ps(flags) => interrupts.or(ps::ps(&connect().await?, flags)).await.map(done),
        Verb::Kill(flags) => interrupts.or(kill::kill(&connect().await?, flags)).await.map(done),
        Verb::Claim(flags) => claim::claim(&connect().await?, flags, &interrupts).await.map(done),
        Verb::Release(flags) => interrupts.or(release::release(&connect().await?, flags)).await.map(done),
        Verb::Get(flags) => interrupts.or(get::get(&connect().await?, flags)).await.map(done),
        Verb::Snapshot(flags) => interrupts.or(snapshot::snapshot(&connect().await?, flags)).await.map(done),
        Verb::Fork(flags) => snapshot::fork(&connect().await?, flags, &interrupts).await.map(done),
        Verb::Top(_) => top::top(&connect().await?, &interrupts).await.map(done),
        Verb::Ui(flags) => Box::pin(ui::ui(&connect().await?, flags, &interrupts)).await.map(done),
        Verb::Wait(flags) => interrupts.or(wait::wait(&connect().await?, flags)).await.map(done),
        Verb::Why(flags) => interrupts.or(why::why(&connect().await?, flags)).await.map(done),
        Verb::Logs(flags) => Box::pin(interrupts.or(task::logs(&connect().await?, flags))).await.map(done),
        Verb::Task(flags) => Box::pin(task::task(&connect().await?, flags, &interrupts)).await,
        Verb::Pool(flags) => interrupts.or(pool::pool(&connect().await?, flags)).await.map(done),
        Verb::Reap(flags) => interrupts.or(reap::reap(&connect().await?, flags)).await.map(done),
        Verb::Doctor(flags) => doctor::doctor(&connect().await?, flags, &interrupts).await,
        Verb::Report(flags) => interrupts.or(report::report(&connect().await?, flags)).await.map(done),
        Verb::Version(flags) if flags.client => version::version(None, &flags).await.map(done),
        Verb::Version(flags) => interrupts.or(version::version(Some(&connect().await?), &flags)).await.map(done),
        Verb::Completion(flags) => completion::completion(&flags, Arguments::command()).map(done),
        Verb::Man(flags) => man::man(&flags, Arguments::command()).map(done),
    };
    let Some(connection) = used.get() else { return code };
    // What was given up is deleted beside us.
    let _ = timeout(SETTLED_MAX, connection.client().settled()).await;
    match code {
        Err(failure) => Err(interrupts.or(async { Ok(connection.explained(failure).await) }).await?),
        done => done,
    }
}

fn done((): ()) -> u8 {
    0
}
