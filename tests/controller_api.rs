//! The controller against a scripted API server: what it asks, and what it makes of every answer. Time is paused, so
//! waiting costs nothing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

#[path = "controller_api/circles.rs"]
mod circles;
#[path = "controller_api/election.rs"]
mod election;
#[path = "controller_api/events.rs"]
mod events;
#[path = "controller_api/script.rs"]
mod script;

use std::time::Duration;

use hyper::Method;
use script::{Asked, MAPPINGS, NOW, Run, mapping, theirs};
use serde_json::{Value, json};
use tokio::time::Instant;

const MAPPING_EVENTS: &str = "/api/v1/namespaces/default/events";
const A_WHILE: Duration = Duration::from_mins(50);

fn path(name: &str) -> String {
    format!("{MAPPINGS}/{name}")
}

fn status_path(name: &str) -> String {
    format!("{MAPPINGS}/{name}/status")
}

/// The object with the status that a merge patch gives it.
fn patched(asked: &Asked, name: &str, version: u64) -> Value {
    let mut status = asked.body["status"].clone();
    status
        .as_object_mut()
        .expect("an object")
        .retain(|_, value| !value.is_null());
    mapping(name, 1, version, &status)
}

async fn event(run: &mut Run) {
    run.api.next(MAPPING_EVENTS).await.accept(1);
}

