//! `token`, as people and kubectl run it: every provider of the default chain, the endpoints, what goes wrong, and the cache.
//!
//! Whose token it is says the server that lets it in; that no more is asked than must be says the count of calls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::time::{Duration, Instant};

use kit::Principal;

#[path = "token/metadata.rs"]
mod metadata;
#[path = "token/world.rs"]
mod world;

use world::{ACCOUNT, World, host_of};

const ROLE: &str = "arn:aws:iam::123456789012:role/Admin";

#[tokio::test]
async fn a_chain_of_profiles() {
    let world = World::start("chain").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!(
        "[profile admin]\nrole_arn = {ROLE}\nsource_profile = alice\nrole_session_name = chained\n\n[profile alice]\n{}",
        world::keys(&alice)
    ));
    assert_eq!(world.login(&[("AWS_PROFILE", "admin")], &[]).await, "admin:chained");
    assert_eq!(
        world.login(&[("AWS_DEFAULT_PROFILE", "admin")], &[]).await,
        "admin:chained"
    );
    assert_eq!(world.metadata.calls(), 0);
}

#[tokio::test]
async fn a_process_gives_credentials() {
    let world = World::start("process").await;
    let dev = world.sts.add(Principal::assumed_role(ACCOUNT, "Admin", "from-process"));
    let script = world.script(&format!(
        "printf '{{\"Version\":1,\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\",\"SessionToken\":\"{}\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}'\n",
        dev.access_key_id,
        dev.secret_access_key,
        dev.session_token.as_deref().unwrap()
    ));
    world.config(&format!("[default]\ncredential_process = {script}\n"));
    let output = world.run(&[], &[]);
    assert_eq!(
        world.sts.connects() + world.metadata.calls() as u64,
        0,
        "nobody but the process was asked"
    );
    assert_eq!(world.whose(&output).await, "admin:from-process");

    world.script("echo no such user >&2; exit 3\n");
    let error = world.refused(&[], &[]);
    assert!(
        error.contains(r#"from the AWS profile "default""#) && error.contains("correct the profile"),
        "{error}"
    );
}

#[tokio::test]
async fn an_identity_center_session() {
    let world = World::start("sso").await;
    world.config("[profile sso]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Ops\n\n[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n");
    world.sso_token("corp", "access-token");
    world.sts.sso_session("access-token");
    assert_eq!(world.login(&[("AWS_PROFILE", "sso")], &[]).await, "ops:sso-user");

    world.sso_token("corp", "another");
    let error = world.refused(&[("AWS_PROFILE", "sso")], &[]);
    assert!(error.contains("aws sso login") && !error.contains("another"), "{error}");
}

#[tokio::test]
async fn a_web_identity() {
    let world = World::start("web").await;
    let file = world.file("jwt", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ROLE_SESSION_NAME", "pod"),
    ];
    assert_eq!(world.login(&environment, &[]).await, "admin:pod");
    assert_eq!(world.metadata.calls(), 0);
}

#[tokio::test]
async fn the_agent_of_a_container() {
    let world = World::start("container").await;
    let task = world.sts.add(Principal::assumed_role(ACCOUNT, "Admin", "task"));
    world.metadata.serve_container(&task);
    let url = world.metadata.url("/v2/credentials");
    let token = world.file("agent-token", "agent-secret");
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str()),
    ];
    assert_eq!(world.login(&environment, &[]).await, "admin:task");
    assert_eq!(world.metadata.authorization().as_deref(), Some("agent-secret"));
}

#[tokio::test]
async fn the_metadata_service_of_an_instance() {
    let world = World::start("imds").await;
    let node = world
        .sts
        .add(Principal::assumed_role(ACCOUNT, "Admin", "i-0123456789abcdef0"));
    world.metadata.serve_instance(&node, "eu-central-1");
    assert_eq!(world.login(&[], &[]).await, "admin:i-0123456789abcdef0");
    // Nobody named a region, and the instance knows its own.
    let output = world.run_without_region(&[]);
    assert_eq!(host_of(&output), "sts.eu-central-1.amazonaws.com");
}

