//! A real control plane on the loopback: etcd and kube-apiserver with RBAC, and the webhook when there is one.
//!
//! The address is settled when the control plane is made, before the API server runs: a program that starts earlier can
//! already be given a kubeconfig for it. Stop and start keep etcd, the address and the certificates.

pub mod kubeconfig;
pub mod kubectl;

mod api_server;
mod etcd;
mod pki;

use crate::eventually::eventually;
use crate::parts::{MissingParts, Parts};
use crate::ports::free_port;
use crate::process::Process;
use crate::web::Web;
use kubeconfig::UserAuth;
use kubectl::Kubectl;
use pki::Pki;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// On a busy machine with two cores; a quiet one needs four seconds.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// The name of the user that [`ControlPlane::kubeconfig`] logs in as.
pub const ADMIN: &str = "admin";

/// How the API server is to be started.
#[derive(Debug, Clone)]
pub struct Options {
    webhook_kubeconfig: Option<PathBuf>,
    webhook_version: String,
    cache_ttl: Duration,
    extra_args: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            webhook_kubeconfig: None,
            webhook_version: "v1".to_owned(),
            cache_ttl: Duration::from_mins(2),
            extra_args: Vec::new(),
        }
    }
}

impl Options {
    /// The kubeconfig of the authentication webhook. It may be missing until the API server is started.
    #[must_use]
    pub fn webhook_kubeconfig(mut self, path: impl Into<PathBuf>) -> Self {
        self.webhook_kubeconfig = Some(path.into());
        self
    }

    /// The version of `TokenReview` that the API server sends: `v1` (ours) or `v1beta1` (the API server's own default).
    #[must_use]
    pub fn webhook_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.webhook_version);
        self
    }

    /// For how long the API server remembers an answer; its own default of two minutes.
    #[must_use]
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.cache_ttl = ttl;
        self
    }

    /// One more argument of kube-apiserver, such as `--v=4`.
    #[must_use]
    pub fn api_server_arg(mut self, arg: &str) -> Self {
        self.extra_args.push(arg.to_owned());
        self
    }
}

/// A running control plane; it ends, and its folder goes, when dropped.
pub struct ControlPlane {
    parts: Parts,
    options: Mutex<Options>,
    pki: Pki,
    port: u16,
    etcd_url: String,
    // Dropped in this order: whoever needs the other goes first, the folder last.
    api_server: Mutex<Option<Process>>,
    _etcd: Process,
    folder: TempDir,
}

impl ControlPlane {
    /// Whether the real parts are there, and how to get them if not.
    pub fn parts() -> Result<Parts, MissingParts> {
        Parts::find()
    }

    /// Starts etcd, makes the certificates and settles the address. The API server does not run yet.
    pub async fn new(parts: Parts, options: Options) -> Self {
        let folder = TempDir::with_prefix("iam-control-plane-").expect("a temporary folder");
        let (etcd, etcd_url) = etcd::start(&parts.etcd, folder.path()).await;
        let pki = Pki::new(folder.path());
        let port = free_port();
        let plane = Self {
            parts,
            options: Mutex::new(options),
            pki,
            port,
            etcd_url,
            api_server: Mutex::new(None),
            _etcd: etcd,
            folder,
        };
        plane.write_kubeconfig(ADMIN, UserAuth::admin());
        plane
    }

    /// The same, with the API server started.
    pub async fn started(parts: Parts, options: Options) -> Self {
        let plane = Self::new(parts, options).await;
        plane.start_api_server().await;
        plane
    }

    /// Sets the webhook for the next start: its kubeconfig is often made by a program that needs our address first.
    pub fn set_webhook_kubeconfig(&self, path: impl Into<PathBuf>) {
        self.options().webhook_kubeconfig = Some(path.into());
    }

    /// Changes the options for the next start.
    pub fn set_options(&self, options: Options) {
        *self.options() = options;
    }

    /// Starts the API server and waits until it is ready and its namespaces are there.
    ///
    /// # Panics
    /// When it ends early or is not ready after 60 s; with its log.
    pub async fn start_api_server(&self) {
        self.launch_api_server();
        self.wait_ready().await;
    }

    /// Starts the API server and returns at once.
    pub fn launch_api_server(&self) {
        let options = self.options().clone();
        let start = api_server::Start {
            program: &self.parts.kube_apiserver,
            folder: self.folder.path(),
            pki: &self.pki,
            port: self.port,
            etcd_url: &self.etcd_url,
            options: &options,
        };
        *self.api_server() = Some(start.run());
    }

    /// Waits until the API server is ready and has its namespaces.
    pub async fn wait_ready(&self) {
        let admin = self.admin_web();
        eventually("the API server is ready", READY_DEADLINE, async || {
            if let Some(process) = self.api_server().as_ref() {
                process.assert_running();
            }
            for path in [
                "/readyz",
                "/api/v1/namespaces/kube-system",
                "/api/v1/namespaces/default",
            ] {
                let reply = admin.get(path).await.map_err(|error| error.to_string())?;
                if reply.status != 200 {
                    return Err(format!("{path}: {} {}", reply.status, reply.text));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Kills the API server, as an outage does; etcd keeps what it wrote.
    #[expect(
        clippy::unused_async,
        reason = "asynchronous like its counterpart, should stopping ever wait"
    )]
    pub async fn stop_api_server(&self) {
        drop(self.api_server().take());
    }

    /// The process id of the API server, when it runs.
    pub fn api_server_pid(&self) -> Option<u32> {
        self.api_server().as_ref().map(Process::pid)
    }

    /// `https://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The address of the API server.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The cluster's CA.
    pub fn ca_pem(&self) -> &str {
        self.pki.authority.pem()
    }

    /// The cluster's CA as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.pki.ca_file.clone()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_path(ADMIN)
    }

    /// Writes a kubeconfig of one user, in the control plane's folder.
    pub fn write_kubeconfig(&self, name: &str, user: UserAuth) -> PathBuf {
        self.write_contexts(name, &[(name, user)])
    }

    /// Writes a kubeconfig with a context for each user; the first is the current one.
    pub fn write_contexts(&self, file: &str, users: &[(&str, UserAuth)]) -> PathBuf {
        let path = self.kubeconfig_path(file);
        let text = kubeconfig::render(&self.url(), &self.pki.authority, users);
        std::fs::write(&path, text).expect("the kubeconfig is written");
        path
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.parts.kubectl, &self.kubeconfig(), self.folder.path())
    }

    /// A client of the API server as the administrator, for what kubectl does not show.
    pub fn admin_web(&self) -> Web {
        Web::mutual_tls(self.address(), self.ca_pem(), &self.pki.admin.cert, &self.pki.admin.key)
    }

    /// What the API server wrote, over all its starts.
    pub fn api_server_log(&self) -> String {
        crate::process::read_log(&api_server::log_path(self.folder.path()))
    }

    /// The control plane's own folder; it goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn kubeconfig_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.kubeconfig"))
    }

    fn options(&self) -> MutexGuard<'_, Options> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api_server(&self) -> MutexGuard<'_, Option<Process>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
