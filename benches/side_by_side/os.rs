//! What Linux knows of a process.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ticks a second in `/proc/<pid>/stat`: fixed by the interface, whatever the kernel's own clock.
const TICKS: u32 = 100;
const SAMPLE_EVERY: Duration = Duration::from_millis(2);

/// Moves a process with all its threads to one core.
pub(crate) fn pin(pid: u32, core: &str) {
    let status = Command::new("taskset")
        .args(["-acp", core, &pid.to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(
        status.expect("taskset (util-linux) runs").success(),
        "taskset cannot pin {pid} to core {core}"
    );
}

/// The CPU time of a process so far, user and system.
pub(crate) fn cpu(pid: u32) -> Duration {
    booked(&pid.to_string(), 11)
}

/// The CPU time of all children of ours that have ended.
pub(crate) fn cpu_of_children() -> Duration {
    booked("self", 13)
}

/// Two neighbouring fields of a stat line, counted from behind the name.
fn booked(process: &str, first: usize) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // The name may hold anything, also spaces; what follows its bracket does not.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a stat line")
        .1
        .split_whitespace()
        .collect();
    let ticks = |field: usize| -> u32 { fields[field].parse().expect("ticks") };
    Duration::from_secs(1) * (ticks(first) + ticks(first + 1)) / TICKS
}

/// The memory that a process has for itself (`RssAnon`), in MiB.
pub(crate) fn own_memory(pid: u32) -> f64 {
    own_kib(pid).expect("the process runs") as f64 / 1024.0
}

fn own_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Watches the own memory of a process for its highest value.
pub(crate) struct Peak {
    highest: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl Peak {
    pub(crate) fn of(pid: u32) -> Self {
        let highest = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let (top, stop) = (Arc::clone(&highest), Arc::clone(&done));
        let watcher = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(now) = own_kib(pid) else { return };
                top.fetch_max(now, Ordering::Relaxed);
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        Self { highest, done, watcher }
    }

    /// The highest value seen, in MiB.
    pub(crate) fn end(self) -> f64 {
        self.done.store(true, Ordering::Relaxed);
        self.watcher.join().expect("it does not panic");
        self.highest.load(Ordering::Relaxed) as f64 / 1024.0
    }
}
