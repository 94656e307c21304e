//! One file, looked at once a second: what counts is its content, not how it came there. An editor that writes in
//! place, one that renames, and the kubelet, which swaps the symlink `..data`, all look alike to it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::fs;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::outbox::{Closed, Outbox};
use crate::mapping::SourceId;
use crate::mapping::aws_auth::Content;
use crate::mapping::index::{SourceFailure, SourceUpdate};

/// How often the file is looked at. One `stat` a second costs nothing, and nobody notices a second.
const POLL: Duration = Duration::from_secs(1);

/// How often the content is read although nothing about the file has changed: two writes within one tick of the file
/// system's clock leave the same times, and some network file systems keep stale ones.
const REREAD: Duration = Duration::from_secs(10);

/// A file that is being written in place is seen half done; one that rests for this long is taken for whole.
const SETTLE: Duration = Duration::from_millis(50);

/// Three times what 100 000 entries need. More is a mistake (a log file, a device), and would be read into memory.
const MAX_SIZE: u64 = 64 << 20;

/// The file that is followed, and how its text is read.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its path.
    pub path: PathBuf,
    /// The source that it is.
    pub source: SourceId,
    /// Reads its text.
    pub parse: fn(&str) -> Content,
}

/// Follows one file until `shutdown`. One that is missing is a failure, whether or not it was there before: a mounted
/// file may come later, and one that vanishes for a moment keeps what it said.
pub async fn run(file: Followed, updates: Sender<SourceUpdate>, shutdown: CancellationToken) {
    let outbox = Outbox::new(file.source, updates);
    shutdown.run_until_cancelled(follow(file, outbox)).await;
}

async fn follow(file: Followed, mut outbox: Outbox) -> Closed {
    let mut reader = Reader {
        path: file.path,
        seen: None,
    };
    let mut polls = interval(POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        polls.tick().await;
        let sent = match reader.poll().await {
            Ok(Poll::Changed(text)) => {
                let content = (file.parse)(&text);
                outbox.news(SourceUpdate::Content(outbox.source(), Some(content))).await
            }
            Ok(Poll::Same) => outbox.alive().await,
            Ok(Poll::Unsettled) => Ok(()),
            Err(error) => {
                let failure = SourceFailure::File(format!("{}: {error}", reader.path.display()).into());
                outbox.failed(failure, None).await
            }
        };
        if let Err(closed) = sent {
            return closed;
        }
    }
}

/// Why a file cannot be read.
#[derive(Debug, Error)]
enum ReadError {
    #[error("it does not exist")]
    NotFound,
    #[error("it is not a file")]
    NotAFile,
    #[error("it is larger than {} MiB", MAX_SIZE >> 20)]
    TooLarge,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::NotFound
        } else {
            Self::Io(error)
        }
    }
}

/// What a look at the file has shown.
enum Poll {
    Same,
    Changed(String),
    /// Somebody is writing to it: the next look will tell.
    Unsettled,
}

/// Which file it is and when it was last touched. Symlinks are followed, so a swapped `..data` is another file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was last read.
struct Seen {
    stamp: Stamp,
    digest: [u8; 32],
    read: Instant,
}

struct Reader {
    path: PathBuf,
    seen: Option<Seen>,
}

impl Reader {
    async fn poll(&mut self) -> Result<Poll, ReadError> {
        let stamp = self.stamp().await?;
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.stamp == stamp && seen.read.elapsed() < REREAD)
        {
            return Ok(Poll::Same);
        }
        let text = self.read().await?;
        let digest = Sha256::digest(&text).into();
        let same = self.seen.as_ref().is_some_and(|seen| seen.digest == digest);
        // The first read does not wait: there is nothing yet that half a file could take away.
        if self.seen.is_some() && !same {
            sleep(SETTLE).await;
        }
        if self.stamp().await? != stamp {
            return Ok(Poll::Unsettled);
        }
        self.seen = Some(Seen {
            stamp,
            digest,
            read: Instant::now(),
        });
        Ok(if same { Poll::Same } else { Poll::Changed(text) })
    }

    async fn stamp(&self) -> Result<Stamp, ReadError> {
        let metadata = fs::metadata(&self.path).await?;
        // A pipe would be waited for, a device read for ever.
        if !metadata.is_file() {
            return Err(ReadError::NotAFile);
        }
        if metadata.len() > MAX_SIZE {
            return Err(ReadError::TooLarge);
        }
        Ok(Stamp {
            file: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    async fn read(&self) -> Result<String, ReadError> {
        let mut bytes = Vec::new();
        fs::File::open(&self.path)
            .await?
            .take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .await?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(ReadError::TooLarge);
        }
        String::from_utf8(bytes).map_err(|_| ReadError::NotText)
    }
}
