//! The STS double checks signatures for real, and misbehaves when told to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use kit::{Behaviour, Connect, Principal, Reply, StsDouble, TokenBuilder, Web};
use std::io;
use std::time::Duration;

const JSON: (&str, &str) = ("accept", "application/json");

/// Asks the double what a token's URL asks STS, as the server does.
async fn ask(sts: &StsDouble, url: &str, cluster_id: &str) -> io::Result<Reply> {
    let (host, path) = parts(url);
    web(sts, host)
        .send("GET", path, &[JSON, ("x-k8s-aws-id", cluster_id)], b"")
        .await
}

fn web(sts: &StsDouble, host: &str) -> Web {
    Web::through_proxy(sts.address(), host, &sts.ca_pem())
}

fn parts(url: &str) -> (&str, &str) {
    url.strip_prefix("https://")
        .and_then(|rest| Some(rest.split_at(rest.find('/')?)))
        .expect("an https URL")
}

fn code(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.body["Error"]["Code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn right_signatures_are_accepted() {
    let sts = StsDouble::start();
    for who in [
        Principal::user("111122223333", "alice"),
        Principal::root("111122223333"),
        Principal::federated("111122223333", "bob"),
        Principal::assumed_role("111122223333", "Admin", "a@example.com"),
    ] {
        let who = sts.add(who);
        for token in [
            TokenBuilder::new(&who).cluster_id("c 1/+"),
            TokenBuilder::new(&who).cluster_id("c 1/+").global(),
        ] {
            let reply = ask(&sts, &token.url(), "c 1/+").await.expect("an answer");
            let result = &reply.body["GetCallerIdentityResponse"]["GetCallerIdentityResult"];
            assert_eq!(result["Arn"].as_str(), Some(who.arn.as_str()), "{}", reply.text);
            assert_eq!(result["UserId"].as_str(), Some(who.user_id.as_str()));
            assert_eq!(result["Account"].as_str(), Some("111122223333"));
        }
        assert_eq!(sts.calls(&who.access_key_id), 2);
    }
    assert_eq!((sts.total_calls(), sts.connects()), (8, 8));
    let seen = sts.last_request().expect("a request");
    assert_eq!((seen.host.as_str(), seen.http2), ("sts.amazonaws.com", false));
}

#[tokio::test]
async fn wrong_signatures_are_refused() {
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user("111122223333", "alice"));
    let refused = async |url: String| {
        let reply = ask(&sts, &url, "kit.example").await.expect("an answer");
        let (status, code) = code(&reply);
        (status, code.to_owned())
    };
    let mismatch = (403, "SignatureDoesNotMatch".to_owned());
    let token = TokenBuilder::new(&alice);
    assert_eq!(
        refused(TokenBuilder::new(&alice.clone().wrong_secret()).url()).await,
        mismatch
    );
    assert_eq!(refused(token.clone().cluster_id("another").url()).await, mismatch);
    assert_eq!(
        refused(
            token
                .clone()
                .region("eu-west-1")
                .host("sts.us-east-1.amazonaws.com")
                .url()
        )
        .await,
        mismatch
    );
    assert_eq!(
        refused(token.url().replace("Expires=60", "Expires=900")).await,
        mismatch
    );
    let old = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(16);
    assert_eq!(refused(token.clone().at(old).url()).await, mismatch);
    sts.clock_skew(-960);
    assert_eq!(refused(token.url()).await, mismatch);
    sts.clock_skew(0);
    let stranger = Principal::user("111122223333", "stranger");
    let invalid = (403, "InvalidClientTokenId".to_owned());
    assert_eq!(refused(TokenBuilder::new(&stranger).url()).await, invalid);
    assert_eq!(
        refused(TokenBuilder::new(&alice.clone().session_token("forged")).url()).await,
        invalid
    );
    sts.expire(&alice.access_key_id);
    assert_eq!(refused(token.url()).await, (403, "ExpiredToken".to_owned()));
}

