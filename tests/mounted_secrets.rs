//! Certificates in mounted Secrets: kubelet swaps the symlink `..data`, and whoever uses the files goes on with the new ones. And the
//! client certificate that `init` puts into the webhook kubeconfig.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
#![allow(clippy::disallowed_methods, reason = "tests start tasks")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iam_authenticator::sources::Connector;
use kit::builders::{Mappings, token_review};
use kit::ports::free_port;
use kit::{Authenticator, Principal, StsDouble, TokenBuilder, Web, eventually};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");

/// The files are looked at every ten seconds.
const PATIENCE: Duration = Duration::from_secs(25);

/// A volume as kubelet keeps it: each name is a link into `..data`, which is a link to the folder of one version.
struct Mount {
    path: PathBuf,
    version: u32,
}

impl Mount {
    fn new(path: PathBuf, files: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = Self { path, version: 0 };
        mount.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mount.path.join(name)).unwrap();
        }
        mount
    }

    fn swap(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let old = format!("..version-{}", self.version - 1);
        let new = format!("..version-{}", self.version);
        std::fs::create_dir(self.path.join(&new)).unwrap();
        for (name, text) in files {
            std::fs::write(self.path.join(&new).join(name), text).unwrap();
        }
        symlink(&new, self.path.join("..data_tmp")).unwrap();
        std::fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).unwrap();
        let _ = std::fs::remove_dir_all(self.path.join(old));
    }
}

struct Issued {
    ca: String,
    cert: String,
    key: String,
}

/// An authority of its own and one certificate of it, for both ends of TLS.
fn issued(name: &str) -> Issued {
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("CA {name}"));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let cert = params.signed_by(&key, &ca).unwrap().pem();
    Issued {
        ca: ca.pem(),
        cert,
        key: key.serialize_pem(),
    }
}

struct Bed {
    sts: StsDouble,
    folder: tempfile::TempDir,
    review: String,
}

impl Bed {
    fn new() -> Self {
        let sts = StsDouble::start();
        let alice = sts.add(Principal::user("111122223333", "alice"));
        let folder = tempfile::tempdir().unwrap();
        let mappings = Mappings::new().user(&alice.arn, "alice", &["people"]);
        std::fs::write(folder.path().join("config.yaml"), mappings.config_yaml()).unwrap();
        let review = token_review("v1", &TokenBuilder::new(&alice).build(), &[]).to_string();
        Self { sts, folder, review }
    }

    fn builder(&self) -> kit::AuthenticatorBuilder {
        Authenticator::builder(PROGRAM)
            .backend_modes("MountedFile")
            .config_file(self.folder.path().join("config.yaml"))
            .sts(&self.sts)
    }

    async fn login(&self, web: &Web) -> Result<(), String> {
        let reply = web.post("/authenticate", self.review.as_bytes(), &[]).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.username() == Some("alice") {
            Ok(())
        } else {
            Err(reply.text)
        }
    }
}

