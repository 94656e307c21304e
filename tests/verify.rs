//! `verify` against the STS double: what it tells, in both forms, and that no secret is in it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use kit::{Behaviour, Principal, StsDouble, TokenBuilder};
use serde_json::Value;

const ACCOUNT: &str = "123456789012";

struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

/// Runs `verify` in an environment that holds nothing but the way to the double; stdin gets the text.
fn verify(sts: &StsDouble, args: &[&str], stdin: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aws-iam-authenticator"))
        .env_clear()
        .envs(sts.env())
        .arg("verify")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What must never be printed: the signature, and parts of the session token and of the token itself.
fn secrets(builder: &TokenBuilder) -> Vec<String> {
    let url = builder.url();
    let value = |name: &str| {
        let rest = url.split_once(name).map(|(_, rest)| rest);
        rest.map(|rest| rest.split('&').next().unwrap_or_default()[..24].to_owned())
    };
    let token = builder.build();
    [value("X-Amz-Signature="), value("X-Amz-Security-Token=")]
        .into_iter()
        .flatten()
        .chain([token[40..80].to_owned()])
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "the double checks signatures by the real time")]
fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

#[test]
fn a_good_token_is_told_whole_and_without_its_secrets() {
    let sts = StsDouble::start();
    let bob = sts.add(Principal::assumed_role(ACCOUNT, "Dev", "bob"));
    let builder = TokenBuilder::new(&bob).at(ago(61));
    let token = builder.build();

    let said = verify(&sts, &["-i", "kit.example", "-t", &token], "");
    assert_eq!(said.code, Some(0), "{}", said.error);
    for wanted in [
        "STS host:       sts.us-east-1.amazonaws.com",
        "partition:      aws",
        "region:         us-east-1",
        "(1 min 1",
        "(in 13 min 5",
        "session token:  yes (temporary credentials)",
        "ARN:           arn:aws:sts::123456789012:assumed-role/Dev/bob",
        "canonical ARN: arn:aws:iam::123456789012:role/Dev",
        "session name:  bob",
    ] {
        assert!(said.out.contains(wanted), "{wanted} is not in\n{}", said.out);
    }
    let json = verify(&sts, &["-i", "kit.example", "-o", "json", "-t", "-"], &token);
    assert_eq!(json.code, Some(0), "{}", json.error);
    let value: Value = serde_json::from_str(&json.out).unwrap();
    // The keys of the Go program, which scripts read.
    assert_eq!(value["ARN"], "arn:aws:sts::123456789012:assumed-role/Dev/bob");
    assert_eq!(value["CanonicalARN"], "arn:aws:iam::123456789012:role/Dev");
    assert_eq!(value["AccountID"], ACCOUNT);
    assert_eq!(value["SessionName"], "bob");
    assert_eq!(value["STSEndpoint"], "sts.us-east-1.amazonaws.com");
    assert_eq!(value["AccessKeyID"], value["Token"]["AccessKeyID"]);
    assert_eq!(value["Verified"], true);
    assert!(
        (61..70).contains(&value["Token"]["AgeSeconds"].as_i64().unwrap()),
        "{value}"
    );

    let found = secrets(&builder);
    assert_eq!(found.len(), 3);
    for secret in found {
        for text in [&said.out, &said.error, &json.out, &json.error] {
            assert!(!text.contains(&secret), "{secret} is in\n{text}");
        }
    }
}

#[test]
fn sts_decides_whether_the_cluster_id_is_the_one() {
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user(ACCOUNT, "alice"));
    let token = TokenBuilder::new(&alice).build();
    let said = verify(&sts, &["-i", "another.example", "-t", &token], "");
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("access key ID:"),
        "the local part comes all the same: {}",
        said.out
    );
    assert!(
        said.error.contains("SignatureDoesNotMatch") && said.error.contains("this very cluster ID (-i)"),
        "{}",
        said.error
    );
    let said = verify(&sts, &["-i", "another.example", "-t", &token, "-o", "json"], "");
    assert_eq!(said.code, Some(1));
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&value["Verified"], &value["ARN"]), (&false.into(), &Value::Null));
    assert!(value["Problem"].as_str().unwrap().contains("SignatureDoesNotMatch"));
}

#[test]
fn what_the_server_would_refuse_is_refused_without_asking() {
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user(ACCOUNT, "alice"));
    let token = |builder: TokenBuilder| builder.build();
    let cases: [(String, &[&str], &str); 5] = [
        (
            token(TokenBuilder::new(&alice).at(ago(1200))),
            &[],
            "expired: it was signed 1200 seconds ago",
        ),
        (token(TokenBuilder::new(&alice).at(ago(-900))), &[], "in the future"),
        (
            token(TokenBuilder::new(&alice).host("evil.example")),
            &[],
            "not an STS endpoint",
        ),
        (
            token(TokenBuilder::new(&alice)),
            &["--partition", "aws-cn"],
            "partition aws-cn",
        ),
        (
            "eyJhbGciOiJIUzI1NiJ9".to_owned(),
            &[],
            "not a token of the AWS IAM authenticator",
        ),
    ];
    for (token, args, wanted) in cases {
        let said = verify(&sts, &[&["-i", "kit.example", "-t", &token], args].concat(), "");
        assert_eq!(said.code, Some(1), "{wanted}");
        assert!(
            said.error.starts_with("error: the server would refuse this token: ") && said.error.contains(wanted),
            "{}",
            said.error
        );
    }
    assert_eq!(sts.total_calls(), 0);
}

#[test]
fn an_outage_is_told_from_a_refusal() {
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user(ACCOUNT, "alice"));
    sts.behave(Behaviour::Status(500, "{}".to_owned()));
    let said = verify(
        &sts,
        &["-i", "kit.example", "-t", &TokenBuilder::new(&alice).build()],
        "",
    );
    assert_eq!(said.code, Some(1));
    assert!(
        said.error.contains("STS is not available: HTTP status 500"),
        "{}",
        said.error
    );
}

#[test]
fn the_wrong_use_is_a_usage_error() {
    let sts = StsDouble::start();
    for (args, wanted) in [
        (&["-t", "x"][..], "the cluster ID is missing"),
        (&["-i", "c"], "there is no token to verify"),
        (
            &["-i", "c", "-t", "x", "--partition", "mars"],
            "\"mars\" is not a partition",
        ),
    ] {
        let said = verify(&sts, args, "");
        assert_eq!(said.code, Some(2), "{args:?}");
        assert!(said.error.contains(wanted), "{}", said.error);
    }
}