#[tokio::test(start_paused = true)]
async fn a_new_object_is_written_once() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    let asked = run.api.next(MAPPINGS).await.is(&Method::PATCH, &status_path("m"));
    assert_eq!(asked.query, "&fieldManager=aws-iam-authenticator");
    assert_eq!(asked.body["metadata"], json!({ "resourceVersion": "7" }));
    let status = &asked.body["status"];
    assert_eq!(status["canonicalARN"], "arn:aws:iam::123456789012:role/m");
    assert_eq!(
        (&status["userID"], &status["observedGeneration"]),
        (&Value::Null, &json!(1))
    );
    let ready = &status["conditions"][0];
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("True"), &json!("Serving"))
    );
    assert_eq!(ready["lastTransitionTime"], NOW);
    let stored = patched(&asked, "m", 8);
    asked.answer(&stored);

    let told = run.api.next(MAPPING_EVENTS).await.is(&Method::POST, MAPPING_EVENTS);
    assert_eq!(
        (&told.body["reason"], &told.body["type"]),
        (&json!("Serving"), &json!("Normal"))
    );
    let involved = &told.body["involvedObject"];
    assert_eq!((&involved["name"], &involved["uid"]), (&json!("m"), &json!("uid-of-m")));
    told.accept(1);
    run.apply(&stored).await;
    run.reset(&[stored]).await;
    run.api.is_quiet(A_WHILE).await;
    run.has_metric(r#"status_writes_total{result="written"} 1"#);
    run.has_metric(r#"events_total{result="sent"} 1"#);
    run.has_metric(r#"election_standing{standing="disabled"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_after_a_restart_is_neither_written_nor_told() {
    let mut first = Run::alone();
    first.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    let asked = first.api.next(MAPPINGS).await;
    let stored = patched(&asked, "m", 8);
    let mut second = Run::alone();
    second.reset(&[stored]).await;
    second.api.is_quiet(A_WHILE).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_replaced_is_read_before() {
    let mut run = Run::alone();
    let then = "2026-01-01T00:00:00Z";
    let ready =
        json!({ "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": then });
    let old = json!({ "canonicalARN": "forged", "conditions": [ready] });
    run.reset(&[mapping("m", 1, 7, &old)]).await;
    let asked = run.api.next(MAPPINGS).await.is(&Method::GET, &path("m"));
    // Somebody labelled it meanwhile; that changes nothing of what is to be said.
    asked.answer(&mapping("m", 1, 9, &old));
    let asked = run.api.next(MAPPINGS).await.is(&Method::PATCH, &status_path("m"));
    assert_eq!(asked.body["metadata"]["resourceVersion"], "9");
    assert_eq!(asked.body["status"]["conditions"][0]["lastTransitionTime"], then);
    let stored = patched(&asked, "m", 10);
    asked.answer(&stored);
    run.apply(&stored).await;
    // It served before and serves now: there is nothing to tell.
    run.api.is_quiet(A_WHILE).await;
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_is_left_to_the_watch() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &theirs("m")), mapping("n", 1, 7, &theirs("n"))])
        .await;
    let (m, n) = (path("m"), path("n"));
    let good = {
        let mut other = Run::alone();
        other.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
        patched(&other.api.next(MAPPINGS).await, "m", 8)
    };
    run.api.next(&m).await.answer(&good);
    run.api.next(&n).await.answer(&mapping("n", 2, 8, &Value::Null));
    run.apply(&good).await;
    run.apply(&mapping("n", 2, 8, &Value::Null)).await;
    let asked = run.api.next(MAPPINGS).await.is(&Method::PATCH, &status_path("n"));
    assert_eq!(asked.body["status"]["observedGeneration"], 2);
    asked.accept(9);
    run.has_metric(r#"status_writes_total{result="already"} 1"#);
    run.has_metric(r#"status_writes_total{result="conflict"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_looked_at_again_with_the_newer_version() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    run.api.next(MAPPINGS).await.refuse(409, "Conflict");
    run.api.is_quiet(Duration::from_millis(1900)).await;
    run.apply(&mapping("m", 1, 8, &Value::Null)).await;
    let asked = run.api.next(MAPPINGS).await;
    assert_eq!(asked.body["metadata"]["resourceVersion"], "8");
    let stored = patched(&asked, "m", 9);
    asked.answer(&stored);
    run.apply(&stored).await;
    event(&mut run).await;
    run.api.is_quiet(A_WHILE).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_forgotten() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    run.api.next(MAPPINGS).await.refuse(404, "NotFound");
    run.api
        .next(MAPPINGS)
        .await
        .is(&Method::GET, &path("m"))
        .refuse(404, "NotFound");
    run.api.is_quiet(A_WHILE).await;
    run.has_metric(r#"status_writes_total{result="gone"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_somebody_asks_once_a_minute() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null), mapping("n", 1, 7, &Value::Null)])
        .await;
    for _ in 0..3 {
        run.api.next(MAPPINGS).await.refuse(403, "Forbidden");
        run.api.next(MAPPINGS).await.refuse(403, "Forbidden");
        run.api.is_quiet(Duration::from_secs(59)).await;
        assert!(run.shows("status cannot be written: no right"));
    }
    for _ in 0..2 {
        let asked = run.api.next(MAPPINGS).await;
        let name = if asked.path.contains("/m/") { "m" } else { "n" };
        let stored = patched(&asked, name, 8);
        asked.answer(&stored);
        run.apply(&stored).await;
        event(&mut run).await;
    }
    run.api.is_quiet(A_WHILE).await;
    assert!(!run.shows("status cannot be written"), "it can now");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_met_with_patience() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    let since = Instant::now();
    for round in 0..20 {
        let asked = run.api.next(MAPPINGS).await;
        match round % 3 {
            0 => asked.break_off(),
            1 => asked.refuse(500, "InternalError"),
            _ => asked.refuse(429, "TooManyRequests"),
        }
    }
    let asked = run.api.next(MAPPINGS).await;
    assert!(since.elapsed() > Duration::from_mins(3), "{:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_mins(12), "{:?}", since.elapsed());
    let stored = patched(&asked, "m", 8);
    asked.answer(&stored);
    run.apply(&stored).await;
    event(&mut run).await;
    run.api.is_quiet(A_WHILE).await;
    run.has_metric(r#"status_writes_total{result="failed"} 20"#);
}

#[tokio::test(start_paused = true)]
async fn few_are_written_at_a_time() {
    let mut run = Run::alone();
    let objects: Vec<_> = (0..100)
        .map(|number| mapping(&format!("m{number}"), 1, 7, &Value::Null))
        .collect();
    run.reset(&objects).await;
    assert_eq!(run.api.waiting().await, 8);
    for _ in 0..100 {
        let asked = run.api.next(MAPPINGS).await;
        let name = asked.path.split('/').nth_back(1).expect("a name").to_owned();
        let stored = patched(&asked, &name, 8);
        asked.answer(&stored);
        run.apply(&stored).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    run.has_metric(r#"status_writes_total{result="written"} 100"#);
}
