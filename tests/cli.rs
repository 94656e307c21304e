//! The command line as people meet it: help, versions, usage errors, exit codes. Each transcript in `tests/cli` is a page of the manual.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use kit::builders::Mappings;
use kit::{Authenticator, Principal, StsDouble};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");

#[test]
fn transcripts() {
    let cases = trycmd::TestCases::new();
    // Nothing of the developer's set-up may show.
    for name in [
        "AWS_IAM_AUTHENTICATOR_LOG_VERBOSITY",
        "KUBERNETES_AWS_AUTHENTICATOR_CLUSTER_ID",
        "KUBERNETES_EXEC_INFO",
        "DEFAULT_ROLE",
        "AWS_PROFILE",
        "HTTPS_PROXY",
    ] {
        cases.env(name, "");
    }
    cases
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .case("tests/cli/*.trycmd");
}

/// A new, empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs the program in an environment that holds nothing else.
fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", env!("CARGO_TARGET_TMPDIR"));
    command.args(args).envs(environment.iter().copied()).output().unwrap()
}

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("AWS_REGION", "us-west-2"),
];

#[test]
fn a_token_of_keys_in_the_environment() {
    let output = run(&["token", "-i", "c"], &KEYS);
    assert!(output.status.success(), "{output:?}");
    let credential: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1beta1");
    assert!(
        credential["status"]["token"]
            .as_str()
            .unwrap()
            .starts_with("k8s-aws-v1.")
    );
    assert!(
        credential["status"]["expirationTimestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn kubectl_chooses_the_version() {
    let info =
        r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}"#;
    let output = run(
        &["token", "-i", "c"],
        &[&KEYS[..], &[("KUBERNETES_EXEC_INFO", info)]].concat(),
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""apiVersion":"client.authentication.k8s.io/v1""#));
}

#[test]
fn the_token_of_a_profile() {
    let path = folder("profile").join("credentials");
    std::fs::write(
        &path,
        "[alice]\naws_access_key_id = AKIDALICE\naws_secret_access_key = s\nregion = eu-central-1\n",
    )
    .unwrap();
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap()),
        ("AWS_PROFILE", "alice"),
    ];
    let output = run(&["token", "-i", "c", "--token-only"], &environment);
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    assert!(
        token.starts_with("k8s-aws-v1.aHR0cHM6Ly9zdHMuZXUtY2VudHJhbC0xLmFtYXpvbmF3cy5jb20v"),
        "{token}"
    );
}

#[test]
fn init_writes_where_the_feature_gate_says() {
    let folder = folder("init");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (state, kubeconfig) = (path("state"), path("kubeconfig.yaml"));
    let output = run(
        &[
            "init",
            "-i",
            "c",
            "--hostname",
            "auth.example",
            "--port",
            "9443",
            "--state-dir",
            &state,
            "--generate-kubeconfig",
            &kubeconfig,
            "--feature-gates",
            "ConfiguredInitDirectories=true",
        ],
        &[],
    );
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    assert!(
        text.contains("server: https://auth.example:9443/authenticate"),
        "{text}"
    );
    for name in ["cert.pem", "key.pem", "ca.pem"] {
        assert!(std::path::Path::new(&state).join(name).exists(), "{name}");
    }
}

/// The program in every role: its tokens, by its own keys and for an assumed role, let in at its own server.
#[tokio::test]
async fn tokens_of_ours_are_let_in_by_the_server() {
    const ACCOUNT: &str = "123456789012";
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user(ACCOUNT, "alice"));
    let bob = sts.add(Principal::assumed_role(ACCOUNT, "Dev", "bob"));
    let config = Mappings::new().user(&alice.arn, "alice", &["ops"]).role(
        &format!("arn:aws:iam::{ACCOUNT}:role/Admin"),
        "admin:{{SessionName}}",
        &["admins"],
    );
    let path = folder("server").join("config.yaml");
    std::fs::write(&path, config.config_yaml()).unwrap();
    let server = Authenticator::builder(PROGRAM).sts(&sts).config_file(&path).start();
    server.wait_ready().await;

    let token = |who: &Principal, args: &[&str]| {
        let environment = [
            who.env(),
            sts.env(),
            vec![("AWS_REGION".to_owned(), "us-east-1".to_owned())],
        ]
        .concat();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let output = run(
            &[&["token", "-i", "kit.example", "--token-only"], args].concat(),
            &environment,
        );
        (
            String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let role = format!("arn:aws:iam::{ACCOUNT}:role/Admin");
    let cases: [(&Principal, &[&str], &str); 3] = [
        (&alice, &[], "alice"),
        (&alice, &["-r", &role, "-s", "nightly"], "admin:nightly"),
        (&bob, &["-r", &role, "--forward-session-name"], "admin:bob"),
    ];
    for (who, args, username) in cases {
        let (token, errors) = token(who, args);
        let reply = server.authenticate(&token).await;
        assert_eq!(reply.username(), Some(username), "{args:?}: {errors} {reply:?}");
    }
    sts.deny_role(&role);
    let (_, errors) = token(&alice, &["-r", &role]);
    assert!(
        errors.starts_with("error: cannot assume the role") && errors.contains("not authorized"),
        "{errors}"
    );

    server.terminate();
    assert!(
        server
            .wait_exit(Duration::from_secs(5))
            .await
            .is_some_and(|status| status.success()),
        "{}",
        server.log()
    );
}
