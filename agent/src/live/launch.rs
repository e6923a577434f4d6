//! Starting a live process or a file call: what a request asks for, the descriptors, and the keeper's job.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use arl_agent::message::{
    error::{Error, Kind},
    file::Action,
    live::{COMMAND_MAX, GRACE_MS, Id, Start},
};

use nix::fcntl::{FcntlArg, fcntl};

use super::{
    handle::Keeper,
    input::Input,
    job::{Job, Program, Work as JobWork},
    process::{Process, Work},
    pty,
    stream::Stream,
};

/// What the pipe of a file call holds that its content goes through, four times what it does by itself: a turn from one process to the next
/// takes longer than what is passed on in it. A user's pipes hold 64 MiB altogether on a node, so no other has it.
/// <https://man7.org/linux/man-pages/man7/pipe.7.html>
const PIPE: i32 = 256 * 1024;

/// What is to be started.
pub struct Launch {
    id: Id,
    command: String,
    work: Work,
    job: Job,
    /// The keeper's ends.
    theirs: Vec<OwnedFd>,
    outputs: [Stream; 2],
    input: Option<(File, bool)>,
}

impl Launch {
    /// A process.
    pub fn process(start: Start, home: &str) -> Result<Self, Error> {
        check(&start)?;
        let Start { id, argv, env, cwd, user, stdin, tty, timeout_ms, grace_ms, alone_ms } = start;
        let command = beginning(&argv.join(" "));
        let grace_ms = grace_ms.unwrap_or(GRACE_MS);
        let (theirs, outputs, input) = match tty {
            Some(size) => {
                let (ours, theirs) = pty::open(size).map_err(|error| failed(&error))?;
                set_nonblocking(&ours).map_err(|error| failed(&error))?;
                let input = File::from(ours.try_clone().map_err(|error| failed(&error))?);
                (vec![theirs], [Stream::of_terminal(ours.into()), Stream::default()], Some((input, true)))
            }
            None => pipes(stdin, true).map_err(|error| failed(&error))?,
        };
        let (alone, timeout) = (alone_ms.map(Duration::from_millis), timeout_ms.map(Duration::from_millis));
        let work = Work::Process { alone, tty: tty.is_some(), timeout, grace_ms };
        let program = Program { argv, env, cwd, stdin, tty: tty.is_some(), timeout_ms, grace_ms };
        let job = Job { id, home: home.to_owned(), user, work: JobWork::Process(program) };
        Ok(Self { id, command, work, job, theirs, outputs, input })
    }

    /// A file call.
    pub fn call(id: Id, action: Action, user: Option<String>, home: &str) -> Result<Self, Error> {
        let (theirs, outputs, input) = pipes(true, false).map_err(|error| failed(&error))?;
        let is_sent = matches!(action, Action::Write { .. } | Action::Append { .. } | Action::Unpack { .. });
        if let Some(data) = theirs.get(usize::from(!is_sent)) {
            // Where it is refused the call takes longer.
            let _ = fcntl(data, FcntlArg::F_SETPIPE_SZ(PIPE));
        }
        let job = Job { id, home: home.to_owned(), user, work: JobWork::Call(action) };
        Ok(Self { id, command: String::new(), work: Work::Call, job, theirs, outputs, input })
    }

    /// Has `keeper` do it; input has room for `share` bytes.
    pub fn by(self, keeper: Keeper, share: usize) -> Process {
        let input = self.input.map(|(pipe, terminal)| Input::new(pipe, terminal, share));
        let mut process = Process::new(self.id, self.work, self.command, keeper, self.outputs, input);
        let given = process.keeper.as_mut().map(|keeper| keeper.give(self.job, &self.theirs));
        if let Some(Err(_)) = given {
            process.keeper = None;
            process.lost(None);
        }
        process
    }
}

/// What cannot be meant.
fn check(start: &Start) -> Result<(), Error> {
    let invalid = |message: &str| Err(Error::new(Kind::Invalid, message));
    let has_nul = |text: &String| text.contains('\0');
    if start.argv.first().is_none_or(String::is_empty) {
        return invalid("there is no command: argv needs a program");
    }
    let paths = start.cwd.iter().chain(&start.user);
    if start.argv.iter().chain(paths).chain(start.env.iter().map(|variable| &variable.value)).any(has_nul) {
        return invalid("an argument, a variable, the working directory or the user has a NUL byte");
    }
    let is_no_name = |name: &String| name.is_empty() || name.contains(['=', '\0']);
    if start.env.iter().any(|variable| is_no_name(&variable.name)) {
        return invalid("the name of a variable is empty, or has a NUL byte or =");
    }
    Ok(())
}

type Descriptors = (Vec<OwnedFd>, [Stream; 2], Option<(File, bool)>);

/// Pipes for standard output, and for input and error where they are wanted: the keeper's ends, and ours, which never wait.
fn pipes(stdin: bool, stderr: bool) -> io::Result<Descriptors> {
    let mut theirs = Vec::new();
    let mut input = None;
    if stdin {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(&writer)?;
        theirs.push(reader.into());
        input = Some((File::from(OwnedFd::from(writer)), false));
    }
    let mut output = |is_wanted: bool| -> io::Result<Stream> {
        if !is_wanted {
            return Ok(Stream::default());
        }
        let (reader, writer) = io::pipe()?;
        set_nonblocking(&reader)?;
        theirs.push(writer.into());
        Ok(Stream::new(Some(File::from(OwnedFd::from(reader)))))
    };
    let outputs = [output(true)?, output(stderr)?];
    Ok((theirs, outputs, input))
}

fn set_nonblocking(descriptor: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(descriptor, true)?)
}

/// As much of a command as a list shows.
fn beginning(command: &str) -> String {
    command[..command.floor_char_boundary(COMMAND_MAX)].to_owned()
}

/// No descriptors, or no terminals.
pub fn failed(error: &io::Error) -> Error {
    Error {
        kind: Kind::Other,
        message: format!("nothing can be started in the pod: {error}"),
        errno: error.raw_os_error(),
    }
}
