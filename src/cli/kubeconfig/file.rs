//! The user's kubeconfig: locked as kubectl locks it, replaced as a whole, with the mode it had.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::super::output::Failure;
use crate::webhook::certificate::files::write_whole;

/// There are credentials in it.
const NEW_FILE: u32 = 0o600;
const NEW_DIRECTORY: u32 = 0o700;

/// kubectl holds its lock for milliseconds; after this long it was left behind.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// A kubeconfig that nobody who asks for the lock changes meanwhile.
pub(super) struct Locked {
    path: PathBuf,
    lock: PathBuf,
    text: String,
    mode: u32,
}

impl Locked {
    /// Locks and reads it; one that does not exist is empty.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "cannot use the kubeconfig {}: {error}; make it and its directory writable, or name another file with --kubeconfig",
                path.display()
            ))
        };
        // Through links: the file is replaced, not the link to it.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(NEW_DIRECTORY).create(directory);
            made.map_err(|error| failed(&error))?;
        }
        let lock = lock(&path, &failed)?;
        let mut locked = Self {
            path,
            lock,
            text: String::new(),
            mode: NEW_FILE,
        };
        match fs::read_to_string(&locked.path) {
            Ok(text) => locked.text = text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(locked),
            Err(error) => return Err(failed(&error)),
        }
        let metadata = fs::metadata(&locked.path).map_err(|error| failed(&error))?;
        locked.mode = metadata.permissions().mode() & 0o777;
        Ok(locked)
    }

    /// What is in it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Replaces it as a whole.
    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        let written = write_whole(&self.path, text.as_bytes(), self.mode);
        // The umask may have taken bits that the old file had.
        let kept = written.and_then(|()| fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode)));
        kept.map_err(|error| {
            Failure::failed(format!(
                "cannot write the kubeconfig {}: {error}; make its directory writable, or name another file with --kubeconfig",
                self.path.display()
            ))
        })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // When it is gone already, somebody took it for left behind, and nothing is lost.
        let _ = fs::remove_file(&self.lock);
    }
}

/// Makes `<file>.lock`, as kubectl does. Source: k8s.io/client-go/tools/clientcmd, `lockFile`.
fn lock(path: &Path, failed: &dyn Fn(&dyn std::fmt::Display) -> Failure) -> Result<PathBuf, Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = PathBuf::from(name);
    for _ in 0..LOCK_ATTEMPTS {
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(NEW_FILE)
            .open(&lock)
        {
            Ok(_) => return Ok(lock),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => sleep(LOCK_PAUSE),
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(Failure::failed(format!(
        "the kubeconfig {} is locked: kubectl or another program is writing it, or ended while it did; wait for it, or remove {}",
        path.display(),
        lock.display()
    )))
}
