//! kubectl as a process, with an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longer than the API server keeps a user waiting for any answer of the webhook.
const DEADLINE: Duration = Duration::from_mins(1);

/// What a command gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its standard output.
    ///
    /// # Panics
    /// When it failed; with what it said.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success(), "{}: {}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// Its standard error.
    ///
    /// # Panics
    /// When it did not fail.
    #[track_caller]
    pub fn err(self) -> String {
        assert!(!self.success(), "it was to fail, but: {}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// kubectl for one kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    context: Option<String>,
    env: Vec<(String, String)>,
}

impl Kubectl {
    pub(super) fn new(program: &Path, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
            context: None,
            env: Vec::new(),
        }
    }

    /// The same with another kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(&self, path: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: path.into(),
            ..self.clone()
        }
    }

    /// The same in another context of its kubeconfig.
    #[must_use]
    pub fn with_context(&self, name: &str) -> Self {
        Self {
            context: Some(name.to_owned()),
            ..self.clone()
        }
    }

    /// The same with one more variable; its exec plugin sees it too.
    #[must_use]
    pub fn with_env(&self, name: &str, value: &str) -> Self {
        let mut kubectl = self.clone();
        kubectl.env.push((name.to_owned(), value.to_owned()));
        kubectl
    }

    /// The program, for a command line to show.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs it with these arguments.
    ///
    /// # Panics
    /// When it has not ended after 60 s.
    pub async fn run(&self, args: &[&str]) -> Output {
        self.run_with_input(args, "").await
    }

    /// `kubectl apply -f -`.
    pub async fn apply(&self, yaml: &str) -> Output {
        self.run_with_input(&["apply", "-f", "-"], yaml).await
    }

    /// `kubectl delete -f -`, at once.
    pub async fn delete(&self, yaml: &str) -> Output {
        self.run_with_input(&["delete", "--wait=true", "-f", "-"], yaml).await
    }

    /// Runs it with text on its standard input.
    ///
    /// # Panics
    /// When it has not ended after 60 s.
    pub async fn run_with_input(&self, args: &[&str], input: &str) -> Output {
        let mut command = Command::new(&self.program);
        // Neither the developer's AWS profile nor a proxy may reach the exec plugin.
        command.env_clear().env("HOME", &self.home);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("its input");
        let fed = async {
            // kubectl may end without reading.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let both = async { tokio::join!(fed, child.wait_with_output()).1 };
        let Ok(output) = tokio::time::timeout(DEADLINE, both).await else {
            panic!("kubectl {args:?} has not ended after {DEADLINE:?}");
        };
        let output = output.expect("kubectl's output");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            status: output.status,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}
