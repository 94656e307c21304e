//! The process: its log, its runtime, its signals and its tasks.
//!
//! Every task that must not end is given to the [`Supervisor`]. When one ends or panics, the process says which and ends: a server
//! that has silently lost a part is worse than one that is restarted.

use std::collections::HashMap;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry, fmt};

/// The server runs with two, whatever the host has: it lives on control-plane nodes, within 100 m CPU.
const WORKER_THREADS: usize = 2;

/// File reads and name look-ups run beside them. Both are rare and short; the default of 512 would let them take all memory we have.
const BLOCKING_THREADS: usize = 8;

/// How long tasks may take to end after a signal. Above the listener's own time to drain; below the 30 s after which Kubernetes kills.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// How much is logged, by the names of the Go program's logger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verbosity {
    /// Also `panic` and `fatal`: nothing of ours is worse than an error.
    Error,
    /// Also `warn`.
    Warning,
    /// The default.
    #[default]
    Info,
    /// Details for finding errors.
    Debug,
    /// Everything.
    Trace,
}

impl FromStr for Verbosity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "panic" | "fatal" | "error" => Ok(Self::Error),
            "warning" | "warn" => Ok(Self::Warning),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(format!(
                "{text:?} is not a log level; the levels are panic, fatal, error, warning, info, debug, trace"
            )),
        }
    }
}

impl Verbosity {
    /// What is logged. Libraries stay quiet: at their lower levels they print headers and URLs, which hold signatures.
    fn targets(self) -> Targets {
        let (own, others) = match self {
            Self::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
            Self::Warning => (LevelFilter::WARN, LevelFilter::ERROR),
            Self::Info => (LevelFilter::INFO, LevelFilter::ERROR),
            Self::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
            Self::Trace => (LevelFilter::TRACE, LevelFilter::WARN),
        };
        // The Kubernetes client makes an error of each refused connection; our sources say it once, in their own words.
        let client = if own <= LevelFilter::INFO {
            LevelFilter::OFF
        } else {
            others
        };
        Targets::new()
            .with_default(others)
            .with_target("kube_client", client)
            .with_target("kube_runtime", client)
            .with_target("iam_authenticator", own)
    }
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Starts logging to stderr. `RUST_LOG` is not read: what is logged is decided by flags alone.
///
/// # Errors
/// When the process logs already.
pub fn start_log(verbosity: Verbosity, format: LogFormat, in_colour: bool) -> Result<(), TryInitError> {
    let targets = verbosity.targets();
    let layer = match format {
        LogFormat::Text => {
            let lines = fmt::layer().with_writer(io::stderr).with_ansi(in_colour);
            lines.with_filter(targets).boxed()
        }
        LogFormat::Json => {
            let lines = fmt::layer().json().flatten_event(true).with_writer(io::stderr);
            lines.with_filter(targets).boxed()
        }
    };
    Registry::default().with(layer).try_init()?;
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            place,
            "internal error, please report it: {}",
            info.payload_as_str().unwrap_or("panicked")
        );
    }));
    Ok(())
}

/// The runtime of the server.
///
/// # Errors
/// When threads cannot be started.
pub fn server_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("worker")
        .enable_all()
        .build()
}

/// The runtime of commands that do one thing.
///
/// # Errors
/// When the operating system refuses.
pub fn command_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Why the process ends other than by a signal.
#[derive(Debug, Error)]
pub enum LifecycleError {
    /// A task ended that must not.
    #[error("the task \"{task}\" ended unexpectedly: {reason}")]
    TaskEnded {
        /// Its name.
        task: &'static str,
        /// Why, as far as it said.
        reason: String,
    },
    /// Tasks were still at work when their time was up, or a second signal came.
    #[error("stopped before all work was done: {0}")]
    NotDrained(String),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
}

impl LifecycleError {
    /// A label for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TaskEnded { .. } => "task_ended",
            Self::NotDrained(_) => "not_drained",
            Self::Signals(_) => "signals",
        }
    }
}

/// The signals that end the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer kill.
    ///
    /// # Errors
    /// When the operating system refuses. Needs a runtime.
    pub fn listen() -> Result<Self, LifecycleError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(LifecycleError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(LifecycleError::Signals)?,
        })
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Runs tasks that live as long as the process.
#[derive(Debug, Default)]
pub struct Supervisor {
    cancel: CancellationToken,
    tasks: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process is to end; tasks stop then.
    pub fn cancel_token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Starts a task that ends only when the token is cancelled.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok::<(), String>(())
        });
    }

    /// Starts a task that knows nothing of the token: it is dropped where it stands.
    pub fn spawn_until_cancelled(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel_token();
        self.spawn(name, async move {
            cancel.run_until_cancelled_owned(task).await;
        });
    }

    /// Starts a task that may also fail.
    pub fn spawn_fallible<E: ToString>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self
            .tasks
            .spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.names.insert(handle.id(), name);
    }

    /// Waits for a signal and lets the tasks end; a second signal hurries.
    ///
    /// # Errors
    /// When a task ends before, or tasks do not end in time.
    pub async fn run(mut self, mut signals: Signals) -> Result<(), LifecycleError> {
        let first = tokio::select! {
            name = signals.next() => {
                tracing::info!("received {name}, finishing the requests that are open");
                Ok(())
            }
            Some(ended) = self.tasks.join_next_with_id() => Err(self.task_ended(ended)),
        };
        self.cancel.cancel();
        let drained = tokio::select! {
            () = async { while self.tasks.join_next().await.is_some() {} } => Ok(()),
            name = signals.next() => Err(LifecycleError::NotDrained(format!("received {name} again"))),
            () = tokio::time::sleep(DRAIN_DEADLINE) => {
                Err(LifecycleError::NotDrained(format!("not done after {} seconds", DRAIN_DEADLINE.as_secs())))
            }
        };
        first.and(drained)
    }

    fn task_ended(&self, ended: Result<(Id, Result<(), String>), JoinError>) -> LifecycleError {
        let (id, reason) = match ended {
            Ok((id, Ok(()))) => (id, "it came to its end".to_owned()),
            Ok((id, Err(error))) => (id, error),
            Err(error) => (error.id(), error.to_string()),
        };
        LifecycleError::TaskEnded {
            task: self.names.get(&id).copied().unwrap_or("unknown"),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_ends_everything() {
        let mut supervisor = Supervisor::new();
        let cancel = supervisor.cancel_token();
        supervisor.spawn("steady", async move { cancel.cancelled().await });
        supervisor.spawn_fallible("weak", async { Err("broken pipe") });
        let error = supervisor.run(Signals::listen().unwrap()).await.unwrap_err();
        assert_eq!(error.to_string(), "the task \"weak\" ended unexpectedly: broken pipe");
    }

    #[tokio::test]
    async fn a_panic_is_an_end_too() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn("weak", async { panic!("oh") });
        let error = supervisor.run(Signals::listen().unwrap()).await.unwrap_err();
        assert!(
            error.to_string().starts_with("the task \"weak\" ended unexpectedly: "),
            "{error}"
        );
    }

    #[test]
    fn levels_are_those_of_logrus() {
        for name in [
            "panic", "fatal", "error", "warning", "warn", "info", "debug", "trace", "INFO",
        ] {
            assert!(name.parse::<Verbosity>().is_ok(), "{name}");
        }
        assert!("verbose".parse::<Verbosity>().unwrap_err().contains("warning"));
    }
}
