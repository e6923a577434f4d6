//! Admission that puts back a part of what a claim changes.

use super::*;

#[derive(Default)]
struct Server {
    /// The pods that were claimed, as they are stored.
    claimed: Mutex<Vec<Value>>,
    deleted: Mutex<Vec<String>>,
    status: Mutex<Value>,
}

type PutBack = fn(&mut Value);

impl Server {
    fn answer(&self, method: &Method, path: &str, body: &[u8], put_back: PutBack) -> Value {
        let name = path.trim_end_matches("/status").rsplit('/').next().unwrap().to_owned();
        if *method == Method::DELETE {
            self.deleted.lock().unwrap().push(name);
            return json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" });
        }
        assert_eq!(*method, Method::PATCH, "{path}");
        let changes: Value = serde_json::from_slice(body).unwrap();
        let change =
            |path: &str| changes.as_array().unwrap().iter().find(|c| c["path"] == path).unwrap()["value"].clone();
        if path.ends_with("/status") {
            let mut sandbox = serde_json::to_value(object::<Sandbox>(&name, &json!({ "poolRef": "pool" }))).unwrap();
            sandbox["status"] = change("/status");
            if name == "s" {
                *self.status.lock().unwrap() = sandbox["status"].clone();
            }
            return sandbox;
        }
        let pool = object("pool", &json!({ "replicas": 2, "template": { "spec": {} } }));
        let mut pod = serde_json::to_value(ready_pod(&name, 1, &pool)).unwrap();
        pod["metadata"]["labels"][labels::POD_STATE] = json!("allocated");
        pod["metadata"]["labels"][labels::SANDBOX] = json!("s");
        pod["metadata"]["ownerReferences"] = change("/metadata/ownerReferences");
        pod["metadata"]["resourceVersion"] = json!("2");
        put_back(&mut pod);
        self.claimed.lock().unwrap().push(pod.clone());
        pod
    }
}

fn labels_of(pod: &mut Value) -> &mut serde_json::Map<String, Value> {
    pod["metadata"]["labels"].as_object_mut().unwrap()
}

fn owned_by(kind: &str, pod: &mut Value) {
    pod["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": kind, "name": "pool", "uid": "pool", "controller": true }]);
}

fn state_is_back(pod: &mut Value) {
    labels_of(pod).insert(labels::POD_STATE.into(), json!("ready"));
}

/// Whatever of the pods was changed is told by their watch before the pod is gone. Another Sandbox waits too. Says which pods were deleted, and
/// the status on record.
async fn after_claims(put_back: PutBack) -> (Vec<String>, Value) {
    let server = Arc::<Server>::default();
    let api = service_fn({
        let server = Arc::clone(&server);
        move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let body = request.into_body().collect_bytes().await.unwrap();
                let answer = server.answer(&method, &path, &body, put_back);
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(200).body(answer).unwrap())
            }
        }
    });
    let (sandboxes, key, other) = (sandboxes(Client::new(api, "ns")), Key::new("ns", "s"), Key::new("ns", "t"));
    see(&sandboxes, ["a", "b", "c", "d", "e"].into_iter());
    {
        let mut tables = sandboxes.watch.cache.write();
        drop(tables.sandboxes.apply(SandboxRow::new(object("t", &json!({ "poolRef": "pool" })))));
        tables.pair([other.clone()], []);
    }
    sandboxes.reconcile(&key).await.unwrap();
    sandboxes.reconcile(&other).await.unwrap();
    {
        let mut tables = sandboxes.watch.cache.write();
        let pods: Vec<Pod> = serde_json::from_value(json!(*server.claimed.lock().unwrap())).unwrap();
        let keys: Vec<Key> = pods.into_iter().map(|pod| (Key::of(&pod), tables.pods.apply(pod)).0).collect();
        tables.pair([key.clone()], keys);
    }
    sandboxes.reconcile(&key).await.unwrap();
    let (deleted, status) = (server.deleted.lock().unwrap().clone(), server.status.lock().unwrap().clone());
    (deleted, status)
}

#[tokio::test]
async fn what_is_put_back_of_a_claim_costs_one_pod_before_it_is_waited_for_and_the_sandbox_has_none() {
    let cases: [(&str, PutBack); 5] = [
        ("the state", state_is_back),
        ("the Sandbox's label", |pod| drop(labels_of(pod).remove(labels::SANDBOX))),
        ("the owner", |pod| owned_by("WarmPool", pod)),
        ("both labels", |pod| {
            state_is_back(pod);
            labels_of(pod).remove(labels::SANDBOX);
        }),
        ("all, and there is no owner", |pod| {
            state_is_back(pod);
            labels_of(pod).remove(labels::SANDBOX);
            pod["metadata"]["ownerReferences"] = json!([]);
        }),
    ];
    for (what, put_back) in cases {
        let (mut deleted, status) = after_claims(put_back).await;
        deleted.dedup();
        assert_eq!(deleted, ["a"], "{what}");
        assert_eq!((&status["phase"], &status["podUID"]), (&json!("Pending"), &Value::Null), "{what}: {status}");
        assert_eq!(status["conditions"][0]["reason"], "ClaimRefused", "{what}: {status}");
    }
}

#[tokio::test]
async fn a_claim_that_is_put_back_as_a_whole_costs_no_pod_and_others_are_tried() {
    let (deleted, status) = after_claims(|pod| {
        state_is_back(pod);
        labels_of(pod).remove(labels::SANDBOX);
        owned_by("WarmPool", pod);
    })
    .await;
    assert_eq!(deleted, Vec::<String>::new());
    assert_eq!(status["conditions"][0]["reason"], "ClaimRefused", "{status}");
}
