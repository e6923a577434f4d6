use std::{collections::BTreeSet, sync::Arc};

use arl_crds::{Scaling, WarmPool, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::warmpool::{
    AgentImage, manifest,
    memory::Asked,
    scaling::{Demand, Scale},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[derive(Clone, Copy)]
enum P {
    Ready,
    Starting,
    Unschedulable,
    OldReady,
    OldStarting,
    Failed,
    Deleting,
    Evicted,
}

fn pool(replicas: i32) -> WarmPool {
    let template = json!({ "spec": { "containers": [{ "name": "c" }] } });
    let spec = json!({ "replicas": replicas, "template": template });
    let mut pool = WarmPool::new("p", serde_json::from_value(spec).unwrap());
    pool.metadata.namespace = Some("ns".into());
    pool.metadata.uid = Some("uid".into());
    pool
}

fn agent(image: &str) -> AgentImage {
    AgentImage { image: image.into(), pull_policy: "Never".into() }
}

fn pod(pool: &WarmPool, number: i64, kind: P) -> Pod {
    pod_of(&agent("agent"), pool, number, kind)
}

fn pod_of(agent: &AgentImage, pool: &WarmPool, number: i64, kind: P) -> Pod {
    let mut manifest = manifest::pod(pool, number, agent).manifest;
    manifest["metadata"]["uid"] = json!(format!("pod-{number}"));
    manifest["metadata"]["resourceVersion"] = json!("5");
    if matches!(kind, P::OldReady | P::OldStarting) {
        manifest["metadata"]["annotations"][labels::TEMPLATE_HASH] = json!("old");
    }
    if matches!(kind, P::Deleting | P::Evicted) {
        manifest["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if matches!(kind, P::Evicted) {
        let target = json!({ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" });
        manifest["status"] = json!({ "phase": "Running", "conditions": [target] });
    }
    if matches!(kind, P::Ready | P::OldReady) {
        manifest["status"] = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
    }
    if matches!(kind, P::Unschedulable) {
        let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" });
        manifest["status"] = json!({ "phase": "Pending", "conditions": [condition] });
    }
    if matches!(kind, P::Failed) {
        manifest["status"] = json!({ "phase": "Failed" });
    }
    serde_json::from_value(manifest).unwrap()
}

fn observed(replicas: i32, pods: &[P], setback: Option<Setback>) -> Observed {
    let pool = pool(replicas);
    let idle: Vec<_> = (1..).zip(pods).map(|(n, kind)| Arc::new(pod(&pool, n, *kind))).collect();
    let last_number = i64::try_from(idle.len()).unwrap();
    let template = pool.spec.fingerprint();
    Observed {
        demand: Demand::default(),
        scale: Scale::fixed(usize::try_from(replicas).unwrap_or(0)),
        refill: Refill::default(),
        template,
        agent: agent("agent"),
        last_number,
        late_until: NOW,
        strays: Vec::new(),
        is_gone: false,
        idle,
        allocated: 0,
        setback,
        known_ended: BTreeSet::new(),
        asked: None,
        warnings: None,
        is_unanswered: false,
        pool: Arc::new(pool),
    }
}

fn decided(replicas: i32, pods: &[P]) -> (Vec<i64>, Vec<String>) {
    let plan = plan(&observed(replicas, pods, None), NOW);
    (plan.create, plan.delete.into_iter().map(|v| v.uid.0).collect())
}

/// What it is about, replicas, the idle pods, numbers to create, uids to delete.
type Case = (&'static str, i32, &'static [P], &'static [i64], &'static [&'static str]);

#[test]
fn pods_are_created_and_deleted_by_the_book() {
    use P::{Deleting, Failed, OldReady, OldStarting, Ready, Starting};
    let cases: &[Case] = &[
        ("an empty pool fills", 3, &[], &[1, 2, 3], &[]),
        ("a full pool rests", 2, &[Ready, Starting], &[], &[]),
        ("what is being deleted does not count", 2, &[Deleting, Ready], &[3], &[]),
        ("not ready goes first", 1, &[Ready, Starting, Ready], &[], &["pod-2", "pod-1"]),
        ("zero empties the pool", 0, &[Ready, OldReady], &[], &["pod-2", "pod-1"]),
        ("a failed pod is cleared away first", 2, &[Failed, Ready], &[], &["pod-1"]),
        ("a changed template surges by one", 2, &[OldReady, OldReady], &[3], &[]),
        ("an old one stays while the new one starts", 2, &[OldReady, OldReady, Starting], &[], &[]),
        ("an old one goes when the new one is ready", 2, &[OldReady, OldReady, Ready], &[], &["pod-1"]),
        ("then the next surges", 2, &[OldReady, Ready], &[3], &[]),
        ("a broken old one makes room", 2, &[OldStarting, OldReady, Starting], &[], &["pod-1"]),
        ("a rolled pool rests", 2, &[Ready, Ready], &[], &[]),
        ("of too many the old ones go first", 1, &[Ready, Ready, OldReady], &[], &["pod-3"]),
    ];
    for (what, replicas, pods, create, delete) in cases {
        let (created, mut deleted) = decided(*replicas, pods);
        let mut expected: Vec<String> = delete.iter().map(|d| (*d).to_owned()).collect();
        deleted.sort();
        expected.sort();
        assert_eq!((created, deleted), (create.to_vec(), expected), "{what}");
    }
}

#[test]
fn a_setback_holds_creation_back_and_then_lets_one_through() {
    let until = NOW + std::time::Duration::from_secs(5);
    let refused = || Setback { until, ..Setback::ended(String::new()) };
    let held = plan(&observed(3, &[], Some(refused())), NOW);
    assert_eq!((held.create, held.short), (vec![], 3));
    let tried = plan(&observed(3, &[], Some(refused())), until);
    assert_eq!(tried.create, vec![1]);
}

#[test]
fn nothing_is_created_while_pods_may_be_missing_from_the_view() {
    let mut seen = observed(2, &[P::Ready], None);
    seen.late_until = NOW + std::time::Duration::from_secs(5);
    let held = plan(&seen, NOW);
    assert_eq!((held.create, held.short), (vec![], 1));
    assert_eq!(plan(&seen, seen.late_until).create, vec![2]);
}

#[test]
fn planning_again_after_the_plan_was_carried_out_changes_nothing() {
    for (replicas, pods) in [(3, vec![]), (1, vec![P::Ready, P::Ready]), (2, vec![P::OldReady, P::Ready, P::Ready])] {
        let mut seen = observed(replicas, &pods, None);
        let plan_one = plan(&seen, NOW);
        seen.idle.retain(|pod| !plan_one.delete.iter().any(|v| Some(&v.uid.0) == pod.metadata.uid.as_ref()));
        seen.idle.extend(plan_one.create.iter().map(|n| Arc::new(pod(&seen.pool, *n, P::Starting))));
        let again = plan(&seen, NOW);
        assert_eq!((again.create, again.delete), (vec![], vec![]), "{replicas}");
    }
}

#[test]
fn a_look_creates_and_deletes_a_bounded_number_whatever_is_asked_for() {
    assert_eq!(decided(i32::MAX, &[]).0, (1..=16).collect::<Vec<_>>());
    assert_eq!(decided(i32::MAX, &[P::Ready; 100]).0, (101..=116).collect::<Vec<_>>());
    assert_eq!(decided(0, &[P::Ready; 100]).1.len(), 16);
    assert_eq!(decided(-1, &[P::Ready; 100]).1.len(), 16);
    assert_eq!(decided(200, &[P::Failed; 100]).1.len(), 16);
    let mut seen = observed(2, &[], None);
    seen.last_number = i64::MAX;
    assert_eq!(plan(&seen, NOW).create, Vec::<i64>::new(), "there is no number after the last");
}

#[test]
fn a_pool_grows_and_shrinks_look_by_look_to_what_is_asked_for() {
    for (from, to) in [(0, 100), (100, 3), (40, 57)] {
        let mut seen = observed(to, &vec![P::Ready; from], None);
        let mut looks = 0;
        loop {
            let next = plan(&seen, NOW);
            if next == (Plan { short: next.short, ..Plan::default() }) {
                break;
            }
            seen.idle.retain(|pod| !next.delete.iter().any(|v| Some(&v.uid.0) == pod.metadata.uid.as_ref()));
            seen.idle.extend(next.create.iter().map(|n| Arc::new(pod(&seen.pool, *n, P::Ready))));
            seen.last_number = seen.last_number.max(next.create.last().copied().unwrap_or(0));
            looks += 1;
        }
        let wanted = usize::try_from(to).unwrap();
        assert_eq!((seen.idle.len(), looks), (wanted, wanted.abs_diff(from).div_ceil(16)), "{from} to {to}");
    }
}

#[test]
fn a_template_rolls_where_the_quota_has_no_room_for_one_more() {
    let refused = Setback { reason: WarmPoolReason::QuotaExceeded, ..Setback::ended(String::new()) };
    // What a new pod becomes; none: the quota has no room for one of the new template at all.
    let rolls = |replicas: i32, start: &[P], becomes: Option<P>| {
        let (mut seen, mut fewest) = (observed(replicas, start, Some(refused.clone())), usize::MAX);
        let quota = seen.idle.len();
        for _ in 0..20 {
            let next = plan(&seen, NOW);
            seen.idle.retain(|pod| !next.delete.iter().any(|v| Some(&v.uid.0) == pod.metadata.uid.as_ref()));
            fewest = fewest.min(seen.idle.len());
            let made = next.create.iter().filter(|_| becomes.is_some()).count();
            assert!(seen.idle.len() + made <= quota, "{next:?}");
            if let Some(becomes) = becomes {
                seen.idle.extend(next.create.iter().map(|n| Arc::new(pod(&seen.pool, *n, becomes))));
                seen.last_number = seen.last_number.max(next.create.last().copied().unwrap_or(0));
            }
            if next.over.is_so(made > 0) {
                seen.setback = None;
                break;
            }
        }
        let old = seen.idle.iter().filter(|pod| pod.template_hash() != Some(&seen.template)).count();
        (old, seen.idle.len(), fewest, seen.setback.is_some())
    };
    let ready = Some(P::Ready);
    assert_eq!(rolls(3, &[P::OldReady; 3], ready), (0, 3, 2, false), "one is missing at a time");
    assert_eq!(rolls(1, &[P::OldReady], ready), (0, 1, 0, false));
    assert_eq!(rolls(3, &[P::OldReady; 3], None), (2, 2, 2, true), "a template that never fits costs one pod");
    assert_eq!(rolls(3, &[P::OldReady; 2], None), (2, 2, 2, true), "where some are missing, none is given up");
    assert_eq!(rolls(3, &[P::OldReady; 3], Some(P::Starting)), (2, 3, 2, true), "nor while the new one does not work");
    let beside = [P::OldReady, P::OldReady, P::OldReady, P::Starting];
    let plan = plan(&observed(3, &beside, Some(refused.clone())), NOW);
    assert!(plan.delete.is_empty() && plan.create.is_empty(), "there is one more, whatever was refused: {plan:?}");
}

#[test]
fn a_template_rolls_where_no_node_has_room_for_one_more() {
    // A node takes so many pods as there were; or none of the new template at all.
    let rolls = |replicas: i32, fits: bool, has_room: bool| {
        let mut seen = observed(replicas, &vec![P::OldReady; usize::try_from(replicas).unwrap()], None);
        seen.scale.room = if has_room { seen.scale.room } else { seen.scale.wanted };
        let (room, mut fewest) = (seen.idle.len(), usize::MAX);
        for _ in 0..20 {
            let next = plan(&seen, NOW);
            seen.idle.retain(|pod| !next.delete.iter().any(|v| Some(&v.uid.0) == pod.metadata.uid.as_ref()));
            fewest = fewest.min(seen.idle.iter().filter(|pod| pod.is_ready()).count());
            seen.idle.extend(next.create.iter().map(|n| Arc::new(pod(&seen.pool, *n, P::Unschedulable))));
            seen.last_number = seen.last_number.max(next.create.last().copied().unwrap_or(0));
            let taken = seen.idle.iter().filter(|pod| pod.is_ready()).count();
            let waiting = seen.idle.iter().position(|pod| pod.is_unschedulable());
            if let Some(at) = waiting.filter(|_| fits && taken < room) {
                let number = manifest::last_number(&seen.pool, std::iter::once(&seen.idle[at].metadata)).unwrap();
                seen.idle[at] = Arc::new(pod(&seen.pool, number, P::Ready));
            }
        }
        let old = seen.idle.iter().filter(|pod| pod.template_hash() != Some(&seen.template)).count();
        (old, seen.idle.len(), fewest)
    };
    assert_eq!(rolls(3, true, true), (0, 3, 2), "one is missing at a time");
    assert_eq!(rolls(3, false, true), (2, 4, 2), "a template that never fits costs one pod");
    assert_eq!(rolls(3, false, false), (2, 3, 2), "nor more, where the pool may have no other");
    assert_eq!(rolls(1, true, true), (1, 2, 1), "the last one is kept");
}

#[test]
fn no_more_pods_are_made_than_a_scheduler_can_look_at_while_no_node_has_room() {
    let created = |unschedulable: usize| decided(10_000, &vec![P::Unschedulable; unschedulable]).0.len();
    assert_eq!([0, 239, 245, 256, 300].map(created), [16, 16, 11, 0, 0]);
    let mut seen = observed(10_000, &[P::Unschedulable; 256], None);
    seen.idle[0] = Arc::new(pod(&seen.pool, 1, P::Ready));
    assert_eq!(plan(&seen, NOW).create.len(), 1, "one has got a node");
    seen.idle[0] = Arc::new(pod(&seen.pool, 1, P::Starting));
    assert_eq!(plan(&seen, NOW).create.len(), 0, "no scheduler has looked at one");

    let with = |status: &str, reason: &str, message: &str, pods: i64| {
        let mut seen = observed(100_000, &[], None);
        let condition = json!({ "type": "PodScheduled", "status": status, "reason": reason, "message": message });
        let waiting = |number| {
            let mut pod = pod(&seen.pool, number, P::Starting);
            pod.status = serde_json::from_value(json!({ "phase": "Pending", "conditions": [condition] })).unwrap();
            Arc::new(pod)
        };
        seen.idle = (1..=pods).map(waiting).collect();
        plan(&seen, NOW).create.len()
    };
    for (reason, message) in [("SchedulingGated", "m"), ("SchedulerError", "m"), ("OfALaterScheduler", "m")] {
        assert_eq!([16, 245, 256].map(|pods| with("False", reason, message, pods)), [16, 11, 0], "{reason}");
    }
    let uncreated = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    assert_eq!([0, 10, 16].map(|pods| with("False", "Unschedulable", uncreated, pods)), [16, 6, 0], "it is queued");
}

#[test]
fn an_evicted_pod_is_no_fault_of_the_template() {
    let ended = |status: serde_json::Value| {
        let mut seen = observed(2, &[P::Failed, P::Ready], None);
        let mut pod = (*seen.idle[0]).clone();
        pod.status = serde_json::from_value(status).unwrap();
        seen.idle[0] = Arc::new(pod);
        plan(&seen, NOW).ended.unwrap()
    };
    let evicted = ended(json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on memory." }));
    assert_eq!(evicted.reason, WarmPoolReason::PodsDisrupted);
    assert!(evicted.message.contains("evicted by its node: The node was low on memory"), "{}", evicted.message);
    let refused =
        ended(json!({ "phase": "Failed", "reason": "SysctlForbidden", "message": "forbidden sysctl: \"x\"" }));
    assert_eq!(refused.reason, WarmPoolReason::CreateContainerError);
    assert!(refused.slows() && refused.is_shown() && !refused.is_refusal(), "it is the template's");
    let taken = ended(json!({ "phase": "Failed", "reason": "NodePorts", "message": "no free ports" }));
    assert_eq!(taken.reason, WarmPoolReason::PodsDisrupted, "it depends on what else is there");
    let exited = json!([{ "name": "c", "state": { "terminated": { "reason": "Completed", "exitCode": 0 } } }]);
    let own = ended(json!({ "phase": "Succeeded", "containerStatuses": exited }));
    assert_eq!(own.reason, WarmPoolReason::PodsEnded);
    assert!(own.message.contains("exited with code 0") && own.message.contains("must keep running"), "{}", own.message);

    let lasted = |seconds: u64| {
        let mut seen = observed(1, &[P::Failed], None);
        let mut pod = (*seen.idle[0]).clone();
        let made = NOW + Duration::from_secs(60);
        pod.metadata.creation_timestamp = Some(Time(made));
        let conditions = json!([
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": made.to_string() },
            { "type": "Ready", "status": "False", "lastTransitionTime": (made + Duration::from_secs(seconds)).to_string() },
        ]);
        pod.status =
            serde_json::from_value(json!({ "phase": "Failed", "reason": "Evicted", "conditions": conditions }))
                .unwrap();
        seen.idle[0] = Arc::new(pod);
        [NOW, NOW + Duration::from_secs(600)].map(|now| plan(&seen, now).ended.unwrap().occasional)
    };
    assert_eq!(lasted(29), [false; 2], "whatever the operator's clock says");
    assert_eq!(lasted(30), [true; 2], "one that has served a while says nothing of the next");

    let disrupted = Setback::disrupted(String::new(), true).after(None, NOW);
    assert_eq!(plan(&observed(3, &[], Some(disrupted)), NOW).create, [1, 2, 3], "at once");
}

#[test]
fn few_pods_of_a_pool_are_in_the_queue_of_the_scheduler_at_a_time() {
    let made = |pods: &[P], change: &dyn Fn(&mut Pod)| {
        let mut observed = observed(100, pods, None);
        observed.idle.iter_mut().for_each(|pod| change(Arc::make_mut(pod)));
        plan(&observed, NOW).create.len()
    };
    assert_eq!(made(&[], &|_| {}), AT_ONCE);
    assert_eq!(made(&[P::Starting; 10], &|_| {}), AT_ONCE - 10);
    assert_eq!(made(&[P::Starting; AT_ONCE + 1], &|_| {}), 0);
    let scheduled = |status: &'static str| {
        move |pod: &mut Pod| {
            pod.status.conditions =
                serde_json::from_value(json!([{ "type": "PodScheduled", "status": status }])).unwrap();
        }
    };
    assert_eq!(made(&[P::Starting; 20], &scheduled("True")), AT_ONCE);
    assert_eq!(
        made(&[P::Starting; 20], &scheduled("False")),
        AT_ONCE,
        "whoever adds nodes is to see how many are asked for"
    );
    assert_eq!(
        made(&[P::Starting; 20], &|pod| "node".clone_into(&mut pod.spec.node_name)),
        AT_ONCE,
        "no scheduler is asked"
    );
    assert_eq!(made(&[P::Ready; 20], &|_| {}), AT_ONCE);

    let replacing = |claimed_lately| {
        let mut observed = observed(100, &[P::Starting; AT_ONCE + 4], None);
        observed.demand.claimed_lately = claimed_lately;
        plan(&observed, NOW).create.len()
    };
    assert_eq!(
        [0, 4, 10, 1000].map(replacing),
        [0, 0, 6, AT_ONCE],
        "what is claimed is replaced as fast as it is claimed"
    );
}

#[test]
fn pods_that_are_ended_again_within_a_minute_are_told_of_though_the_pool_was_full_meanwhile() {
    let disrupted = Setback::disrupted(String::new(), true).after(None, NOW);
    let is_over = |pods: &[P], at| plan(&observed(1, pods, Some(disrupted.clone())), NOW + at).over == Over::Now;
    assert!(!is_over(&[P::Starting], QUIET));
    assert!(!is_over(&[P::Ready], Duration::from_secs(59)));
    assert!(is_over(&[P::Ready], QUIET));
    assert_eq!(look_again(&observed(1, &[P::Ready], Some(disrupted)), NOW), Some(NOW + QUIET));
}

/// What it is about, replicas, idle pods, the last claim, since when pods are missing, now: pods to make, until when it yields.
type Refilled = (&'static str, i32, usize, Option<i64>, Option<i64>, i64, usize, Option<i64>);

#[test]
fn refill_yields_to_claims_for_a_bounded_time_and_not_below_half() {
    let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
    let cases: &[Refilled] = &[
        ("nobody claims", 10, 6, None, None, 0, 4, None),
        ("a claim a moment ago", 10, 9, Some(0), None, 20, 0, Some(500)),
        ("claims go on", 10, 6, Some(900), Some(20), 1000, 0, Some(1400)),
        ("it is quiet", 10, 6, Some(900), Some(20), 1400, 4, None),
        ("they go on for too long", 10, 6, Some(5000), Some(20), 5020, 4, None),
        ("the bound comes first", 10, 6, Some(4900), Some(20), 4950, 0, Some(5020)),
        ("below half", 10, 3, Some(900), Some(20), 1000, 2, Some(1400)),
        ("half of an odd number", 5, 2, Some(900), Some(20), 1000, 1, Some(1400)),
        ("a pool of one", 1, 0, Some(900), None, 1000, 1, None),
        ("a pool of two", 2, 1, Some(900), None, 1000, 0, Some(1400)),
        ("nothing is missing", 10, 10, Some(900), None, 1000, 0, None),
        ("the clock went back", 10, 9, Some(900_000), Some(20), 1000, 0, Some(5020)),
    ];
    for (what, replicas, idle, last_claim, since, now, create, until) in cases {
        let mut seen = observed(*replicas, &vec![P::Ready; *idle], None);
        seen.refill = Refill { last_claim: last_claim.map(at), put_off_since: since.map(at) };
        seen.late_until = at(0);
        let plan = plan(&seen, at(*now));
        assert_eq!((plan.create.len(), plan.yields_until), (*create, until.map(at)), "{what}");
    }
}

#[test]
fn what_a_burst_put_off_is_made_up_for_before_the_next_one_puts_off_more() {
    let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
    let (mut idle, mut refill, mut least) = (20, Refill::default(), 20);
    // A claim every 100 ms for 20 s, each looked at.
    for step in 0..200 {
        let now = at(step * 100);
        idle -= 1;
        refill.last_claim = Some(now);
        let mut seen = observed(20, &vec![P::Ready; idle], None);
        (seen.refill, seen.late_until) = (refill, at(0));
        let plan = plan(&seen, now);
        refill.put_off_since = refill.put_off(plan.yields_until.is_some(), plan.short, now);
        idle += plan.create.len();
        least = least.min(idle);
    }
    assert_eq!(least, 10, "never below half");
}

#[test]
fn pods_that_have_ended_and_cannot_be_deleted_are_counted_once_and_replaced_as_long_as_they_are_few() {
    let known = |replicas: i32, pods: &[P]| {
        let mut seen = observed(replicas, pods, None);
        seen.known_ended = seen.ended().map(Uid::of).collect();
        plan(&seen, NOW)
    };
    let first = plan(&observed(2, &[P::Failed, P::Ready], None), NOW);
    assert_eq!((first.create.len(), first.delete.len(), first.ended.is_some()), (0, 1, true), "it may be the template");
    let again = known(2, &[P::Failed, P::Ready]);
    assert_eq!((again.create, again.delete.len(), again.ended), (vec![3], 1, None));
    assert_eq!(known(2, &[P::Failed, P::Failed]).create, [3, 4]);
    assert_eq!(known(2, &[P::Failed, P::Failed, P::Failed]).create, [0; 0], "else there would be ever more");
    let mut seen = observed(2, &[P::Failed, P::Failed], None);
    seen.known_ended = seen.ended().take(1).map(Uid::of).collect();
    assert_eq!(plan(&seen, NOW).create, [0; 0], "another one has just ended");
}

#[test]
fn a_pod_that_is_evicted_is_counted_once_and_replaced_though_it_takes_its_time_to_go() {
    let mut seen = observed(2, &[P::Evicted, P::Ready], None);
    let first = plan(&seen, NOW);
    let ended = first.ended.unwrap();
    assert_eq!((ended.reason, first.delete.len(), first.short), (WarmPoolReason::PodsDisrupted, 0, 1));
    assert!(ended.message.contains("was evicted"), "{}", ended.message);
    seen.known_ended = seen.disrupted().map(Uid::of).collect();
    let again = plan(&seen, NOW);
    assert_eq!((again.create, again.delete.len(), again.ended), (vec![3], 0, None));
    assert_eq!(plan(&observed(2, &[P::Deleting, P::Ready], None), NOW).ended, None, "nobody says why");
}

#[test]
fn a_pool_without_room_for_one_more_has_as_many_as_there_is_room_for() {
    let mut seen = observed(3, &[], None);
    seen.scale.room = 3;
    assert_eq!(plan(&seen, NOW).create, [1, 2, 3]);
}

#[test]
fn no_pod_is_made_where_the_container_that_steps_run_in_is_misnamed() {
    let mut seen = observed(2, &[], None);
    Arc::make_mut(&mut seen.pool).spec.executor.container = Some("nosuch".into());
    let plan = plan(&seen, NOW);
    assert_eq!((plan.create, plan.short), (vec![], 2));
}

#[test]
fn that_a_template_changed_is_told_when_the_first_pod_of_it_is_made() {
    use P::{Deleting, OldReady, Ready, Starting};
    let cases: &[(&[P], bool)] = &[
        (&[OldReady, OldReady], true),
        (&[OldReady, Deleting], true),
        (&[OldReady, OldReady, Starting], false),
        (&[OldReady, Ready], false),
        (&[Ready], false),
        (&[], false),
    ];
    for (number, (pods, begins)) in cases.iter().enumerate() {
        let mut seen = observed(2, pods, None);
        assert_eq!(plan(&seen, NOW).rolling_begins, *begins, "case {number}");
        seen.late_until = NOW + QUIET;
        assert!(!plan(&seen, NOW).rolling_begins, "case {number}: none is made yet");
    }
}

/// A pod whose agent comes from this image, with its init container in this state.
fn with_agent(image: &str, number: i64, state: &serde_json::Value) -> Arc<Pod> {
    let mut pod = pod_of(&agent(image), &pool(1), number, P::Starting);
    let container = json!([{ "name": "arl-agent", "state": state }]);
    pod.status.init_container_statuses = serde_json::from_value(container).unwrap();
    Arc::new(pod)
}

#[test]
fn a_pod_that_is_kept_from_its_agent_is_replaced_where_the_operator_has_another_image_of_it() {
    let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
    let ended = |code: i32| json!({ "terminated": { "exitCode": code } });
    for (image, state, is_replaced) in [
        ("wrong", waits("ImagePullBackOff"), true),
        ("agent", waits("ImagePullBackOff"), false),
        ("wrong", waits("CrashLoopBackOff"), true),
        ("wrong", ended(128), true),
        ("wrong", ended(0), false),
        ("wrong", waits("PodInitializing"), false),
        ("wrong", json!({ "running": {} }), false),
    ] {
        let mut seen = observed(1, &[], None);
        seen.idle = vec![with_agent(image, 1, &state)];
        seen.last_number = 1;
        let plan = plan(&seen, NOW);
        assert_eq!(
            (plan.create.len(), plan.delete.len()),
            [(0, 0), (1, 1)][usize::from(is_replaced)],
            "{image} {state}"
        );
        assert!(!plan.rolling_begins, "the template is what it was");
    }
    let mut seen = observed(1, &[], None);
    let mut earlier = (*with_agent("wrong", 1, &waits("ImagePullBackOff"))).clone();
    earlier.metadata.annotations.as_mut().unwrap().remove(labels::AGENT_IMAGE);
    (seen.idle, seen.last_number) = (vec![Arc::new(earlier)], 1);
    assert_eq!(plan(&seen, NOW).create.len(), 1, "it was made by an operator that did not say so");
    let mut ready = observed(1, &[P::Ready], None);
    ready.agent = agent("right");
    assert_eq!(plan(&ready, NOW), Plan { short: 0, ..Plan::default() }, "it works");
}

#[test]
fn pods_that_are_kept_from_their_agent_are_replaced_one_by_one_and_once() {
    let back_off = json!({ "waiting": { "reason": "ImagePullBackOff" } });
    let mut seen = observed(5, &[], None);
    seen.idle = (1..=5).map(|number| with_agent("wrong", number, &back_off)).collect();
    seen.agent = agent("wrong too");
    seen.last_number = 5;
    let mut looks = 0;
    loop {
        let plan = plan(&seen, NOW);
        if plan.create.is_empty() && plan.delete.is_empty() {
            break;
        }
        looks += 1;
        assert!(plan.create.len() <= 1 && plan.delete.len() <= 1 && looks < 9, "{plan:?}");
        seen.idle.retain(|pod| plan.delete.iter().all(|deleted| deleted.uid != Uid::of(&**pod)));
        seen.idle.extend(plan.create.iter().map(|number| with_agent("wrong too", *number, &back_off)));
        seen.last_number += i64::try_from(plan.create.len()).unwrap();
    }
    assert_eq!((seen.idle.len(), seen.last_number), (5, 10));
}

#[test]
fn of_several_pods_that_ended_the_one_is_told_of_that_the_template_is_to_blame_for() {
    for (pods, failed) in [([P::Evicted, P::Failed], 1), ([P::Failed, P::Evicted], 0)] {
        let mut seen = observed(2, &pods, None);
        let exited = json!([{ "name": "c", "state": { "terminated": { "reason": "Error", "exitCode": 1 } } }]);
        Arc::make_mut(&mut seen.idle[failed]).status.container_statuses = serde_json::from_value(exited).unwrap();
        assert_eq!(plan(&seen, NOW).ended.unwrap().reason, WarmPoolReason::PodsEnded, "{failed}");
    }
}

#[test]
fn a_refusal_is_over_as_soon_as_no_pod_is_missing() {
    let refused = || Setback { reason: WarmPoolReason::Refused, until: NOW, ..Setback::ended(String::new()) };
    let over = |pods: &[P], setback| plan(&observed(1, pods, setback), NOW).over;
    assert_eq!(over(&[P::Starting], Some(refused())), Over::Now);
    assert_eq!(over(&[], Some(refused())), Over::OnceCreated);
    assert_eq!(over(&[P::Ready], None), Over::Later, "there was none");
    assert_eq!(look_again(&observed(1, &[P::Ready], Some(refused())), NOW), None);
}

#[test]
fn in_a_burst_an_elastic_pool_makes_those_that_somebody_waits_for() {
    let scaling: Scaling = serde_json::from_value(json!({ "maxReplicas": 20 })).unwrap();
    // Whether it is elastic, who waits, idle pods: how many of ten are made, and how many of these are awaited.
    for (elastic, would_claim, idle, made) in
        [(true, 8, 6, (2, 2)), (true, 7, 8, (0, 0)), (true, 0, 3, (2, 0)), (false, 8, 6, (0, 0)), (false, 8, 3, (2, 2))]
    {
        let mut seen = observed(10, &vec![P::Ready; idle], None);
        Arc::make_mut(&mut seen.pool).spec.scaling = Some(scaling.clone()).filter(|_| elastic);
        seen.demand.would_claim = would_claim;
        seen.refill.last_claim = Some(NOW);
        let plan = plan(&seen, NOW);
        assert_eq!((plan.create.len(), plan.awaited), made, "{elastic} {would_claim} {idle}");
    }
}

/// A pool of pods that are not ready since a minute, but for the first, which is new; whose Events were looked at, and when they are again.
fn late(asked: Option<(&str, i64)>) -> Observed {
    let mut seen = observed(4, &[P::Starting; 4], None);
    for (number, pod) in seen.idle.iter_mut().enumerate() {
        let pod = Arc::make_mut(pod);
        pod.unready_since = Some(NOW + Duration::from_secs(if number == 0 { 55 } else { 0 }));
        pod.status.conditions = serde_json::from_value(json!([{ "type": "PodScheduled", "status": "True" }])).unwrap();
    }
    seen.asked = asked.map(|(pod, next)| Asked {
        pod: Uid(pod.into()),
        said: None,
        times: 1,
        next: Timestamp::from_second(next).unwrap(),
    });
    seen
}

/// What it is about; whose Events were looked at, and when they are again: whose are now, and when there is another look.
type Asking = (&'static str, Option<(&'static str, i64)>, Option<&'static str>, i64);

#[test]
fn events_are_looked_at_of_one_late_pod_at_a_time() {
    let now = NOW + Duration::from_secs(60);
    let cases: &[Asking] = &[
        ("none was asked about", None, Some("pod-2"), 85),
        ("it is not time yet", Some(("pod-2", 61)), None, 61),
        ("it is time", Some(("pod-2", 60)), Some("pod-2"), 85),
        ("it stays with the one that it began with", Some(("pod-3", 60)), Some("pod-3"), 85),
        ("that one is asked about alone", Some(("pod-3", 61)), None, 61),
        ("that one is gone", Some(("pod-9", 61)), Some("pod-2"), 85),
        ("that one is not late any more", Some(("pod-1", 61)), Some("pod-2"), 85),
    ];
    for (what, asked, ask, next) in cases {
        let seen = late(*asked);
        let found = (plan(&seen, now).ask.map(|pod| pod.uid.0), look_again(&seen, now).map(Timestamp::as_second));
        assert_eq!(found, (ask.map(str::to_owned), Some(*next)), "{what}");
    }
    assert_eq!(plan(&late(None), NOW + Duration::from_secs(29)).ask, None, "none is late");
}
