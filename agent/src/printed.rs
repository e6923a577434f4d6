//! `output`: what the steps of a run print, as they print it, for whoever has the right to exec into the pod. It only reads the
//! records that the supervisor and its workers keep, and ends with the run, or with its reader.

use std::{
    io::{Read, Write},
    os::fd::AsFd,
    path::Path,
};

use arl_agent::{
    frame,
    message::{
        Excerpt, RunId, RunMessage,
        live::{Output, printed::Printed},
    },
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use crate::records::{Partial, Records};

/// Prints the outputs of a run until it has ended.
pub fn output(directory: &Path, run: &str) -> Result<(), String> {
    let run = RunId::new(run).ok_or("this is no name of a run")?;
    let records = Records::open(directory)?;
    let failed = |error: nix::Error| format!("the records cannot be watched: {error}");
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed)?;
    let flags = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
    changes.add_watch(&records.runs(), flags).map_err(failed)?;
    let mut follower = Follower::default();
    loop {
        if !records.has_begun(&run) {
            return Err("the run was not started here, or its result is on record elsewhere".into());
        }
        // What is printed last is in the log, before which nothing is noted any more.
        let partial = records.read_partial(&run);
        let (frames, has_ended) = follower.advance(&records.log(&run), &partial);
        let mut out = std::io::stdout().lock();
        out.write_all(&frames).and_then(|()| out.flush()).map_err(|error| format!("nobody reads: {error}"))?;
        if has_ended {
            return Ok(());
        }
        if !wait(&changes)? {
            return Ok(());
        }
    }
}

/// Waits until something is written; false: nobody reads any more.
fn wait(changes: &Inotify) -> Result<bool, String> {
    let input = std::io::stdin();
    let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error.to_string()),
    }
    let is_there = !fds[1].any().unwrap_or_default() || input.lock().read(&mut [0; 64]).is_ok_and(|count| count > 0);
    // They are all looked at together.
    while changes.read_events().is_ok_and(|events| !events.is_empty()) {}
    Ok(is_there)
}

/// How far the outputs of the steps have been sent.
#[derive(Debug, Default)]
struct Follower {
    step: u32,
    sent: [u64; 2],
}

impl Follower {
    /// The pieces that are new, as frames, and whether the run has ended.
    fn advance(&mut self, log: &[RunMessage], partial: &Partial) -> (Vec<u8>, bool) {
        let (mut frames, mut has_ended) = (Vec::new(), false);
        for message in log {
            match message {
                RunMessage::Step { index, stdout, stderr, .. } if *index >= self.step => {
                    self.enter(*index);
                    self.send(Output::Stdout, stdout, &mut frames);
                    self.send(Output::Stderr, stderr, &mut frames);
                    self.enter(index.saturating_add(1));
                }
                RunMessage::Ended { .. } => has_ended = true,
                _ => {}
            }
        }
        // It may still be that of a step that is in the log.
        if let Some(index) = partial.index.filter(|index| *index >= self.step && !has_ended) {
            self.enter(index);
            self.send(Output::Stdout, &partial.stdout, &mut frames);
            self.send(Output::Stderr, &partial.stderr, &mut frames);
        }
        (frames, has_ended)
    }

    fn enter(&mut self, step: u32) {
        if step != self.step {
            (self.step, self.sent) = (step, [0, 0]);
        }
    }

    fn send(&mut self, output: Output, printed: &Excerpt, frames: &mut Vec<u8>) {
        let sent = &mut self.sent[usize::from(output == Output::Stderr)];
        let tail_at = printed.total.saturating_sub(printed.tail.len() as u64);
        for (at, part) in [(0, &printed.head), (tail_at, &printed.tail)] {
            let skipped = usize::try_from(sent.saturating_sub(at)).unwrap_or(usize::MAX);
            if let Some(data) = part.get(skipped..).filter(|data| !data.is_empty()) {
                let offset = at + skipped as u64;
                *sent = offset + data.len() as u64;
                frames.extend(frame::encode(&Printed { step: self.step, output, offset, data: data.to_vec() }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arl_agent::{
        frame::{FROM_AGENT_MAX, Frames},
        message::{RunEnd, StepEnd},
    };

    use super::*;

    fn excerpt(text: &str) -> Excerpt {
        Excerpt { head: text.into(), tail: Vec::new(), total: text.len() as u64 }
    }

    fn noted(index: u32, text: &str) -> Partial {
        Partial { index: Some(index), stdout: excerpt(text), stderr: Excerpt::default() }
    }

    fn ended(index: u32, text: &str) -> RunMessage {
        let (run, end) = (RunId::new("r").unwrap(), StepEnd::Exited(0));
        RunMessage::Step { run, index, started_us: 0, ended_us: 0, end, stdout: excerpt(text), stderr: excerpt("e") }
    }

    fn over() -> RunMessage {
        RunMessage::Ended { run: RunId::new("r").unwrap(), end: RunEnd::Completed, survivors: Vec::new() }
    }

    fn pieces(frames: &[u8]) -> Vec<(u32, u64, String)> {
        let mut all = Frames::new(FROM_AGENT_MAX);
        all.push(frames);
        std::iter::from_fn(|| all.take::<Printed>().unwrap())
            .map(|piece| (piece.step, piece.offset, String::from_utf8(piece.data).unwrap()))
            .collect()
    }

    #[test]
    fn each_byte_is_sent_once_whoever_tells_of_it_first() {
        let mut follower = Follower::default();
        let mut next = |log: &[RunMessage], partial: &Partial| {
            let (frames, has_ended) = follower.advance(log, partial);
            (pieces(&frames), has_ended)
        };
        assert_eq!(next(&[], &Partial::default()), (Vec::new(), false));
        assert_eq!(next(&[], &noted(0, "ab")), (vec![(0, 0, "ab".into())], false));
        assert_eq!(next(&[], &noted(0, "abc")), (vec![(0, 2, "c".into())], false));
        let first = ended(0, "abcd");
        let rest = vec![(0, 3, "d".to_owned()), (0, 0, "e".to_owned())];
        assert_eq!(
            next(std::slice::from_ref(&first), &noted(0, "abc")),
            (rest, false),
            "the note of a step that has ended"
        );
        assert_eq!(next(std::slice::from_ref(&first), &noted(1, "x")), (vec![(1, 0, "x".into())], false));
        let all = [first, ended(1, "xy"), over()];
        assert_eq!(next(&all, &noted(1, "x")), (vec![(1, 1, "y".into()), (1, 0, "e".into())], true));
    }

    #[test]
    fn what_is_no_longer_kept_leaves_a_gap() {
        let mut follower = Follower::default();
        follower.advance(&[], &noted(0, "0123"));
        let cut = Excerpt { head: b"0123".to_vec(), tail: b"89".to_vec(), total: 10 };
        let (frames, _) = follower.advance(&[], &Partial { index: Some(0), stdout: cut, stderr: Excerpt::default() });
        assert_eq!(pieces(&frames), [(0, 8, "89".to_owned())]);
    }
}
