//! What `doctor` finds, and what to do about it.

use std::collections::BTreeMap;

use arl_crds::{
    WarmPool,
    condition::{self, PODS_FAILING},
    labels,
    text::printable,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::{
    at_work::{AtWork, Wait},
    installed::{Definitions, Operator, UNSEEN},
    starting::{is_new, is_starting},
};

/// The init container that copies the agent into a pod.
const INSTALLER: &str = "arl-agent";
/// What is to be done about what was made just now.
const SOON: &str = "look again in a few seconds";
/// Of a finding; labels, images and outputs are what others write.
const WORDS_MAX: usize = 8192;

/// What was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// How it is.
    pub finding: Finding,
}

/// How something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Good(String),
    /// Not known, or not needed by all; what to do.
    Doubtful(String, String),
    /// In the way; what to do.
    Bad(String, String),
}

impl Check {
    /// As it should be.
    pub fn good(subject: &'static str, what: impl Into<String>) -> Self {
        Self { subject, finding: Finding::Good(what.into()) }
    }

    /// Not known, or not needed by all.
    pub fn doubtful(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, finding: Finding::Doubtful(what.into(), remedy.into()) }
    }

    /// In the way.
    pub fn bad(subject: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, finding: Finding::Bad(what.into(), remedy.into()) }
    }

    /// Whether it is in the way.
    pub fn is_bad(&self) -> bool {
        matches!(self.finding, Finding::Bad(..))
    }

    /// As one line or two.
    pub fn lines(&self) -> String {
        let (mark, what, remedy) = match &self.finding {
            Finding::Good(what) => ("ok  ", what, None),
            Finding::Doubtful(what, remedy) => ("?   ", what, Some(remedy)),
            Finding::Bad(what, remedy) => ("FAIL", what, Some(remedy)),
        };
        let shown = |text: &str| printable(text, WORDS_MAX);
        let remedy = remedy.map(|remedy| format!("      do: {}\n", shown(remedy))).unwrap_or_default();
        format!("{mark}  {}: {}\n{remedy}", self.subject, shown(what))
    }
}

/// A right, and the verbs that are of no use without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// What is done.
    pub verb: &'static str,
    /// The group of the resource.
    pub group: &'static str,
    /// To what; of a subresource, with the resource before it.
    pub resource: &'static str,
    /// What it is for.
    pub needed_by: &'static str,
}

const fn right(verb: &'static str, group: &'static str, resource: &'static str, needed_by: &'static str) -> Right {
    Right { verb, group, resource, needed_by }
}

/// All that the verbs take.
pub const RIGHTS: [Right; 23] = [
    right("list", arl_crds::GROUP, "warmpools", "get, top, ui, why"),
    right("list", arl_crds::GROUP, "sandboxes", "get, top, ui, why"),
    right("watch", arl_crds::GROUP, "sandboxes", "run, claim, fork, wait"),
    right("list", arl_crds::GROUP, "tasks", "get, top, ui, logs"),
    right("watch", arl_crds::GROUP, "tasks", "task, logs -f, wait"),
    right("create", arl_crds::GROUP, "sandboxes", "run, claim, fork"),
    right("delete", arl_crds::GROUP, "sandboxes", "run, release, reap"),
    right("get", arl_crds::GROUP, "sandboxes", "exec, shell, cp, ps, kill, snapshot, fork, why"),
    right("create", arl_crds::GROUP, "tasks", "task run, run --task"),
    right("get", arl_crds::GROUP, "tasks", "logs, why"),
    right("delete", arl_crds::GROUP, "tasks", "run --task that is given up"),
    right("deletecollection", arl_crds::GROUP, "tasks", "reap"),
    right("patch", arl_crds::GROUP, "tasks", "task cancel"),
    right("create", arl_crds::GROUP, "warmpools", "pool create"),
    right("patch", arl_crds::GROUP, "warmpools", "pool scale, pool roll"),
    right("get", arl_crds::GROUP, "warmpools", "why"),
    right("delete", arl_crds::GROUP, "warmpools", "pool delete, reap"),
    right("create", "", "pods/exec", "run, exec, shell, cp, ps, kill, logs -f while a step runs"),
    right("get", "", "pods/exec", "the same, on API servers before 1.35"),
    right("list", "", "pods", "why, report"),
    right("get", "", "pods", "why"),
    right("list", "", "events", "why, report"),
    right("get", "", "pods/log", "report"),
];

