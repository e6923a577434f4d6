//! `doctor`: whether all is there that the verbs need, and what to do where it is not.

use std::time::Duration;

use arl_agent::{BINARY, DIRECTORY};
use arl_client::{Command, Error};
use arl_crds::{
    WarmPool,
    condition::{self, PODS_FAILING},
    duration, labels,
};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use tokio::time::Instant;

use crate::{
    at_work::AtWork,
    check::{self, Check, RIGHTS, Right},
    connect::Connection,
    failure::Failure,
    installed,
    interrupt::Interrupts,
    kind, listing, print,
    progress::{Awaited, Progress},
    table,
};

/// Reviews of rights that are under way at once.
const REVIEWS: usize = 8;
/// How long the probe's Sandbox may take.
const PROBE_MAX: Duration = Duration::from_secs(60);
/// The Sandbox of a probe that is killed goes after this.
const PROBE_TTL: Duration = Duration::from_secs(60);
/// The reason of a Sandbox that no operator has looked at, as the client has it.
const UNSERVED: &str = "Unserved";
/// Something was found.
const FOUND: u8 = 1;

/// Look at rights, definitions, the operator, the agent's image and pools, and try a Sandbox; say what to do about each.
#[derive(Args, Debug)]
#[command(after_help = "Exit code: 0 where nothing is in the way, 1 where something is.")]
pub struct Flags {
    /// Try a Sandbox of this pool; unset: of the first one that is ready, and has an idle pod if there is such a one.
    #[arg(long, value_parser = kind::pool)]
    pool: Option<String>,
    /// Try no Sandbox.
    #[arg(long)]
    no_probe: bool,
}

/// Looks, and prints each finding as it is made; whether something is in the way.
pub async fn doctor(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<u8, Failure> {
    let mut is_well = true;
    let mut show = |check: &Check| {
        is_well &= !check.is_bad();
        print::data(&check.lines())
    };
    let cluster = interrupts.or(installed::cluster(connection)).await?;
    show(&Check::good("cluster", format!("Kubernetes {cluster} answers")))?;
    show(&check::definitions(&interrupts.or(installed::definitions(connection)).await?))?;
    let missing = interrupts.or(missing(connection)).await?;
    show(&check::rights(&missing, &connection.namespace))?;
    let (operator, at_work) = interrupts.or(operators(connection)).await?;
    show(&operator)?;
    if interrupts.or(async { Ok(connection.check_namespace().await.is_err()) }).await? {
        show(&check::no_namespace(&connection.namespace))?;
        return Ok(FOUND);
    }
    let seen = |what: &'static str, found: Result<Check, Failure>| {
        found.unwrap_or_else(|failure| {
            Check::doubtful(what, format!("not known: {}", failure.message), "see rights and definitions")
        })
    };
    let pools = interrupts.or(async { Ok(pools(connection).await) }).await?;
    show(&seen(
        "pools",
        pools.as_ref().map(|pools| check::pools(pools, &at_work, table::now())).map_err(Clone::clone),
    ))?;
    let pods = ListParams::default().labels(labels::WARMPOOL);
    let pods = interrupts.or(async { Ok(listing::all(&connection.api::<Pod>(), &pods, "pods").await) }).await?;
    let pools = pools.unwrap_or_default();
    show(&seen("agent image", pods.map(|pods| check::agent(&pods, table::now()))))?;
    if !flags.no_probe {
        show(&probe(connection, flags.pool, &pools, &at_work, interrupts).await?)?;
    }
    Ok(if is_well { 0 } else { FOUND })
}

async fn pools(connection: &Connection) -> Result<Vec<WarmPool>, Failure> {
    listing::all(&connection.api::<WarmPool>(), &ListParams::default(), "WarmPools").await
}

