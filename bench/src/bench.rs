//! What is compared, and how one measurement is taken.

use std::sync::Arc;

use anyhow::Result;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    audit::{Audit, Mark},
    cluster::from,
    contestant::{Who, in_turns},
    fake,
    flags::{Flags, Row},
    kubectl::Kubectl,
    place::{Place, pool},
    process::Usage,
    results::Results,
    stats::{Block, Writes},
};

/// Everything that a measurement needs.
pub struct Bench {
    /// What was asked for.
    pub flags: Flags,
    /// Where the floor is.
    pub floor: Arc<Place>,
    /// Where the operator is.
    pub real: Arc<Place>,
    /// kubectl there.
    pub kubectl: Kubectl,
    /// What the operator uses.
    pub usage: Usage,
    /// Where API writes are counted, if they are.
    pub audit: Option<Audit>,
    /// Whether there is a pool in Exec mode.
    pub exec: bool,
    /// How many pods the cluster has room for.
    pub free_pods: usize,
}

impl Bench {
    /// All that are compared, another one first each round.
    pub fn contestants(&self, round: usize) -> Vec<Who> {
        if self.exec {
            return in_turns([Who::Floor, Who::Operator, Who::Exec], round).to_vec();
        }
        in_turns([Who::Floor, Who::Operator], round).to_vec()
    }

    /// Those with pods.
    pub fn pools(&self) -> impl Iterator<Item = Who> {
        [Some(Who::Operator), self.exec.then_some(Who::Exec)].into_iter().flatten()
    }

    /// Where a contestant is.
    pub fn place(&self, who: Who) -> &Arc<Place> {
        if who == Who::Floor { &self.floor } else { &self.real }
    }

    /// How many Sandboxes each contestant keeps for Tasks.
    pub fn sandboxes(&self) -> usize {
        let for_tasks = self.flags.parallel.iter().copied().max().filter(|_| self.flags.wants(Row::Parallel));
        let for_commands = Some(self.flags.live).filter(|_| self.flags.wants(Row::Live));
        let wanted = for_tasks.max(for_commands).unwrap_or_default().max(1);
        wanted.min(self.free_pods / self.pools().count())
    }

    /// Measures some work and adds it to the results.
    pub async fn measure(
        &self,
        results: &mut Results,
        workload: &str,
        who: Who,
        work: impl Future<Output = Result<Block>>,
    ) -> Result<()> {
        let cpu = || if who == Who::Floor { Ok(None) } else { self.usage.cpu().map(Some) };
        let from = self.mark().await?;
        let cpu_before = cpu()?;
        let block = work.await?;
        let cpu_used = cpu()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        let writes = self.writes_since(who, from).await?;
        results.series(workload, who).add(&block, cpu_used, writes);
        Ok(())
    }

    /// Where the audit log is now, if there is one.
    pub async fn mark(&self) -> Result<Option<Mark>> {
        Ok(match &self.audit {
            Some(audit) => Some(audit.mark().await?),
            None => None,
        })
    }

    /// What a contestant has written since.
    pub async fn writes_since(&self, who: Who, from: Option<Mark>) -> Result<Option<Writes>> {
        let (Some(audit), Some(from), Some(to)) = (&self.audit, from, self.mark().await?) else { return Ok(None) };
        Ok(Some(audit.writes(&self.place(who).server(), from, to)?))
    }

    fn pool_api(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(arl_crds::GROUP, "v1alpha1", "WarmPool");
        let client = self.real.api::<k8s_openapi::api::core::v1::Pod>().into_client();
        Api::namespaced_with(client, &self.real.ns, &ApiResource::from_gvk_with_plural(&kind, "warmpools"))
    }

    /// Creates the pools, with no pods yet.
    pub async fn create_pools(&self) -> Result<()> {
        let connected = self.flags.wants(Row::Together).then_some(Who::Connected);
        for who in self.pools().chain(connected) {
            let executor = match who {
                Who::Exec => json!({"mode": "Exec"}),
                Who::Connected => json!({"connect": "Idle"}),
                _ => Value::Null,
            };
            self.create_pool(who.name(), &executor, 0).await?;
        }
        Ok(())
    }

    /// Creates a pool, on fake nodes where there are any: no stream can be opened to their pods.
    pub async fn create_pool(&self, name: &str, executor: &Value, replicas: usize) -> Result<()> {
        let at_scale = self.flags.at_scale();
        let exec = json!({"mode": "Exec"});
        let mut pool = pool(name, if at_scale { &exec } else { executor }, replicas);
        if at_scale {
            fake::place(&mut pool["spec"]["template"]["spec"]);
        }
        self.pool_api().create(&PostParams::default(), &from(pool)?).await?;
        Ok(())
    }

    /// Sets how many idle pods a pool keeps.
    pub async fn scale(&self, who: Who, replicas: usize) -> Result<()> {
        let change = json!({"spec": {"replicas": replicas}});
        self.pool_api().patch(who.name(), &PatchParams::default(), &Patch::Merge(&change)).await?;
        Ok(())
    }
}
