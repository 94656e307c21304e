//! Status, Events and the election on a real control plane, with real processes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

#[path = "status/cluster.rs"]
mod cluster;

use std::time::{Duration, Instant};

use cluster::{Cluster, arn, leader, mapping, metric, ready, username, writes};
use iam_authenticator::crd::yaml;
use kit::builders::Mappings;
use kit::{Authenticator, UserAuth, eventually, require_parts};
use tokio::time::sleep;

/// A process, a watch and a write, on two busy cores.
const SOON: Duration = Duration::from_secs(5);

/// The lease's time.
const LEASE: Duration = Duration::from_secs(15);

/// What kops installs, word for word in what matters: its definition drops most of our status, and its role knows no leases.
const KOPS_DEFINITION: &str = include_str!("status/kops-crd.yaml");
const KOPS_ROLE: &str = include_str!("status/kops-rbac.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_a_real_control_plane() {
    let Some(parts) = require_parts() else { return };
    let cluster = Cluster::started(parts).await;
    cluster.define(&yaml()).await;
    let admin = cluster.plane.kubeconfig();
    let (a, b) = tokio::join!(cluster.replica(&admin, &[]), cluster.replica(&admin, &[]));
    leader(&[&a, &b], SOON).await;

    it_says_what_is_served(&cluster).await;
    the_loser_of_a_conflict_is_promoted(&cluster).await;
    a_forged_status_changes_nothing(&cluster, &a).await;
    a_bad_config_map_has_events(&cluster).await;
    an_outage_changes_nothing(&cluster, &a, &b).await;
    let (a, b) = nothing_is_written_at_a_restart(&cluster, a, b).await;
    the_holder_is_replaced(&cluster, &a, &b).await;
    drop((a, b));
    Box::pin(on_a_kops_cluster(&cluster)).await;
}

async fn it_says_what_is_served(cluster: &Cluster) {
    cluster.apply(&mapping("first", "Path/To/Admin")).await;
    let wait = ["wait", "--for=condition=Ready", "iamim/first", "--timeout=5s"];
    cluster.kubectl().run(&wait).await.ok();
    let object = cluster.object("first").await;
    let status = &object["status"];
    assert_eq!(
        status["canonicalARN"],
        arn("admin"),
        "in lower case and without its path: {status}"
    );
    assert_eq!(status["observedGeneration"], object["metadata"]["generation"]);
    assert_eq!(
        (&ready(status)["status"], &ready(status)["reason"]),
        (&"True".into(), &"Serving".into())
    );
    let shown = cluster.kubectl().run(&["get", "iamim", "first"]).await.ok();
    assert!(shown.contains("True") && shown.contains("Serving"), "{shown}");

    cluster
        .apply(&mapping("refused", "Other").replace("refused-user", "system:admin"))
        .await;
    let status = cluster.reason("refused", "ReservedPrefix", SOON).await;
    assert_eq!(
        (&ready(&status)["status"], &status["canonicalARN"]),
        (&"False".into(), &serde_json::Value::Null)
    );
    cluster.apply(&mapping("refused", "Other")).await;
    let status = cluster.reason("refused", "Serving", SOON).await;
    assert_eq!(status["observedGeneration"], 2);

    eventually("the Events are there", SOON, async || {
        let events = cluster.events().await;
        let is_there = |reason: &str, name: &str| events.iter().any(|(r, n, _)| r == reason && n == name);
        let all =
            is_there("Serving", "first") && is_there("ReservedPrefix", "refused") && is_there("Serving", "refused");
        if all { Ok(()) } else { Err(events) }
    })
    .await;
    let described = cluster.kubectl().run(&["describe", "iamim", "refused"]).await.ok();
    assert!(
        described.contains("ReservedPrefix") && described.contains("aws-iam-authenticator"),
        "{described}"
    );
}

