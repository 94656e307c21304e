//! The source that reads a file: every way in which files change under a running program.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iam_authenticator::mapping::SourceId;
use iam_authenticator::mapping::aws_auth::read_config_file;
use iam_authenticator::mapping::index::{SourceFailure, SourceUpdate};
use iam_authenticator::sources::file::{self, Followed};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_change_in_place_is_seen_and_a_rewrite_of_the_same_is_not() {
    let dir = Dir::new("change");
    dir.write("config.yaml", &config("A"));
    let mut run = Run::start(&dir.path("config.yaml"));
    assert_eq!(run.role().await, "a");
    dir.write("config.yaml", &config("B"));
    assert_eq!(run.role().await, "b");
    dir.write("config.yaml", &config("B"));
    run.is_quiet_for(Duration::from_millis(1500)).await;
    dir.write("other", &config("C"));
    fs::rename(dir.path("other"), dir.path("config.yaml")).expect("renamed");
    assert_eq!(run.role().await, "c");
}

/// How the kubelet updates a mounted `ConfigMap`: `config.yaml -> ..data/config.yaml`, `..data -> ..1`, then `..data` is
/// replaced by a rename.
#[tokio::test]
async fn a_swap_of_the_symlink_is_seen() {
    let dir = Dir::new("swap");
    for (generation, role) in [("..1", "A"), ("..2", "B")] {
        fs::create_dir(dir.path(generation)).expect("created");
        dir.write(&format!("{generation}/config.yaml"), &config(role));
    }
    symlink("..1", dir.path("..data")).expect("linked");
    symlink("..data/config.yaml", dir.path("config.yaml")).expect("linked");
    let mut run = Run::start(&dir.path("config.yaml"));
    assert_eq!(run.role().await, "a");
    symlink("..2", dir.path("..data_tmp")).expect("linked");
    fs::rename(dir.path("..data_tmp"), dir.path("..data")).expect("renamed");
    fs::remove_dir_all(dir.path("..1")).expect("removed");
    assert_eq!(run.role().await, "b");
}

#[tokio::test(start_paused = true)]
async fn half_a_file_is_not_taken_for_a_whole_one() {
    let dir = Dir::new("half");
    dir.write("config.yaml", &config("A"));
    let mut run = Run::start(&dir.path("config.yaml"));
    assert_eq!(run.role().await, "a");
    // A slow writer, in place, over several looks at the file; it never pauses for as long as the source waits.
    let whole = config("B");
    for end in 0..=whole.len() {
        dir.write("config.yaml", &whole[..end]);
        sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(run.role().await, "b", "and nothing before it");
}

#[tokio::test]
async fn a_file_that_vanishes_fails_and_may_come_back() {
    let dir = Dir::new("vanish");
    dir.write("config.yaml", &config("A"));
    let mut run = Run::start(&dir.path("config.yaml"));
    assert_eq!(run.role().await, "a");
    fs::remove_file(dir.path("config.yaml")).expect("removed");
    let failure = run.failure().await;
    assert!(failure.contains("config.yaml: it does not exist"), "{failure}");
    dir.write("config.yaml", &config("B"));
    assert_eq!(run.role_after_failures().await, "b");
}

#[tokio::test]
async fn a_file_may_come_after_the_start() {
    let dir = Dir::new("late");
    let mut run = Run::start(&dir.path("config.yaml"));
    assert!(run.failure().await.contains("it does not exist"));
    dir.write("config.yaml", &config("A"));
    assert_eq!(run.role_after_failures().await, "a");
}

#[tokio::test]
async fn what_is_no_text_file_says_so() {
    let dir = Dir::new("odd");
    fs::create_dir(dir.path("dir")).expect("created");
    fs::write(dir.path("latin1"), b"clusterID: caf\xe9\n").expect("written");
    fs::File::create(dir.path("huge"))
        .and_then(|file| file.set_len((64 << 20) + 1))
        .expect("written");
    for (name, message) in [
        ("dir", "it is not a file"),
        ("latin1", "it is not UTF-8 text"),
        ("huge", "it is larger than 64 MiB"),
    ] {
        let failure = Run::start(&dir.path(name)).failure().await;
        assert!(failure.ends_with(message), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_at_rest_says_that_it_is_alive() {
    let dir = Dir::new("alive");
    dir.write("config.yaml", &config("A"));
    let mut run = Run::start(&dir.path("config.yaml"));
    assert_eq!(run.role().await, "a");
    let start = Instant::now();
    for _ in 0..3 {
        let update = run.update().await;
        assert!(
            matches!(update, SourceUpdate::Alive(SourceId::MountedFile)),
            "{update:?}"
        );
    }
    assert!((30..34).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    run.shutdown.cancel();
    assert!(run.updates.recv().await.is_none());
}

fn config(role: &str) -> String {
    format!("server:\n  mapRoles:\n  - roleARN: arn:aws:iam::123456789012:role/{role}\n    username: u\n")
}

/// A source that follows a file.
struct Run {
    updates: mpsc::Receiver<SourceUpdate>,
    shutdown: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Run {
    fn start(path: &Path) -> Self {
        let (send, updates) = mpsc::channel(1);
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let followed = Followed {
            path: path.to_owned(),
            source: SourceId::MountedFile,
            parse: read_config_file,
        };
        tasks.spawn(file::run(followed, send, shutdown.clone()));
        Self {
            updates,
            shutdown,
            _tasks: tasks,
        }
    }

    async fn update(&mut self) -> SourceUpdate {
        timeout(Duration::from_mins(1), self.updates.recv())
            .await
            .expect("in time")
            .expect("an update")
    }

    /// The name of the one role that the file maps now.
    async fn role(&mut self) -> String {
        let update = self.update().await;
        role_of(&update).unwrap_or_else(|| panic!("{update:?}"))
    }

    async fn role_after_failures(&mut self) -> String {
        loop {
            let update = self.update().await;
            if !matches!(update, SourceUpdate::Failed(..)) {
                return role_of(&update).unwrap_or_else(|| panic!("{update:?}"));
            }
        }
    }

    async fn failure(&mut self) -> String {
        match self.update().await {
            SourceUpdate::Failed(SourceId::MountedFile, SourceFailure::File(text)) => text.into(),
            other => panic!("{other:?}"),
        }
    }

    async fn is_quiet_for(&mut self, time: Duration) {
        let update = timeout(time, self.updates.recv()).await;
        assert!(update.is_err(), "{update:?}");
    }
}

fn role_of(update: &SourceUpdate) -> Option<String> {
    let SourceUpdate::Content(SourceId::MountedFile, Some(content)) = update else {
        return None;
    };
    let [document] = content.documents.as_slice() else {
        return None;
    };
    let [mapping] = document.entries.as_ref().ok()?.mappings.as_slice() else {
        return None;
    };
    mapping.subject_key().rsplit('/').next().map(ToOwned::to_owned)
}

/// A directory that is removed with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sources-file-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("created");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
