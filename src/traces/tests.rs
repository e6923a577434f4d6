use arl_crds::{Sandbox, Task};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::*;

const SANDBOX: &str = "11111111-2222-4333-8444-555555555555";
const TASK: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
/// The trace of the Sandbox.
const OWN: Context = Context { trace: 0x1111_1111_2222_4333_8444_5555_5555_5555, parent: None, sampled: None };
const CREATED: &str = "2026-11-24T15:00:00Z";
const FOREIGN: &str = r#"{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;

fn at(second: &str) -> Timestamp {
    format!("2026-11-24T15:00:{second}Z").parse().unwrap()
}

fn sandbox(annotations: &Value) -> Sandbox {
    serde_json::from_value(json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "spec": {"poolRef": "p"},
        "metadata": {"name": "s", "namespace": "ns", "uid": SANDBOX, "creationTimestamp": CREATED, "annotations": annotations},
    }))
    .unwrap()
}

fn row(annotations: &Value) -> TaskRow {
    let step = |name: &str| json!({"name": name, "type": "Command", "command": ["true"]});
    TaskRow::new(
        serde_json::from_value::<Task>(json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task",
            "metadata": {"name": "t", "namespace": "ns", "uid": TASK, "creationTimestamp": CREATED, "annotations": annotations},
            "spec": {"sandboxRef": "s", "steps": [step("a"), step("b"), step("c")]},
        }))
        .unwrap(),
    )
}

fn status() -> TaskStatus {
    serde_json::from_value(json!({
        "state": "Failed", "sandboxUID": SANDBOX,
        "startedAt": "2026-11-24T15:00:01.000000Z", "completedAt": "2026-11-24T15:00:04.000000Z",
        "conditions": [{"type": "Finished", "status": "True", "reason": "StepFailed", "message": "", "lastTransitionTime": CREATED}],
        "steps": [
            {"name": "a", "state": "Succeeded", "exitCode": 0,
             "startedAt": "2026-11-24T15:00:01.000000Z", "completedAt": "2026-11-24T15:00:02.000000Z"},
            {"name": "b", "state": "Failed", "exitCode": 3,
             "startedAt": "2026-11-24T15:00:02.000000Z", "completedAt": "2026-11-24T15:00:04.000000Z"},
            {"name": "c", "state": "Skipped"},
        ],
    }))
    .unwrap()
}

fn value<'a>(span: &'a Span, key: &str) -> &'a str {
    span.attributes.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
}

#[test]
fn a_claim_and_its_tasks_are_one_trace() {
    let sandbox = sandbox(&json!({}));
    let claim = claim(&SandboxRow::new(sandbox.clone()), "pod", at("01")).unwrap();
    assert_eq!(claim.context, OWN);
    assert_eq!((claim.start, claim.end, value(&claim, "k8s.pod.name")), (at("00"), at("01"), "pod"));

    let spans = task(&row(&json!({})), &status(), Some(&sandbox));
    let names: Vec<_> = spans.iter().map(|span| (span.name, value(span, "arl.step.name"))).collect();
    assert_eq!(names, [("task", ""), ("step", "a"), ("step", "b")], "a step that was not started took no time");
    assert_eq!(spans[0].context, Context { parent: Some(claim.id), ..OWN });
    assert!(spans[1..].iter().all(|s| s.context == Context { parent: Some(spans[0].id), ..OWN }));
    assert_eq!((spans[0].start, spans[0].end), (at("00"), at("04")));
    assert_eq!((spans[2].start, spans[2].end, value(&spans[2], "process.exit.code")), (at("02"), at("04"), "3"));
    let errors: Vec<_> = spans.iter().map(|span| span.error.as_deref()).collect();
    assert_eq!(errors, [Some("StepFailed"), None, Some("Failed")]);
    assert_eq!(spans, task(&row(&json!({})), &status(), Some(&sandbox)), "told twice, it is the same");
}