/// Of the rights that are missing.
pub fn rights(missing: &[Right], namespace: &str) -> Check {
    const SUBJECT: &str = "rights";
    if missing.is_empty() {
        return Check::good(SUBJECT, format!("all that kubectl arl needs, in namespace {namespace}"));
    }
    let named: Vec<_> =
        missing.iter().map(|right| format!("{} {} (for {})", right.verb, right.resource, right.needed_by)).collect();
    let remedy = "ask who runs the cluster for them, or choose another namespace (-n); docs/security.md has the rules";
    let what = format!("missing in namespace {namespace}: {}", named.join("; "));
    if missing.iter().any(|right| right.verb == "list" && right.group == arl_crds::GROUP) {
        Check::bad(SUBJECT, what, remedy)
    } else {
        Check::doubtful(SUBJECT, what, remedy)
    }
}

/// Of a namespace that is not there, in which nothing else can be looked at.
pub fn no_namespace(namespace: &str) -> Check {
    let remedy = format!("choose another one (-n), or make it: kubectl create namespace {namespace}");
    Check::bad("namespace", format!("there is no namespace {namespace} in this cluster"), remedy)
}

/// Of the definitions.
pub fn definitions(found: &Definitions) -> Check {
    const SUBJECT: &str = "definitions";
    match found {
        Definitions::UpToDate => Check::good(SUBJECT, "up to date"),
        Definitions::Absent(_) => Check::bad(
            SUBJECT,
            found.to_string(),
            "install the operator; with Helm they come with it, else they are applied first: docs/install.md",
        ),
        Definitions::Older(_) => Check::bad(
            SUBJECT,
            found.to_string(),
            "apply those of this version, the crds.yaml of a release or deploy/kustomize/crds: see Upgrading in docs/install.md",
        ),
    }
}

/// Of the operator's pods and its Lease.
pub fn operators(found: &[Operator], at_work: &AtWork) -> Check {
    const SUBJECT: &str = "operator";
    let said = || found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let Some(first) = found.first() else {
        if let AtWork::No(why) = at_work {
            let remedy = "nothing, where the probe below is well: one runs outside of the cluster; otherwise let one run, or install it: docs/install.md";
            return Check::doubtful(SUBJECT, format!("none is at work: {why}"), remedy);
        }
        return Check::doubtful(
            SUBJECT,
            UNSEEN,
            "nothing, where the probe below is well: it runs outside of the cluster; otherwise install it: docs/install.md",
        );
    };
    if !found.iter().any(|operator| operator.is_ready) {
        if found.iter().any(|operator| operator.is_starting) {
            return Check::doubtful(SUBJECT, format!("it just starts: {}", said()), SOON);
        }
        let remedy = format!("kubectl -n {} describe pod {}; kubectl -n {0} logs {1}", first.namespace, first.pod);
        return Check::bad(SUBJECT, said(), remedy);
    }
    if found.len() > 1 && !found.iter().any(|operator| operator.leads == Some(true)) {
        let remedy = format!("see who holds the Lease: kubectl -n {} get lease", first.namespace);
        return Check::doubtful(SUBJECT, format!("none is known to lead: {}", said()), remedy);
    }
    Check::good(SUBJECT, said())
}

