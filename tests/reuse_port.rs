//! An old and a new process change places on the same ports under load, and nobody notices (`--reuse-port`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]
#![allow(clippy::disallowed_methods, reason = "tests start tasks")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use iam_authenticator::listener::{Limits, Listener, answer, bind};
use iam_authenticator::metrics::Metrics;
use kit::builders::{Mappings, token_review};
use kit::ports::free_port;
use kit::{Authenticator, Principal, StsDouble, TokenBuilder, Web, eventually};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
const ROUNDS: usize = 4;

struct Bed {
    sts: StsDouble,
    folder: tempfile::TempDir,
    review: Bytes,
}

impl Bed {
    fn new() -> Self {
        let sts = StsDouble::start();
        let alice = sts.add(Principal::user("111122223333", "alice"));
        let folder = tempfile::tempdir().unwrap();
        let mappings = Mappings::new().user(&alice.arn, "alice", &["people"]);
        std::fs::write(folder.path().join("config.yaml"), mappings.config_yaml()).unwrap();
        let review = token_review("v1", &TokenBuilder::new(&alice).build(), &[])
            .to_string()
            .into();
        Self { sts, folder, review }
    }

    fn builder(&self) -> kit::AuthenticatorBuilder {
        Authenticator::builder(PROGRAM)
            .backend_modes("MountedFile")
            .config_file(self.folder.path().join("config.yaml"))
            .arg("--reuse-port")
            .sts(&self.sts)
    }

    /// A successor that takes its share of the connections.
    async fn successor(&self, first: &Authenticator) -> Authenticator {
        let next = self.builder().beside(first).start();
        eventually("the successor listens", Duration::from_secs(20), async || {
            if next.log().contains("(https)") {
                Ok(())
            } else {
                Err(next.log())
            }
        })
        .await;
        next
    }
}

/// What clients saw.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    granted: AtomicU64,
    slowest: AtomicU64,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Tally {
    fn count(&self, began: Instant, who: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.granted.fetch_add(1, Ordering::Relaxed);
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap();
                self.slowest.fetch_max(millis, Ordering::Relaxed);
            }
            Err(error) => self.failures.lock().unwrap().push(format!("{who}: {error}")),
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }
}

/// A client of its own making: what it may do after an error is what Go's does, and no more.
#[derive(Clone)]
struct Client {
    address: std::net::SocketAddr,
    tls: TlsConnector,
    review: Bytes,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    fn new(server: &Authenticator, review: &Bytes, alpn: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Self {
            address: server.address(),
            tls: TlsConnector::from(Arc::new(tls)),
            review: review.clone(),
        }
    }

    async fn connect(&self) -> Result<Sender, String> {
        let tcp = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|error| format!("TLS: {error}"))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let failed = |error| format!("HTTP: {error:?}");
        if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(failed)?;
            tokio::spawn(connection);
            Ok(Sender::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(stream).await.map_err(failed)?;
            tokio::spawn(connection);
            Ok(Sender::Http1(sender))
        }
    }

    /// One login. A request that was never written, or that GOAWAY says was not looked at, is sent again on a new connection, as
    /// Go does; everything else that is not a grant is a failure.
    async fn login(&self, kept: &mut Option<Sender>) -> Result<(), String> {
        loop {
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            let request = Request::post("https://localhost/authenticate")
                .header("host", "localhost")
                .body(Full::new(self.review.clone()))
                .unwrap();
            let sent = match &mut sender {
                Sender::Http1(sender) => match sender.ready().await {
                    Ok(()) => sender.try_send_request(request).await,
                    Err(_) => continue,
                },
                Sender::Http2(sender) => match sender.ready().await {
                    Ok(()) => sender.try_send_request(request).await,
                    Err(_) => continue,
                },
            };
            match sent {
                Ok(response) => {
                    read(response).await?;
                    *kept = Some(sender);
                    return Ok(());
                }
                Err(mut error) => {
                    let unsent = error.take_message().is_some();
                    let error = format!("{:?}", error.into_error());
                    // For requests after the last one that GOAWAY names, and only for these: Go calls it errClientConnGotGoAway.
                    if !unsent && !error.contains("GoAway(b\"\", NO_ERROR, Remote)") {
                        return Err(format!("sent and lost: {error}"));
                    }
                }
            }
        }
    }
}

async fn read(response: hyper::Response<Incoming>) -> Result<(), String> {
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| format!("body: {error}"))?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status == 200 && text.contains(r#""username":"alice""#) {
        Ok(())
    } else {
        Err(format!("{status} {text}"))
    }
}

