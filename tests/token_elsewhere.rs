//! Tokens between programs: the real kubectl asks ours for them, the Go program and the AWS CLI make and take them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::process::Command;
use std::time::Duration;

use kit::builders::Mappings;
use kit::{Authenticator, ControlPlane, Options, Principal, StsDouble, UserAuth, aws_cli, eventually, peer_binary};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
const ACCOUNT: &str = "123456789012";
const CLUSTER: &str = "kit.example";

fn config(folder: &std::path::Path) -> std::path::PathBuf {
    let mappings = Mappings::new()
        .user(&format!("arn:aws:iam::{ACCOUNT}:user/alice"), "alice", &[])
        .role(&format!("arn:aws:iam::{ACCOUNT}:role/Dev"), "dev:{{SessionName}}", &[]);
    let path = folder.join("config.yaml");
    std::fs::write(&path, mappings.config_yaml()).unwrap();
    path
}

/// What kubectl merges into its requests to the plugin: the cluster's id, by the cluster.
fn with_cluster_id(kubeconfig: &std::path::Path) {
    let mut document: Value = serde_json::from_str(&std::fs::read_to_string(kubeconfig).unwrap()).unwrap();
    document["clusters"][0]["cluster"]["extensions"] =
        json!([{"name": "client.authentication.k8s.io/exec", "extension": {"clusterID": CLUSTER}}]);
    document["users"][0]["user"]["exec"]["provideClusterInfo"] = json!(true);
    std::fs::write(kubeconfig, document.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_asks_in_every_version() {
    let Some(parts) = kit::require_parts() else { return };
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user(ACCOUNT, "alice"));
    let folder = tempfile::tempdir().unwrap();
    // The API server shows the client certificate that the program put into the webhook's kubeconfig; nobody else has one.
    let state = folder.path().join("state");
    let server = Authenticator::builder(PROGRAM)
        .sts(&sts)
        .config_file(config(folder.path()))
        .state_dir(&state)
        .arg("--client-ca-file")
        .arg(state.join("client-ca.pem"))
        .start();
    server.wait_ready().await;
    assert_eq!(server.authenticate("k8s-aws-v1.x").await.status, 403);
    let options = Options::default().webhook_kubeconfig(server.webhook_kubeconfig());
    let plane = ControlPlane::started(parts, options).await;
    let environment = [
        alice.env(),
        sts.env(),
        vec![("AWS_REGION".to_owned(), "us-east-1".to_owned())],
    ]
    .concat();
    let exec = |version: &str, args: &[&str]| UserAuth::Exec {
        command: PROGRAM.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: environment.clone(),
        api_version: format!("client.authentication.k8s.io/{version}"),
    };
    let old = plane.write_kubeconfig("v1beta1", exec("v1beta1", &["token", "-i", CLUSTER]));
    let new = plane.write_kubeconfig("v1", exec("v1", &["token"]));
    with_cluster_id(&new);
    for kubeconfig in [old, new] {
        let kubectl = plane.kubectl().with_kubeconfig(&kubeconfig);
        eventually("alice is let in", Duration::from_secs(20), || async {
            let whoami = kubectl.run(&["auth", "whoami", "-o", "json"]).await;
            whoami.success() && whoami.ok().contains("\"alice\"")
        })
        .await;
    }
}

/// Runs a program that prints an `ExecCredential`, and gives its token.
fn token_of(program: &std::path::Path, args: &[&str], who: &Principal, home: &std::path::Path) -> String {
    let output = Command::new(program)
        .env_clear()
        .env("HOME", home)
        .env("AWS_REGION", "us-east-1")
        .envs(who.env())
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {output:?}", program.display());
    let credential: Value = serde_json::from_slice(&output.stdout).unwrap();
    credential["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_aws_cli_makes_tokens_that_we_take() {
    let Some(aws) = kit::required(aws_cli()) else { return };
    let sts = StsDouble::start();
    let dev = sts.add(Principal::assumed_role(ACCOUNT, "Dev", "cli"));
    let folder = tempfile::tempdir().unwrap();
    let ours = Authenticator::builder(PROGRAM)
        .sts(&sts)
        .config_file(config(folder.path()))
        .start();
    ours.wait_ready().await;
    let args = ["eks", "get-token", "--cluster-name", CLUSTER];
    let token = token_of(&aws, &args, &dev, folder.path());
    let reply = ours.authenticate(&token).await;
    assert_eq!(reply.username(), Some("dev:cli"), "{reply:?}");
}

#[tokio::test]
async fn the_go_program_takes_our_tokens_and_we_take_its() {
    let Some(program) = kit::required(peer_binary()) else {
        return;
    };
    let sts = StsDouble::start();
    let people = [
        (sts.add(Principal::user(ACCOUNT, "alice")), "alice"),
        (
            sts.add(Principal::assumed_role(ACCOUNT, "Dev", "me@here")),
            "dev:me-here",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let ours = Authenticator::builder(PROGRAM).sts(&sts).config_file(&config).start();
    let peer = Authenticator::peer(&program).sts(&sts).config_file(&config).start();
    ours.wait_ready().await;
    peer.wait_ready().await;
    for (who, username) in &people {
        let made_by_us = token_of(PROGRAM.as_ref(), &["token", "-i", CLUSTER], who, folder.path());
        let made_by_go = token_of(&program, &["token", "-i", CLUSTER], who, folder.path());
        for (server, token) in [(&peer, &made_by_us), (&ours, &made_by_go), (&ours, &made_by_us)] {
            let reply = server.authenticate(token).await;
            assert_eq!(reply.username(), Some(*username), "{reply:?}");
        }
    }
}
