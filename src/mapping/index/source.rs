//! What sources say, how they are doing, and what people should hear of them.

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::super::aws_auth::Content;
use super::super::{Mapping, MappingError, SourceId};

/// One custom resource, reduced to what is needed of it.
#[derive(Clone, Debug)]
pub struct Object {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// The mapping, or why there is none.
    pub mapping: Result<Mapping, MappingError>,
    /// What its status depends on besides.
    pub stored: Stored,
}

/// How an object is stored, as far as writing its status needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion` as the number that API servers make it; 0 when it is none.
    pub resource_version: u64,
    /// Digest of the status that the object has, see [`StatusView::digest`](super::StatusView::digest).
    pub status: u64,
}

/// What a source has to say.
#[derive(Debug)]
pub enum SourceUpdate {
    /// A custom resource is new or changed.
    Apply(Object),
    /// A custom resource is gone.
    Delete(Arc<str>),
    /// These are all custom resources; the source was read whole.
    Reset(Vec<Object>),
    /// This is all that a ConfigMap or file says; `None` when it does not exist. The source was read whole.
    Content(SourceId, Option<Content>),
    /// The API server does not know the kind of object (404).
    NotFound(SourceId),
    /// The source was asked and could not be read.
    Failed(SourceId, SourceFailure),
    /// The source was heard of: a watch is open, a poll found nothing new.
    Alive(SourceId),
}

/// Why a source cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SourceFailure {
    /// The API server does not let us read it.
    #[error("forbidden: the service account may not list and watch it")]
    Forbidden,
    /// No answer, or not one of an API server.
    #[error("the API server cannot be reached")]
    Unreachable,
    /// The API server answered with an error.
    #[error("the API server answered with status {0}")]
    Status(u16),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    File(Box<str>),
}

impl SourceFailure {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Status(_) => "api_error",
            Self::File(_) => "file",
        }
    }
}

/// Something that people should hear of: a log line, a counter, an Event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The source it is about.
    pub source: SourceId,
    /// What happened.
    pub kind: NoticeKind,
    /// The same in words, with document, line and reason where there are any.
    pub message: String,
}

/// What happened to a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoticeKind {
    /// It was read whole for the first time.
    Synced,
    /// Its mappings changed.
    Changed,
    /// A document cannot be used; its last good content stays.
    DocumentRejected,
    /// An entry or object is not a mapping; the others hold.
    EntryRejected,
    /// An entry is shadowed by a later one for the same subject.
    Duplicate,
    /// Something has no effect.
    Ignored,
    /// Subjects vanished in a faulty edit and are held.
    Held,
    /// The time of the held subjects is over.
    HoldExpired,
    /// A document that was faulty is good again.
    Mended,
    /// Its object does not exist, or no longer.
    Absent,
    /// It could not be read.
    Failed,
    /// It can be read again.
    Recovered,
}

impl NoticeKind {
    /// A label for logs, metrics and Event reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::Changed => "Changed",
            Self::DocumentRejected => "DocumentRejected",
            Self::EntryRejected => "EntryRejected",
            Self::Duplicate => "Duplicate",
            Self::Ignored => "Ignored",
            Self::Held => "Held",
            Self::HoldExpired => "HoldExpired",
            Self::Mended => "Mended",
            Self::Absent => "Absent",
            Self::Failed => "Failed",
            Self::Recovered => "Recovered",
        }
    }

    /// Whether somebody should look at it.
    pub fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::Synced | Self::Changed | Self::Mended | Self::Absent | Self::Recovered
        )
    }
}

/// How a source is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceState {
    /// Which source.
    pub source: SourceId,
    /// Whether it was read whole once.
    pub synced: bool,
    /// When it was last heard of.
    pub last_heard: Option<Instant>,
    /// Why it cannot be read at the moment.
    pub failure: Option<SourceFailure>,
    /// Mappings in the table.
    pub serving: usize,
    /// Of these, the ones that a faulty edit removed and that are held.
    pub held: usize,
    /// Entries or objects that are not mappings, and documents that cannot be used.
    pub invalid: usize,
}

impl SourceUpdate {
    /// The source that speaks.
    pub fn source(&self) -> SourceId {
        match self {
            Self::Apply(_) | Self::Delete(_) | Self::Reset(_) => SourceId::Crd,
            Self::Content(source, _) | Self::NotFound(source) | Self::Failed(source, _) | Self::Alive(source) => {
                *source
            }
        }
    }
}
