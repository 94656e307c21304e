//! What could make it write in a circle: definitions that drop fields, and other programs.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::script::{Asked, MAPPINGS, Run, mapping, theirs};
use super::{A_WHILE, event, patched, path, status_path};

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
