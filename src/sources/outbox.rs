//! The way from a source to the index, and the log of how the source fares.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use crate::mapping::SourceId;
use crate::mapping::index::{SourceFailure, SourceUpdate};

/// How often a source that has no news says that it is well. "Seconds since last in sync" needs no finer grain.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Nobody listens any more: the task ends.
#[derive(Debug)]
pub(super) struct Closed;

/// How a source fares; it is logged when it changes, not with every attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Health {
    Unknown,
    InSync,
    NotFound,
    Failing(SourceFailure),
}

/// The sending end of one source.
pub(super) struct Outbox {
    source: SourceId,
    updates: Sender<SourceUpdate>,
    health: Health,
    last_sent: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(source: SourceId, updates: Sender<SourceUpdate>) -> Self {
        Self {
            source,
            updates,
            health: Health::Unknown,
            last_sent: None,
        }
    }

    pub(super) fn source(&self) -> SourceId {
        self.source
    }

    /// Sends what the source says.
    pub(super) async fn news(&mut self, update: SourceUpdate) -> Result<(), Closed> {
        self.well();
        self.send(update).await
    }

    /// Says that there is nothing new, unless something was said lately.
    pub(super) async fn alive(&mut self) -> Result<(), Closed> {
        self.well();
        match self.last_sent {
            Some(sent) if sent.elapsed() < ALIVE_EVERY => Ok(()),
            _ => self.send(SourceUpdate::Alive(self.source)).await,
        }
    }

    /// Says that the API server does not know the kind of object.
    pub(super) async fn not_found(&mut self) -> Result<(), Closed> {
        if self.health != Health::NotFound {
            tracing::warn!(
                source = self.source.as_str(),
                "the API server does not know this kind of object (404)"
            );
            self.health = Health::NotFound;
        }
        self.send(SourceUpdate::NotFound(self.source)).await
    }

    /// Says that the source could not be read; `detail` is for the log alone.
    pub(super) async fn failed(&mut self, failure: SourceFailure, detail: Option<&str>) -> Result<(), Closed> {
        let (source, reason) = (self.source.as_str(), failure.reason());
        let health = Health::Failing(failure.clone());
        if self.health == health {
            tracing::debug!(source, reason, detail, "{failure}; trying again");
        } else {
            tracing::warn!(source, reason, detail, "{failure}; trying again");
            self.health = health;
        }
        self.send(SourceUpdate::Failed(self.source, failure)).await
    }

    fn well(&mut self) {
        if self.health != Health::InSync {
            tracing::info!(source = self.source.as_str(), "in sync");
            self.health = Health::InSync;
        }
    }

    async fn send(&mut self, update: SourceUpdate) -> Result<(), Closed> {
        self.last_sent = Some(Instant::now());
        self.updates.send(update).await.map_err(|_| Closed)
    }
}