#[tokio::test]
async fn nothing_answers() {
    let world = World::start("nothing").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let started = Instant::now();
    let error = world.refused(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)], &[]);
    // It is 1.5 s of ours; the rest is what a busy machine may take.
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    for part in [
        "AWS_ACCESS_KEY_ID is not set",
        r#"no AWS profile "default""#,
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "the EC2 metadata service",
        "aws sso login",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(error.lines().count(), 1, "{error}");
    let switched_off = world.refused(&[("AWS_EC2_METADATA_DISABLED", "true")], &[]);
    assert!(switched_off.contains("switched off"), "{switched_off}");
    assert_eq!(world.metadata.calls(), 0);
}

#[tokio::test]
async fn mistakes_are_told() {
    let world = World::start("mistakes").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!("[profile alice]\n{}", world::keys(&alice)));
    let error = world.refused(&[("AWS_PROFILE", "alcie")], &[]);
    assert!(error.contains(r#"no AWS profile "alcie"; there are alice;"#), "{error}");
    let error = world.refused(
        &[("AWS_PROFILE", "alice"), ("AWS_STS_REGIONAL_ENDPOINTS", "regoinal")],
        &[],
    );
    assert!(error.contains("set it to regional or legacy"), "{error}");

    world.sts.deny_role(ROLE);
    let error = world.refused(&[("AWS_PROFILE", "alice")], &["-r", ROLE]);
    assert!(
        error.contains("AccessDenied") && error.contains("trust policy"),
        "{error}"
    );

    let bob = world.sts.add(Principal::assumed_role(ACCOUNT, "Dev", "bob"));
    let stolen = bob.clone().wrong_secret();
    let environment: Vec<(&str, &str)> = [
        ("AWS_ACCESS_KEY_ID", stolen.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", &stolen.secret_access_key),
        ("AWS_SESSION_TOKEN", stolen.session_token.as_deref().unwrap()),
    ]
    .to_vec();
    let error = world.refused(&environment, &["-r", ROLE]);
    assert!(
        error.contains("SignatureDoesNotMatch") && error.contains("AWS_SECRET_ACCESS_KEY"),
        "{error}"
    );
    assert!(
        !error.contains(stolen.session_token.as_deref().unwrap()),
        "STS's answer holds the session token"
    );

    world.sts.connect(kit::Connect::Refuse);
    let error = world.refused(&[("AWS_PROFILE", "alice")], &["-r", ROLE, "--region", "aws-global"]);
    assert!(error.contains("AWS_STS_REGIONAL_ENDPOINTS=regional"), "{error}");
}

#[tokio::test]
async fn a_provider_that_is_set_up_wrongly_does_not_log_in_as_the_node() {
    let world = World::start("wrongly").await;
    let node = world
        .sts
        .add(Principal::assumed_role(ACCOUNT, "Admin", "i-0123456789abcdef0"));
    world.metadata.serve_instance(&node, "eu-central-1");
    world.config(&format!("[profile admin]\nrole_arn = {ROLE}\nsource_profile = tpyo\n"));
    let error = world.refused(&[("AWS_PROFILE", "admin")], &[]);
    assert!(error.contains("tpyo"), "{error}");
    let file = world.file("jwt", "x");
    let error = world.refused(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &file)], &[]);
    assert!(error.contains("AWS_ROLE_ARN"), "{error}");
    let ended = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_CREDENTIAL_EXPIRATION", "2026-01-01T00:00:00Z"),
    ];
    let error = world.refused(&ended, &[]);
    assert!(error.contains("have ended"), "{error}");
    assert_eq!(world.metadata.calls(), 0);

    // What the instance gives is not kept: its region would be forgotten.
    world.config("");
    let kept = world.run_without_region_and(&[], &["--cache"]);
    assert_eq!(host_of(&kept), "sts.eu-central-1.amazonaws.com");
    std::fs::remove_file(world.only_token_file()).unwrap();
    let anew = world.run_without_region_and(&[], &["--cache"]);
    assert_eq!(host_of(&anew), "sts.eu-central-1.amazonaws.com");
}