/// The rights that this user does not have.
async fn missing(connection: &Connection) -> Result<Vec<Right>, Failure> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(connection.kube.clone());
    let asked = RIGHTS.into_iter().map(|right| {
        let reviews = reviews.clone();
        async move {
            let allowed = reviews.create(&PostParams::default(), &review(right, &connection.namespace)).await;
            let allowed = allowed.map_err(|error| Failure::api("ask for your rights", &error))?;
            let is_allowed = allowed.status.is_some_and(|status| status.allowed);
            Ok::<_, Failure>((!is_allowed).then_some(right))
        }
    });
    let answered: Vec<Option<Right>> = stream::iter(asked).buffered(REVIEWS).try_collect().await?;
    Ok(answered.into_iter().flatten().collect())
}

fn review(right: Right, namespace: &str) -> SelfSubjectAccessReview {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(right.verb.to_owned()),
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()).filter(|name| !name.is_empty()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    SelfSubjectAccessReview { spec, ..Default::default() }
}

async fn operators(connection: &Connection) -> Result<(Check, AtWork), Failure> {
    let found = installed::operators(connection).await;
    let at_work = AtWork::of(connection, found.as_deref().ok()).await;
    let check = match found {
        Ok(found) => check::operators(&found, &at_work),
        Err(failure) => Check::doubtful(
            "operator",
            format!("its pods cannot be seen: {}", failure.message),
            "nothing, where the probe below is well; otherwise ask who runs the cluster",
        ),
    };
    Ok((check, at_work))
}

/// What to do where a pool is not as it should be: this, if it is not for the lack of an operator. That none is seen shows it only where
/// nobody has looked at the Sandbox either.
fn unless_lacking(at_work: &AtWork, is_unserved: bool, remedy: String) -> String {
    let lack = at_work.lack().filter(|_| is_unserved || *at_work != AtWork::Untraced);
    lack.map_or(remedy, |lack| format!("let an operator run: {lack}"))
}

/// The pool that is tried where none is named: one with an idle pod that is ready, whatever else it lacks, or else one that makes one when asked.
fn probed(pools: &[WarmPool]) -> Option<String> {
    let idle = |pool: &&WarmPool| {
        pool.metadata.deletion_timestamp.is_none() && pool.status.as_ref().is_some_and(|status| status.ready > 0)
    };
    let ready = |pool: &&WarmPool| pool.progress() == Progress::Reached;
    pools.iter().find(idle).or_else(|| pools.iter().find(ready)).map(ResourceExt::name_any)
}

/// Whether its pods do, so that waiting helps nobody.
fn fails(pool: &WarmPool) -> bool {
    pool.status.as_ref().is_some_and(|status| condition::find_true(&status.conditions, PODS_FAILING).is_some())
}

/// What to do where none is.
fn until_ready(pools: &[WarmPool]) -> String {
    match pools.first() {
        Some(pool) if fails(pool) => format!("kubectl arl why pool/{}", pool.name_any()),
        Some(pool) => format!("wait for one, and look again: kubectl arl wait pool/{}", pool.name_any()),
        None => "make one, and look again: kubectl arl pool create IMAGE".to_owned(),
    }
}

