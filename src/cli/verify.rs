//! `verify`: what a token says, and whether STS vouches for it. For people who look for why somebody cannot log in.

mod report;

use std::io::Read as _;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::GlobalArgs;
use super::output::{Failure, now, print};
use crate::authn::{GetCallerIdentity as _, StsError};
use crate::config::Setting;
use crate::identity::Identity;
use crate::lifecycle::command_runtime;
use crate::partition::{Partition, StsEndpointPolicy};
use crate::sts::{CacheHit, Sts, StsObserver, StsOptions};
use crate::token::inspect::Inspection;
use crate::token::presigned::PresignedRequest;
use crate::token::{BearerToken, MAX_TOKEN_BYTES, TokenError, TokenPolicy};
use report::Report;

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the help texts are for terminals")]
pub(super) struct VerifyArgs {
    /// The token, or the ExecCredential that `token` prints. With - it is read from stdin, where other users of this machine
    /// do not see it
    #[arg(short, long, value_name = "TOKEN")]
    token: Option<String>,
    /// The form of the answer. json has the keys of the Go program, and what the token itself says under Token
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true
    )]
    output: Format,
    /// The partition of the server [default: the one whose STS the token names]
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(args: VerifyArgs, global: &GlobalArgs) -> Result<(), Failure> {
    let low = global.low()?;
    global.gates()?;
    global.start_log(&low)?;
    let cluster_id = low.get(Setting::ClusterId).and_then(|given| given.values.first());
    let cluster_id = cluster_id.ok_or_else(|| {
        Failure::usage("the cluster ID is missing; give it with --cluster-id (-i), as the token was made for it")
    })?;
    let partition = args.partition.as_deref().map(parse_partition).transpose()?;
    let given = args.token.ok_or_else(|| {
        Failure::usage("there is no token to verify; give it with --token (-t), or -t - and on stdin")
    })?;
    let text = token_in(&read(given)?)?;
    let token = BearerToken::parse(&text).map_err(|error| refused(&error))?;

    let told = Inspection::of(token);
    let mut report = Report::new(&told, cluster_id, now());
    if args.output == Format::Text {
        print(&report.local_text())?;
    }
    let verified = verify(token, cluster_id, partition.or(told.partition), &mut report);
    match (args.output, &verified) {
        (Format::Json, verified) => print(&report.json(verified.as_deref())?)?,
        (Format::Text, Ok(identity)) => print(&report.identity_text(identity))?,
        (Format::Text, Err(_)) => {}
    }
    verified.map(|_| ())
}

fn parse_partition(name: &str) -> Result<Partition, Failure> {
    Partition::from_id(name).ok_or_else(|| {
        let known = Partition::ALL.map(Partition::id).join(", ");
        Failure::usage(format!(
            "--partition: {name:?} is not a partition; write one of {known}"
        ))
    })
}

/// The text of `-t`, or stdin.
fn read(given: String) -> Result<String, Failure> {
    if given != "-" {
        return Ok(given);
    }
    // An ExecCredential is little more than its token.
    let limit = 2 * MAX_TOKEN_BYTES as u64;
    let mut text = String::new();
    let read = std::io::stdin().lock().take(limit).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("cannot read the token from stdin: {error}; pipe it in as text")))?;
    Ok(text)
}

/// The token by itself or in an `ExecCredential`.
fn token_in(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(text.to_owned());
    }
    let credential = serde_json::from_str::<Value>(text).ok();
    let token = credential
        .as_ref()
        .and_then(|json| json.pointer("/status/token")?.as_str());
    token.map(str::to_owned).ok_or_else(|| {
        Failure::failed(
            "the JSON is no ExecCredential: it has no status.token; give what `aws-iam-authenticator token` prints",
        )
    })
}

/// The checks of the server, and then its question to STS.
fn verify(
    token: BearerToken<'_>,
    cluster_id: &str,
    partition: Option<Partition>,
    report: &mut Report<'_>,
) -> Result<Arc<Identity>, Failure> {
    let endpoints = StsEndpointPolicy::new(partition.unwrap_or(Partition::Aws), None, &[]).map_err(Failure::failed)?;
    let policy = TokenPolicy::new(endpoints, cluster_id)
        .map_err(|error| Failure::usage(format!("--cluster-id: {error}; give the one of the server")))?;
    let request = PresignedRequest::parse(token, &policy, now()).map_err(|error| refused(&error))?;
    let sts = Sts::new(StsOptions::new(now), Arc::new(Unobserved))
        .map_err(|error| Failure::failed(format!("{error}; check SSL_CERT_FILE, SSL_CERT_DIR and HTTPS_PROXY")))?;
    let runtime = command_runtime().map_err(Failure::failed)?;
    let answer = runtime.block_on(sts.get_caller_identity(&request));
    report.clock_skew = sts.clock_skew_seconds();
    answer.map_err(|error| not_vouched_for(&error, request.endpoint().host()))
}

/// A token that the server would refuse without asking anybody.
fn refused(error: &TokenError) -> Failure {
    let advice = match error {
        TokenError::NotOurs => "give what `aws-iam-authenticator token` prints, from k8s-aws-v1. on",
        TokenError::Expired { .. } => {
            "make a new one with `aws-iam-authenticator token`, and check the clock of its machine"
        }
        TokenError::Future { .. } => "set the clocks of this machine and of the token's by NTP",
        TokenError::ClusterIdNotSigned => {
            "it was made for something else than Kubernetes; use `aws-iam-authenticator token -i`"
        }
        TokenError::Host(_) => {
            "give the --partition of the server, and make the token for a region of it (token --region)"
        }
        _ => "check that it was copied whole, and make a new one with `aws-iam-authenticator token`",
    };
    Failure::failed(format!("the server would refuse this token: {error}; {advice}"))
}

fn not_vouched_for(error: &StsError, host: &str) -> Failure {
    let advice = match error {
        StsError::Refused { .. } => {
            "check that the token was made for this very cluster ID (-i), and that its credentials are still active"
        }
        StsError::Busy { .. } => "wait a few seconds and verify it again",
        StsError::Unavailable(_) => "check the network, HTTPS_PROXY and SSL_CERT_FILE of this machine",
        StsError::Identity(_) => "log in as an IAM user or role",
    };
    Failure::failed(format!(
        "the token is not verified: {error} (asked at {host}); {advice}"
    ))
}

/// Nobody measures a command.
struct Unobserved;

impl StsObserver for Unobserved {
    fn response(&self, _: u16, _: &'static str, _: f64) {}
    fn connection_failure(&self, _: &'static str) {}
    fn throttled(&self, _: &'static str) {}
    fn cache_hit(&self, _: CacheHit) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_token_or_the_credential_around_it() {
        let token = |text: &str| token_in(text).ok();
        assert_eq!(token(" k8s-aws-v1.x\n").as_deref(), Some("k8s-aws-v1.x"));
        assert_eq!(
            token(r#"{"kind":"ExecCredential","status":{"token":"k8s-aws-v1.y"}}"#).as_deref(),
            Some("k8s-aws-v1.y")
        );
        assert_eq!(token(r#"{"kind":"Pod"}"#), None);
    }
}
