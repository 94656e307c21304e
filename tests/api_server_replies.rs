//! What a real API server makes of each reply of ours: how often it asks, what it logs, and how long its user waits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kit::builders::Mappings;
use kit::ports::free_port;
use kit::sts_double::behaviour::{Behaviour, Connect};
use kit::{Authenticator, ControlPlane, Options, Principal, StsDouble, TokenBuilder, Web, eventually};

const ACCOUNT: &str = "111122223333";
const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
/// An answer that is not waited for takes milliseconds; cores are shared.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Five tries take the API server 4.6 s, and each may cost a retry of ours within 1 s.
const FIVE_TRIES: Duration = Duration::from_secs(20);
/// When a log has what was written before the answer.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_server_makes_of_our_replies() {
    let Some(parts) = kit::require_parts() else { return };
    let plane = ControlPlane::new(parts, Options::default()).await;
    let sts = StsDouble::start();
    let world = World::new(&plane, &sts);
    world.settled().await;
    world.unsynced().await;
    world.audiences().await;
    world.legacy_status_codes().await;
}

/// The principals, and where their tokens go.
struct World<'a> {
    plane: &'a ControlPlane,
    sts: &'a StsDouble,
    alice: Principal,
    stranger: Principal,
}

/// What became of one request to the API server.
#[derive(Debug)]
struct Seen {
    status: u16,
    calls: u64,
    took: Duration,
}

impl Seen {
    #[track_caller]
    fn is(&self, status: u16, calls: u64, within: Duration) {
        assert_eq!((self.status, self.calls), (status, calls), "{self:?}");
        assert!(self.took < within, "the user waited: {self:?}");
    }

    /// `retryAfterSeconds` and 429 are asked again, up to five times in all.
    #[track_caller]
    fn is_asked_about_five_times(&self) {
        assert_eq!(self.status, 401, "{self:?}");
        assert!((4..=6).contains(&self.calls), "{self:?}");
        assert!(
            self.took > Duration::from_secs(2),
            "the tries are spread over time: {self:?}"
        );
        assert!(self.took < FIVE_TRIES, "the user waited: {self:?}");
    }
}

impl<'a> World<'a> {
    fn new(plane: &'a ControlPlane, sts: &'a StsDouble) -> Self {
        let config = Mappings::new().user(&format!("arn:aws:iam::{ACCOUNT}:user/alice"), "alice", &[]);
        std::fs::write(plane.folder().join("config.yaml"), config.config_yaml()).unwrap();
        Self {
            plane,
            sts,
            alice: sts.add(Principal::user(ACCOUNT, "alice")),
            stranger: sts.add(Principal::user(ACCOUNT, "stranger")),
        }
    }

    fn server(&self) -> kit::AuthenticatorBuilder {
        Authenticator::builder(PROGRAM)
            .config_file(self.plane.folder().join("config.yaml"))
            .sts(self.sts)
    }

    async fn is_asked(&self, server: &Authenticator) {
        server.wait_listening().await;
        self.plane.stop_api_server().await;
        self.plane.set_webhook_kubeconfig(server.webhook_kubeconfig());
        self.plane.start_api_server().await;
    }

    /// The steps with a server that has read all its mappings.
    async fn settled(&self) {
        let server = self.server().backend_modes("MountedFile").start();
        server.wait_ready().await;
        self.is_asked(&server).await;

        self.mapped(&server).await;
        self.not_our_token(&server).await;
        self.not_mapped(&server).await;
        self.refused_by_sts(&server).await;
        self.sts_is_down(&server).await;
        self.throttled_stranger(&server).await;
        self.throttled_acquaintance(&server).await;
    }

    async fn mapped(&self, server: &Authenticator) {
        let token = fresh(&self.alice);
        self.login(server, &token).await.is(200, 1, AT_ONCE);
        self.login(server, &token).await.is(200, 0, AT_ONCE);
        self.login(server, &fresh(&self.alice)).await.is(200, 1, AT_ONCE);
    }

    async fn not_our_token(&self, server: &Authenticator) {
        let log = self.log_from_now();
        self.login(server, "another-authenticators-token")
            .await
            .is(401, 1, AT_ONCE);
        self.login(server, "another-authenticators-token")
            .await
            .is(401, 0, AT_ONCE);
        self.log_says(log, "invalid bearer token").await;
    }

