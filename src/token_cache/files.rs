//! Files that hold secrets: the user's own, for nobody else to read, locked while they are used.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::CacheError;

/// Nothing that we write is nearly as large.
const MAX_BYTES: u64 = 1024 * 1024;

/// How often a lock is tried.
const LOCK_STEP: Duration = Duration::from_millis(20);

fn io_error(path: &Path) -> impl Fn(io::Error) -> CacheError {
    move |error| CacheError::Io {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

/// Makes a folder, and those above it, for the user alone, unless it is there.
pub(super) fn make_folder(path: &Path) -> Result<(), CacheError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(io_error(path))
}

/// The same; an existing one must be the user's.
pub(super) fn own_folder(path: &Path) -> Result<(), CacheError> {
    make_folder(path)?;
    let metadata = std::fs::symlink_metadata(path).map_err(io_error(path))?;
    if metadata.uid() == own_user() && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(CacheError::NotOurs {
        path: path.display().to_string(),
        reason: "belongs to another user, or others may write into it".to_owned(),
    })
}

/// Opens a file, or makes it. Links are not followed: they could lead the secret, or our writing, elsewhere.
pub(super) fn open(path: &Path) -> Result<File, CacheError> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
        .map_err(io_error(path))?;
    let metadata = file.metadata().map_err(io_error(path))?;
    let not_ours = |reason: &str| CacheError::NotOurs {
        path: path.display().to_string(),
        reason: reason.to_owned(),
    };
    if metadata.uid() != own_user() {
        Err(not_ours("belongs to another user"))
    } else if metadata.mode() & 0o077 != 0 {
        Err(not_ours("may be read by others"))
    } else {
        Ok(file)
    }
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Locks a file as the Go program does (`flock`), for as long as it is open.
pub(super) fn lock(file: &File, path: &Path, patience: Duration) -> Result<(), CacheError> {
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if waited < patience => {
                std::thread::sleep(LOCK_STEP);
                waited += LOCK_STEP;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(CacheError::Locked {
                    path: path.display().to_string(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(io_error(path)(error)),
        }
    }
}

/// All of a file.
pub(super) fn read(file: &mut File, path: &Path) -> Result<Vec<u8>, CacheError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(MAX_BYTES).read_to_end(&mut bytes))
        .map_err(io_error(path))?;
    Ok(bytes)
}

/// Replaces all of a file, in place: others may be waiting for its lock.
pub(super) fn write(file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let written = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.set_len(0))
        .and_then(|()| file.write_all(bytes));
    written.map_err(io_error(path))
}
