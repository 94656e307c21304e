//! etcd: one member on the loopback, without fsync.

use crate::ports::free_port;
use crate::process::Process;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
const TRIES: usize = 3;
/// What etcd logs once it serves. Its own word, not an open port: the port could be somebody else's.
const SERVING: &str = "ready to serve client requests";

/// Starts it and waits until it serves; other ports are tried when these were taken meanwhile.
pub(super) async fn start(program: &Path, folder: &Path) -> (Process, String) {
    let log = folder.join("etcd.log");
    let mut tail = String::new();
    for attempt in 0..TRIES {
        let client = format!("http://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new(program);
        command
            .arg(format!(
                "--data-dir={}",
                folder.join(format!("etcd-{attempt}")).display()
            ))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .args(["--unsafe-no-fsync", "--log-level=info", "--logger=zap"]);
        // etcd is the last to go, so its watchdog is the one that clears the folder.
        let process = Process::spawn("etcd", &mut command, &log, Some(folder)).expect("etcd starts");
        if serves(&process).await {
            return (process, client);
        }
        tail = process.log_tail(20);
    }
    panic!("etcd did not serve; its log ends with:\n{tail}");
}

async fn serves(process: &Process) -> bool {
    let started = Instant::now();
    while process.exit_status().is_none() && started.elapsed() < DEADLINE {
        if process.log().contains(SERVING) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}
