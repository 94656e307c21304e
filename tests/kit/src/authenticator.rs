//! The program as a process, and a client for its ports. The Go peer runs in the same harness.

mod builder;

pub use builder::{AuthenticatorBuilder, clean_environment};

use crate::builders::token_review;
use crate::eventually::eventually;
use crate::process::Process;
use crate::web::{Reply, Web};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// The running program; it is killed, and its folder goes, when dropped.
pub struct Authenticator {
    command: Mutex<Command>,
    process: Mutex<Option<Process>>,
    peer: bool,
    port: u16,
    health_port: u16,
    state: PathBuf,
    folder: TempDir,
}

impl Authenticator {
    /// The program at `program`; tests pass `env!("CARGO_BIN_EXE_aws-iam-authenticator")`.
    pub fn builder(program: impl Into<PathBuf>) -> AuthenticatorBuilder {
        AuthenticatorBuilder::new(program.into(), false)
    }

    /// The Go program. Only one can run at a time: the port of its health listener is fixed.
    pub fn peer(program: impl Into<PathBuf>) -> AuthenticatorBuilder {
        AuthenticatorBuilder::new(program.into(), true)
    }

    /// Waits until it answers `GET /healthz` on its HTTPS port.
    ///
    /// # Panics
    /// When it ends early or does not listen after 30 s; with its log.
    pub async fn wait_listening(&self) {
        self.wait("the authenticator listens", || async {
            self.try_web()?.get("/healthz").await
        })
        .await;
    }

    /// Waits until `/readyz` on its health port is 200 (the Go program: until it listens).
    ///
    /// # Panics
    /// When it ends early or is not ready after 30 s; with its log.
    pub async fn wait_ready(&self) {
        if self.peer {
            return self.wait_listening().await;
        }
        self.wait("the authenticator is ready", || async {
            self.health_web().get("/readyz").await
        })
        .await;
    }

    /// Asks for a `v1` review of a token without audiences.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn authenticate(&self, token: &str) -> Reply {
        self.review(&token_review("v1", token, &[])).await
    }

    /// Posts a `TokenReview`.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn review(&self, review: &serde_json::Value) -> Reply {
        self.post("/authenticate", review.to_string().as_bytes(), &[]).await
    }

    /// `POST` on its HTTPS port; JSON unless the headers say otherwise.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn post(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Reply {
        self.web()
            .post(path, body, headers)
            .await
            .unwrap_or_else(|error| self.fail(path, &error))
    }

    /// `GET` on its HTTPS port.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn get(&self, path: &str) -> Reply {
        self.web()
            .get(path)
            .await
            .unwrap_or_else(|error| self.fail(path, &error))
    }

    /// `GET` on its health port.
    ///
    /// # Panics
    /// When there is no HTTP answer.
    pub async fn health_get(&self, path: &str) -> Reply {
        self.health_web()
            .get(path)
            .await
            .unwrap_or_else(|error| self.fail(path, &error))
    }

    /// A client for its HTTPS port, to use without panics, from many tasks, or over HTTP/2.
    ///
    /// # Panics
    /// When it has not written its certificate yet: wait until it listens.
    pub fn web(&self) -> Web {
        self.try_web()
            .unwrap_or_else(|error| self.fail("its certificate", &error))
    }

    /// A client for its health port.
    pub fn health_web(&self) -> Web {
        Web::plain((Ipv4Addr::LOCALHOST, self.health_port).into())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.with(Process::terminate);
    }

    /// Sends a signal by name (`STOP`, `CONT`, `HUP` …).
    pub fn signal(&self, name: &str) {
        self.with(|process| process.signal(name));
    }

    /// Kills it.
    pub fn kill(&self) {
        self.with(Process::kill);
    }

    /// Waits for its end; `None` when it still runs at the deadline.
    pub async fn wait_exit(&self, deadline: Duration) -> Option<ExitStatus> {
        let end = std::time::Instant::now() + deadline;
        loop {
            let status = self.with(Process::exit_status);
            if status.is_some() || std::time::Instant::now() >= end {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it and starts it anew with the same arguments, ports and state.
    pub fn restart(&self) {
        self.kill();
        self.launch();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.with(Process::pid)
    }

    /// All it has logged, over all its starts.
    pub fn log(&self) -> String {
        self.with(Process::log)
    }

    /// The kubeconfig that it generates for the API server's webhook.
    pub fn webhook_kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig.yaml")
    }

    /// Its state folder, which is also its home.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The CA of its serving certificate.
    ///
    /// # Panics
    /// When it has not written it: it has none yet, or serves with a certificate that is not its own.
    pub fn ca_pem(&self) -> String {
        self.try_read("ca.pem")
            .unwrap_or_else(|error| self.fail("its CA", &error))
    }

    /// `127.0.0.1:port` of its HTTPS port.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `127.0.0.1:port` of its health port.
    pub fn health_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.health_port).into()
    }

    fn launch(&self) {
        let log = self.folder.path().join("authenticator.log");
        let mut command = self.command.lock().expect("nobody panicked with it");
        let process = Process::spawn("the authenticator", &mut command, &log, Some(self.folder.path()));
        *self.process.lock().expect("nobody panicked with it") = Some(process.expect("the authenticator starts"));
    }

    async fn wait<F: Future<Output = io::Result<Reply>>>(&self, what: &str, probe: impl Fn() -> F) {
        let waited = eventually(what, DEADLINE, async || {
            // Its last words explain more than any state of ours.
            self.with(Process::assert_running);
            match probe().await {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(format!(
                    "{} {}\nits log ends with:\n{}",
                    reply.status,
                    reply.text,
                    self.tail()
                )),
                Err(error) => Err(format!("{error}\nits log ends with:\n{}", self.tail())),
            }
        });
        waited.await;
    }

    /// A file of the state folder. One that is just being written counts as not there yet.
    fn try_read(&self, name: &str) -> io::Result<String> {
        let text = std::fs::read_to_string(self.state.join(name))?;
        if text.trim_end().ends_with("-----") {
            return Ok(text);
        }
        Err(io::Error::other(format!("{name} is not written whole")))
    }

    fn try_web(&self) -> io::Result<Web> {
        if let Ok(ca) = self.try_read("ca.pem") {
            return Ok(Web::tls(self.address(), &ca));
        }
        // The Go program, and a pair that was there before us, have no CA.
        Ok(Web::pinned(self.address(), &self.try_read("cert.pem")?))
    }

    fn tail(&self) -> String {
        self.with(|process| process.log_tail(20))
    }

    fn fail(&self, what: &str, error: &io::Error) -> ! {
        panic!("{what}: {error}; the log ends with:\n{}", self.tail());
    }

    fn with<T>(&self, act: impl FnOnce(&Process) -> T) -> T {
        let guard = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(guard.as_ref().expect("it was started"))
    }
}
