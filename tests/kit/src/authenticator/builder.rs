//! How the program is started: flags, a clean environment, ports and a state folder.

use super::Authenticator;
use crate::ports::free_port;
use crate::sts_double::StsDouble;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tempfile::TempDir;

/// The Go program has no flag for it.
const PEER_HEALTH_PORT: u16 = 21_363;

/// How the program is to be started.
#[derive(Debug)]
pub struct AuthenticatorBuilder {
    program: PathBuf,
    peer: bool,
    cluster_id: Option<String>,
    backend_modes: Option<String>,
    config_file: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
    beside: Option<Place>,
    state: Option<PathBuf>,
}

/// Where another one runs.
#[derive(Debug, Clone)]
struct Place {
    port: u16,
    health_port: u16,
    state: PathBuf,
}

impl AuthenticatorBuilder {
    pub(super) fn new(program: PathBuf, peer: bool) -> Self {
        Self {
            program,
            peer,
            cluster_id: Some("kit.example".to_owned()),
            backend_modes: None,
            config_file: None,
            kubeconfig: None,
            args: Vec::new(),
            env: Vec::new(),
            wrapper: Vec::new(),
            beside: None,
            state: None,
        }
    }

    /// `--cluster-id`; without this call `kit.example`, as [`crate::TokenBuilder`] has it.
    #[must_use]
    pub fn cluster_id(mut self, id: &str) -> Self {
        self.cluster_id = Some(id.to_owned());
        self
    }

    /// No `--cluster-id`: the server is to find it elsewhere.
    #[must_use]
    pub fn no_cluster_id(mut self) -> Self {
        self.cluster_id = None;
        self
    }

    /// `--backend-mode`, comma-separated; the program's own default without it.
    #[must_use]
    pub fn backend_modes(mut self, modes: &str) -> Self {
        self.backend_modes = Some(modes.to_owned());
        self
    }

    /// `--config`.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config_file = Some(path.into());
        self
    }

    /// `--kubeconfig`: how it reaches the API server.
    #[must_use]
    pub fn kubeconfig(mut self, path: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(path.into());
        self
    }

    /// Sends its STS calls to the double.
    #[must_use]
    pub fn sts(mut self, sts: &StsDouble) -> Self {
        self.env
            .extend(sts.env().into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A command that runs the program in its place, such as `taskset -c 0`. It must `exec` it: the process id counts.
    #[must_use]
    pub fn wrapper(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(OsString::from).collect();
        self
    }

    /// `--state-dir` of the test's own making, such as a mounted Secret.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// On the ports and with the state of another one, which must outlive it; only its log is its own.
    #[must_use]
    pub fn beside(mut self, other: &Authenticator) -> Self {
        self.beside = Some(Place {
            port: other.port,
            health_port: other.health_port,
            state: other.state_dir().to_owned(),
        });
        self
    }

    /// Starts `server` and returns at once.
    pub fn start(self) -> Authenticator {
        let folder = TempDir::with_prefix("iam-authenticator-").expect("a temporary folder");
        let Place {
            port,
            health_port,
            state,
        } = self.beside.clone().unwrap_or_else(|| Place {
            port: free_port(),
            health_port: if self.peer { PEER_HEALTH_PORT } else { free_port() },
            state: self.state.clone().unwrap_or_else(|| folder.path().to_owned()),
        });
        let command = self.command(&state, port, health_port);
        let process = Mutex::new(None);
        let authenticator = Authenticator {
            command: Mutex::new(command),
            process,
            peer: self.peer,
            port,
            health_port,
            state,
            folder,
        };
        authenticator.launch();
        authenticator
    }

    fn command(&self, state: &Path, port: u16, health_port: u16) -> Command {
        let mut words = self.wrapper.clone();
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("server");
        let mut flag = |name: &str, value: &OsStr| {
            command.arg(name).arg(value);
        };
        if let Some(id) = &self.cluster_id {
            flag("--cluster-id", id.as_ref());
        }
        flag("--address", "127.0.0.1".as_ref());
        flag("--port", port.to_string().as_ref());
        flag("--state-dir", state.as_ref());
        flag("--generate-kubeconfig", state.join("kubeconfig.yaml").as_ref());
        if !self.peer {
            flag("--health-address", "127.0.0.1".as_ref());
            flag("--health-port", health_port.to_string().as_ref());
        }
        if let Some(modes) = &self.backend_modes {
            flag("--backend-mode", modes.as_ref());
        }
        if let Some(config) = &self.config_file {
            flag("--config", config.as_ref());
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            flag("--kubeconfig", kubeconfig.as_ref());
        }
        command.args(&self.args);
        clean_environment(&mut command);
        command
            .env("HOME", state)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Nothing of the developer's AWS or proxy set-up may reach the program: a test would depend on it.
pub fn clean_environment(command: &mut Command) {
    let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"];
    let ours = [
        "KUBECONFIG",
        "KUBERNETES_AWS_AUTHENTICATOR_CLUSTER_ID",
        "DEFAULT_ROLE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        if upper.starts_with("AWS_") || proxies.contains(&upper.as_str()) || ours.contains(&upper.as_str()) {
            command.env_remove(&name);
        }
    }
    // Where tests run something may answer the metadata address.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}