/// Steady load of every kind. HTTP/1.1 clients pause: it is idle connections that are lost when somebody closes them.
fn load(tally: &Arc<Tally>, server: &Authenticator, review: &Bytes) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for (alpn, keep, pause, clients) in [
        ("h2", true, 3, 6),
        ("http/1.1", true, 1, 6),
        ("http/1.1", true, 200, 4),
        ("h2", false, 20, 3),
        ("http/1.1", false, 10, 6),
    ] {
        for number in 0..clients {
            let (client, tally) = (Client::new(server, review, alpn), Arc::clone(tally));
            tasks.push(tokio::spawn(async move {
                let who = format!("{alpn} client {number}, kept: {keep}");
                let mut kept = None;
                while tally.goes_on() {
                    let began = Instant::now();
                    let outcome = client.login(&mut kept).await;
                    tally.count(began, &who, outcome);
                    if !keep {
                        kept = None;
                    }
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }));
        }
    }
    let health = Web::plain(server.health_address());
    for path in ["/livez", "/readyz"] {
        let (health, tally) = (health.clone(), Arc::clone(tally));
        tasks.push(tokio::spawn(async move {
            while tally.goes_on() {
                let began = Instant::now();
                let outcome = match health.get(path).await {
                    // The new one is not ready at once.
                    Ok(reply) if reply.status == 200 || path == "/readyz" && reply.status == 503 => Ok(()),
                    Ok(reply) => Err(reply.text),
                    Err(error) => Err(error.to_string()),
                };
                tally.count(began, path, outcome);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }));
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_change_places_under_load_without_a_failed_login() {
    let bed = Bed::new();
    let first = bed.builder().start();
    first.wait_ready().await;
    let tally = Arc::new(Tally::default());
    let tasks = load(&tally, &first, &bed.review);
    let mut successors: Vec<Authenticator> = Vec::new();
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let next = bed.successor(&first).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let old = successors.last().unwrap_or(&first);
        old.terminate();
        let ended = old.wait_exit(Duration::from_secs(20)).await;
        assert!(
            ended.is_some_and(|status| status.success()),
            "round {round}: {ended:?}\n{}",
            old.log()
        );
        let before = tally.granted();
        successors.push(next);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(tally.granted() > before + 100, "round {round}: the successor serves");
    }
    tally.stop.store(true, Ordering::Relaxed);
    join_all(tasks).await;
    let failures = tally.failures.lock().unwrap();
    let granted = tally.granted();
    println!(
        "{granted} logins, the slowest took {} ms",
        tally.slowest.load(Ordering::Relaxed)
    );
    assert!(
        failures.is_empty(),
        "{} of {granted} failed: {:#?}",
        failures.len(),
        failures
    );
    // A SYN that is passed over is sent again after a second.
    assert!(tally.slowest.load(Ordering::Relaxed) < 4_000);
}

/// The connections that the kernel has completed, but that nobody has taken yet, are those that it resets when the socket closes.
#[tokio::test]
async fn whoever_waits_at_the_door_is_let_in() {
    let socket = bind(Some(Ipv4Addr::LOCALHOST.into()), free_port(), true)
        .unwrap()
        .listen()
        .unwrap();
    let address = socket.local_addr().unwrap();
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            std::io::Write::write_all(&mut stream, request).unwrap();
            stream
        })
        .collect();
    let listener = Listener {
        socket,
        tls: None,
        limits: Limits::probes(),
        metrics: Arc::new(Metrics::new(Instant::now(), "1")),
    };
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let router = axum::Router::new().route("/", axum::routing::get(async || "welcome"));
    listener.serve(move |_| answer(router.clone()), shutdown).await;
    for stream in waiting {
        stream.set_nonblocking(true).unwrap();
        let mut text = String::new();
        TcpStream::from_std(stream)
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert!(text.ends_with("welcome"), "{text}");
    }
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

#[tokio::test]
async fn a_process_that_does_not_share_keeps_the_port_for_itself() {
    let bed = Bed::new();
    let old = Authenticator::builder(PROGRAM)
        .backend_modes("MountedFile")
        .config_file(bed.folder.path().join("config.yaml"))
        .sts(&bed.sts)
        .start();
    old.wait_ready().await;
    let next = bed.builder().beside(&old).start();
    let ended = next.wait_exit(Duration::from_secs(10)).await.expect("an end");
    assert_eq!(ended.code(), Some(1));
    assert!(next.log().contains("--reuse-port"), "{}", next.log());
}

/// What cannot be read yet must not be answered for, as long as somebody else can.
#[tokio::test]
async fn the_new_one_leaves_the_work_to_the_old_one_until_it_can_do_it() {
    let bed = Bed::new();
    let old = bed.builder().start();
    old.wait_ready().await;
    // Nobody listens on the discard port: this one will never have read its backend.
    let kubeconfig = bed.folder.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9'}}], \
         users: [{name: u, user: {}}], contexts: [{name: c, context: {cluster: c, user: u}}]}",
    )
    .unwrap();
    let next = Authenticator::builder(PROGRAM)
        .backend_modes("CRD,MountedFile")
        .config_file(bed.folder.path().join("config.yaml"))
        .kubeconfig(kubeconfig)
        .arg("--reuse-port")
        .arg("--source-sync-timeout=1m")
        .sts(&bed.sts)
        .beside(&old)
        .start();
    eventually("the new one waits", Duration::from_secs(10), async || {
        let log = next.log();
        log.contains("another process takes connections")
            .then_some(())
            .ok_or(log)
    })
    .await;
    let client = Client::new(&old, &bed.review, "http/1.1");
    for _ in 0..40 {
        client.login(&mut None).await.unwrap();
    }
    assert!(!next.log().contains("(https)"), "{}", next.log());
    // A dead predecessor is no reason to wait.
    old.kill();
    eventually("the new one steps in", Duration::from_secs(10), async || {
        let log = next.log();
        log.contains("(https)").then_some(()).ok_or(log)
    })
    .await;
}
