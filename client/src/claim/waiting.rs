//! What is said of claims that take long: why, once a minute at most for all of a client.

use std::{convert::Infallible, future::pending, time::Duration};

use arl_crds::{Sandbox as SandboxObject, reason::SandboxReason};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Claim;
use crate::{awaited::ready_condition, watch::Seen};

/// Nothing is said of claims that are as quick as this.
const SILENCE_MAX: Duration = Duration::from_secs(5);

impl Claim {
    /// Says why no pod has come where that takes long. A setup takes as long as it takes.
    pub(super) async fn tell(&self, seen: watch::Receiver<Seen<SandboxObject>>) -> Infallible {
        sleep_until(Instant::now() + SILENCE_MAX).await;
        let why = match &*seen.borrow() {
            Seen::There(object) => ready_condition(object),
            _ => None,
        };
        let is_set_up = why.as_ref().is_some_and(|(reason, _)| reason == SandboxReason::SettingUp.as_str());
        if !is_set_up && self.client.inner.notices.is_due(Instant::now()) {
            let why = match why {
                Some((reason, message)) => self.with_pool(&reason, message).await,
                None => "no operator has looked at the Sandbox yet; is one running?".into(),
            };
            tracing::warn!("a claim from pool {} waits: {why}", self.pool);
        }
        pending().await
    }
}