/// A Sandbox, a command in it, and its end.
async fn probe(
    connection: &Connection,
    named: Option<String>,
    pools: &[WarmPool],
    at_work: &AtWork,
    interrupts: &Interrupts,
) -> Result<Check, Failure> {
    const SUBJECT: &str = "probe";
    let Some(pool) = named.or_else(|| probed(pools)) else {
        let remedy = unless_lacking(at_work, false, until_ready(pools));
        return Ok(Check::doubtful(SUBJECT, "not tried: no pool is ready", remedy));
    };
    let began = Instant::now();
    let client = connection.client();
    let claim = client.claim(&pool).idle_ttl(PROBE_TTL).wait(PROBE_MAX);
    let sandbox = match interrupts.or(async { Ok(claim.await) }).await? {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let is_unserved = matches!(&error, Error::NotReady { reason, .. } if reason == UNSERVED);
            let what = format!("no Sandbox of pool {pool}: {}", Failure::from(error).message);
            let remedy = unless_lacking(at_work, is_unserved, format!("kubectl arl why pool/{pool}"));
            return Ok(Check::bad(SUBJECT, what, remedy));
        }
    };
    let claimed = began.elapsed();
    // It is in each pod, whatever its image has.
    let ran = interrupts
        .or(async { Ok(sandbox.run(Command::new([format!("{DIRECTORY}/{BINARY}"), "version".into()])).await) })
        .await;
    let took = began.elapsed().saturating_sub(claimed);
    let released = sandbox.release().await;
    let (claimed, took) = (duration::display(claimed), duration::display(took));
    Ok(match (ran?, released) {
        (Ok(ran), Ok(())) if ran.exit.success() => Check::good(
            SUBJECT,
            format!("a Sandbox of pool {pool} after {claimed}, a command in it after {took} more; released"),
        ),
        (Ok(ran), Ok(())) => {
            let what = format!("the agent exits with {} in pool {pool}: {}", ran.exit.code, ran.stderr_text());
            Check::bad(SUBJECT, what, "look at the image's architecture and the template's securityContext")
        }
        (Err(error), _) => {
            let what = format!("no command runs in a Sandbox of pool {pool}: {}", Failure::from(error).message);
            Check::bad(
                SUBJECT,
                what,
                "see rights: pods/exec; and whether a proxy before the API server lets WebSockets through",
            )
        }
        (_, Err(error)) => {
            let what = format!("Sandbox {} cannot be released: {}", sandbox.name(), Failure::from(error).message);
            Check::bad(SUBJECT, what, "see rights: delete sandboxes; it goes after a minute without use")
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_that_nobody_answers_is_not_laid_to_the_pool() {
        for (at_work, is_unserved, remedy) in [
            (AtWork::No("why".into()), false, "let an operator run: no operator is at work: why"),
            (AtWork::Untraced, true, "let an operator run: no operator is seen at work"),
            (AtWork::Untraced, false, "kubectl arl why pool/p"),
            (AtWork::Yes(None), true, "kubectl arl why pool/p"),
            (AtWork::Unknown, true, "kubectl arl why pool/p"),
        ] {
            let said = unless_lacking(&at_work, is_unserved, "kubectl arl why pool/p".to_owned());
            assert!(said.starts_with(remedy), "{at_work:?} {is_unserved}: {said}");
        }
    }

    #[test]
    fn a_pool_with_an_idle_pod_is_tried_rather_than_one_that_sleeps() {
        let pool_says = |name: &str, ready: i32, type_: &str, status: &str| -> WarmPool {
            let condition = json!({ "type": type_, "status": status, "reason": "PodsReady", "message": "",
                "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z" });
            serde_json::from_value(json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool",
                "metadata": { "name": name, "generation": 1 }, "spec": { "replicas": 0, "template": { "spec": { "containers": [] } } },
                "status": { "ready": ready, "conditions": [condition] } }))
            .unwrap()
        };
        let pool = |name: &str, ready: i32, status: &str| pool_says(name, ready, "Ready", status);
        let (sleeps, some, starts) = (pool("a", 0, "True"), pool("b", 1, "False"), pool("c", 0, "False"));
        assert_eq!(probed(&[sleeps.clone(), starts.clone(), some]).as_deref(), Some("b"), "it has one, of more");
        assert_eq!(probed(&[starts.clone(), sleeps]).as_deref(), Some("a"));
        assert!(until_ready(&[pool_says("d", 0, PODS_FAILING, "True")]).ends_with("kubectl arl why pool/d"));
        assert_eq!(probed(std::slice::from_ref(&starts)), None);
        assert!(until_ready(&[starts]).ends_with("look again: kubectl arl wait pool/c"));
        assert!(until_ready(&[]).ends_with("kubectl arl pool create IMAGE"));
    }
}
