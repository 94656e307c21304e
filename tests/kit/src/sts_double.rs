//! An STS that is reached under its real names: a CONNECT proxy that ends TLS with certificates of a test CA.
//!
//! A client gets `HTTPS_PROXY` = [`StsDouble::proxy_url`] and `SSL_CERT_FILE` = [`StsDouble::ca_file`]; it needs no
//! switch for tests. Signatures are recomputed, with a library that is not the product's. It runs in a thread of its
//! own with one worker, so that tests without a runtime can use it and a bench knows which core it takes.

pub mod behaviour;

mod answer;
mod assume;
mod caller;
mod serve;
mod sso;
mod state;
mod verify;

use crate::principal::Principal;
use behaviour::{Behaviour, Connect};
use state::{Shared, State};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A request as the double saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET` or `POST`.
    pub method: String,
    /// The host asked for, in the request.
    pub host: String,
    /// Path and query, as sent.
    pub path_and_query: String,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body, as text.
    pub body: String,
    /// Whether it came over HTTP/2.
    pub http2: bool,
}

/// The running double; it ends when dropped.
pub struct StsDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StsDouble {
    /// Starts one that knows nobody.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::new());
        let folder = TempDir::with_prefix("iam-sts-").expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), shared.authority.pem()).expect("the CA is written");
        // Never a client's own port: unlike a child's, ours is bound before anybody is told of it.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("sts-double".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async move {
                    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                    tokio::select! {
                        () = serve::run(listener, served) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        Self {
            address,
            shared,
            folder,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Makes `principal` known (or known anew), and gives it back.
    pub fn add(&self, principal: Principal) -> Principal {
        let known = Arc::new(principal.clone());
        self.state().principals.insert(principal.access_key_id.clone(), known);
        principal
    }

    /// Forgets an access key, as when it is deleted in IAM.
    pub fn remove(&self, access_key_id: &str) {
        self.state().principals.remove(access_key_id);
    }

    /// From now on the key's session token counts as expired.
    pub fn expire(&self, access_key_id: &str) {
        self.state().expired.insert(access_key_id.to_owned());
    }

    /// From now on nobody may assume this role.
    pub fn deny_role(&self, role_arn: &str) {
        self.state().denied_roles.insert(role_arn.to_owned());
    }

    /// From now on this role is assumed with the code of this MFA device alone.
    pub fn require_mfa(&self, role_arn: &str, serial: &str, code: &str) {
        let wanted = (serial.to_owned(), code.to_owned());
        self.state().mfa.insert(role_arn.to_owned(), wanted);
    }

    /// From now on this is the access token of somebody who is logged in to IAM Identity Center.
    pub fn sso_session(&self, access_token: &str) {
        self.state().sso_tokens.insert(access_token.to_owned());
    }

    /// What to do with every request from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// What to do with requests of one access key; it goes before [`Self::behave`].
    pub fn behave_for(&self, access_key_id: &str, behaviour: Behaviour) {
        self.state()
            .behaviour_of_key
            .insert(access_key_id.to_owned(), behaviour);
    }

    /// What to do with the next `times` requests; it goes before all else.
    pub fn behave_next(&self, times: usize, behaviour: &Behaviour) {
        let next = std::iter::repeat_n(behaviour.clone(), times);
        self.state().behaviour_next.extend(next);
    }

    /// What to do with connections from now on; whenever it is not `Open`, tunnels that are open are cut too.
    pub fn connect(&self, connect: Connect) {
        self.shared
            .connect
            .send_if_modified(|now| std::mem::replace(now, connect) != connect);
    }

    /// Sets the double's clock off: its `Date` header and its idea of which signatures are in time.
    pub fn clock_skew(&self, seconds: i64) {
        self.state().skew = jiff::SignedDuration::from_secs(seconds);
    }

    /// Forgets all behaviours, the skew and the counts; keeps the principals.
    pub fn reset(&self) {
        self.connect(Connect::Open);
        let mut state = self.state();
        let principals = std::mem::take(&mut state.principals);
        *state = State {
            principals,
            ..State::default()
        };
    }

    /// How many requests came with this access key.
    pub fn calls(&self, access_key_id: &str) -> u64 {
        self.state().calls.get(access_key_id).copied().unwrap_or_default()
    }

    /// How many requests came in all.
    pub fn total_calls(&self) -> u64 {
        self.state().total
    }

    /// How many times `CONNECT` was asked for.
    pub fn connects(&self) -> u64 {
        self.state().connects
    }

    /// The latest request.
    pub fn last_request(&self) -> Option<Seen> {
        self.state().seen.back().cloned()
    }

    /// The latest requests (at most 64), oldest first.
    pub fn recent_requests(&self) -> Vec<Seen> {
        self.state().seen.iter().cloned().collect()
    }

    /// `127.0.0.1:port` of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for `HTTPS_PROXY`.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The CA as a file: the value for `SSL_CERT_FILE`.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The CA.
    pub fn ca_pem(&self) -> String {
        self.shared.authority.pem().to_owned()
    }

    /// The variables that lead a process's STS calls here, and spare the loopback.
    pub fn env(&self) -> Vec<(String, String)> {
        vec![
            ("HTTPS_PROXY".to_owned(), self.proxy_url()),
            ("NO_PROXY".to_owned(), "127.0.0.1,localhost,::1".to_owned()),
            ("SSL_CERT_FILE".to_owned(), self.ca_file().display().to_string()),
        ]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for StsDouble {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