/// Of the pods of pools: whether their nodes have the agent's image. Those on their way out, and those of an earlier template, are not asked.
pub fn agent(pods: &[Pod], now: Timestamp) -> Check {
    const SUBJECT: &str = "agent image";
    let (mut seen, all) = (None, pods.len());
    let stays = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let pool = |pod: &Pod| pod.labels().get(labels::WARMPOOL).cloned();
    let template = |pod: &Pod| pod.annotations().get(labels::TEMPLATE_HASH).cloned();
    let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|made| made.0);
    let mut newest = BTreeMap::new();
    for pod in stays() {
        let known = newest.entry(pool(pod)).or_insert(pod);
        *known = if made(pod) > made(known) { pod } else { *known };
    }
    // A pool's newest pod is of its current template.
    let is_current = |pod: &&Pod| newest.get(&pool(pod)).is_some_and(|newest| template(newest) == template(pod));
    let pods: Vec<&Pod> = stays().filter(is_current).collect();
    let pods = pods.as_slice();
    for pod in pods {
        let statuses = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref());
        for status in statuses.into_iter().flatten().filter(|status| status.name == INSTALLER) {
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
            let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
            if reason.contains("Image") || reason == "ErrImagePull" {
                let what = format!("pod {} cannot have {}: {reason}", pod.name_any(), status.image);
                let remedy = "let nodes pull it, or set agent.image in the chart's values to one that they can, and imagePullSecrets in the pool's template";
                return Check::bad(SUBJECT, what, remedy);
            }
            seen = Some(status.image.clone()).filter(|_| !status.image_id.is_empty()).or(seen);
        }
    }
    match seen {
        None if pods.is_empty() && all > 0 => Check::doubtful(SUBJECT, "the pods here are on their way out", SOON),
        Some(image) => Check::good(SUBJECT, format!("{image} is on nodes")),
        None if pods.iter().any(|pod| is_starting(pod, now)) => {
            Check::doubtful(SUBJECT, "not known yet: the pods here just start", SOON)
        }
        None => Check::doubtful(SUBJECT, "no pod here shows it", "make a pool: kubectl arl pool create IMAGE"),
    }
}

