//! The lease.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::script::{LEASES, MAPPINGS, Run, mapping};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/aws-iam-authenticator";

fn lease(holder: &str, version: u64) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "aws-iam-authenticator", "namespace": "kube-system", "resourceVersion": version.to_string() },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3 },
    })
}

/// A controller that has just made the lease its own; and its identity.
async fn elected() -> (Run, String) {
    let mut run = Run::elected();
    run.api
        .next(LEASES)
        .await
        .is(&Method::GET, LEASE)
        .refuse(404, "NotFound");
    let created = run.api.next(LEASES).await.is(&Method::POST, LEASES).accept(1);
    let me = created["spec"]["holderIdentity"].as_str().expect("a holder").to_owned();
    run.standing.changed().await.expect("it runs");
    (run, me)
}

#[tokio::test(start_paused = true)]
async fn it_is_created_renewed_and_given_back() {
    let mut run = Run::elected();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    run.api
        .next(LEASES)
        .await
        .is(&Method::GET, LEASE)
        .refuse(404, "NotFound");
    let asked = run.api.next(LEASES).await.is(&Method::POST, LEASES);
    assert_eq!(
        (run.standing(), run.api.waiting().await),
        ("unknown", 0),
        "nothing is written before"
    );
    let spec = &asked.body["spec"];
    let me = spec["holderIdentity"].as_str().expect("a holder").to_owned();
    assert!(me.starts_with("host_") && me.len() == 21, "{me}");
    assert_eq!(
        (&spec["leaseDurationSeconds"], &spec["leaseTransitions"]),
        (&json!(15), &json!(0))
    );
    assert_eq!(
        (&spec["acquireTime"], &spec["renewTime"]),
        (&json!("2026-05-05T05:05:05.000000Z"), &spec["acquireTime"])
    );
    asked.accept(1);
    run.api.next(MAPPINGS).await.break_off();
    assert_eq!(run.standing(), "leader");
    run.has_metric("leader 1");

    for version in 1..5_u64 {
        let since = Instant::now();
        let asked = run.api.next(LEASES).await.is(&Method::PUT, LEASE);
        assert!(
            version == 1 || since.elapsed() == Duration::from_secs(5),
            "{:?}",
            since.elapsed()
        );
        assert_eq!(asked.body["metadata"]["resourceVersion"], version.to_string());
        assert_eq!(asked.body["spec"]["leaseTransitions"], 0);
        asked.accept(version + 1);
    }
    run.stop.cancel();
    let asked = run.api.next(LEASES).await.is(&Method::PUT, LEASE);
    assert_eq!(
        (
            &asked.body["spec"]["holderIdentity"],
            &asked.body["metadata"]["resourceVersion"]
        ),
        (&json!(""), &json!("5"))
    );
    asked.accept(6);
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_writes_nothing_until_the_holder_is_gone() {
    let mut run = Run::elected();
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    let since = Instant::now();
    let asked = loop {
        let asked = run.api.next(LEASES).await;
        if asked.method != Method::GET {
            break asked;
        }
        asked.answer(&lease("other_1", 7));
    };
    assert_eq!(since.elapsed(), Duration::from_secs(13));
    assert_eq!(run.api.waiting().await, 0, "nothing else was asked");
    assert_eq!(
        (&asked.method, &asked.body["metadata"]["resourceVersion"]),
        (&Method::PUT, &json!("7"))
    );
    assert_eq!(asked.body["spec"]["leaseTransitions"], 4);
    assert_eq!(run.standing(), "follower");
    run.has_metric("leader 0");
    asked.accept(8);
    run.api
        .next(MAPPINGS)
        .await
        .is(&Method::PATCH, &format!("{MAPPINGS}/m/status"));
}

#[tokio::test(start_paused = true)]
async fn who_is_beaten_to_it_follows() {
    let mut run = Run::elected();
    run.api.next(LEASES).await.answer(&lease("", 7));
    run.api
        .next(LEASES)
        .await
        .is(&Method::PUT, LEASE)
        .refuse(409, "Conflict");
    run.api
        .next(LEASES)
        .await
        .is(&Method::GET, LEASE)
        .answer(&lease("other_1", 8));
    run.api.next(LEASES).await.is(&Method::GET, LEASE);
    assert_eq!(run.standing(), "follower");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_anybody_takes_over() {
    let (mut run, me) = elected().await;
    let since = Instant::now();
    // Requests that nobody answers, and some that fail.
    run.api.next(LEASES).await.break_off();
    let silent = run.api.next(LEASES).await;
    while run.standing() == "leader" {
        run.standing.changed().await.expect("it runs");
    }
    assert_eq!(since.elapsed(), Duration::from_secs(10));
    drop(silent);
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    run.api.is_quiet(Duration::from_secs(1)).await;
    // Nobody took it.
    let asked = loop {
        let asked = run.api.next(LEASES).await;
        if asked.method == Method::PUT {
            break asked;
        }
        asked.answer(&lease(&me, 1));
    };
    assert_eq!(asked.body["spec"]["leaseTransitions"], 3, "it is the same holder still");
    asked.accept(2);
    run.api.next(MAPPINGS).await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_replaced_writes_nothing_more() {
    let (mut run, _) = elected().await;
    run.api
        .next(LEASES)
        .await
        .is(&Method::PUT, LEASE)
        .refuse(409, "Conflict");
    run.api
        .next(LEASES)
        .await
        .is(&Method::GET, LEASE)
        .answer(&lease("other_1", 9));
    run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
    run.api.is_quiet(Duration::from_millis(1500)).await;
    assert_eq!(run.standing(), "follower");
    run.stop.cancel();
    run.ended().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_right_everybody_writes() {
    for (code, reason, standing, shown) in [
        (
            403,
            "Forbidden",
            "no_lease_rights",
            "no right to get, create and update the lease",
        ),
        (
            404,
            "NotFound",
            "no_lease_api",
            "the lease's namespace or API is missing",
        ),
    ] {
        let mut run = Run::elected();
        run.reset(&[mapping("m", 1, 7, &Value::Null)]).await;
        run.api.next(LEASES).await.refuse(code, reason);
        if code == 404 {
            run.api
                .next(LEASES)
                .await
                .is(&Method::POST, LEASES)
                .refuse(code, reason);
        }
        run.api.next(MAPPINGS).await.break_off();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(run.standing(), standing);
        assert!(run.shows(shown), "{:?}", run.shown);
        run.has_metric("leader 1");
        run.has_metric(&format!(r#"election_standing{{standing="{standing}"}} 1"#));
        // A minute later the right is there, and somebody else was faster.
        let since = Instant::now();
        run.api.next(LEASES).await.answer(&lease("other_1", 7));
        assert!(since.elapsed() > Duration::from_secs(59), "{:?}", since.elapsed());
        while run.standing() != "follower" {
            run.standing.changed().await.expect("it runs");
        }
    }
}
