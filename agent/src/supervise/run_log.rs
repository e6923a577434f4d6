//! The messages about a run, and the clients that get them.

use std::collections::BTreeSet;

use arl_agent::{
    frame,
    message::{Excerpt, RunMessage},
    output::{RUN_MAX, SHORT},
};

/// What is kept of a run until it is forgotten.
#[derive(Debug, Default)]
pub struct RunLog {
    log: Vec<RunMessage>,
    /// The clients that follow it.
    pub followers: BTreeSet<u64>,
}

impl RunLog {
    /// One with a first follower.
    pub fn followed_by(client: u64) -> Self {
        Self { log: Vec::new(), followers: BTreeSet::from([client]) }
    }

    /// Adds messages; returns whether earlier outputs were shortened for it.
    pub fn add(&mut self, messages: Vec<RunMessage>) -> bool {
        self.log.extend(messages);
        let mut excess =
            self.log.iter_mut().flat_map(outputs).map(|output| kept(output)).sum::<usize>().saturating_sub(RUN_MAX);
        let mut shortened = false;
        for output in self.log.iter_mut().flat_map(outputs) {
            if excess == 0 {
                break;
            }
            let before = kept(output);
            output.shorten(SHORT);
            excess = excess.saturating_sub(before - kept(output));
            shortened |= before > kept(output);
        }
        shortened
    }

    /// All messages that are kept.
    pub fn log(&self) -> &[RunMessage] {
        &self.log
    }

    /// The same, as frames.
    pub fn frames(&self) -> Vec<u8> {
        self.log.iter().flat_map(frame::encode).collect()
    }
}

fn outputs(message: &mut RunMessage) -> impl Iterator<Item = &mut Excerpt> {
    let outputs = if let RunMessage::Step { stdout, stderr, .. } = message { Some([stdout, stderr]) } else { None };
    outputs.into_iter().flatten()
}

fn kept(output: &Excerpt) -> usize {
    output.head.len() + output.tail.len()
}

#[cfg(test)]
mod tests {
    use arl_agent::message::{RunId, StepEnd};

    use super::*;

    #[test]
    fn earlier_outputs_make_room_for_later_ones() {
        let output = |byte| Excerpt { head: vec![byte; 16 * 1024], tail: vec![byte; 48 * 1024], total: 1 << 20 };
        let step = |index: u8| RunMessage::Step {
            run: RunId::new("r").unwrap(),
            index: index.into(),
            started_us: 0,
            ended_us: 0,
            end: StepEnd::Exited(0),
            stdout: output(index),
            stderr: output(index),
        };
        let mut run_log = RunLog::default();
        let shortened: Vec<bool> = (0..64).map(|index| run_log.add(vec![step(index)])).collect();
        assert_eq!(shortened[..5], [false, false, false, false, true]);
        let kept: Vec<usize> =
            run_log.log.clone().iter_mut().map(|message| outputs(message).map(|o| kept(o)).sum()).collect();
        assert!(kept.iter().sum::<usize>() <= RUN_MAX, "{kept:?}");
        assert!(kept[..60].iter().all(|kept| *kept == 2 * SHORT) && kept[61..].iter().all(|kept| *kept == 128 * 1024));
        assert!(
            run_log.log.iter_mut().flat_map(outputs).all(|output| output.total == 1 << 20),
            "what is left out is counted"
        );
    }
}
