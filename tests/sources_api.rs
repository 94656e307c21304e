//! The sources that read through the API, against a scripted API server: what they ask, and what they make of the
//! answers. Time is paused, so waiting costs nothing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

#[path = "sources_api/script.rs"]
mod script;

use std::time::Duration;

use hyper::StatusCode;
use iam_authenticator::mapping::index::{Object, SourceFailure, SourceUpdate};
use iam_authenticator::mapping::{MappingError, SourceId};
use iam_authenticator::sources::{Connector, crd};
use script::{Asked, Run, config_map, mapping, status};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const MAPPINGS: &str = "/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings";

#[tokio::test(start_paused = true)]
async fn a_list_of_several_pages_and_then_every_event() {
    let mut run = Run::crd();
    let first = run.api.request().await;
    assert_eq!(first.path(), MAPPINGS);
    assert!(
        first.query().contains("limit=500") && !first.is_watch(),
        "{}",
        first.query()
    );
    first.list(&[mapping("a", "A"), mapping("b", "B")], "5", Some("more"));
    let second = run.api.request().await;
    assert!(second.query().contains("continue=more"), "{}", second.query());
    second.list(&[mapping("c", "C")], "5", None);
    assert_eq!(run.reset().await, ["a", "b", "c"]);

    let request = run.api.request().await;
    assert!(
        request.is_watch() && request.query().contains("resourceVersion=5"),
        "{}",
        request.query()
    );
    assert!(
        request.query().contains("allowWatchBookmarks=true"),
        "{}",
        request.query()
    );
    let watch = request.watch();
    watch.event("ADDED", &mapping("d", "D"));
    watch.event("MODIFIED", &mapping("a", "Other"));
    watch.event("DELETED", &mapping("b", "B"));
    assert_eq!(
        run.applied().await,
        ("d".into(), Ok("arn:aws:iam::123456789012:role/d".into()))
    );
    assert_eq!(
        run.applied().await,
        ("a".into(), Ok("arn:aws:iam::123456789012:role/other".into()))
    );
    assert!(matches!(run.update().await, SourceUpdate::Delete(name) if &*name == "b"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_definition_is_looked_for_again_and_again() {
    let mut run = Run::crd();
    for _ in 0..20 {
        // The API server's own words for a path that it does not know; they are no Status.
        run.api
            .request()
            .await
            .text(StatusCode::NOT_FOUND, "404 page not found\n");
        assert!(matches!(run.update().await, SourceUpdate::NotFound(SourceId::Crd)));
    }
    let since = Instant::now();
    run.api.request().await.list(&[mapping("a", "A")], "5", None);
    assert_eq!(run.reset().await, ["a"]);
    assert!(
        since.elapsed() <= Duration::from_secs(5),
        "noticed after {:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_name() {
    let mut run = Run::crd();
    let mut failure = async |answer: fn(Asked)| {
        answer(run.api.request().await);
        match run.update().await {
            SourceUpdate::Failed(SourceId::Crd, failure) => failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        failure(|asked| asked.status(403, "Forbidden")).await,
        SourceFailure::Forbidden
    );
    assert_eq!(
        failure(|asked| asked.status(401, "Unauthorized")).await,
        SourceFailure::Status(401)
    );
    assert_eq!(
        failure(|asked| asked.status(429, "TooManyRequests")).await,
        SourceFailure::Status(429)
    );
    assert_eq!(
        failure(|asked| asked.status(500, "InternalError")).await,
        SourceFailure::Status(500)
    );
    let text = |asked: Asked| asked.text(StatusCode::BAD_GATEWAY, "<html>");
    assert_eq!(failure(text).await, SourceFailure::Status(502));
    let other_json = |asked: Asked| asked.text(StatusCode::BAD_GATEWAY, "{}");
    assert_eq!(failure(other_json).await, SourceFailure::Unreachable);
    let garbage = |asked: Asked| asked.text(StatusCode::OK, "<html>");
    assert_eq!(failure(garbage).await, SourceFailure::Unreachable);
    assert_eq!(failure(Asked::refuse).await, SourceFailure::Unreachable);
    run.api.request().await.list(&[], "5", None);
    assert!(run.reset().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_comes_is_given_up() {
    let mut run = Run::crd();
    let hanging = run.api.request().await;
    assert!(matches!(
        run.update().await,
        SourceUpdate::Failed(_, SourceFailure::Unreachable)
    ));
    drop(hanging);
    run.api.request().await.list(&[], "5", None);
    assert!(run.reset().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn half_a_list_changes_nothing() {
    let mut run = Run::crd();
    run.api.request().await.list(&[mapping("a", "A")], "5", Some("more"));
    run.api.request().await.refuse();
    assert!(matches!(
        run.update().await,
        SourceUpdate::Failed(_, SourceFailure::Unreachable)
    ));
    // A page that is too old to go on from is no failure.
    run.api.request().await.list(&[mapping("b", "B")], "6", Some("more"));
    run.api.request().await.status(410, "Expired");
    run.api.request().await.list(&[mapping("c", "C")], "7", None);
    assert_eq!(run.reset().await, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_object_harms_no_other() {
    let mut run = Run::crd();
    let mut without_spec = mapping("without-spec", "A");
    without_spec.as_object_mut().expect("an object").remove("spec");
    let mut number = mapping("number", "A");
    number["spec"]["username"] = json!(5);
    let mut unknown_placeholder = mapping("unknown-placeholder", "A");
    unknown_placeholder["spec"]["username"] = json!("{{Nobody}}");
    let mut extra = mapping("extra", "Extra");
    extra["spec"]["later"] = json!({ "field": true });
    extra["status"] = json!("not an object");
    run.api
        .request()
        .await
        .list(&[without_spec, number.clone(), unknown_placeholder, extra], "5", None);
    let SourceUpdate::Reset(objects) = run.update().await else {
        panic!("a reset")
    };
    let outcome = |object: &Object| {
        object
            .mapping
            .as_ref()
            .map(|mapping| mapping.subject_key().to_owned())
            .ok()
    };
    let outcomes: Vec<_> = objects.iter().map(|object| (&*object.name, outcome(object))).collect();
    let good = Some("arn:aws:iam::123456789012:role/extra".to_owned());
    assert_eq!(
        outcomes,
        [
            ("without-spec", None),
            ("number", None),
            ("unknown-placeholder", None),
            ("extra", good)
        ]
    );

    let watch = run.api.request().await.watch();
    watch.event("MODIFIED", &number);
    let (name, result) = run.applied().await;
    let error = MappingError::Field("spec.username: must be a string, not a number".into());
    assert_eq!((name.as_str(), result), ("number", Err(error)));
}

#[tokio::test(start_paused = true)]
async fn an_expired_watch_is_followed_by_a_list_that_tells_what_was_lost() {
    let mut run = Run::crd();
    run.api
        .request()
        .await
        .list(&[mapping("a", "A"), mapping("b", "B")], "5", None);
    assert_eq!(run.reset().await, ["a", "b"]);
    let watch = run.api.request().await.watch();
    watch.event("ERROR", &status(410, "Expired"));
    run.api.request().await.list(&[mapping("a", "A")], "90", None);
    assert_eq!(run.reset().await, ["a"], "and no failure in between");
    run.api.request().await.status(410, "Expired");
    run.api.request().await.list(&[], "900", None);
    assert!(run.reset().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_in_order_goes_on_where_it_was() {
    let mut run = Run::crd();
    run.api.request().await.list(&[], "5", None);
    run.reset().await;
    let watch = run.api.request().await.watch();
    let kind = "IAMIdentityMapping";
    let metadata = json!({ "resourceVersion": "70", "creationTimestamp": null });
    watch.event(
        "BOOKMARK",
        &json!({ "apiVersion": "iamauthenticator.k8s.aws/v1alpha1", "kind": kind, "metadata": metadata }),
    );
    drop(watch);
    let request = run.api.request().await;
    assert!(
        request.is_watch() && request.query().contains("resourceVersion=70"),
        "{}",
        request.query()
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_over_within_seconds_of_the_servers_return() {
    let mut run = Run::crd();
    run.api.request().await.list(&[mapping("a", "A")], "5", None);
    run.reset().await;
    let watch = run.api.request().await.watch();
    run.is_alive().await;
    run.is_alive().await;
    watch.break_off();
    assert!(matches!(
        run.update().await,
        SourceUpdate::Failed(_, SourceFailure::Unreachable)
    ));
    let start = Instant::now();
    let mut attempts = 0;
    while start.elapsed() < Duration::from_mins(2) {
        run.api.request().await.refuse();
        assert!(matches!(
            run.update().await,
            SourceUpdate::Failed(_, SourceFailure::Unreachable)
        ));
        attempts += 1;
    }
    assert!((25..100).contains(&attempts), "{attempts} attempts in two minutes");
    let back = Instant::now();
    run.api.request().await.list(&[mapping("b", "B")], "5000", None);
    assert_eq!(run.reset().await, ["b"]);
    assert!(back.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_refused_watch_does_not_make_it_list_without_pause() {
    let mut run = Run::crd();
    let start = Instant::now();
    let mut lists = 0;
    while start.elapsed() < Duration::from_mins(1) {
        run.api.request().await.list(&[], "5", None);
        run.reset().await;
        run.api.request().await.status(403, "Forbidden");
        assert!(matches!(
            run.update().await,
            SourceUpdate::Failed(_, SourceFailure::Forbidden)
        ));
        lists += 1;
    }
    assert!(lists < 40, "{lists} lists in a minute");
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_says_that_it_is_alive() {
    let mut run = Run::crd();
    run.api.request().await.list(&[], "5", None);
    run.reset().await;
    let _watch = run.api.request().await.watch();
    let start = Instant::now();
    for _ in 0..6 {
        run.is_alive().await;
    }
    assert!((60..70).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_when_told_to_and_when_nobody_listens() {
    let mut run = Run::crd();
    let hanging = run.api.request().await;
    run.shutdown.cancel();
    run.ended().await;
    drop(hanging);

    let mut run = Run::crd();
    run.updates.close();
    run.api.request().await.list(&[], "5", None);
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_config_map_comes_changes_and_goes() {
    let mut run = Run::aws_auth();
    let request = run.api.request().await;
    assert_eq!(request.path(), "/api/v1/namespaces/kube-system/configmaps");
    assert!(
        request.query().contains("fieldSelector=metadata.name%3Daws-auth"),
        "{}",
        request.query()
    );
    request.list(&[], "5", None);
    assert_eq!(run.mapped().await, None, "an absent one is empty");
    let watch = run.api.request().await.watch();
    watch.event("ADDED", &config_map("A"));
    assert_eq!(
        run.mapped().await,
        Some(vec!["arn:aws:iam::123456789012:role/a".into()])
    );
    watch.event("MODIFIED", &config_map("B"));
    assert_eq!(
        run.mapped().await,
        Some(vec!["arn:aws:iam::123456789012:role/b".into()])
    );
    watch.event("DELETED", &config_map("B"));
    assert_eq!(run.mapped().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_deleted_while_nobody_looked_is_gone() {
    let mut run = Run::aws_auth();
    run.api.request().await.list(&[config_map("A")], "5", None);
    assert!(run.mapped().await.is_some());
    run.api.request().await.watch().break_off();
    assert!(matches!(
        run.update().await,
        SourceUpdate::Failed(_, SourceFailure::Unreachable)
    ));
    run.api.request().await.list(&[], "50", None);
    assert_eq!(run.mapped().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_without_data_and_one_with_binary_data() {
    let mut run = Run::aws_auth();
    let mut object = config_map("A");
    object["binaryData"] = json!({ "mapRoles": "AAAA" });
    object.as_object_mut().expect("an object").remove("data");
    run.api.request().await.list(&[object], "5", None);
    assert_eq!(run.mapped().await, Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn config_maps_always_exist_as_a_kind() {
    let mut run = Run::aws_auth();
    run.api
        .request()
        .await
        .text(StatusCode::NOT_FOUND, "404 page not found\n");
    let update = run.update().await;
    assert!(
        matches!(
            update,
            SourceUpdate::Failed(SourceId::EksConfigMap, SourceFailure::Status(404))
        ),
        "{update:?}"
    );
}

/// Not against the script: the connection itself is what is not there.
#[tokio::test]
async fn a_kubeconfig_may_be_written_after_the_start() {
    let path = std::env::temp_dir().join(format!("sources-api-{}.kubeconfig", std::process::id()));
    let (send, mut updates) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(crd::run(
        Connector::new(Some(path.clone()), None),
        send,
        CancellationToken::new(),
    ));
    let mut failure = async || match timeout(Duration::from_secs(10), updates.recv()).await {
        Ok(Some(SourceUpdate::Failed(SourceId::Crd, failure))) => failure,
        other => panic!("{other:?}"),
    };
    let SourceFailure::File(text) = failure().await else {
        panic!("a file failure")
    };
    assert!(
        text.contains(&path.display().to_string()) && text.contains("No such file"),
        "{text}"
    );
    // Nobody listens on port 1: that it gets so far is what counts.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1", "proxy-url": "http://127.0.0.1:2" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "" } }],
        "current-context": "c",
    });
    std::fs::write(&path, kubeconfig.to_string()).expect("written");
    while failure().await != SourceFailure::Unreachable {}
    std::fs::remove_file(&path).expect("removed");
}
