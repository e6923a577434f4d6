//! What becomes of a call to the API server.

use std::time::Duration;

use crate::refusal::Refusal;

/// What becomes of one request on its way.
pub enum Fate {
    Well,
    /// Refused before it has an effect.
    Refused(Refusal),
    Broken {
        effect: bool,
    },
    Hangs {
        effect: bool,
    },
    /// Answered well, so long before it has its effect, as where a webhook takes its time, and after.
    Late {
        before: Duration,
        after: Duration,
    },
    /// Answered with an error although it had an effect.
    Belied(Refusal),
}

impl Fate {
    /// In words, where it is a fault.
    pub fn said(&self) -> Option<String> {
        Some(match self {
            Self::Well => return None,
            Self::Refused(refusal) => format!("-> {}", refusal.code),
            Self::Belied(refusal) => format!("takes effect -> {}", refusal.code),
            Self::Broken { effect } => format!("breaks, effect {effect}"),
            Self::Hangs { effect } => format!("hangs, effect {effect}"),
            Self::Late { before, after } => format!("has its effect after {before:?}, and its answer after {after:?}"),
        })
    }
}
