//! Ten thousand mappings: each status is written once, and none at a restart. Takes minutes, so it is asked for:
//! `cargo test --release --test status_at_scale -- --ignored --nocapture`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "helpers of tests"
)]

#[allow(dead_code, reason = "the other test needs more of it")]
#[path = "status/cluster.rs"]
mod cluster;

use std::time::{Duration, Instant};

use cluster::{Cluster, MAPPINGS, leader, mapping, metric, username};
use futures::{StreamExt, stream};
use iam_authenticator::crd::{IAMIdentityMapping, yaml};
use iam_authenticator::sources::Connector;
use kit::{Authenticator, require_parts};
use kube::Api;
use kube::api::PostParams;
use rustls::crypto::aws_lc_rs;
use tokio::time::sleep;

const OBJECTS: usize = 10_000;
const DEADLINE: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn ten_thousand_mappings() {
    let Some(parts) = require_parts() else { return };
    aws_lc_rs::default_provider().install_default().ok();
    let cluster = Cluster::started(parts).await;
    cluster.define(&yaml()).await;
    let admin = cluster.plane.kubeconfig();
    create(&cluster).await;

    let (a, b) = tokio::join!(cluster.replica(&admin, &[]), cluster.replica(&admin, &[]));
    let who = cluster.role("Role9999");
    let filling = Instant::now();
    let mut slowest = Duration::ZERO;
    while written(&a, &b).await < OBJECTS as f64 {
        assert!(
            filling.elapsed() < DEADLINE,
            "only {} are written",
            written(&a, &b).await
        );
        let asked = Instant::now();
        assert_eq!(username(&a, &who).await.as_deref(), Some("m9999-user"));
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    eprintln!("the first fill took {:?}", filling.elapsed());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(written(&a, &b).await, OBJECTS as f64, "each once");
    let version = cluster.get(&format!("{MAPPINGS}?limit=1")).await["metadata"]["resourceVersion"].take();
    eprintln!("the slowest login meanwhile: {slowest:?}; at version {version}");

    let versions = cluster.versions().await;
    for replica in [&a, &b] {
        replica.terminate();
        replica.wait_exit(Duration::from_secs(10)).await.expect("it ends");
    }
    let started = Instant::now();
    a.restart();
    b.restart();
    a.wait_ready().await;
    assert_eq!(username(&a, &who).await.as_deref(), Some("m9999-user"));
    eprintln!("a restarted replica grants after {:?}", started.elapsed());
    b.wait_ready().await;
    leader(&[&a, &b], Duration::from_secs(20)).await;
    sleep(Duration::from_secs(5)).await;
    assert!(cluster.versions().await == versions, "no status was written");
    assert_eq!(written(&a, &b).await, 0.0);
    for replica in [&a, &b] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", replica.pid())).expect("it runs");
        let rss = status
            .lines()
            .find(|line| line.starts_with("RssAnon"))
            .unwrap_or_default();
        eprintln!("{rss}");
    }
}

async fn written(a: &Authenticator, b: &Authenticator) -> f64 {
    metric(a, "status_writes_total", "written").await + metric(b, "status_writes_total", "written").await
}

async fn create(cluster: &Cluster) {
    let connector = Connector::new(Some(cluster.plane.kubeconfig()), None);
    let client = connector.client().await.unwrap_or_else(|error| panic!("{error}"));
    let api: Api<IAMIdentityMapping> = Api::all(client);
    let started = Instant::now();
    stream::iter(0..OBJECTS)
        .for_each_concurrent(32, async |number| {
            let text = mapping(&format!("m{number}"), &format!("Role{number}"));
            let object = serde_json::from_str(&text).expect("an object");
            api.create(&PostParams::default(), &object)
                .await
                .expect("it is created");
        })
        .await;
    eprintln!("{OBJECTS} objects created in {:?}", started.elapsed());
}
