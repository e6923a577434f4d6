//! Leader election: of several operators the one that holds the Lease writes, the others stand by.
//!
//! The rules are those of client-go, and docs/decisions/leader-election.md says why they are written here. Clocks of machines
//! are never compared: a candidate takes the Lease when it has seen no renewal for the Lease's duration on its own monotonic
//! clock. A leader that has not renewed for the renew deadline, which is shorter, has lost the Lease, whoever holds it.
//! No write is wrong where two believe to hold it: each names the version it was decided on.

mod terms;
#[cfg(test)]
mod tests;

use std::{ops::ControlFlow, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

pub use terms::{BadTerms, Terms};

use crate::{
    clock::Clock,
    effects::{Effects, Failure, LeaseWrite},
    object::Version,
};

/// Giving the Lease up is a courtesy to the next leader, which otherwise waits for the Lease's duration.
const RESIGN_MAX: Duration = Duration::from_secs(5);

/// The Lease was lost: whoever held it must not write any more.
#[derive(Debug, thiserror::Error)]
#[error(
    "the Lease {lease} was lost ({cause}); stopping, so that another operator can lead. Look at the API server's load and at who \
     holds the Lease: kubectl describe lease"
)]
pub struct Lost {
    lease: crate::object::Key,
    cause: String,
}

/// The Lease as it was last seen.
struct Seen {
    version: Version,
    spec: LeaseSpec,
    /// When it was first seen to be so.
    since: Instant,
}

impl Seen {
    fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Whether nobody holds it, `identity` does from an earlier life, or the holder has not renewed in time.
    fn is_free_for(&self, identity: &str) -> bool {
        let promised = u64::try_from(self.spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        self.holder().is_none_or(|holder| holder == identity) || self.since.elapsed() >= Duration::from_secs(promised)
    }
}

/// One operator's part in the election.
pub struct Candidate {
    terms: Terms,
    effects: Effects,
    clock: Clock,
    seen: Option<Seen>,
    /// When the renewal was sent that counts; nothing while somebody else leads.
    renewed: Option<Instant>,
    /// Shows whether this operator leads.
    leads: Gauge,
}

impl Candidate {
    /// Stands for election on these terms. `effects` should be its own: renewals must not queue behind other writes.
    pub fn new(terms: Terms, effects: Effects, clock: Clock, leads: Gauge) -> Self {
        leads.set(0);
        Self { terms, effects, clock, seen: None, renewed: None, leads }
    }

    /// Waits until this operator leads.
    pub async fn win(&mut self) {
        let mut turns = interval(self.terms.retry_period);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = String::new();
        while self.renewed.is_none() {
            turns.tick().await;
            let error = self.try_to_win().await.err().map(|failure| failure.to_string()).unwrap_or_default();
            if !error.is_empty() && error != said {
                tracing::warn!(error = error, "the Lease cannot be had; trying again");
            }
            said = error;
        }
        self.leads.set(1);
        tracing::info!(lease = %self.terms.lease, identity = self.terms.identity, "leading");
    }

    /// Leads, until the Lease is lost. May be dropped at any time; [`Candidate::resign`] then gives the Lease up.
    pub async fn lead(&mut self) -> Lost {
        let mut turns = interval(self.terms.retry_period);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turns.tick().await;
        let mut error = "it was not held".to_owned();
        let patience = self.terms.renew_deadline;
        while let Some(renewed) = self.renewed {
            let turn = async {
                turns.tick().await;
                // A connection may be dead without anybody's knowing; there has to be time for another.
                self.renew_within(patience / 2).await
            };
            match timeout_at(renewed + patience, turn).await {
                Ok(Ok(ControlFlow::Continue(()))) => {}
                Ok(Ok(ControlFlow::Break(holder))) => {
                    self.renewed = None;
                    error = format!("{holder} holds it");
                }
                Ok(Err(message)) => {
                    tracing::warn!(error = message, "the Lease was not renewed; trying again");
                    error = message;
                }
                Err(_) => {
                    self.renewed = None;
                    error = format!("it could not be renewed for {patience:?}: {error}");
                }
            }
        }
        self.leads.set(0);
        Lost { lease: self.terms.lease.clone(), cause: error }
    }