#[test]
fn whoever_names_a_trace_is_part_of_it() {
    let named = json!({ CONTEXT: FOREIGN });
    let foreign = Context {
        trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        parent: Some(0xb7ad_6b71_6920_3331),
        sampled: Some(true),
    };
    let sandbox = sandbox(&named);
    let claim = claim(&SandboxRow::new(sandbox.clone()), "pod", at("01")).unwrap();
    assert_eq!(claim.context, foreign);
    let of_claim = Context { parent: Some(claim.id), ..foreign };
    assert_eq!(task(&row(&json!({})), &status(), Some(&sandbox))[0].context, of_claim);
    assert_eq!(task(&row(&named), &status(), None)[0].context, foreign);
    assert_eq!(task(&row(&json!({})), &status(), None)[0].context.parent, None, "without its Sandbox it stands alone");
    let other = TaskStatus { sandbox_uid: Some("another".into()), ..status() };
    assert_eq!(task(&row(&json!({})), &other, Some(&sandbox))[0].context.parent, None, "it had another of the name");
    let waits = TaskStatus { sandbox_uid: None, ..status() };
    assert_eq!(task(&row(&json!({})), &waits, Some(&sandbox))[0].context, of_claim, "it waited for this one");
}

#[test]
fn what_names_no_trace_is_left_aside() {
    for bad in [
        "",
        "{}",
        r#"{"traceparent": ""}"#,
        r#"{"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"}"#,
        r#"{"traceparent": "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        r#"{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-01"}"#,
        r#"{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-yes"}"#,
    ] {
        let claim = claim(&SandboxRow::new(sandbox(&json!({ CONTEXT: bad }))), "pod", at("01")).unwrap();
        assert_eq!(claim.context, OWN, "{bad}");
    }
}

fn read(collector: &str, variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::read(Some(collector), variables).map_err(|refusal| refusal.to_string())
}

fn settings(collector: &str, variables: &[(&str, &str)]) -> Settings {
    read(collector, variables).unwrap().expect("an endpoint")
}

#[test]
fn the_variables_say_where_and_whether() {
    assert_eq!(read("", &[("OTEL_SDK_DISABLED", "what?")]), Ok(None), "nobody is to have spans");
    assert_eq!(read("http://c:4318", &[("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
    for base in ["http://c:4318", "http://c:4318/"] {
        assert_eq!(settings(base, &[("OTEL_SDK_DISABLED", "false")]).endpoint, "http://c:4318/v1/traces");
    }
    let full = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem")];
    for base in ["", "http://c:4318"] {
        let full = settings(base, &full);
        assert_eq!((full.endpoint.as_str(), full.certificate), ("https://t/x", Some("ca.pem".into())));
    }
}

#[test]
fn what_cannot_be_followed_is_refused_and_what_is_not_heeded_is_told() {
    for (name, value, rule) in [
        ("OTEL_TRACES_EXPORTER", "none", "only otlp is built in"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf is built in"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "only http/protobuf is built in"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "only none is built in"),
        ("OTEL_SDK_DISABLED", "1", "it takes true or false"),
        ("OTEL_TRACES_SAMPLER", "xray", "it takes always_on, always_off or traceidratio, each also after parentbased_"),
    ] {
        assert_eq!(read("http://c", &[(name, value)]), Err(format!("{name}={value}: {rule}")));
    }
    for bad in ["half", "1.5", "-0.1", "NaN"] {
        let variables = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", bad)];
        let refusal = format!("OTEL_TRACES_SAMPLER_ARG={bad}: it takes a number from 0 to 1, such as 0.1");
        assert_eq!(read("http://c", &variables), Err(refusal));
    }
    let of_traces = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")];
    let others = [("OTEL_SERVICE_NAME", "s"), ("OTEL_BSP_SCHEDULE_DELAY", "1"), ("OTEL_EMPTY", ""), ("PATH", "/")];
    assert_eq!(settings("http://c", &[&of_traces[..], &others].concat()).unheeded, ["OTEL_BSP_SCHEDULE_DELAY"]);
}

#[test]
fn a_collector_without_an_address_or_without_trust_is_refused() {
    for (endpoint, certificate, rule) in [
        ("collector:4318", "", "not an http:// or https:// address"),
        ("grpc://c:4317", "", "not an http:// or https:// address"),
        ("https://c", "/there/is/no/such.pem", "OTEL_EXPORTER_OTLP_CERTIFICATE takes a PEM file"),
    ] {
        let settings = settings(endpoint, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate)]);
        let refusal = Exporter::new(&settings).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("--otlp-endpoint={endpoint}")) && refusal.contains(rule), "{refusal}");
    }
}

/// Of nobody: its key is gone.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUD8MPVhXU3ueA//IUA1pBOrI+fBkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDE4NDI1NloYDzIxMjYxMDMx
MTg0MjU2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQhlSJj6BUBm9tW6ZOBadWs2IvOwvIvELJ1cCLmez4UY/f8RxbIlqpJ
FeEV3Q2XnSWkXTTG5O2Z6dJgO1oemOXDo28wbTAdBgNVHQ4EFgQUm/Li8ozvfvlq
Ff9KWJN1wnD0dGcwHwYDVR0jBBgwFoAUm/Li8ozvfvlqFf9KWJN1wnD0dGcwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgFs7h2aBroIy0hc/ocnjyBvqlzXrSHIAGjdxSSQ+/03YCIQDG
Vr7KZL21aDlEWQfVxhU945bX+4vCu1fS1zc5qN99Tg==
-----END CERTIFICATE-----
";

#[tokio::test]
async fn spans_to_an_https_address_go_by_tls() {
    let file = std::env::temp_dir().join(format!("arl-traces-{}.pem", std::process::id()));
    std::fs::write(&file, CERTIFICATE).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let settings = settings(&endpoint, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap())]);
    let exporter = Exporter::new(&settings).unwrap();
    std::fs::remove_file(file).unwrap();
    let (traces, waiting) = Traces::new(settings.sampler);
    tokio::spawn(exporter.export(waiting));
    traces.take(|| task(&row(&json!({})), &status(), None));
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut first = [0; 3];
    connection.read_exact(&mut first).await.unwrap();
    // https://www.rfc-editor.org/rfc/rfc8446#section-5.1
    assert_eq!(first, [22, 3, 1], "a handshake, of the version that all begin with");
}

