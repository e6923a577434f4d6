//! Shells in Sandboxes: what one prints is the body of a response, what is typed comes in requests.

use std::sync::Arc;

use arl_client::{Command, GRACE, Process, ProcessEvent, Sandbox};
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::StatusCode,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    answer::{Refusal, body, refusal},
    context::Page,
    terminals::{Size, Terminal},
};
use crate::{failure::Failure, verbs::shell::SHELLS};

/// Pieces on their way, in each direction.
const WAITING_MAX: usize = 16;
/// What our page can draw. Programs leave out what it cannot.
const KIND: &str = "dumb";

/// Starts a shell; what it prints.
pub async fn open(
    State(page): State<Arc<Page>>,
    Path((sandbox, id, columns, rows)): Path<(String, String, u16, u16)>,
) -> Result<Body, Refusal> {
    let (input, typed) = mpsc::channel(WAITING_MAX);
    let (size, sizes) = watch::channel((columns, rows));
    let alive = page.terminals.insert(id.clone(), Terminal { input, size })?;
    let (to, bytes) = mpsc::channel(WAITING_MAX);
    let (told, started) = oneshot::channel();
    // A request that is given up is dropped where it waits: this is not, and ends the shell of one that nobody waits for.
    tokio::spawn(async move {
        let started = async {
            let sandbox = page.connection.sandbox(&sandbox).await?;
            let process = start(&sandbox, (columns, rows)).await?;
            Ok::<_, Failure>((sandbox, process))
        };
        match started.await {
            Ok((_sandbox, process)) => {
                let _ = told.send(Ok(()));
                follow(process, Typed { typed, sizes }, to, page.terminals.closing()).await;
                page.terminals.remove(&id);
            }
            Err(failure) => {
                page.terminals.remove(&id);
                let _ = told.send(Err(refusal(&failure)));
            }
        }
        drop(alive);
    });
    started.await.map_err(|_| (StatusCode::BAD_GATEWAY, "the shell was not started; open it again".to_owned()))??;
    Ok(body(bytes))
}

/// Takes what is typed.
pub async fn input(State(page): State<Arc<Page>>, Path(id): Path<String>, bytes: Bytes) -> Result<(), Refusal> {
    let sent = page.terminals.get(&id)?.input.send(bytes).await;
    sent.map_err(|_| (StatusCode::NOT_FOUND, "the shell has ended".to_owned()))
}

/// Takes another size.
pub async fn size(
    State(page): State<Arc<Page>>,
    Path((id, columns, rows)): Path<(String, u16, u16)>,
) -> Result<(), Refusal> {
    page.terminals.get(&id)?.size.send_replace((columns, rows));
    Ok(())
}

async fn start(sandbox: &Sandbox, (columns, rows): Size) -> Result<Process, Failure> {
    let mut failure = Failure::ours("the image has neither bash nor sh");
    for shell in SHELLS {
        let command = Command::new([shell]).tty(columns, rows).env("TERM", KIND);
        match sandbox.start(command).await.map_err(Failure::not_started) {
            Ok(process) => return Ok(process),
            Err(why) if why.is_not_found() => {}
            Err(why) => {
                failure = why;
                break;
            }
        }
    }
    Err(failure)
}

struct Typed {
    typed: mpsc::Receiver<Bytes>,
    sizes: watch::Receiver<Size>,
}

/// Passes all on until the shell has ended, or its window is closed.
async fn follow(mut process: Process, from: Typed, to: mpsc::Sender<Bytes>, mut closing: watch::Receiver<bool>) {
    let Typed { mut typed, mut sizes } = from;
    if let Some(mut stdin) = process.take_stdin() {
        // A shell may print while it does not read.
        tokio::spawn(async move {
            while let Some(bytes) = typed.recv().await {
                if stdin.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        });
    }
    let mut is_killed = false;
    loop {
        let is_wanted = tokio::select! {
            event = process.next() => {
                let (text, is_over) = match event {
                    Ok(ProcessEvent::Output(_, data)) => (data.into(), false),
                    Ok(ProcessEvent::Gap(gap)) => (note(&format!("{} bytes are lost", gap.until - gap.from)), false),
                    Ok(ProcessEvent::Rejected(error)) => (note(&error.to_string()), false),
                    Ok(ProcessEvent::Ended(exit)) => (note(&format!("the shell has ended: exit code {}", exit.code)), true),
                    Err(error) => (note(&Failure::from(error).message), true),
                };
                // Of one that was closed nobody hears.
                let is_taken = is_killed || tokio::select! {
                    sent = to.send(text) => sent.is_ok(),
                    () = closed(&mut closing) => false,
                };
                if is_over {
                    return;
                }
                is_taken
            }
            () = to.closed(), if !is_killed => false,
            () = closed(&mut closing), if !is_killed => false,
            Ok(()) = sizes.changed() => {
                let (columns, rows) = *sizes.borrow_and_update();
                process.resize(columns, rows);
                true
            }
        };
        if !is_wanted {
            process.kill(GRACE);
            is_killed = true;
        }
    }
}

/// Resolves once all are to end.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // It ends with the page.
    let _ = closing.wait_for(|closing| *closing).await;
}

fn note(words: &str) -> Bytes {
    format!("\r\n[{words}]\r\n").into()
}