    async fn not_mapped(&self, server: &Authenticator) {
        let token = fresh(&self.stranger);
        for _ in 0..2 {
            let log = self.log_from_now();
            self.login(server, &token).await.is(401, 1, AT_ONCE);
            self.log_says(log, "no mapping for this AWS identity").await;
        }
        self.secret_stays_so(&token);
    }

    async fn refused_by_sts(&self, server: &Authenticator) {
        let unknown = Principal::user(ACCOUNT, "never-added");
        let token = fresh(&unknown);
        for _ in 0..2 {
            let log = self.log_from_now();
            self.login(server, &token).await.is(401, 1, AT_ONCE);
            self.log_says(log, "STS refused the token: InvalidClientTokenId").await;
        }
        self.secret_stays_so(&token);
    }

    async fn sts_is_down(&self, server: &Authenticator) {
        let known = fresh(&self.alice);
        self.login(server, &known).await.is(200, 1, AT_ONCE);
        self.sts.connect(Connect::Refuse);
        let token = fresh(&self.alice);
        assert_eq!(server.authenticate(&token).await.status, 503);
        for _ in 0..2 {
            let log = self.log_from_now();
            self.login(server, &token).await.is(401, 1, AT_ONCE);
            self.log_says(log, "STS is not available: no connection").await;
        }
        self.login(server, &known).await.is(200, 0, AT_ONCE);
        self.sts.connect(Connect::Open);
        eventually("STS is asked again", SOON, async || {
            self.login(server, &token).await.status == 200
        })
        .await;
        self.secret_stays_so(&token);
    }

    async fn throttled_stranger(&self, server: &Authenticator) {
        self.sts.behave(Behaviour::Throttle);
        let newcomer = self.sts.add(Principal::user(ACCOUNT, "newcomer"));
        let token = fresh(&newcomer);
        let reply = server.authenticate(&token).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        for _ in 0..2 {
            let log = self.log_from_now();
            self.login(server, &token).await.is(401, 1, AT_ONCE);
            self.log_says(log, "busy: too many requests to STS").await;
        }
        self.sts.behave(Behaviour::Normal);
    }

    async fn throttled_acquaintance(&self, server: &Authenticator) {
        self.login(server, &fresh(&self.alice)).await.is(200, 1, AT_ONCE);
        self.sts.behave(Behaviour::Throttle);
        let token = fresh(&self.alice);
        let reply = server.authenticate(&token).await;
        assert_eq!(reply.status, 429, "{reply:?}");
        let log = self.log_from_now();
        self.login(server, &token).await.is_asked_about_five_times();
        self.log_says(log, "busy: too many requests to STS").await;

        // The tries are worth it: throttling that ends meanwhile costs the user a second, not the login.
        let before = reviews(server).await;
        let ends = async {
            let first = async || reviews(server).await > before;
            Box::pin(eventually("the first of the tries is answered", SOON, first)).await;
            self.sts.behave(Behaviour::Normal);
        };
        let token = fresh(&self.alice);
        let (seen, ()) = tokio::join!(Box::pin(self.login(server, &token)), ends);
        assert_eq!(seen.status, 200, "{seen:?}");
        assert!(seen.calls > 1, "{seen:?}");
    }

    /// The steps with a server that has only just started and cannot read a source.
    async fn unsynced(&self) {
        let nowhere = self.plane.folder().join("nowhere.kubeconfig");
        let kubeconfig = std::fs::read_to_string(self.plane.kubeconfig()).unwrap();
        let closed = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let closed = kubeconfig.replace(&self.plane.address().to_string(), &closed.to_string());
        assert_ne!(closed, kubeconfig, "the kubeconfig names the API server's address");
        std::fs::write(&nowhere, closed).unwrap();
        let server = self
            .server()
            .backend_modes("MountedFile,EKSConfigMap")
            .kubeconfig(nowhere)
            .arg("--source-sync-timeout=600s")
            .start();
        self.is_asked(&server).await;

        // What no source can change is answered at once.
        self.login(&server, &fresh(&self.alice)).await.is(200, 1, AT_ONCE);
        self.login(&server, "another-authenticators-token")
            .await
            .is(401, 1, AT_ONCE);

        let token = fresh(&self.stranger);
        let reply = server.authenticate(&token).await;
        assert_eq!(
            (reply.status, reply.body["details"]["retryAfterSeconds"].as_u64()),
            (503, Some(1)),
            "{reply:?}"
        );
        assert!(!reply.headers.contains_key("retry-after"), "{reply:?}");
        let log = self.log_from_now();
        self.login(&server, &token).await.is_asked_about_five_times();
        self.log_says(log, "not ready: mappings of EKSConfigMap have not been read")
            .await;
        self.secret_stays_so(&token);
    }

