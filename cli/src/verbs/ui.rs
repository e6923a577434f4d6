//! `ui`: a page that shows what is there, for a browser on this machine.

use std::{
    io::Write,
    net::Ipv4Addr,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use clap::Args;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use crate::{
    connect::Connection,
    failure::Failure,
    interrupt::Interrupts,
    live_objects::LiveObjects,
    page::{self, Page},
    print,
};

/// Opens what a desktop's user wants it to be opened with.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Serve a page on this machine and open it: pools and how full they were, Sandboxes, Tasks, their outputs as they come, and shells.
#[derive(Args, Debug)]
#[command(
    after_help = "The address that is printed carries a token: who has it has the rights of the kubeconfig. Ctrl-C ends it."
)]
pub struct Flags {
    /// Only print the address.
    #[arg(long)]
    no_browser: bool,
    /// Port on 127.0.0.1; 0: one that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Serves until somebody ends it.
pub async fn ui(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<(), Failure> {
    let objects = interrupts.or(LiveObjects::watch(connection)).await?;
    let failed = |error: std::io::Error| {
        Failure::ours(format!("port {} cannot be used: {error}; --port chooses another", flags.port))
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, flags.port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let page =
        Page::new(connection, objects, port).map_err(|error| Failure::ours(format!("no random numbers: {error}")))?;
    print::line(page.address())?;
    let _opened = if flags.no_browser { None } else { open(&page.address()) };
    let serving = page::serve(std::sync::Arc::clone(&page), listener);
    let result = tokio::select! {
        interrupt = interrupts.first() => Err(interrupt.into()),
        served = serving => served,
        recorded = page.record() => recorded,
    };
    page.close().await;
    result
}

/// Opens a file that leads to the address: other users see the arguments of a process, but do not read our files. It is there until this is
/// dropped.
fn open(address: &str) -> Option<NamedTempFile> {
    let opened = || {
        let mut file = tempfile::Builder::new().prefix("kubectl-arl-").suffix(".html").tempfile()?;
        write!(
            file,
            "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={address}\"><a href=\"{address}\">kubectl arl ui</a>"
        )?;
        file.flush()?;
        // In a group of its own: Ctrl-C ends us, not the user's browser.
        let mut child = Command::new(OPENER)
            .arg(file.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Not a task's: the runtime would wait for it at its end.
        std::thread::spawn(move || child.wait());
        Ok::<_, std::io::Error>(file)
    };
    match opened() {
        Ok(file) => Some(file),
        Err(error) => {
            print::note(format!("{OPENER} cannot be started: {error}; open the address yourself"));
            None
        }
    }
}
