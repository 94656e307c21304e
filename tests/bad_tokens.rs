//! Tokens that must not be let in, one running server: each gets its reason, costs STS nothing it should not, and harms
//! nobody else. At the end nothing secret may be in the log or the metrics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::time::Duration;

use futures::future::join_all;
use kit::builders::{Mappings, token_review};
use kit::{Authenticator, Behaviour, Connect, Principal, Reply, StsDouble, TokenBuilder, eventually, token_of_url};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
const CLUSTER: &str = "kit.example";
const ACCOUNT: &str = "111122223333";

struct Bed {
    sts: StsDouble,
    server: Authenticator,
    alice: Principal,
    secrets: Vec<String>,
    /// Makes each token another one: an equal one would be answered from memory.
    tokens: u64,
    #[expect(dead_code, reason = "held, not read: the file goes with it")]
    folder: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let sts = StsDouble::start();
        let alice = sts.add(Principal::user(ACCOUNT, "alice").session_token(&"SeSSionTokenOfAlice+/=".repeat(30)));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yaml");
        let mappings = Mappings::new().user(&alice.arn, "alice", &["people"]);
        std::fs::write(&config, mappings.config_yaml()).unwrap();
        let server = Authenticator::builder(PROGRAM)
            .cluster_id(CLUSTER)
            .backend_modes("MountedFile")
            .config_file(config)
            .arg("--log-verbosity=trace")
            .sts(&sts)
            .start();
        server.wait_ready().await;
        let secrets = vec![alice.secret_access_key.clone(), "SeSSionTokenOfAlice".to_owned()];
        Self {
            sts,
            server,
            alice,
            secrets,
            tokens: 0,
            folder,
        }
    }

    fn token(&mut self) -> String {
        let alice = self.alice.clone();
        self.tokens += 1;
        self.remember(&TokenBuilder::new(&alice).expires(100 + self.tokens))
    }

    /// The token, of which neither the text nor the signature may show up anywhere.
    fn remember(&mut self, builder: &TokenBuilder) -> String {
        self.remember_url(&builder.url())
    }

    fn remember_url(&mut self, url: &str) -> String {
        let token = token_of_url(url);
        let signature = url
            .split("X-Amz-Signature=")
            .nth(1)
            .and_then(|rest| rest.split('&').next());
        self.secrets
            .extend(signature.filter(|signature| signature.len() == 64).map(str::to_owned));
        self.secrets.push(token.chars().skip(60).take(80).collect());
        token
    }

    /// Refused with this reason, and STS was not asked.
    async fn refused_before_sts(&self, token: &str, reason: &str) {
        let calls = self.sts.total_calls();
        let reply = self.over_http2(token).await;
        is_refusal(&reply, reason);
        assert_eq!(
            self.sts.total_calls(),
            calls,
            "STS was asked about a token that is refused for {reason:?}"
        );
    }

    /// Asks as the API server does.
    async fn over_http2(&self, token: &str) -> Reply {
        let review = token_review("v1", token, &[]).to_string();
        let web = self.server.web().http2();
        web.post("/authenticate", review.as_bytes(), &[]).await.unwrap()
    }

    /// A good login with a fresh token still works.
    async fn nobody_was_harmed(&mut self) {
        self.sts.reset();
        let token = self.token();
        let reply = self.server.authenticate(&token).await;
        assert_eq!((reply.status, reply.username()), (200, Some("alice")), "{}", reply.text);
    }

    async fn nothing_secret_was_told(&self) {
        let metrics = self.server.health_get("/metrics").await.text;
        assert!(
            self.server.log().contains("access granted"),
            "an empty log proves nothing"
        );
        for (place, text) in [("log", self.server.log()), ("metrics", metrics)] {
            for secret in &self.secrets {
                assert!(!text.contains(secret), "the {place} holds {secret:?}");
            }
            assert!(!text.contains("X-Amz-Signature"), "the {place} holds a URL");
        }
    }
}

