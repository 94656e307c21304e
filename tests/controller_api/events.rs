//! Events.

use std::time::Duration;

use hyper::Method;
use iam_authenticator::mapping::index::NoticeKind;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::script::{Asked, Run};

const MAP: &str = "/api/v1/namespaces/kube-system/configmaps/aws-auth";
const EVENTS: &str = "/api/v1/namespaces/kube-system/events";
const CORE: &str = "/api/v1";
const A_WHILE: Duration = Duration::from_mins(50);

/// The next Event that is to be created.
async fn created(run: &mut Run) -> Asked {
    let uid =
        json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "uid": "map-uid" } });
    run.api.next(CORE).await.is(&Method::GET, MAP).answer(&uid);
    run.api.next(CORE).await.is(&Method::POST, EVENTS)
}

/// The Event that is there already.
fn old(asked: &Asked, last: &str, count: i64) -> Value {
    let mut event = asked.body.clone();
    event["lastTimestamp"] = json!(last);
    event["count"] = json!(count);
    event["metadata"]["resourceVersion"] = json!("77");
    event
}

#[tokio::test(start_paused = true)]
async fn a_bad_entry_is_told_once() {
    let mut run = Run::alone();
    run.notice(NoticeKind::EntryRejected, "mapRoles, line 3: not an ARN");
    let asked = created(&mut run).await;
    let body = &asked.body;
    assert_eq!(
        (&body["reason"], &body["type"]),
        (&json!("EntryRejected"), &json!("Warning"))
    );
    assert_eq!(body["message"], "mapRoles, line 3: not an ARN");
    let involved = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "namespace": "kube-system", "name": "aws-auth", "uid": "map-uid",
    });
    assert_eq!(body["involvedObject"], involved);
    assert_eq!(
        (&body["source"]["component"], &body["count"]),
        (&json!("aws-iam-authenticator"), &json!(1))
    );
    asked.accept(1);
    for _ in 0..5 {
        run.notice(NoticeKind::EntryRejected, "mapRoles, line 3: not an ARN");
        run.notice(NoticeKind::Changed, "3 mappings");
    }
    run.api.is_quiet(Duration::from_mins(9)).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_there_from_before_is_counted_up_seldom() {
    // Now is 05:05:05.
    for (last, patched) in [("2026-05-05T04:55:00Z", true), ("2026-05-05T04:56:00Z", false)] {
        let mut run = Run::alone();
        run.notice(NoticeKind::Held, "3 subjects vanished");
        let asked = created(&mut run).await;
        let before = old(&asked, last, 4);
        let name = asked.body["metadata"]["name"].as_str().expect("a name").to_owned();
        asked.refuse(409, "AlreadyExists");
        run.api
            .next(CORE)
            .await
            .is(&Method::GET, &format!("{EVENTS}/{name}"))
            .answer(&before);
        if patched {
            let asked = run.api.next(CORE).await.is(&Method::PATCH, &format!("{EVENTS}/{name}"));
            let expected = json!({
                "metadata": { "resourceVersion": "77" }, "count": 5, "lastTimestamp": "2026-05-05T05:05:05Z",
            });
            assert_eq!(asked.body, expected);
            asked.answer(&before);
        }
        run.api.is_quiet(A_WHILE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_again_is_told_again() {
    let mut run = Run::alone();
    for kind in [NoticeKind::EntryRejected, NoticeKind::Mended] {
        run.notice(kind, "it");
        created(&mut run).await.accept(1);
    }
    run.notice(NoticeKind::EntryRejected, "it");
    let asked = created(&mut run).await;
    let before = old(&asked, "2026-05-05T05:05:04Z", 1);
    asked.refuse(409, "AlreadyExists");
    run.api.next(CORE).await.answer(&before);
    let asked = run.api.next(CORE).await;
    assert_eq!((&asked.method, &asked.body["count"]), (&Method::PATCH, &json!(2)));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_may_not_read_events_has_no_duplicates() {
    let mut run = Run::alone();
    run.notice(NoticeKind::Held, "it");
    created(&mut run).await.refuse(409, "AlreadyExists");
    run.api.next(CORE).await.refuse(403, "Forbidden");
    run.api.is_quiet(A_WHILE).await;
    assert!(!run.shows("Events cannot be sent"));
}

#[tokio::test(start_paused = true)]
async fn without_the_right_nobody_insists() {
    let mut run = Run::alone();
    run.notice(NoticeKind::Held, "it");
    created(&mut run).await.refuse(403, "Forbidden");
    run.notice(NoticeKind::Held, "more");
    let since = Instant::now();
    run.api.next(CORE).await.is(&Method::GET, MAP).refuse(403, "Forbidden");
    assert!(since.elapsed() >= Duration::from_mins(5), "{:?}", since.elapsed());
    assert!(run.shows("Events cannot be sent"));
    // Without the object's uid it is told all the same.
    let asked = run.api.next(CORE).await.is(&Method::POST, EVENTS);
    assert_eq!(asked.body["involvedObject"]["uid"], Value::Null);
    asked.accept(1);
    run.api.is_quiet(A_WHILE).await;
    assert!(!run.shows("Events cannot be sent"));
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_a_breeze() {
    let mut run = Run::alone();
    for number in 0..300 {
        run.notice(NoticeKind::EntryRejected, &format!("line {number}"));
    }
    let since = Instant::now();
    for _ in 0..25 {
        created(&mut run).await.accept(1);
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    for _ in 0..10 {
        created(&mut run).await.accept(1);
    }
    assert!(since.elapsed() > Duration::from_secs(19), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_it() {
    let mut run = Run::alone();
    run.notice(NoticeKind::Held, "it");
    for _ in 0..4 {
        created(&mut run).await.refuse(500, "InternalError");
    }
    created(&mut run).await.accept(1);
    run.api.is_quiet(A_WHILE).await;
    run.has_metric(r#"events_total{result="sent"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn a_follower_tells_nothing() {
    let mut run = Run::elected();
    run.notice(NoticeKind::Held, "it");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "aws-iam-authenticator", "namespace": "kube-system", "resourceVersion": "1" },
        "spec": { "holderIdentity": "other", "leaseDurationSeconds": 15 },
    });
    let asked = loop {
        let asked = run.api.next("/").await;
        assert!(asked.path.contains("/leases/"), "{asked:?}");
        if asked.method == Method::PUT {
            break asked;
        }
        asked.answer(&lease);
    };
    // Its holder is gone: what was seen meanwhile is told now.
    asked.accept(2);
    created(&mut run).await.accept(1);
}