/// Of the pools.
pub fn pools(pools: &[WarmPool], at_work: &AtWork, now: Timestamp) -> Check {
    const SUBJECT: &str = "pools";
    let failing = |pool: &WarmPool| {
        let status = pool.status.as_ref()?;
        condition::find_true(&status.conditions, PODS_FAILING).map(|why| (pool.name_any(), why.reason.clone()))
    };
    let unserved: Vec<_> = pools.iter().filter(|pool| Wait::of_pool(pool, now) == Wait::Unserved).collect();
    let new: Vec<_> = pools.iter().filter(|pool| pool.status.is_none() && is_new(*pool, now)).collect();
    let named = |pools: &[&WarmPool]| pools.iter().map(|pool| pool.name_any()).collect::<Vec<_>>().join(", ");
    let failing: Vec<_> = pools.iter().filter_map(failing).collect();
    if !unserved.is_empty() {
        let what = format!("no operator has looked at {}", named(&unserved));
        let remedy = match at_work.lack() {
            Some(lack) => format!("let an operator run: {lack}"),
            None => "let the operator look after this namespace: watchNamespaces in the chart's values".to_owned(),
        };
        return Check::bad(SUBJECT, what, remedy);
    }
    match (pools, failing.first()) {
        (_, None) if !new.is_empty() => {
            Check::doubtful(SUBJECT, format!("made just now, and not looked at yet: {}", named(&new)), SOON)
        }
        ([], _) => Check::doubtful(SUBJECT, "there is none", "make one: kubectl arl pool create IMAGE"),
        (_, None) => Check::good(SUBJECT, format!("{} without a failure", pools.len())),
        (_, Some((first, _))) => {
            let said: Vec<_> = failing.iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
            Check::doubtful(
                SUBJECT,
                format!("pods fail of {}", said.join(", ")),
                format!("kubectl arl why pool/{first}"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn agent(pods: &[Pod]) -> Check {
        super::agent(pods, Timestamp::UNIX_EPOCH)
    }

    fn pools(pools: &[WarmPool]) -> Check {
        super::pools(pools, &AtWork::Unknown, Timestamp::UNIX_EPOCH)
    }

    fn operators(found: &[Operator]) -> Check {
        super::operators(found, &AtWork::Unknown)
    }

    fn pool(status: &Value) -> WarmPool {
        serde_json::from_value(
            json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": { "name": "p" },
            "spec": { "replicas": 1, "template": { "spec": { "containers": [] } } }, "status": status }),
        )
        .unwrap()
    }

    fn pod(state: &Value, id: &str) -> Pod {
        let status = json!({ "name": INSTALLER, "image": "agent:1", "imageID": id, "ready": false, "restartCount": 0, "state": state });
        serde_json::from_value(json!({ "metadata": { "name": "p-1", "labels": { labels::WARMPOOL: "p" },
                "annotations": { labels::TEMPLATE_HASH: pool(&Value::Null).spec.fingerprint() } },
                "status": { "initContainerStatuses": [status] } }))
        .unwrap()
    }

    fn operator(is_ready: bool, leads: Option<bool>) -> Operator {
        let (namespace, pod) = ("arl-system".to_owned(), "o-1".to_owned());
        Operator { namespace, pod, version: "1".into(), image: "i".into(), is_ready, is_starting: false, leads }
    }

    #[test]
    fn what_others_wrote_reaches_no_terminal() {
        let lines = Check::bad("probe", "it printed:\u{1b}[2J\nok    probe: well", "\u{9b}1A").lines();
        assert_eq!(lines, "FAIL  probe: it printed: [2J ok    probe: well\n      do:  1A\n");
    }

    #[test]
    fn what_is_in_the_way_has_a_remedy() {
        assert_eq!(rights(&[], "n").lines(), "ok    rights: all that kubectl arl needs, in namespace n\n");
        let exec: Vec<_> = RIGHTS.into_iter().filter(|right| right.resource == "pods/exec").collect();
        let missing = rights(&exec, "n");
        assert!(!missing.is_bad() && missing.lines().contains("create pods/exec (for run,"), "{missing:?}");
        assert!(rights(&RIGHTS, "n").is_bad());
        let absent = definitions(&Definitions::Absent("Task".into()));
        assert!(
            absent.is_bad() && absent.lines().contains("\n      do: install the operator; with Helm"),
            "{absent:?}"
        );
        let older = definitions(&Definitions::Older(vec!["Task.spec.cancel".into()]));
        assert!(older.is_bad() && older.lines().contains("\n      do: apply those of this version"), "{older:?}");
    }

    #[test]
    fn an_operator_has_to_be_ready_and_of_several_one_to_lead() {
        assert!(matches!(operators(&[]).finding, Finding::Doubtful(..)));
        assert!(operators(&[operator(false, None)]).is_bad());
        assert!(matches!(operators(&[operator(true, None)]).finding, Finding::Good(_)));
        let two = |leads| operators(&[operator(true, leads), operator(true, Some(false))]);
        assert!(matches!(two(Some(true)).finding, Finding::Good(_)));
        assert!(matches!(two(Some(false)).finding, Finding::Doubtful(..)));
    }

    #[test]
    fn an_agent_that_cannot_be_pulled_is_named() {
        let waits = json!({ "waiting": { "reason": "ErrImagePull" } });
        let check = agent(&[pod(&json!({}), "sha"), pod(&waits, "")]);
        assert!(check.is_bad() && check.lines().contains("pod p-1 cannot have agent:1: ErrImagePull"), "{check:?}");
        assert_eq!(agent(&[pod(&json!({}), "sha")]).lines(), "ok    agent image: agent:1 is on nodes\n");
        assert!(matches!(agent(&[]).finding, Finding::Doubtful(..)));
    }

    #[test]
    fn only_pods_of_the_current_template_show_the_agents_image() {
        let (waits, has) = (json!({ "waiting": { "reason": "ErrImagePull" } }), json!({}));
        let (mut older, mut ends, mut newer) = (pod(&waits, ""), pod(&waits, ""), pod(&has, "sha"));
        older.annotations_mut().insert(labels::TEMPLATE_HASH.to_owned(), "another".to_owned());
        ends.metadata.deletion_timestamp = serde_json::from_value(json!("1970-01-01T00:00:00Z")).unwrap();
        newer.metadata.creation_timestamp = serde_json::from_value(json!("1970-01-01T00:00:02Z")).unwrap();
        let check = agent(&[ends.clone()]);
        assert!(!check.is_bad() && check.lines().contains("are on their way out"), "{check:?}");
        assert!(agent(&[older.clone()]).is_bad(), "nothing tells that its template is not the current one");
        let check = agent(&[older, ends, newer]);
        assert!(matches!(check.finding, Finding::Good(_)), "{check:?}");
    }

    #[test]
    fn an_operator_that_is_not_at_work_is_said_to_be_in_the_way() {
        let no = AtWork::No("nobody renews the Lease".into());
        let none = super::operators(&[], &no);
        assert!(!none.is_bad() && none.lines().contains("none is at work: nobody renews the Lease"), "{none:?}");
        for (at_work, remedy) in [
            (no, "do: let an operator run: no operator is at work: nobody renews the Lease"),
            (AtWork::Untraced, "do: let an operator run: no operator is seen at work"),
            (AtWork::Yes(None), "do: let the operator look after this namespace"),
            (AtWork::Unknown, "do: let the operator look after this namespace"),
        ] {
            let lines = super::pools(&[pool(&Value::Null)], &at_work, Timestamp::UNIX_EPOCH).lines();
            assert!(lines.contains(remedy), "{lines}");
        }
    }

    #[test]
    fn a_pool_that_nobody_looks_after_is_in_the_way() {
        assert!(pools(&[pool(&Value::Null)]).is_bad());
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "PodsReady", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }], "observedGeneration": 1 });
        let mut changed = pool(&ready);
        assert!(matches!(pools(&[changed.clone()]).finding, Finding::Good(_)));
        changed.metadata.generation = Some(2);
        assert!(pools(&[changed]).is_bad(), "nobody has looked at its last change");
        let failing = json!({ "conditions": [{ "type": "PodsFailing", "status": "True", "reason": "ImagePullBackOff", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
        assert!(pools(&[pool(&failing)]).lines().ends_with("do: kubectl arl why pool/p\n"));
        assert!(matches!(pools(&[]).finding, Finding::Doubtful(..)));
    }

    #[test]
    fn what_was_made_just_now_is_not_in_the_way() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let made: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> =
            serde_json::from_value(json!("1970-01-01T00:00:00Z")).unwrap();
        let mut unserved = pool(&Value::Null);
        unserved.metadata.creation_timestamp = made.clone();
        let (new, old) = (
            super::pools(&[unserved.clone()], &AtWork::Unknown, at(3)),
            super::pools(&[unserved], &AtWork::Unknown, at(20)),
        );
        assert!(!new.is_bad() && new.lines().ends_with("do: look again in a few seconds\n"), "{new:?}");
        assert!(old.is_bad(), "{old:?}");
        let mut starts = pod(&json!({ "waiting": { "reason": "PodInitializing" } }), "");
        starts.metadata.creation_timestamp = made;
        let check = super::agent(&[starts], at(3));
        assert!(check.lines().contains("the pods here just start"), "{check:?}");
        let starting = operators(&[Operator { is_starting: true, ..operator(false, None) }]);
        assert!(!starting.is_bad() && starting.lines().contains("it just starts: 1, image i"), "{starting:?}");
    }
}