#[tokio::test]
async fn it_misbehaves_when_told_to() {
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user("111122223333", "alice"));
    let url = TokenBuilder::new(&alice).url();
    sts.behave_next(1, &Behaviour::Throttle);
    assert_eq!(
        code(&ask(&sts, &url, "kit.example").await.expect("an answer")),
        (400, "Throttling")
    );
    sts.behave_for(&alice.access_key_id, Behaviour::Oversize(100_000));
    assert_eq!(
        ask(&sts, &url, "kit.example").await.expect("an answer").text.len(),
        100_000
    );
    sts.behave_for(&alice.access_key_id, Behaviour::Xml);
    assert!(
        ask(&sts, &url, "kit.example")
            .await
            .expect("an answer")
            .text
            .contains("<Account>111122223333</Account>")
    );
    sts.behave_for(&alice.access_key_id, Behaviour::Close);
    ask(&sts, &url, "kit.example").await.expect_err("no answer");
    sts.connect(Connect::Refuse);
    ask(&sts, &url, "kit.example").await.expect_err("no tunnel");
    sts.reset();
    let (host, path) = parts(&url);
    let http2 = web(&sts, host)
        .http2()
        .send("GET", path, &[JSON, ("x-k8s-aws-id", "kit.example")], b"")
        .await;
    assert_eq!(http2.expect("an answer").status, 200);
    assert!(sts.last_request().expect("a request").http2);
    sts.behave(Behaviour::Hang);
    let hung = tokio::time::timeout(Duration::from_millis(100), ask(&sts, &url, "kit.example")).await;
    assert!(hung.is_err(), "it was to hang");
}

#[tokio::test]
async fn a_role_is_assumed_and_its_credentials_are_known() {
    let sts = StsDouble::start();
    let alice = sts.add(Principal::user("111122223333", "alice"));
    let role = "arn:aws:iam::444455556666:role/path/Deployer";
    let form = format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=ci");
    let assume = async |who: &Principal| {
        let headers = signed_post(who, &form);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        web(&sts, "sts.us-east-1.amazonaws.com")
            .send("POST", "/", &headers, form.as_bytes())
            .await
            .expect("an answer")
    };
    assert_eq!(assume(&alice.clone().wrong_secret()).await.status, 403);
    let reply = assume(&alice).await;
    let part = |name: &str| {
        let text = reply
            .text
            .split(&format!("<{name}>"))
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        text.unwrap_or_else(|| panic!("no {name} in {}", reply.text)).to_owned()
    };
    let assumed = Principal {
        access_key_id: part("AccessKeyId"),
        secret_access_key: part("SecretAccessKey"),
        session_token: Some(part("SessionToken")),
        ..Principal::assumed_role("444455556666", "Deployer", "ci")
    };
    let identity = ask(&sts, &TokenBuilder::new(&assumed).url(), "kit.example")
        .await
        .expect("an answer");
    assert!(
        identity
            .text
            .contains("arn:aws:sts::444455556666:assumed-role/Deployer/ci"),
        "{}",
        identity.text
    );
    sts.deny_role(role);
    assert!(assume(&alice).await.text.contains("<Code>AccessDenied</Code>"));
}

/// The headers of a request signed the way the SDKs sign an `AssumeRole`.
fn signed_post(who: &Principal, form: &str) -> Vec<(String, String)> {
    let identity = Credentials::new(&who.access_key_id, &who.secret_access_key, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("sts")
        .time(jiff::Timestamp::now().into())
        .settings(SigningSettings::default())
        .build()
        .expect("parameters")
        .into();
    let content = ("content-type", "application/x-www-form-urlencoded");
    let body = SignableBody::Bytes(form.as_bytes());
    let request = SignableRequest::new(
        "POST",
        "https://sts.us-east-1.amazonaws.com/",
        [content].into_iter(),
        body,
    );
    let (instructions, _) = sign(request.expect("a request"), &params)
        .expect("a signature")
        .into_parts();
    let signed = instructions
        .headers()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    signed.chain([(content.0.to_owned(), content.1.to_owned())]).collect()
}
