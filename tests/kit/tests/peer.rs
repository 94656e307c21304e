//! The Go peer, an implementation by others, agrees with the double, the tokens and the harness. Skipped without
//! `make peer`: only benches need it.

#![allow(clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

use kit::authenticator::clean_environment;
use kit::builders::{Mappings, aws_files_env, write_aws_files};
use kit::{Authenticator, Principal, StsDouble, TokenBuilder, peer_binary};
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn the_go_program_agrees() {
    let program = match peer_binary() {
        Ok(program) => program,
        Err(missing) => return eprintln!("skipped: {missing}"),
    };
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user("111122223333", "alice"));
    let role = sts.add(Principal::assumed_role("111122223333", "Admin", "session"));
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.yaml");
    let mappings = Mappings::new()
        .user("arn:aws:iam::111122223333:user/alice", "alice", &["dev"])
        .role(
            "arn:aws:iam::111122223333:role/Admin",
            "admin:{{SessionName}}",
            &["admins", "dev"],
        );
    std::fs::write(&config, mappings.config_yaml()).expect("the config is written");
    let peer = Authenticator::peer(&program).config_file(&config).sts(&sts).start();
    peer.wait_ready().await;

    let reply = peer.authenticate(&TokenBuilder::new(&alice).build()).await;
    assert_eq!(
        (reply.username(), reply.groups()),
        (Some("alice"), vec!["dev"]),
        "{} {}",
        reply.text,
        peer.log()
    );
    let reply = peer.authenticate(&TokenBuilder::new(&role).build()).await;
    assert_eq!(
        (reply.username(), reply.groups()),
        (Some("admin:session"), vec!["admins", "dev"]),
        "{}",
        reply.text
    );
    let forged = TokenBuilder::new(&alice.clone().wrong_secret()).build();
    assert!(!peer.authenticate(&forged).await.authenticated());

    // Its own signer, on profiles of our writing.
    write_aws_files(folder.path(), &[("alice", &alice), ("role", &role)]);
    let mut command = Command::new(&program);
    clean_environment(&mut command);
    command
        .args(["token", "-i", "kit.example", "--token-only"])
        .envs(aws_files_env(folder.path(), "role"));
    let token = command.output().expect("it runs");
    let token = String::from_utf8_lossy(&token.stdout).trim().to_owned();
    assert_eq!(peer.authenticate(&token).await.username(), Some("admin:session"));

    peer.kill();
    assert!(peer.wait_exit(Duration::from_secs(1)).await.is_some());
}
