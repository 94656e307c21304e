//! The controller against a scripted API server: what it asks, and what it makes of every answer. Time is paused, so
//! waiting costs nothing.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

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
async fn a_definition_without_status_is_noticed_once() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    run.api.next(MAPPINGS).await.refuse(404, "NotFound");
    run.api.next(MAPPINGS).await.answer(&mapping("m", 1, 7, &Value::Null));
    run.api.is_quiet(Duration::from_secs(50)).await;
    run.apply(&mapping("n", 1, 8, &Value::Null)).await;
    run.api.is_quiet(Duration::from_secs(5)).await;
    assert!(run.shows("drops canonicalARN, userID, observedGeneration, conditions"));
    // Now and then somebody looks whether that is still so.
    let since = Instant::now();
    run.api.next(MAPPINGS).await.break_off();
    assert!(since.elapsed() > Duration::from_mins(5), "{:?}", since.elapsed());
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

/// The definition of kops: the API server stores two fields and says nothing about the rest.
#[tokio::test(start_paused = true)]
async fn a_field_that_is_dropped_is_not_written_again() {
    let mut run = Run::alone();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    let stored = mapping("m", 1, 8, &theirs("m"));
    run.api.next(MAPPINGS).await.answer(&stored);
    event(&mut run).await;
    run.apply(&stored).await;
    // Another object, which the Go program wrote before: all that is kept is there.
    run.apply(&mapping("n", 1, 9, &theirs("n"))).await;
    run.api.is_quiet(Duration::from_secs(59)).await;
    assert!(run.shows("drops observedGeneration, conditions of the status"));

    // Ten minutes later somebody looks, and the definition is a newer one.
    for _ in 0..2 {
        let asked = run.api.next(MAPPINGS).await;
        answer_in_full(&mut run, asked).await;
    }
    run.api.is_quiet(Duration::from_mins(9)).await;
    assert!(!run.shows("drops"));
}

async fn answer_in_full(run: &mut Run, asked: Asked) {
    let name = if asked.path.ends_with("/m") { "m" } else { "n" };
    asked.answer(&mapping(name, 1, 9, &theirs(name)));
    let asked = run.api.next(&status_path(name)).await;
    let stored = patched(&asked, name, 10);
    asked.answer(&stored);
    run.apply(&stored).await;
    event(run).await;
}

/// The Go program on the same objects: it overwrites the whole status whenever we have written ours.
#[tokio::test(start_paused = true)]
async fn somebody_who_insists_is_left_to_it() {
    let mut run = Run::alone();
    let blank = mapping("m", 1, 7, &Value::Null);
    run.reset(&[blank]).await;
    let started = Instant::now();
    let mut asked = run.api.next(MAPPINGS).await;
    for write in 1..=4_u64 {
        let ours = patched(&asked, "m", 10 * write);
        asked.answer(&ours);
        run.apply(&ours).await;
        if write == 1 {
            event(&mut run).await;
        }
        let overwritten = mapping("m", 1, 10 * write + 1, &theirs("m"));
        run.apply(&overwritten).await;
        if write == 4 {
            break;
        }
        run.api
            .next(MAPPINGS)
            .await
            .is(&Method::GET, &path("m"))
            .answer(&overwritten);
        asked = run.api.next(MAPPINGS).await.is(&Method::PATCH, &status_path("m"));
    }
    assert!(
        started.elapsed() >= Duration::from_secs(35),
        "ever slower: {:?}",
        started.elapsed()
    );
    run.api.is_quiet(A_WHILE).await;
    run.has_metric("status_contested 1");
    assert!(run.shows("the status of 1 objects is left alone"));

    let changed = mapping("m", 2, 50, &theirs("m"));
    run.apply(&changed).await;
    run.api.next(MAPPINGS).await.answer(&changed);
    let asked = run.api.next(MAPPINGS).await.is(&Method::PATCH, &status_path("m"));
    assert_eq!(
        asked.body["status"]["observedGeneration"], 2,
        "its spec has changed: it is tried again"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_made_anew_is_nobodys_rewriting() {
    let mut run = Run::alone();
    for round in 0..10_u64 {
        let mut blank = mapping("m", 1, 100 + 2 * round, &Value::Null);
        blank["metadata"]["uid"] = json!(format!("uid-{round}"));
        run.reset(std::slice::from_ref(&blank)).await;
        let mut asked = run.api.next(MAPPINGS).await;
        while asked.method == Method::GET {
            asked.answer(&blank);
            asked = run.api.next(MAPPINGS).await;
        }
        let mut stored = patched(&asked, "m", 101 + 2 * round);
        stored["metadata"]["uid"] = blank["metadata"]["uid"].clone();
        asked.answer(&stored);
        run.apply(&stored).await;
        event(&mut run).await;
        run.reset(&[]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    run.has_metric(r#"status_writes_total{result="written"} 10"#);
    run.has_metric("status_contested 0");
}
