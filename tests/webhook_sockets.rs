//! The webhook over real sockets: what only a listener can get wrong. The replies themselves are tested beside `webhook.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(clippy::disallowed_methods, reason = "tests start tasks and read the clock")]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use iam_authenticator::admin::{self, AdminState, Readiness, View};
use iam_authenticator::audit::Audit;
use iam_authenticator::authn::{DnsNameError, GetCallerIdentity, PrivateDnsNames, StsError};
use iam_authenticator::identity::Identity;
use iam_authenticator::listener::{Answer, Limits, Listener, Peer, answer};
use iam_authenticator::live::LiveTable;
use iam_authenticator::mapping::SourceId;
use iam_authenticator::mapping::aws_auth::read_config_file;
use iam_authenticator::mapping::index::{Index, SourceUpdate};
use iam_authenticator::metrics::Metrics;
use iam_authenticator::partition::{Partition, StsEndpointPolicy};
use iam_authenticator::token::TokenPolicy;
use iam_authenticator::token::presigned::PresignedRequest;
use iam_authenticator::webhook::certificate::{CertificateSettings, Reloader, load_or_make};
use iam_authenticator::webhook::clients::{ClientAuthority, ClientCaReloader, for_client};
use iam_authenticator::webhook::tls::server_config;
use iam_authenticator::webhook::{ReviewLimits, Settle, WebhookOptions, WebhookState, service};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

const MAPPING: &str =
    "server: {mapUsers: [{userARN: 'arn:aws:iam::123456789012:user/Bob', username: bob, groups: []}]}";

/// Vouches for Bob after a while.
struct Sts(Duration);

impl GetCallerIdentity for Sts {
    async fn get_caller_identity(&self, _: &PresignedRequest) -> Result<Arc<Identity>, StsError> {
        tokio::time::sleep(self.0).await;
        let bob = Identity::new(
            "123456789012",
            "arn:aws:iam::123456789012:user/Bob",
            "AIDABOB",
            "AKIAIOSFODNN7EXAMPLE",
        );
        Ok(Arc::new(bob.unwrap()))
    }

    fn admitted(&self, _: &PresignedRequest) {}
}

struct NoEc2;

impl PrivateDnsNames for NoEc2 {
    async fn private_dns_name(&self, _: &str) -> Result<String, DnsNameError> {
        Err(DnsNameError::NoInstance)
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Instant::now(), "1"))
}