async fn the_loser_of_a_conflict_is_promoted(cluster: &Cluster) {
    cluster.apply(&mapping("second", "Admin")).await;
    let status = cluster.reason("second", "Conflict", SOON).await;
    let message = ready(&status)["message"].as_str().expect("a message");
    assert!(message.contains("\"first\""), "it names the winner: {message}");
    cluster.kubectl().run(&["delete", "iamim", "first"]).await.ok();
    let deleted = Instant::now();
    cluster.reason("second", "Serving", SOON).await;
    assert!(
        deleted.elapsed() < Duration::from_secs(1),
        "promoted after {:?}",
        deleted.elapsed()
    );
}

async fn a_forged_status_changes_nothing(cluster: &Cluster, replica: &Authenticator) {
    let (admin, mallory) = (cluster.role("Admin"), cluster.role("Mallory"));
    let patch = format!(
        r#"{{"status":{{"canonicalARN":"{}","userID":"AROAFORGED"}}}}"#,
        arn("mallory")
    );
    let forge = [
        "patch",
        "iamim",
        "second",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    cluster.kubectl().run(&forge).await.ok();
    for _ in 0..5 {
        assert_eq!(username(replica, &mallory).await, None);
        assert_eq!(username(replica, &admin).await.as_deref(), Some("second-user"));
    }
    eventually("the status is corrected", SOON, async || {
        let status = cluster.object("second").await["status"].take();
        let is_good = status["canonicalARN"] == arn("admin") && status["userID"].is_null();
        if is_good { Ok(()) } else { Err(status) }
    })
    .await;
}

async fn a_bad_config_map_has_events(cluster: &Cluster) {
    let good = Mappings::new().role(&arn("Auth"), "auth", &[]).aws_auth();
    cluster.apply(&good.replace("arn:aws:iam", "arn:aws:mai")).await;
    let count = async |wanted: &str| {
        let events = cluster.events().await;
        let found = events
            .iter()
            .filter(|(reason, name, _)| reason == wanted && name == "aws-auth")
            .count();
        if found > 0 { Ok(()) } else { Err(events) }
    };
    eventually("an Event says what is wrong", SOON, async || {
        count("EntryRejected").await
    })
    .await;
    cluster.apply(&good).await;
    eventually("an Event says that it is mended", SOON, async || count("Mended").await).await;
    let described = cluster
        .kubectl()
        .run(&["-n", "kube-system", "describe", "cm", "aws-auth"])
        .await
        .ok();
    assert!(
        described.contains("EntryRejected") && described.contains("Mended"),
        "{described}"
    );
}

async fn an_outage_changes_nothing(cluster: &Cluster, a: &Authenticator, b: &Authenticator) {
    let admin = cluster.role("Admin");
    cluster.plane.stop_api_server().await;
    eventually("nobody writes any more", LEASE, async || {
        !writes(a).await && !writes(b).await
    })
    .await;
    for replica in [a, b] {
        assert_eq!(username(replica, &admin).await.as_deref(), Some("second-user"));
        let reply = replica.health_get("/readyz?verbose").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    cluster.plane.start_api_server().await;
    leader(&[a, b], LEASE + SOON).await;
}

async fn nothing_is_written_at_a_restart(
    cluster: &Cluster,
    a: Authenticator,
    b: Authenticator,
) -> (Authenticator, Authenticator) {
    for number in 0..20 {
        cluster
            .apply(&mapping(&format!("many-{number}"), &format!("Many{number}")))
            .await;
    }
    for number in 0..20 {
        cluster.reason(&format!("many-{number}"), "Serving", SOON).await;
    }
    // The ConfigMap comes before: until it is read, the object seems to be served.
    cluster.apply(&mapping("shadowed", "Auth")).await;
    cluster.reason("shadowed", "Conflict", SOON).await;
    sleep(Duration::from_secs(1)).await;
    let (versions, events) = (cluster.versions().await, cluster.events().await);
    for replica in [&a, &b] {
        replica.terminate();
    }
    for replica in [&a, &b] {
        assert!(
            replica.wait_exit(SOON).await.is_some_and(|status| status.success()),
            "{}",
            replica.log()
        );
        replica.restart();
    }
    let started = Instant::now();
    for replica in [&a, &b] {
        replica.wait_ready().await;
    }
    leader(&[&a, &b], SOON).await;
    assert!(
        started.elapsed() < SOON,
        "the lease was given back, so nobody waits for its end"
    );
    sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.versions().await, versions, "no status was written");
    assert_eq!(cluster.events().await, events, "no Event was sent");
    (a, b)
}

async fn the_holder_is_replaced(cluster: &Cluster, a: &Authenticator, b: &Authenticator) {
    let replicas = [a, b];
    let holder = leader(&replicas, SOON).await;
    let (killed, other) = (replicas[holder], replicas[1 - holder]);
    killed.kill();
    let since = Instant::now();
    eventually("the other one writes", LEASE + SOON, async || writes(other).await).await;
    // A second for the metric to be asked for and the API server to answer.
    assert!(
        since.elapsed() < LEASE + Duration::from_secs(1),
        "after {:?}",
        since.elapsed()
    );
    eprintln!("taken over after {:?}", since.elapsed());
    cluster.apply(&mapping("later", "Later")).await;
    cluster.reason("later", "Serving", SOON).await;
    let reply = other.health_get("/readyz?verbose").await;
    assert!(
        reply.text.contains("[i] this replica writes status and Events"),
        "{}",
        reply.text
    );
    killed.restart();
    killed.wait_ready().await;
    eventually("the one that was killed follows", SOON, async || {
        metric(killed, "election_standing", "follower").await > 0.0
    })
    .await;
}

async fn on_a_kops_cluster(cluster: &Cluster) {
    cluster.kubectl().delete(&yaml()).await.ok();
    cluster.define(KOPS_DEFINITION).await;
    cluster.apply(KOPS_ROLE).await;
    let kops = cluster
        .plane
        .write_kubeconfig("kops", UserAuth::cert("kops-authenticator"));
    let (a, b) = tokio::join!(cluster.replica(&kops, &[]), cluster.replica(&kops, &[]));
    for number in 0..10 {
        cluster
            .apply(&mapping(&format!("kops-{number}"), &format!("Kops{number}")))
            .await;
    }
    for number in 0..10 {
        eventually("what the definition keeps is written", SOON, async || {
            let status = cluster.object(&format!("kops-{number}")).await["status"].take();
            if status["canonicalARN"] == arn(&format!("kops{number}")) {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
    }
    sleep(Duration::from_secs(1)).await;
    let versions = cluster.versions().await;
    let before =
        metric(&a, "status_writes_total", "written").await + metric(&b, "status_writes_total", "written").await;
    // A touch of every object, as a relist is.
    let label = ["label", "iamim", "--all", "touched=yes"];
    let label = label.map(|word| if word == "iamim" { "iamidentitymappings" } else { word });
    cluster.kubectl().run(&label).await.ok();
    let touched = cluster.versions().await;
    assert_ne!(touched, versions);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.versions().await, touched, "nothing is written in a circle");
    let after = metric(&a, "status_writes_total", "written").await + metric(&b, "status_writes_total", "written").await;
    assert!(
        after - before <= 2.0,
        "at most a look by each, which changes nothing: {before} {after}"
    );
    for replica in [&a, &b] {
        assert!(metric(replica, "election_standing", "no_lease_rights").await > 0.5);
        let reply = replica.health_get("/readyz?verbose").await;
        assert_eq!(reply.status, 200);
        assert!(
            reply.text.contains("no right to get, create and update the lease"),
            "{}",
            reply.text
        );
        assert_eq!(replica.log().matches("no right to get, create and update").count(), 1);
        assert!(replica.log().matches("drops observedGeneration, conditions").count() <= 1);
    }
    let events = cluster.events().await;
    let ours: Vec<_> = events.iter().filter(|(_, name, _)| name.starts_with("kops-")).collect();
    assert_eq!(ours.len(), 10, "one each, although both replicas write: {ours:?}");
    let somebody = cluster.role("Kops3");
    assert_eq!(username(&a, &somebody).await.as_deref(), Some("kops-3-user"));
}
