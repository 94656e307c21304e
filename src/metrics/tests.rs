use std::sync::Arc;

use super::*;
use crate::authn::{Denial, Grant};
use crate::identity::Identity;
use crate::token::TokenError;

fn metrics() -> Metrics {
    Metrics::new(Instant::now(), "1.2.3")
}

fn has(metrics: &Metrics, line: &str) {
    let text = metrics.exposition();
    assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
}

#[test]
fn upstream_names_and_labels() {
    let metrics = metrics();
    for line in [
        "aws_iam_authenticator_configmap_watch_failures_total 0",
        "aws_iam_authenticator_dynamicfile_failures_total 0",
        "aws_iam_authenticator_ec2_describe_instances_calls_total 0",
        "aws_iam_authenticator_dynamic_file_enabled 0",
        "aws_iam_authenticator_dynamic_file_only 0",
        r#"aws_iam_authenticator_authenticate_latency_seconds_count{result="uknown_user"} 0"#,
        r#"aws_iam_authenticator_authenticate_latency_seconds_bucket{le="0.005",result="malformed_request"} 0"#,
    ] {
        has(&metrics, line);
    }
    metrics.response(200, "us-east-1", 0.02);
    metrics.throttled("us-west-2");
    metrics.connection_failure("other");
    metrics.file_change(FileChange::Mapping, 4.0);
    metrics.backends(&[SourceId::DynamicFile]);
    for line in [
        r#"aws_iam_authenticator_sts_responses_total{ResponseCode="200",StsRegion="us-east-1"} 1"#,
        r#"aws_iam_authenticator_sts_throttling_total{StsRegion="us-west-2"} 1"#,
        r#"aws_iam_authenticator_sts_connection_failures_total{StsRegion="other"} 1"#,
        r#"aws_iam_authenticator_dynamic_e2e_latency_seconds_bucket{le="5.0",type="dynamic_iam_mapping"} 1"#,
        r#"aws_iam_authenticator_sts_latency_seconds_count{StsRegion="us-east-1"} 1"#,
        "aws_iam_authenticator_dynamic_file_only 1",
    ] {
        has(&metrics, line);
    }
}

#[test]
fn reviews_by_upstreams_result_and_our_reason() {
    let metrics = metrics();
    let identity = Identity::new("123456789012", "arn:aws:iam::123456789012:user/A", "AIDA", "AKIA").expect("valid");
    let grant = Decision::Granted(Grant {
        identity: Arc::new(identity),
        username: "a".into(),
        groups: vec![],
        source: SourceId::MountedFile,
        unsynced_before: Some(SourceId::Crd),
    });
    let expired = Decision::Denied(Denial::Token(TokenError::Expired { seconds: 901 }), None);
    let unmapped = Decision::Denied(Denial::NotMapped, None);
    for decision in [&grant, &expired, &unmapped, &Decision::NotOurs] {
        metrics.reviewed(&Outcome::Decided(decision), Duration::from_millis(1));
    }
    metrics.reviewed(&Outcome::Malformed("method"), Duration::ZERO);
    for (result, count) in [
        ("success", 1),
        ("invalid_token", 2),
        ("uknown_user", 1),
        ("malformed_request", 1),
    ] {
        has(
            &metrics,
            &format!(r#"aws_iam_authenticator_authenticate_latency_seconds_count{{result="{result}"}} {count}"#),
        );
    }
    has(
        &metrics,
        r#"aws_iam_authenticator_decisions_total{decision="denied",reason="expired"} 1"#,
    );
    has(
        &metrics,
        r#"aws_iam_authenticator_decisions_total{decision="granted",reason="mapped"} 1"#,
    );
    has(
        &metrics,
        r#"aws_iam_authenticator_grants_before_sync_total{unsynced="CRD"} 1"#,
    );
    has(&metrics, "aws_iam_authenticator_foreign_tokens_total 1");
}

#[test]
fn sources_are_read_at_the_scrape() {
    let started = Instant::now()
        .checked_sub(Duration::from_mins(1))
        .expect("up for a minute");
    let metrics = Metrics::new(started, "1");
    let state = |source, synced| SourceState {
        source,
        synced,
        last_heard: None,
        failure: None,
        serving: 3,
        held: 1,
        invalid: 2,
    };
    let sources = vec![state(SourceId::Crd, true), state(SourceId::EksConfigMap, false)];
    metrics.read_at_scrape(move || Snapshot {
        sources: sources.clone(),
        clock_skew: Some(-7),
    });
    has(
        &metrics,
        r#"aws_iam_authenticator_mapping_entries{source="CRD",state="serving"} 2"#,
    );
    has(
        &metrics,
        r#"aws_iam_authenticator_mapping_entries{source="CRD",state="held"} 1"#,
    );
    has(
        &metrics,
        r#"aws_iam_authenticator_mapping_entries{source="CRD",state="invalid"} 2"#,
    );
    has(
        &metrics,
        r#"aws_iam_authenticator_source_out_of_sync_seconds{source="CRD"} 0.0"#,
    );
    has(&metrics, "aws_iam_authenticator_clock_skew_seconds -7.0");
    let text = metrics.exposition();
    let seconds = text
        .lines()
        .find_map(|line| {
            line.strip_prefix(r#"aws_iam_authenticator_source_out_of_sync_seconds{source="EKSConfigMap"} "#)
        })
        .and_then(|value| value.parse::<f64>().ok());
    assert!(
        seconds.is_some_and(|seconds| (60.0..70.0).contains(&seconds)),
        "{seconds:?}"
    );
}

#[test]
fn what_is_not_known_is_not_told() {
    has(&metrics(), "aws_iam_authenticator_clock_skew_seconds NaN");
    assert!(metrics().exposition().ends_with("# EOF\n"));
}
