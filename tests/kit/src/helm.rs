//! helm as a process, with an environment of its own.

use crate::control_plane::kubectl::Output;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// An installation with a pause of helm's own for hooks takes seconds.
const DEADLINE: Duration = Duration::from_mins(2);

/// helm; its folder of caches goes when it is dropped.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: TempDir,
}

impl Helm {
    /// helm without a cluster, as for `template` and `lint`.
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: None,
            home: TempDir::with_prefix("iam-authenticator-helm-").expect("a temporary folder"),
        }
    }

    /// helm for the cluster of this kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(mut self, path: impl Into<PathBuf>) -> Self {
        self.kubeconfig = Some(path.into());
        self
    }

    /// Runs it with these arguments.
    ///
    /// # Panics
    /// When it has not ended after two minutes.
    pub async fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        // Neither the developer's repositories nor plugins may matter.
        command.env_clear().env("HOME", self.home.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let Ok(output) = tokio::time::timeout(DEADLINE, command.output()).await else {
            panic!("helm {args:?} has not ended after {DEADLINE:?}");
        };
        let output = output.expect("helm starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            status: output.status,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}