#[tokio::test]
async fn authorities_may_be_named_as_for_the_sdks() {
    let world = World::start("bundle").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!("[default]\n{}", world::keys(&alice)));
    let bundle = world.sts.ca_file().display().to_string();
    let other = kit::StsDouble::start();
    let others = other.ca_file().display().to_string();
    let elsewhere = ("SSL_CERT_FILE", others.as_str());
    world.refused(&[elsewhere], &["-r", ROLE]);
    let environment = [elsewhere, ("AWS_CA_BUNDLE", bundle.as_str())];
    assert_eq!(
        world.login(&environment, &["-r", ROLE, "-s", "bundle"]).await,
        "admin:bundle"
    );
    let error = world.refused(&[("AWS_CA_BUNDLE", "/nowhere.pem")], &["-r", ROLE]);
    assert!(
        error.contains("/nowhere.pem") && error.contains("AWS_CA_BUNDLE"),
        "{error}"
    );
}

#[tokio::test]
async fn the_host_follows_the_settings() {
    let world = World::start("host").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!(
        "[profile alice]\n{}region = eu-west-1\n[profile fips]\n{}region = us-west-2\nuse_fips_endpoint = true\n",
        world::keys(&alice),
        world::keys(&alice)
    ));
    let host = |environment: &[(&str, &str)], args: &[&str]| host_of(&world.run_without_region_and(environment, args));
    let alice = ("AWS_PROFILE", "alice");
    assert_eq!(host(&[alice], &[]), "sts.eu-west-1.amazonaws.com");
    assert_eq!(
        host(&[alice, ("AWS_REGION", "eu-north-1")], &[]),
        "sts.eu-north-1.amazonaws.com"
    );
    assert_eq!(
        host(&[alice], &["--region", "us-west-1"]),
        "sts.us-west-1.amazonaws.com"
    );
    assert_eq!(
        host(&[alice, ("AWS_STS_REGIONAL_ENDPOINTS", "legacy")], &[]),
        "sts.amazonaws.com"
    );
    assert_eq!(
        host(&[alice, ("AWS_USE_DUALSTACK_ENDPOINT", "true")], &[]),
        "sts.eu-west-1.api.aws"
    );
    assert_eq!(
        host(&[("AWS_PROFILE", "fips")], &[]),
        "sts-fips.us-west-2.amazonaws.com"
    );
    // The role is asked for where the token will lead.
    host(&[alice], &["-r", ROLE, "-e", "ext"]);
    let asked = world.sts.last_request().unwrap();
    assert_eq!(asked.host, "sts.eu-west-1.amazonaws.com");
    assert!(asked.body.contains("ExternalId=ext"), "{}", asked.body);
    assert!(
        !asked.body.contains("SourceIdentity") && !asked.body.contains("Tags"),
        "{}",
        asked.body
    );
}

#[tokio::test]
async fn a_device_is_asked_for_on_the_terminal() {
    const DEVICE: &str = "arn:aws:iam::123456789012:mfa/phone";
    let world = World::start("mfa").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.sts.require_mfa(ROLE, DEVICE, "123456");
    world.config(&format!(
        "[profile admin]\nrole_arn = {ROLE}\nsource_profile = alice\nmfa_serial = {DEVICE}\nrole_session_name = mfa\n\n[profile alice]\n{}",
        world::keys(&alice)
    ));
    let admin = [("AWS_PROFILE", "admin")];
    let cached = ["--cache"];
    let error = world.refused(&admin, &cached);
    assert!(error.contains("no terminal") && error.contains(DEVICE), "{error}");

    let (prompt, output) = world.run_in_a_terminal(&admin, &cached, "12345\n123456\n");
    assert!(prompt.contains(&format!("MFA code for {DEVICE}: ")), "{prompt}");
    assert!(prompt.contains("six digits"), "{prompt}");
    assert_eq!(world.whose(&output).await, "admin:mfa");
    // The credentials are kept: for another region there is a new token, and no question.
    let output = world.run(&admin, &["--cache", "--region", "eu-west-1"]);
    assert_eq!(world.whose(&output).await, "admin:mfa");
}