#[tokio::test]
async fn the_serving_pair_and_the_client_authority_follow_their_mount() {
    let bed = Bed::new();
    let (serving, client) = (issued("serving 1"), issued("client 1"));
    let files = |serving: &Issued, client: &Issued| {
        [
            ("cert.pem", serving.cert.clone()),
            ("key.pem", serving.key.clone()),
            ("client-ca.pem", client.ca.clone()),
        ]
    };
    let borrowed = |files: &[(&'static str, String); 3]| files.clone().map(|(name, text)| (name, text.leak() as &str));
    let path = bed.folder.path().join("secret");
    let mut mount = Mount::new(path.clone(), &borrowed(&files(&serving, &client)));
    let server = bed
        .builder()
        .state_dir(&path)
        .arg("--kubeconfig-pregenerated")
        .arg("--client-ca-file")
        .arg(path.join("client-ca.pem"))
        .start();
    let web =
        |serving: &Issued, client: &Issued| Web::mutual_tls(server.address(), &serving.ca, &client.cert, &client.key);
    let before = web(&serving, &client);
    eventually("the first pair serves", PATIENCE, async || bed.login(&before).await).await;

    let (serving, client) = (issued("serving 2"), issued("client 2"));
    mount.swap(&borrowed(&files(&serving, &client)));
    let after = web(&serving, &client);
    eventually("the second pair serves", PATIENCE, async || bed.login(&after).await).await;
    assert!(bed.login(&before).await.is_err(), "the first serving pair is gone");
    assert!(
        !server.log().contains("cannot be served"),
        "no complaint about half a swap: {}",
        server.log()
    );

    mount.swap(&[("cert.pem", "x"), ("key.pem", "y"), ("client-ca.pem", "z")]);
    let metrics = Web::plain(server.health_address());
    eventually("both faults are told", PATIENCE, async || {
        let text = metrics.get("/metrics").await.map_err(|error| error.to_string())?.text;
        let faulty = ["certificate_reload_faulty 1\n", "client_ca_reload_faulty 1\n"];
        faulty.iter().all(|line| text.contains(line)).then_some(()).ok_or(text)
    })
    .await;
    bed.login(&after).await.expect("the second pair still serves");
}

fn init(folder: &Path, client_ca: &Path) -> std::process::Output {
    let mut command = Command::new(PROGRAM);
    command.args([
        "init",
        "-i",
        "kit.example",
        "--feature-gates",
        "ConfiguredInitDirectories=true",
    ]);
    command.arg("--state-dir").arg(folder.join("state"));
    command.arg("--generate-kubeconfig").arg(folder.join("kubeconfig.yaml"));
    command.arg("--client-ca-file").arg(client_ca);
    command.output().unwrap()
}

/// The value of a key in a kubeconfig, decoded.
fn data(kubeconfig: &str, key: &str) -> String {
    let line = kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix(key))
        .expect(key);
    String::from_utf8(STANDARD.decode(line.trim_start_matches(':').trim()).unwrap()).unwrap()
}

#[tokio::test]
async fn init_gives_the_api_server_a_client_certificate() {
    let bed = Bed::new();
    let folder = bed.folder.path();
    let client_ca = folder.join("state/client-ca.pem");
    let output = init(folder, &client_ca);
    assert!(output.status.success(), "{output:?}");
    let kubeconfig = std::fs::read_to_string(folder.join("kubeconfig.yaml")).unwrap();
    for name in ["kubeconfig.yaml", "state/client-key.pem", "state/client-ca-key.pem"] {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(init(folder, &client_ca).status.success());
    assert_eq!(
        std::fs::read_to_string(folder.join("kubeconfig.yaml")).unwrap(),
        kubeconfig
    );

    let server = bed
        .builder()
        .state_dir(folder.join("state"))
        .arg("--client-ca-file")
        .arg(&client_ca)
        .start();
    server.wait_listening().await;
    assert_eq!(
        data(
            &std::fs::read_to_string(server.webhook_kubeconfig()).unwrap(),
            "client-key-data"
        ),
        data(&kubeconfig, "client-key-data"),
        "the server leaves the pair in the kubeconfig"
    );
    let web = Web::mutual_tls(
        server.address(),
        &data(&kubeconfig, "certificate-authority-data"),
        &data(&kubeconfig, "client-certificate-data"),
        &data(&kubeconfig, "client-key-data"),
    );
    bed.login(&web).await.unwrap();
    bed.login(&web.http2()).await.unwrap();
    let refused = bed.login(&server.web()).await.unwrap_err();
    assert!(refused.contains("a client certificate is needed"), "{refused}");
    let metrics = server.health_get("/metrics").await.text;
    assert!(metrics.contains(r#"certificate="client_authority""#), "{metrics}");
}

#[test]
fn init_does_not_make_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere.pem");
    let output = init(folder.path(), &elsewhere);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && error.contains("elsewhere.pem"),
        "{error}"
    );
    let foreign = issued("client");
    std::fs::write(&elsewhere, &foreign.ca).unwrap();
    let output = init(folder.path(), &elsewhere);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && error.contains("client-key.pem"),
        "{error}"
    );
    assert!(
        !folder.path().join("kubeconfig.yaml").exists(),
        "no kubeconfig that locks everybody out"
    );
    // Somebody else's authority, with a pair of its own.
    std::fs::write(folder.path().join("state/client.pem"), &foreign.cert).unwrap();
    std::fs::write(folder.path().join("state/client-key.pem"), &foreign.key).unwrap();
    let output = init(folder.path(), &elsewhere);
    assert!(output.status.success(), "{output:?}");
    let kubeconfig = std::fs::read_to_string(folder.path().join("kubeconfig.yaml")).unwrap();
    assert_eq!(data(&kubeconfig, "client-certificate-data"), foreign.cert);
}

#[tokio::test]
async fn metrics_on_a_port_of_their_own() {
    let bed = Bed::new();
    let port = free_port();
    let server = bed
        .builder()
        .arg("--metrics-address")
        .arg(format!("127.0.0.1:{port}"))
        .start();
    server.wait_ready().await;
    let web = Web::plain(([127, 0, 0, 1], port).into());
    assert!(web.get("/metrics").await.unwrap().text.ends_with("# EOF\n"));
    assert_eq!(web.get("/readyz?verbose").await.unwrap().text, "ok\n");
}

/// An API server that takes clients of one authority alone, and answers everything with its name.
async fn api_server(serving: &Issued, clients: &str) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients.as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(serving.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(serving.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await?;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                stream.write_all(answer).await?;
                stream.shutdown().await
            });
        }
    });
    port
}

/// A static pod has no `ServiceAccount`: it comes with a client certificate in files, which somebody rotates.
#[tokio::test]
async fn the_client_certificate_of_a_static_pod_follows_its_mount() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (serving, old, new) = (issued("apiserver"), issued("old"), issued("new"));
    let folder = tempfile::tempdir().unwrap();
    // The authority has changed already: the old certificate is refused.
    let port = api_server(&serving, &new.ca).await;
    let mut mount = Mount::new(
        folder.path().join("mount"),
        &[("tls.crt", &old.cert), ("tls.key", &old.key)],
    );
    let kubeconfig = folder.path().join("kubeconfig");
    let ca = STANDARD.encode(&serving.ca);
    std::fs::write(
        &kubeconfig,
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {ca}}}}}], \
             users: [{{name: u, user: {{client-certificate: mount/tls.crt, client-key: mount/tls.key}}}}]}}"
        ),
    )
    .unwrap();
    let client = Connector::new(Some(kubeconfig), None).renewing();
    let ask = async || {
        let request = hyper::Request::get("/version").body(Vec::new()).unwrap();
        client.request_text(request).await.map_err(|error| error.to_string())
    };
    assert!(ask().await.is_err());
    mount.swap(&[("tls.crt", &new.cert), ("tls.key", &new.key)]);
    eventually("the new certificate is shown", PATIENCE, async || {
        let text = ask().await?;
        (text == "hello").then_some(()).ok_or(text)
    })
    .await;
}
