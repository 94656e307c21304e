//! A child dies with the process that started it, also when that one is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests"
)]

use kit::eventually_sync;
use kit::process::Process;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set in the process that is to be killed; it names the folder where that one leaves its child's id.
const VICTIM: &str = "KIT_VICTIM_FOLDER";
const SOON: Duration = Duration::from_secs(10);

fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie is dead, whoever is to reap it.
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

fn sleeper(folder: &Path, scratch: Option<&Path>) -> Process {
    Process::spawn("sleep", Command::new("sleep").arg("600"), &folder.join("log"), scratch).expect("sleep starts")
}

/// Not a test by itself: the process that the next test kills.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else { return };
    let folder = Path::new(&folder);
    let child = sleeper(folder, Some(&folder.join("scratch")));
    std::fs::write(folder.join("pid.part"), child.pid().to_string()).expect("the id is written");
    std::fs::rename(folder.join("pid.part"), folder.join("pid")).expect("the id is published");
    std::thread::sleep(Duration::from_mins(10));
}

#[test]
fn a_child_dies_with_a_killed_parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch).expect("a scratch folder");
    let mut parent = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "victim"])
        .env(VICTIM, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("the parent starts");
    let pid = eventually_sync("the child runs", SOON, || {
        std::fs::read_to_string(folder.path().join("pid"))
    });
    assert!(is_running(&pid));
    parent.kill().expect("the parent is killed");
    parent.wait().expect("the parent ends");
    eventually_sync("the child is dead", SOON, || !is_running(&pid));
    eventually_sync("its folder is gone", SOON, || !scratch.exists());
}

#[test]
fn a_child_dies_with_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = sleeper(folder.path(), None);
    let pid = child.pid().to_string();
    let panicked = std::thread::spawn(move || {
        child.assert_running();
        panic!("as a failed test does");
    });
    panicked.join().expect_err("a panic");
    assert!(!is_running(&pid));
}
