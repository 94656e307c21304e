//! A rolling migration: the Go program and ours on the same objects. Both write the whole status, each in its own words.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::float_cmp,
    reason = "helpers of tests"
)]

#[allow(dead_code, reason = "the other test needs more of it")]
#[path = "status/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{Cluster, MAPPINGS, arn, mapping, metric, ready, username};
use iam_authenticator::crd::yaml;
use kit::{Authenticator, eventually, peer_binary, require_parts, required};
use serde_json::Value;
use tokio::time::sleep;

const OBJECTS: usize = 5;

/// Each program needs a moment to notice the other.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn they_do_not_fight_for_ever() {
    let Some(parts) = require_parts() else { return };
    let Some(program) = required(peer_binary()) else { return };
    let cluster = Cluster::started(parts).await;
    cluster.define(&yaml()).await;
    let admin = cluster.plane.kubeconfig();
    let peer = Authenticator::peer(program)
        .backend_modes("CRD")
        .kubeconfig(&admin)
        .sts(&cluster.sts)
        .start();
    peer.wait_ready().await;
    let ours = cluster.replica(&admin, &[]).await;
    let since = cluster.get(MAPPINGS).await["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    for number in 0..OBJECTS {
        cluster
            .apply(&mapping(&format!("m{number}"), &format!("Role{number}")))
            .await;
    }
    let who = cluster.role("Role3");
    for _ in 0..30 {
        sleep(Duration::from_secs(2)).await;
        assert_eq!(username(&ours, &who).await.as_deref(), Some("m3-user"));
    }

    let writes = writes_since(&cluster, &since).await;
    eprintln!("changes of each object in a minute, its creation included: {writes:?}");
    assert_eq!(writes.len(), OBJECTS);
    assert!(
        writes.values().all(|count| *count <= 10),
        "its creation and fewer than ten writes: {writes:?}"
    );
    assert_eq!(
        metric(&ours, "status_contested", "").await,
        5.0,
        "each is left to the Go program"
    );
    let told = ours.log().matches("keeps overwriting the status").count();
    assert_eq!(told, OBJECTS, "said once for each object");

    // Back to the Go program: it serves from what is stored.
    ours.kill();
    let restarted = cluster.object("m3").await;
    assert_eq!(restarted["status"]["canonicalARN"], arn("role3"));
    peer.restart();
    peer.wait_ready().await;
    eventually("the Go program grants", SOON, async || {
        username(&peer, &who).await.as_deref() == Some("m3-user")
    })
    .await;

    // And forward again: ours says what it serves, and is not answered any more.
    peer.kill();
    let ours = cluster.replica(&admin, &[]).await;
    for number in 0..OBJECTS {
        let status = cluster
            .reason(&format!("m{number}"), "Serving", Duration::from_secs(20))
            .await;
        assert_eq!(ready(&status)["status"], "True");
    }
    assert_eq!(username(&ours, &who).await.as_deref(), Some("m3-user"));
}

/// How often each object changed since that version.
async fn writes_since(cluster: &Cluster, version: &str) -> BTreeMap<String, usize> {
    let path = format!("{MAPPINGS}?watch=true&timeoutSeconds=2&resourceVersion={version}");
    let events = cluster.plane.admin_web().get(&path).await.expect("an answer").text;
    let mut writes = BTreeMap::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        let name = event["object"]["metadata"]["name"].as_str().expect("a name").to_owned();
        *writes.entry(name).or_default() += 1;
    }
    writes
}
