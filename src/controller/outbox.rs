//! What happened and may become an Event: a short queue between those who notice and the one who sends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::election::Standing;
use crate::mapping::SourceId;
use crate::mapping::index::{Notice, NoticeKind};
use crate::metrics::Metrics;

/// More than anybody reads. What does not fit is in the log and in the status anyway.
const QUEUE: usize = 256;

/// While another replica sends, or nobody knows who does, the latest are kept: the right may come to us.
const KEPT: usize = 64;

/// Nobody needs to be told later.
const OLD: Duration = Duration::from_mins(10);

/// What an Event is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum About {
    /// An `IAMIdentityMapping`.
    Mapping { name: Arc<str>, uid: Box<str> },
    /// A `ConfigMap`.
    ConfigMap { namespace: Arc<str>, name: Arc<str> },
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Occasion {
    pub(super) about: About,
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A `ConfigMap` that a source reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchedConfigMap {
    /// The source.
    pub source: SourceId,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Takes what happened. It never waits: what does not fit is counted and dropped, the oldest first.
#[derive(Clone, Debug)]
pub struct EventSender(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config_maps: Vec<WatchedConfigMap>,
    queue: Mutex<VecDeque<Queued>>,
    filled: Notify,
    standing: watch::Receiver<Standing>,
    metrics: Arc<Metrics>,
}

/// An occasion in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) occasion: Occasion,
    at: Instant,
    /// How often it could not be sent.
    pub(super) failures: u8,
}

impl EventSender {
    pub(super) fn new(
        config_maps: Vec<WatchedConfigMap>,
        standing: watch::Receiver<Standing>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(Shared {
            config_maps,
            queue: Mutex::default(),
            filled: Notify::new(),
            standing,
            metrics,
        }))
    }

    /// Takes a notice about a `ConfigMap`, if people should find it there.
    pub fn notice(&self, notice: &Notice) {
        let is_told = matches!(
            notice.kind,
            NoticeKind::DocumentRejected
                | NoticeKind::EntryRejected
                | NoticeKind::Held
                | NoticeKind::HoldExpired
                | NoticeKind::Mended
        );
        let watched = self
            .0
            .config_maps
            .iter()
            .find(|watched| watched.source == notice.source);
        let Some(watched) = watched.filter(|_| is_told) else {
            return;
        };
        let occasion = Occasion {
            about: About::ConfigMap {
                namespace: Arc::clone(&watched.namespace),
                name: Arc::clone(&watched.name),
            },
            is_warning: notice.kind.is_warning(),
            reason: notice.kind.as_str(),
            message: notice.message.clone(),
        };
        self.push(occasion, Instant::now());
    }

    pub(super) fn push(&self, occasion: Occasion, now: Instant) {
        self.put(
            Queued {
                occasion,
                at: now,
                failures: 0,
            },
            now,
        );
    }

    /// Takes an occasion back that could not be sent.
    pub(super) fn put(&self, queued: Queued, now: Instant) {
        let room = if self.0.standing.borrow().may_write(now) {
            QUEUE
        } else {
            KEPT
        };
        let mut queue = self.lock();
        queue.retain(|other| other.occasion != queued.occasion);
        queue.push_back(queued);
        while queue.len() > room {
            queue.pop_front();
            self.0.metrics.event("dropped");
        }
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits for the next occasion that is not too old to be of interest.
    pub(super) async fn pop(&self) -> Queued {
        loop {
            let filled = self.0.filled.notified();
            let next = self.lock().pop_front();
            match next {
                Some(queued) if queued.at.elapsed() < OLD => return queued,
                Some(_) => self.0.metrics.event("dropped"),
                None => filled.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Queued>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(standing: Standing) -> (EventSender, watch::Sender<Standing>, Arc<Metrics>) {
        let (send, standing) = watch::channel(standing);
        let metrics = Arc::new(Metrics::new(std::time::Instant::now(), "1"));
        let watched = WatchedConfigMap {
            source: SourceId::EksConfigMap,
            namespace: "kube-system".into(),
            name: "aws-auth".into(),
        };
        (
            EventSender::new(vec![watched], standing, Arc::clone(&metrics)),
            send,
            metrics,
        )
    }

    fn notice(source: SourceId, kind: NoticeKind, message: &str) -> Notice {
        Notice {
            source,
            kind,
            message: message.to_owned(),
        }
    }

    fn waiting(sender: &EventSender) -> Vec<String> {
        sender
            .lock()
            .iter()
            .map(|queued| queued.occasion.message.clone())
            .collect()
    }

    #[tokio::test]
    async fn only_what_is_about_a_config_map_and_matters() {
        let (sender, _standing, _) = sender(Standing::Unknown);
        for (source, kind, message) in [
            (SourceId::EksConfigMap, NoticeKind::Synced, "synced"),
            (SourceId::EksConfigMap, NoticeKind::Changed, "changed"),
            (SourceId::EksConfigMap, NoticeKind::EntryRejected, "rejected"),
            (SourceId::MountedFile, NoticeKind::EntryRejected, "in a file"),
            (SourceId::Crd, NoticeKind::EntryRejected, "its status says so"),
            (SourceId::EksConfigMap, NoticeKind::Mended, "mended"),
        ] {
            sender.notice(&notice(source, kind, message));
        }
        assert_eq!(waiting(&sender), ["rejected", "mended"]);
        let first = sender.pop().await.occasion;
        assert_eq!((first.reason, first.is_warning), ("EntryRejected", true));
        let second = sender.pop().await.occasion;
        assert_eq!((second.reason, second.is_warning), ("Mended", false));
    }

    #[tokio::test]
    async fn the_latest_are_kept_each_once() {
        for (standing, room) in [
            (Standing::Unknown, KEPT),
            (Standing::Follower, KEPT),
            (Standing::Everyone(super::super::NotElected::Disabled), QUEUE),
        ] {
            let (sender, _standing, metrics) = sender(standing);
            for number in 0..300 {
                sender.notice(&notice(
                    SourceId::EksConfigMap,
                    NoticeKind::EntryRejected,
                    &number.to_string(),
                ));
                sender.notice(&notice(SourceId::EksConfigMap, NoticeKind::EntryRejected, "again"));
            }
            let waiting = waiting(&sender);
            assert_eq!(
                (waiting.len(), waiting[room - 1].as_str(), waiting[room - 2].as_str()),
                (room, "again", "299")
            );
            let dropped = format!(
                r#"aws_iam_authenticator_events_total{{result="dropped"}} {}"#,
                301 - room
            );
            assert!(metrics.exposition().contains(&dropped), "{}", metrics.exposition());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_is_not_told() {
        let (sender, _standing, _) = sender(Standing::Follower);
        sender.notice(&notice(SourceId::EksConfigMap, NoticeKind::Held, "old"));
        tokio::time::advance(OLD).await;
        sender.notice(&notice(SourceId::EksConfigMap, NoticeKind::Held, "new"));
        assert_eq!(sender.pop().await.occasion.message, "new");
    }
}