    /// The API server asks for its own audience; a server that vouches for another one does not vouch for its users.
    async fn audiences(&self) {
        let another = self.with("--audience=sts.example").await;
        let token = fresh(&self.alice);
        for _ in 0..2 {
            let log = self.log_from_now();
            self.login(&another, &token).await.is(401, 1, AT_ONCE);
            self.log_says(log, "not good for any of the audiences").await;
        }
        drop(another);

        let own = self.with("--audience=https://kubernetes.default.svc").await;
        self.login(&own, &token).await.is(200, 1, AT_ONCE);
        self.login(&own, &token).await.is(200, 0, AT_ONCE);
    }

    /// The Go program's 403 costs the API server's log the reason: why ours is a 200.
    async fn legacy_status_codes(&self) {
        let server = self.with("--legacy-status-codes").await;
        let token = fresh(&self.stranger);
        let reply = server.authenticate(&token).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        let log = self.log_from_now();
        for _ in 0..2 {
            self.login(&server, &token).await.is(401, 1, AT_ONCE);
        }
        self.log_says(log, "unknown").await;
        let all = self.plane.api_server_log();
        let news = all.get(log..).unwrap_or_default();
        assert!(!news.contains("no mapping"), "{news}");
        self.login(&server, &fresh(&self.alice)).await.is(200, 1, AT_ONCE);
    }

    async fn with(&self, flag: &str) -> Authenticator {
        let server = self.server().backend_modes("MountedFile").arg(flag).start();
        server.wait_ready().await;
        self.is_asked(&server).await;
        server
    }

    /// Asks the API server for something that every user may read, and counts what it asks us meanwhile.
    async fn login(&self, server: &Authenticator, token: &str) -> Seen {
        let before = reviews(server).await;
        let started = Instant::now();
        let bearer = format!("Bearer {token}");
        let reply = Web::tls(self.plane.address(), self.plane.ca_pem())
            .send("GET", "/api", &[("authorization", &bearer)], b"")
            .await
            .unwrap();
        let took = started.elapsed();
        let seen = Seen {
            status: reply.status,
            calls: reviews(server).await - before,
            took,
        };
        tell(&seen);
        seen
    }

    fn log_from_now(&self) -> usize {
        self.plane.api_server_log().len()
    }

    async fn log_says(&self, from: usize, text: &str) {
        eventually(&format!("the API server logs {text:?}"), SOON, async || {
            let log = self.plane.api_server_log();
            let news = log.get(from..).unwrap_or_default();
            if news.contains(text) {
                Ok(())
            } else {
                Err(news.to_owned())
            }
        })
        .await;
    }

    fn secret_stays_so(&self, token: &str) {
        let (_, body) = token.split_once('.').unwrap();
        assert!(!self.plane.api_server_log().contains(body), "a token is in the log");
    }
}

#[expect(clippy::print_stderr, reason = "what was measured is worth seeing with --nocapture")]
fn tell(seen: &Seen) {
    eprintln!("{seen:?}");
}

/// How many reviews the server has answered.
async fn reviews(server: &Authenticator) -> u64 {
    let metrics = server.health_get("/metrics").await.text;
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("aws_iam_authenticator_authenticate_latency_seconds_count"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    let counts: Vec<u64> = counts.collect();
    assert!(!counts.is_empty(), "{metrics}");
    counts.iter().sum()
}

/// A token that was never made before: tokens of one second differ in nothing else than this.
fn fresh(who: &Principal) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let nth = MADE.fetch_add(1, Ordering::Relaxed);
    TokenBuilder::new(who).expires(60 + nth).build()
}