#[test]
fn who_began_a_trace_decides_of_it_unless_told_otherwise() {
    let context = |sampled| Context { sampled, ..OWN };
    for (sampler, own, recorded, unrecorded) in [
        ("", true, true, false),
        ("parentbased_always_on", true, true, false),
        ("parentbased_always_off", false, true, false),
        ("always_on", true, true, true),
        ("always_off", false, false, false),
        ("traceidratio", true, true, true),
    ] {
        let sampler = settings("http://c", &[("OTEL_TRACES_SAMPLER", sampler)]).sampler;
        let takes = [None, Some(true), Some(false)].map(|sampled| sampler.takes(&context(sampled)));
        assert_eq!(takes, [own, recorded, unrecorded], "{sampler:?}");
    }
}

#[test]
fn a_ratio_takes_that_part_of_uuids() {
    let mut rng = fastrand::Rng::with_seed(7);
    // RFC 9562, version 4: six bits are not random.
    let mut uuid = || rng.u128(..) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let traces: Vec<_> = (0..10_000).map(|_| Context { trace: uuid(), ..OWN }).collect();
    let mut before = Vec::new();
    for (ratio, part) in [("0", 0), ("0.1", 1_000), ("0.5", 5_000), ("0.9", 9_000), ("1", 10_000)] {
        let variables = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
        let sampler = settings("http://c", &variables).sampler;
        let taken: Vec<_> = traces.iter().filter(|trace| sampler.takes(trace)).collect();
        assert!(taken.len().abs_diff(part) < 200, "{ratio}: {}", taken.len());
        assert!(before.iter().all(|trace| taken.contains(trace)), "whoever takes more takes these too");
        before = taken;
    }
}

#[test]
fn a_trace_that_does_not_go_out_has_no_name() {
    let named = |flags: &str| sandbox(&json!({ CONTEXT: FOREIGN.replace("-01", flags) }));
    assert_eq!(Traces::default().id(|| -> Option<Context> { panic!("nobody has it") }), None);
    let (traces, mut waiting) = Traces::new(Sampler::default());
    let id = |sandbox: &Sandbox| traces.id(|| of_sandbox(sandbox));
    assert_eq!(id(&sandbox(&json!({}))).as_deref(), Some("11111111222243338444555555555555"));
    assert_eq!(id(&named("-01")).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(id(&named("-00")), None);
    for flags in ["-00", "-03"] {
        traces.take(|| claim(&SandboxRow::new(named(flags)), flags, at("01")));
    }
    assert_eq!(value(&waiting.try_recv().unwrap(), "k8s.pod.name"), "-03");
    assert!(waiting.try_recv().is_err());
}