fn value(metrics: &Metrics, name: &str) -> i64 {
    let text = metrics.exposition();
    let line = |line: &str| {
        line.strip_prefix("aws_iam_authenticator_")?
            .strip_prefix(name)?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(line).expect(name)
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        Self(std::env::temp_dir().join(format!("webhook-sockets-{}-{number}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn webhook(sts: Duration, client_certificates: bool) -> impl Answer + Clone {
    let mut index = Index::new(&[SourceId::MountedFile], Arc::default());
    index.update(
        SourceUpdate::Content(SourceId::MountedFile, Some(read_config_file(MAPPING))),
        Instant::now(),
    );
    let endpoints = StsEndpointPolicy::new(Partition::Aws, None, &[]).unwrap();
    service(WebhookState {
        table: LiveTable::new(index.publish().unwrap()),
        sts: Sts(sts),
        dns_names: NoEc2,
        tokens: Arc::new(ArcSwapOption::from_pointee(
            TokenPolicy::new(endpoints, "cluster").unwrap(),
        )),
        mappings: Arc::default(),
        options: WebhookOptions {
            client_certificates,
            ..WebhookOptions::default()
        },
        settle: Settle {
            started: tokio::time::Instant::now(),
            timeout: Duration::from_secs(30),
        },
        limits: ReviewLimits::default(),
        audit: Arc::new(Audit::new(metrics(), Vec::new(), || None)),
        now: Timestamp::now,
    })
}

fn review() -> String {
    let date = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let url = format!(
        "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261124%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date={date}\
         &X-Amz-Expires=60&X-Amz-Signature={}&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
        "0".repeat(64)
    );
    let token = URL_SAFE_NO_PAD.encode(url);
    format!(
        r#"{{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{{"token":"k8s-aws-v1.{token}"}}}}"#
    )
}

/// A running HTTPS listener.
struct Served {
    address: SocketAddr,
    trust_pem: String,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    reloader: Reloader,
    directory: Directory,
}

impl Served {
    async fn start(limits: Limits, sts: Duration, clients: Option<Arc<ClientAuthority>>) -> Self {
        let directory = Directory::new();
        let settings = settings(&directory.0, true);
        let loaded = load_or_make(&settings, Timestamp::now()).unwrap();
        let metrics = metrics();
        let reloader = Reloader::new(settings, &loaded, Arc::clone(&metrics));
        let tls = server_config(reloader.certificate(), clients.is_some()).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener {
            socket: tcp.into(),
            tls: Some(tls),
            limits,
            metrics: Arc::clone(&metrics),
        };
        let (service, shutdown) = (webhook(sts, clients.is_some()), CancellationToken::new());
        let service_for = move |peer: Peer| {
            let client = clients.as_ref().map(|clients| clients.client(peer.certificates));
            for_client(service.clone(), client)
        };
        let task = tokio::spawn(listener.serve(service_for, shutdown.clone()));
        Self {
            address,
            trust_pem: loaded.trust_pem,
            metrics,
            shutdown,
            task,
            reloader,
            directory,
        }
    }

    async fn default() -> Self {
        Self::start(Limits::default(), Duration::ZERO, None).await
    }

    fn config(&self, alpn: &[u8], identity: Option<(&str, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.trust_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![cert], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                    .unwrap()
            }
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    async fn tls(&self, alpn: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        self.tls_as(self.config(alpn, None)).await
    }

    async fn tls_as(&self, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        TlsConnector::from(config)
            .connect(ServerName::try_from("localhost").unwrap(), tcp)
            .await
    }

    async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.tls(b"http/1.1").await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.tls(b"h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Shuts down and tells how long it took.
    async fn stop(self) -> Duration {
        let began = Instant::now();
        self.shutdown.cancel();
        self.task.await.unwrap();
        assert_eq!(value(&self.metrics, "connections"), 0, "every connection is gone");
        began.elapsed()
    }
}

fn settings(directory: &Path, renew: bool) -> CertificateSettings {
    CertificateSettings {
        state_dir: directory.to_owned(),
        hostname: "localhost".to_owned(),
        address: None,
        renew,
    }
}

fn request(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("https://localhost/authenticate")
        .header("host", "localhost")
        .body(Full::new(body.into()))
        .unwrap()
}

async fn text(response: hyper::Result<Response<Incoming>>) -> (u16, String) {
    let response = response.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// How long the peer keeps a connection on which we only listen.
async fn until_closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let began = Instant::now();
    let mut bytes = Vec::new();
    // An answer before the end is fine, an error is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
        .await
        .expect("closed");
    began.elapsed()
}

#[tokio::test]
async fn both_protocols_and_many_reviews_on_one_connection() {
    let served = Served::default().await;
    let mut http1 = served.http1().await;
    let http2 = served.http2().await;
    for _ in 0..3 {
        http1.ready().await.unwrap();
        let (status, body) = text(http1.send_request(request(review())).await).await;
        assert_eq!(status, 200);
        assert!(
            body.contains(r#""authenticated":true,"user":{"username":"bob""#),
            "{body}"
        );
    }
    let many = (0..20).map(|_| {
        let mut http2 = http2.clone();
        async move { text(http2.send_request(request(review())).await).await }
    });
    for (status, body) in futures::future::join_all(many).await {
        assert!(status == 200 && body.contains(r#""username":"bob""#), "{body}");
    }
    assert_eq!(value(&served.metrics, "connections"), 2);
    assert!(
        served.stop().await < Duration::from_secs(1),
        "idle connections hold nothing up"
    );
}

#[tokio::test]
async fn a_large_body_or_head_is_refused() {
    let served = Served::default().await;
    let large = "x".repeat(100_000);
    let (status, _) = text(served.http1().await.send_request(request(large.clone())).await).await;
    assert_eq!(status, 413);
    let (status, _) = text(served.http2().await.send_request(request(large)).await).await;
    assert_eq!(status, 413);
    let head = Request::post("https://localhost/authenticate").header("x", "y".repeat(40_000));
    let head = head.body(Full::new(Bytes::new())).unwrap();
    let (status, _) = text(served.http1().await.send_request(head.clone()).await).await;
    assert_eq!(status, 431);
    // HTTP/2 clients may be told by the status or by a reset stream.
    if let Ok(response) = served.http2().await.send_request(head).await {
        assert_eq!(response.status(), 431);
    }
    served.stop().await;
}

#[tokio::test]
async fn slow_peers_are_let_go() {
    let wait = Duration::from_millis(300);
    let limits = Limits {
        handshake: wait,
        header_read: wait,
        ..Limits::default()
    };
    let served = Served::start(limits, Duration::ZERO, None).await;
    let silent = TcpStream::connect(served.address).await.unwrap();
    assert!((wait..wait * 10).contains(&until_closed(silent).await));
    assert_eq!(value(&served.metrics, "tls_handshake_failures_total"), 1);

    for half in ["", "P", "POST /authenticate HTTP/1.1\r\nhos"] {
        let mut stream = served.tls(b"http/1.1").await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        assert!((wait..wait * 10).contains(&until_closed(stream).await), "{half:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn garbage_harms_nobody() {
    let served = Served::default().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    until_closed(stream).await;
    let mut stream = served.tls(b"h2").await.unwrap();
    stream.write_all(&[0xff; 1000]).await.unwrap();
    until_closed(stream).await;
    drop(TcpStream::connect(served.address).await.unwrap());
    assert_eq!(
        text(served.http1().await.send_request(request(review())).await).await.0,
        200
    );
    served.stop().await;
}

#[tokio::test]
async fn a_crowd_of_idle_strangers_keeps_nobody_out() {
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let served = Served::start(limits, Duration::ZERO, None).await;
    let (mut http1, mut http2) = (served.http1().await, served.http2().await);
    assert_eq!(text(http1.send_request(request(review())).await).await.0, 200);
    assert_eq!(text(http2.send_request(request(review())).await).await.0, 200);
    let mut strangers = Vec::new();
    for round in 0..10 {
        // Some say nothing at all, some shake hands, some ask for what everybody may have.
        strangers.push(TcpStream::connect(served.address).await.unwrap());
        let mut stream = served.tls(b"http/1.1").await.expect("a newcomer is let in");
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        stream
            .read_u8()
            .await
            .unwrap_or_else(|error| panic!("{round}: {error}"));
        strangers.push(stream.into_inner().0);
    }
    assert!(value(&served.metrics, "connections") <= 4);
    http1
        .ready()
        .await
        .expect("who brought a good token keeps his connection");
    assert_eq!(text(http1.send_request(request(review())).await).await.0, 200);
    http2
        .ready()
        .await
        .expect("who brought a good token keeps his connection");
    assert_eq!(text(http2.send_request(request(review())).await).await.0, 200);
    drop(strangers);
    served.stop().await;
}

#[tokio::test]
async fn a_request_under_way_is_not_cut_off_for_a_newcomer() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let served = Served::start(limits, Duration::from_millis(700), None).await;
    let mut first = served.http1().await;
    let asked = tokio::spawn(async move { text(first.send_request(request(review())).await).await.0 });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    let mut second = served.http1().await;
    assert!(
        began.elapsed() >= Duration::from_millis(400),
        "it had to wait for the first"
    );
    assert_eq!(asked.await.unwrap(), 200);
    assert_eq!(text(second.send_request(request(review())).await).await.0, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_shutdown_answers_what_was_asked() {
    let served = Served::start(Limits::default(), Duration::from_millis(700), None).await;
    let (mut http1, mut http2) = (served.http1().await, served.http2().await);
    let asked = tokio::spawn(async move {
        let both = tokio::join!(
            http1.send_request(request(review())),
            http2.send_request(request(review()))
        );
        (text(both.0).await.0, text(both.1).await.0)
    });
    let half_way_in = TcpStream::connect(served.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let address = served.address;
    let took = served.stop().await;
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    assert_eq!(asked.await.unwrap(), (200, 200));
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
    drop(half_way_in);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_forever() {
    let limits = Limits {
        drain: Duration::from_millis(500),
        ..Limits::default()
    };
    let served = Served::start(limits, Duration::from_secs(15), None).await;
    let mut http2 = served.http2().await;
    let asked = tokio::spawn(async move { http2.send_request(request(review())).await.is_err() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let took = served.stop().await;
    assert!(
        (Duration::from_millis(500)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    assert!(asked.await.unwrap());
}

#[tokio::test]
async fn a_connection_does_not_last_forever() {
    let limits = Limits {
        age: Duration::from_millis(300),
        drain: Duration::from_millis(300),
        ..Limits::default()
    };
    let served = Served::start(limits, Duration::from_millis(400), None).await;
    let (mut http1, mut http2) = (served.http1().await, served.http2().await);
    // What was asked before is answered after.
    let both = tokio::join!(
        http1.send_request(request(review())),
        http2.send_request(request(review()))
    );
    assert_eq!((text(both.0).await.0, text(both.1).await.0), (200, 200));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(value(&served.metrics, "connections"), 0);
    // A peer that answers nothing holds its place no longer than age and drain together.
    let deaf = served.tls(b"h2").await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(value(&served.metrics, "connections"), 0);
    drop(deaf);
    served.stop().await;
}

#[tokio::test]
async fn a_new_certificate_touches_no_open_connection() {
    let mut served = Served::default().await;
    let mut http1 = served.http1().await;
    let leaf = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let old = leaf(&served.tls(b"h2").await.unwrap());
    // Another name is needed, as after a restart: the file changes.
    load_or_make(
        &CertificateSettings {
            hostname: "other".to_owned(),
            ..settings(&served.directory.0, true)
        },
        Timestamp::now(),
    )
    .unwrap();
    served.reloader.look(Timestamp::now());
    let new = leaf(&served.tls(b"h2").await.unwrap());
    assert_ne!(old, new);
    assert_eq!(text(http1.send_request(request(review())).await).await.0, 200);
    assert!(served.stop().await < Duration::from_secs(1));
}

/// An authority for clients: its certificate, and a client's certificate and key; this one may ask until the end of that year.
fn clients_of(name: &str, until: i32) -> (String, (String, String)) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 12, 31);
    let client = params.signed_by(&key, &ca).unwrap();
    (ca.pem(), (client.pem(), key.serialize_pem()))
}

#[tokio::test]
async fn reviews_are_for_clients_of_the_authority_and_probes_for_everybody() {
    let (ca, good) = clients_of("one", 4000);
    let (other_ca, other) = clients_of("two", 4000);
    let directory = Directory::new();
    std::fs::create_dir_all(&directory.0).unwrap();
    let file = directory.0.join("client-ca.pem");
    assert!(
        ClientCaReloader::new(file.clone(), metrics()).is_err(),
        "no file, no server"
    );
    std::fs::write(&file, &ca).unwrap();
    let counted = metrics();
    let mut reloader = ClientCaReloader::new(file.clone(), Arc::clone(&counted)).unwrap();
    let served = Served::start(Limits::default(), Duration::ZERO, Some(reloader.authority())).await;
    let connect = async |identity: Option<&(String, String)>| {
        let identity = identity.map(|(cert, key)| (cert.as_str(), key.as_str()));
        let stream = served.tls_as(served.config(b"http/1.1", identity)).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    };
    let get = |path: &str| {
        Request::get(path)
            .header("host", "x")
            .body(Full::new(Bytes::new()))
            .unwrap()
    };

    let mut stranger = connect(None).await;
    assert_eq!(
        text(stranger.send_request(get("/healthz")).await).await,
        (200, "ok".to_owned())
    );
    for request in [request(review()), get("/metrics")] {
        stranger.ready().await.unwrap();
        let (status, body) = text(stranger.send_request(request).await).await;
        assert_eq!(status, 403);
        assert!(
            body.contains(r#""kind":"Status""#) && body.contains("client-certificate-data"),
            "{body}"
        );
    }
    let (status, body) = text(connect(Some(&other)).await.send_request(request(review())).await).await;
    assert!(status == 403 && body.contains("was not issued by"), "{status} {body}");
    let mut client = connect(Some(&good)).await;
    assert_eq!(text(client.send_request(request(review())).await).await.0, 200);

    let faulty = |metrics: &Metrics| value(metrics, "client_ca_reload_faulty");
    for bad in [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&file, bad).unwrap();
        reloader.look();
        assert_eq!(faulty(&counted), 1, "{bad:?}");
        assert_eq!(
            text(client.send_request(request(review())).await).await.0,
            200,
            "the old one holds"
        );
    }
    std::fs::write(&file, &other_ca).unwrap();
    reloader.look();
    assert_eq!(faulty(&counted), 0);
    let (status, body) = text(client.send_request(request(review())).await).await;
    assert!(
        status == 403 && body.contains("was not issued by"),
        "on an open connection too: {body}"
    );
    let mut client = connect(Some(&other)).await;
    assert_eq!(text(client.send_request(request(review())).await).await.0, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_client_certificate_that_ended_is_told_apart() {
    let (ca, expired) = clients_of("one", 2001);
    let clients = ClientAuthority::new(ca.as_bytes()).unwrap();
    let served = Served::start(Limits::default(), Duration::ZERO, Some(clients)).await;
    let config = served.config(b"h2", Some((&expired.0, &expired.1)));
    let stream = served.tls_as(config).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (status, body) = text(sender.send_request(request(review())).await).await;
    assert!(status == 403 && body.contains("has expired"), "{status} {body}");
    served.stop().await;
}

#[tokio::test]
async fn the_health_port_by_the_same_listener() {
    let (_sender, readiness) = watch::channel(Readiness {
        missing: vec!["the cluster ID".to_owned()],
        notes: Vec::new(),
    });
    let (_certificate, certificate) = watch::channel(Some("it ends soon".to_owned()));
    let state = AdminState {
        readiness,
        certificate,
        metrics: metrics(),
    };
    let probes = admin::router(state.clone(), View::Probes);
    let everything = admin::router(state, View::Everything);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let limits = Limits {
        header_read: Duration::from_millis(300),
        ..Limits::probes()
    };
    let listener = Listener {
        socket: tcp.into(),
        tls: None,
        limits,
        metrics: metrics(),
    };
    let shutdown = CancellationToken::new();
    let router_for = move |peer: Peer| match View::of(peer.address) {
        View::Probes => answer(probes.clone()),
        View::Everything => answer(everything.clone()),
    };
    let task = tokio::spawn(listener.serve(router_for, shutdown.clone()));
    let get = async |path: &str| {
        let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await.unwrap()))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", "x")
            .body(Full::new(Bytes::new()))
            .unwrap();
        text(sender.send_request(request).await).await
    };
    assert_eq!(get("/livez").await, (200, "ok".to_owned()));
    assert_eq!(
        get("/readyz?verbose").await,
        (503, "[-] the cluster ID\n[i] it ends soon\nnot ready\n".to_owned())
    );
    assert!(get("/metrics").await.1.ends_with("# EOF\n"));
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /hea").await.unwrap();
    assert!(until_closed(slow).await < Duration::from_secs(3));
    shutdown.cancel();
    task.await.unwrap();
}