#[tokio::test]
async fn one_invocation_works_for_all() {
    let world = World::start("parallel").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!("[default]\n{}", world::keys(&alice)));
    world
        .sts
        .behave_for(&alice.access_key_id, kit::Behaviour::Delay(Duration::from_millis(300)));
    let args = ["-r", ROLE, "-s", "many", "--cache"];
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..6).map(|_| scope.spawn(|| world.run(&[], &args))).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(world.sts.calls(&alice.access_key_id), 1, "one AssumeRole between them");
    for output in &outputs {
        assert_eq!(output.stdout, outputs.first().unwrap().stdout);
    }
    assert_eq!(world.whose(outputs.first().unwrap()).await, "admin:many");
    // Another cluster, another token; another session name, too.
    world.run(&[], &["-r", ROLE, "-s", "many", "--cache", "-i", "other"]);
    world.run(&[], &["-r", ROLE, "-s", "few", "--cache"]);
    assert_eq!(world.sts.calls(&alice.access_key_id), 3);
}

#[tokio::test]
async fn a_bad_cache_is_told_and_does_without() {
    let world = World::start("cache").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!("[default]\n{}", world::keys(&alice)));
    let first = world.run(&[], &["--cache"]);
    let file = world.only_token_file();
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        world.run(&[], &["--cache"]).stdout,
        first.stdout,
        "the token that is kept"
    );

    std::fs::write(&file, "{\"token\":\"k8s-aws-v1.sec").unwrap();
    let output = world.run(&[], &["--cache"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.starts_with("warning: --cache: ") && told.contains("written anew"),
        "{told}"
    );
    assert_eq!(world.whose(&output).await, "alice");
    assert!(world.run(&[], &["--cache"]).stderr.is_empty(), "it was");

    let far = "{\"token\":\"k8s-aws-v1.x\",\"expiration\":\"2099-01-01T00:00:00Z\"}";
    std::fs::write(&file, far).unwrap();
    let output = world.run(&[], &["--cache"]);
    assert_eq!(world.whose(&output).await, "alice", "no token of a wrong clock");

    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let output = world.run(&[], &["--cache"]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("may be read by others; remove it"),
        "{output:?}"
    );
    assert_eq!(world.whose(&output).await, "alice");

    // An edit of the profile asks for another token.
    std::fs::remove_file(&file).unwrap();
    let bob = world.sts.add(Principal::assumed_role(ACCOUNT, "Admin", "bob"));
    world.config(&format!("[default]\n{}", world::keys(&bob)));
    assert_eq!(world.login(&[], &["--cache"]).await, "admin:bob");
}

#[tokio::test]
async fn kubectl_names_the_cluster() {
    let world = World::start("exec-info").await;
    let alice = world.sts.add(Principal::user(ACCOUNT, "alice"));
    world.config(&format!("[default]\n{}", world::keys(&alice)));
    let info = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"cluster":{"server":"https://x","config":{"clusterID":"kit.example"}},"interactive":false}}"#;
    let output = world.run_bare(&[("KUBERNETES_EXEC_INFO", info)], &["token"]);
    let credential: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1");
    let token = credential["status"]["token"].as_str().unwrap();
    assert_eq!(world.server.authenticate(token).await.username(), Some("alice"));
    let missing = world.run_bare(&[], &["token"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("provideClusterInfo"));
}