    /// Gives the Lease up, if it is held. To be called once nothing writes any more.
    pub async fn resign(mut self) {
        self.leads.set(0);
        let resigned = async {
            // A renewal may have been cut short, so that only the API server knows the version.
            self.look().await?;
            let Some(seen) = self.seen.as_ref().filter(|seen| seen.holder() == Some(&self.terms.identity)) else {
                return Ok(false);
            };
            let spec = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                renew_time: Some(self.now()),
                ..seen.spec.clone()
            };
            self.effects.write_lease(&seen.version, &spec).await.map(|_: LeaseWrite| true)
        };
        match timeout_at(Instant::now() + RESIGN_MAX, resigned).await {
            Ok(Ok(true)) => tracing::info!("the Lease was given up"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not given up; it expires"),
            Err(_) => tracing::warn!("the Lease was not given up in time; it expires"),
        }
    }

    async fn try_to_win(&mut self) -> Result<(), Failure> {
        self.look().await?;
        let sent = Instant::now();
        let written = match &self.seen {
            None => self.effects.create_lease(&self.terms.lease, &self.spec()).await?,
            Some(seen) if seen.is_free_for(&self.terms.identity) => {
                self.effects.write_lease(&seen.version, &self.spec()).await?
            }
            Some(seen) => {
                tracing::debug!(holder = seen.holder(), "standing by");
                return Ok(());
            }
        };
        self.took(written, sent);
        Ok(())
    }

    async fn renew_within(&mut self, patience: Duration) -> Result<ControlFlow<String>, String> {
        match timeout_at(Instant::now() + patience, self.renew()).await {
            Ok(renewed) => renewed.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("no answer from the API server within {patience:?}")),
        }
    }

    /// Renews the Lease; breaks with the holder where somebody else has it.
    async fn renew(&mut self) -> Result<ControlFlow<String>, Failure> {
        let Some(seen) = &self.seen else { return Ok(ControlFlow::Break("nobody".into())) };
        let sent = Instant::now();
        let written = self.effects.write_lease(&seen.version, &self.spec()).await?;
        if !self.took(written, sent) {
            // Somebody wrote it, or a renewal took effect of which that was not known.
            self.look().await?;
            let holder = self.seen.as_ref().and_then(Seen::holder);
            if holder != Some(&self.terms.identity) {
                return Ok(ControlFlow::Break(holder.unwrap_or("nobody").to_owned()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether the Lease is this operator's from the time on when that was asked for.
    fn took(&mut self, written: LeaseWrite, sent: Instant) -> bool {
        match written {
            LeaseWrite::Done(lease) => {
                self.note(*lease);
                self.renewed = Some(sent);
                true
            }
            LeaseWrite::Lost => false,
        }
    }

    /// Reads the Lease.
    async fn look(&mut self) -> Result<(), Failure> {
        match self.effects.read_lease(&self.terms.lease).await? {
            Some(lease) => self.note(lease),
            None => self.seen = None,
        }
        Ok(())
    }

    fn note(&mut self, lease: Lease) {
        let version = Version::of(&lease);
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            self.seen = Some(Seen { version, spec: lease.spec.unwrap_or_default(), since: Instant::now() });
        }
    }

    /// What the Lease says when this operator holds it from now on.
    fn spec(&self) -> LeaseSpec {
        let now = self.now();
        let before = self.seen.as_ref().map(|seen| seen.spec.clone()).unwrap_or_default();
        let is_mine = before.holder_identity.as_deref() == Some(&self.terms.identity);
        LeaseSpec {
            acquire_time: before.acquire_time.filter(|_| is_mine).or_else(|| Some(now.clone())),
            holder_identity: Some(self.terms.identity.clone()),
            lease_duration_seconds: Some(self.terms.seconds()),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(i32::from(!is_mine))),
            renew_time: Some(now),
            ..before
        }
    }

    fn now(&self) -> MicroTime {
        MicroTime(self.clock.now())
    }
}