fn is_refusal(reply: &Reply, reason: &str) {
    assert_eq!((reply.status, reply.authenticated()), (200, false), "{}", reply.text);
    let told = reply.reason().unwrap_or_default();
    assert!(told.contains(reason), "expected {reason:?}, got {told:?}");
    assert!(
        told.len() <= 256 && told.bytes().all(|b| (0x20..0x7f).contains(&b)),
        "{told:?}"
    );
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_refused_before_sts_is_asked() {
    let mut bed = Bed::new().await;
    let alice = bed.alice.clone();
    let builder = || TokenBuilder::new(&alice);
    let good = builder().url();

    bed.refused_before_sts("k8s-aws-v1.!!!", "base64").await;
    bed.refused_before_sts(&format!("k8s-aws-v1.{}", "QUFB".repeat(5000)), "16")
        .await;
    bed.refused_before_sts(&token_of_url("https://sts.us-east-1.amazonaws.com/"), "")
        .await;

    let doubled = format!("{good}&x-amz-expires=900");
    for (url, reason) in [
        (doubled.clone(), "more than once"),
        (
            good.replace("Action=", "%41ction=GetCallerIdentity&Action="),
            "more than once",
        ),
        (good.replace("GetCallerIdentity", "GetSessionToken"), "Action"),
        (format!("{good}&Foo=bar"), ""),
        (good.replace("https://", "http://"), "https"),
        (good.replace("https://sts", "https://user@sts"), ""),
        (good.replace("amazonaws.com/", "amazonaws.com:443/"), ""),
        (good.replace("amazonaws.com/", "amazonaws.com/x"), "path"),
        (
            good.replace("sts.us-east-1.amazonaws.com", "sts.not-a-region.amazonaws.com"),
            "region",
        ),
        (good.replace("sts.us-east-1.amazonaws.com", "example.com"), "host"),
        (good.replace("sts.us-east-1.amazonaws.com", "169.254.169.254"), "host"),
        (
            good.replace(
                "sts.us-east-1.amazonaws.com",
                "sts.us-east-1.amazonaws.com.evil.example",
            ),
            "host",
        ),
        (good.replace("x-k8s-aws-id", "x-other"), "x-k8s-aws-id"),
    ] {
        assert_ne!(url, good);
        let token = bed.remember_url(&url);
        bed.refused_before_sts(&token, reason).await;
    }
    let expired = bed.remember(&builder().at(now() - Duration::from_mins(16)));
    bed.refused_before_sts(&expired, "expired").await;
    let future = bed.remember(&builder().at(now() + Duration::from_mins(6)));
    bed.refused_before_sts(&future, "future").await;

    bed.nobody_was_harmed().await;
    bed.nothing_secret_was_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_sts_decides_about() {
    let mut bed = Bed::new().await;
    let forged = bed.remember(&TokenBuilder::new(&bed.alice.clone().wrong_secret()));
    is_refusal(&bed.server.authenticate(&forged).await, "SignatureDoesNotMatch");
    let stranger = Principal::user(ACCOUNT, "nobody");
    let unknown = bed.remember(&TokenBuilder::new(&stranger));
    is_refusal(&bed.server.authenticate(&unknown).await, "InvalidClientTokenId");
    let other_cluster = bed.remember(&TokenBuilder::new(&bed.alice.clone()).cluster_id("other"));
    is_refusal(&bed.server.authenticate(&other_cluster).await, "SignatureDoesNotMatch");
    bed.nobody_was_harmed().await;

    // A key that STS never vouched for is not told to come back: the API server would ask five times.
    let bob = bed.sts.add(Principal::user(ACCOUNT, "bob"));
    bed.sts.behave(Behaviour::Throttle);
    let token = bed.remember(&TokenBuilder::new(&bob));
    is_refusal(&bed.server.authenticate(&token).await, "busy");
    let token = bed.token();
    assert_eq!(
        bed.server.authenticate(&token).await.status,
        429,
        "one that it did vouch for is"
    );
    bed.nobody_was_harmed().await;
    bed.nothing_secret_was_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sts_that_is_not_well_is_an_outage_and_not_a_no() {
    let mut bed = Bed::new().await;
    bed.nobody_was_harmed().await;
    for behaviour in [
        Behaviour::Status(500, "<html>".to_owned()),
        Behaviour::Redirect("https://example.com/".to_owned()),
        Behaviour::Xml,
        Behaviour::Garbage,
        Behaviour::Oversize(200_000),
        Behaviour::Close,
    ] {
        bed.sts.behave(behaviour.clone());
        let token = bed.token();
        is_outage(&bed.server.authenticate(&token).await, &format!("{behaviour:?}"));
        bed.nobody_was_harmed().await;
    }
    bed.sts.connect(Connect::Refuse);
    let token = bed.token();
    is_outage(&bed.server.authenticate(&token).await, "no connection");
    bed.nobody_was_harmed().await;
    bed.nothing_secret_was_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_sts_holds_up_nobody_who_was_verified_before() {
    let mut bed = Bed::new().await;
    let known = bed.token();
    assert!(bed.server.authenticate(&known).await.authenticated());
    bed.sts.behave(Behaviour::Hang);
    let fresh = bed.token();
    let (hanging, served) = tokio::join!(bed.server.authenticate(&fresh), bed.server.authenticate(&known));
    is_outage(&hanging, "a hanging STS");
    assert!(
        hanging
            .reason()
            .is_some_and(|reason| reason.contains("no answer in time")),
        "{}",
        hanging.text
    );
    assert!(served.authenticated(), "{}", served.text);
    bed.nobody_was_harmed().await;
    bed.nothing_secret_was_told().await;
}

/// More than may ask STS at a time: their keys are their own invention, so there is no end to them.
const STRANGERS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_hang_leave_room_for_who_is_known() {
    let mut bed = Bed::new().await;
    bed.nobody_was_harmed().await;
    let mut tokens = Vec::new();
    for nth in 0..STRANGERS {
        let stranger = Principal::user(ACCOUNT, &format!("stranger-{nth}"));
        bed.sts.behave_for(&stranger.access_key_id, Behaviour::Hang);
        tokens.push(bed.remember(&TokenBuilder::new(&stranger)));
    }
    let bob = bed.sts.add(Principal::user(ACCOUNT, "bob"));
    let unknown = bed.remember(&TokenBuilder::new(&bob));
    let fresh = bed.token();
    let server = &bed.server;
    let strangers = join_all(tokens.iter().map(|token| server.authenticate(token)));
    let known = async {
        // The last of them are told that we are busy: those before them hold all that strangers may hold.
        let busy = async || server.log().contains("busy: too many requests to STS");
        Box::pin(eventually("strangers are turned away", Duration::from_secs(9), busy)).await;
        is_refusal(&server.authenticate(&unknown).await, "busy");
        let reply = server.authenticate(&fresh).await;
        assert_eq!(reply.username(), Some("alice"), "{}", reply.text);
    };
    let (replies, ()) = tokio::join!(strangers, known);
    for reply in replies {
        assert!(
            !reply.authenticated() && matches!(reply.status, 200 | 503),
            "{}",
            reply.text
        );
    }
    bed.nobody_was_harmed().await;
    bed.nothing_secret_was_told().await;
}

/// A `Status` that client-go logs, without a `Retry-After` that would multiply its tries.
fn is_outage(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 503, "{what}: {}", reply.text);
    assert_eq!(
        reply.body.get("kind").and_then(|kind| kind.as_str()),
        Some("Status"),
        "{what}: {}",
        reply.text
    );
    let retries = reply
        .headers
        .iter()
        .any(|(name, _)| name.as_str().eq_ignore_ascii_case("retry-after"));
    assert!(!retries, "{what}: a Retry-After header");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_reviews() {
    let mut bed = Bed::new().await;
    let oversize = vec![b' '; 200_000];
    for (body, status) in [
        (&b""[..], 400),
        (b"{}", 400),
        (b"[]", 400),
        (b"{\"kind\":\"Pod\"}", 400),
        (&oversize, 413),
    ] {
        // As the API server does. HTTP/1 cannot answer before the whole body is there without ending the connection.
        let reply = bed.server.web().http2().post("/authenticate", body, &[]).await.unwrap();
        assert_eq!(reply.status, status, "{}", reply.text);
    }
    assert_eq!(bed.server.get("/authenticate").await.status, 405);
    let foreign = bed
        .server
        .review(&token_review("v1", "eyJhbGciOiJSUzI1NiJ9.e30.sig", &[]))
        .await;
    assert_eq!(
        (foreign.status, foreign.authenticated(), foreign.reason()),
        (200, false, None),
        "{}",
        foreign.text
    );
    bed.nobody_was_harmed().await;
    bed.nothing_secret_was_told().await;
}
