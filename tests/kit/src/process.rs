//! A child process that cannot outlive the process that started it.
//!
//! `Drop` is not enough: a test runner that is killed runs no destructor. So each child has a watchdog, a shell that
//! reads from a pipe whose other end only we hold. However we die, the pipe ends, and the watchdog kills the child.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Signals that end a whole terminal session must not end the watchdog before its work.
const WATCHDOG: &str = r#"trap '' INT TERM HUP
read -r _
kill -9 "$1" 2>/dev/null
if [ -n "$2" ]; then rm -rf -- "$2"; fi"#;

/// A running child, its log and its watchdog.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    pair: Mutex<Pair>,
}

#[derive(Debug)]
struct Pair {
    child: Child,
    watchdog: Option<Child>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`. `scratch` is a folder that the watchdog removes if we die
    /// without having done so ourselves.
    pub fn spawn(name: &str, command: &mut Command, log: &Path, scratch: Option<&Path>) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        // A group of its own: Ctrl-C in a terminal reaches us alone, and we end the children in order.
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("starting {name}: {error}")))?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(scratch.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            name: name.to_owned(),
            pid: child.id(),
            log: log.to_owned(),
            pair: Mutex::new(Pair {
                child,
                watchdog: Some(watchdog),
                status: None,
            }),
        })
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, when it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.pair().poll()
    }

    /// Panics with the end of its log when it has ended.
    pub fn assert_running(&self) {
        if let Some(status) = self.exit_status() {
            panic!(
                "{} ended early ({status}); its log ends with:\n{}",
                self.name,
                self.log_tail(40)
            );
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`, `HUP` …).
    pub fn signal(&self, name: &str) {
        // The lock keeps the id from being reaped, and so from being another process's, while we name it.
        let mut pair = self.pair();
        if pair.poll().is_none() {
            let script = format!("kill -s {name} {}", self.pid);
            Command::new("sh").args(["-c", &script]).status().expect("sh runs");
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(&self) {
        self.pair().kill();
    }

    /// Waits for its end; `None` when it still runs at the deadline.
    pub async fn wait_exit(&self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exit_status() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    /// The last lines it has written.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn pair(&self) -> MutexGuard<'_, Pair> {
        self.pair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log as text, whatever bytes are in it; empty when there is none.
pub(crate) fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

impl Pair {
    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // Between our reaping the child and this line its id may be given anew: let the watchdog go at once.
            self.status = self.child.try_wait().expect("a child can be waited for");
            if self.status.is_some() {
                self.dismiss();
            }
        }
        self.status
    }

    fn kill(&mut self) {
        self.dismiss();
        if self.status.is_none() {
            // An error means that it ended by itself just now.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    fn dismiss(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.kill();
    }
}
