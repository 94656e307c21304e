//! Sends Events: each once, few at a time, and never a storm.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::board::{Board, Place};
use super::call::{FIELD_MANAGER, Refusal, call};
use super::election::Standing;
use super::event;
use super::outbox::{About, EventSender, Occasion, Queued};
use crate::metrics::Metrics;

/// So many Events at once, then one more each [`REFILL`].
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(2);

/// The same Event is counted up at most so often.
const REPEAT: Duration = Duration::from_mins(10);

/// As many sent Events are remembered.
const MEMORY: usize = 256;

/// Somebody has to grant the right first.
const FORBIDDEN: Duration = Duration::from_mins(5);

/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
const TRIES: u8 = 5;

/// Sends Events.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) queue: EventSender,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) board: Board,
    pub(super) now: fn() -> Timestamp,
}

impl Sender {
    /// Works until it is dropped.
    pub(super) async fn run(self) {
        let (mut bucket, mut recent) = (Bucket::new(Instant::now()), Recent::default());
        let mut standing = self.standing.clone();
        loop {
            if !standing.borrow_and_update().may_write(Instant::now()) {
                if standing.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let wait = bucket.wait(Instant::now());
            if !wait.is_zero() {
                sleep(wait).await;
                continue;
            }
            let queued = self.queue.pop().await;
            if !standing.borrow().may_write(Instant::now()) {
                self.queue.put(queued, Instant::now());
                continue;
            }
            self.handle(queued, &mut bucket, &mut recent).await;
        }
    }

    async fn handle(&self, mut queued: Queued, bucket: &mut Bucket, recent: &mut Recent) {
        let now = Instant::now();
        let recurrence = recent.recurrence(&queued.occasion, now);
        if recurrence == Recurrence::Recent {
            return self.metrics.event("repeated");
        }
        bucket.take(now);
        match self.send(&queued.occasion, recurrence).await {
            Ok(result) => {
                self.metrics.event(result);
                self.board.set(Place::Events, None);
                recent.sent(queued.occasion, now);
            }
            Err(Refusal::Forbidden(message)) => {
                self.metrics.event("forbidden");
                let text = "Events cannot be sent: no right to create and patch events";
                if self.board.set(Place::Events, Some(text.to_owned())) {
                    tracing::warn!("{text} ({message}). Logins do not depend on it");
                }
                sleep(FORBIDDEN).await;
            }
            // The namespace is missing or ending, or the API server does not want it.
            Err(Refusal::NotFound(message) | Refusal::Invalid(message)) => {
                self.metrics.event("refused");
                tracing::debug!("an Event was refused: {message}");
            }
            Err(Refusal::Conflict(_)) => self.metrics.event("repeated"),
            Err(Refusal::Failed(message)) => {
                tracing::debug!("an Event could not be sent: {message}");
                queued.failures += 1;
                if queued.failures < TRIES {
                    self.queue.put(queued, Instant::now());
                } else {
                    self.metrics.event("failed");
                }
                sleep(RETRY).await;
            }
        }
    }

    async fn send(&self, occasion: &Occasion, recurrence: Recurrence) -> Result<&'static str, Refusal> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), event::namespace(&occasion.about));
        let new = event::new(occasion, self.uid(&occasion.about).await, (self.now)());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match call(events.create(&params, &new)).await {
            Ok(_) => Ok("sent"),
            Err(Refusal::Conflict(_)) => self.count_up(&events, &event::name(occasion), recurrence).await,
            Err(refusal) => Err(refusal),
        }
    }

    /// The same Event is there: from before our restart, or of another replica.
    async fn count_up(&self, events: &Api<Event>, name: &str, recurrence: Recurrence) -> Result<&'static str, Refusal> {
        // It is there, which is what matters; older roles do not let us read it.
        let Ok(old) = call(events.get(name)).await else {
            return Ok("repeated");
        };
        let now = (self.now)();
        let last = old.last_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let is_recent = now.duration_since(last).unsigned_abs() < REPEAT;
        if is_recent && recurrence != Recurrence::Again {
            return Ok("repeated");
        }
        let body = json!({
            "metadata": { "resourceVersion": old.metadata.resource_version },
            "count": old.count.unwrap_or(1).saturating_add(1),
            "lastTimestamp": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now),
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        call(events.patch(name, &params, &Patch::Merge(&body))).await?;
        Ok("counted")
    }

    async fn uid(&self, about: &About) -> Option<String> {
        match about {
            About::Mapping { uid, .. } => Some(uid.to_string()),
            About::ConfigMap { namespace, name } => {
                let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                // Without it the Event is found by name.
                let map = call(maps.get_metadata(name)).await.ok()?;
                map.metadata.uid
            }
        }
    }
}

/// A budget of requests that fills up again.
struct Bucket {
    left: u32,
    filled: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    /// How long to wait for the next one.
    fn wait(&mut self, now: Instant) -> Duration {
        while self.left < BURST && self.filled + REFILL <= now {
            self.left += 1;
            self.filled += REFILL;
        }
        if self.left > 0 {
            Duration::ZERO
        } else {
            (self.filled + REFILL).saturating_duration_since(now)
        }
    }

    fn take(&mut self, now: Instant) {
        if self.left >= BURST {
            self.filled = now;
        }
        self.left = self.left.saturating_sub(1);
    }
}

/// Whether an Event was sent before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recurrence {
    /// Not by this process, or long ago.
    Unknown,
    /// A short time ago, and nothing else about the object since.
    Recent,
    /// Something else was said about the object since, so it happened again.
    Again,
}

/// What was sent, by the Event's name.
#[derive(Default)]
struct Recent(HashMap<String, Sent>);

struct Sent {
    about: About,
    reason: &'static str,
    at: Instant,
    is_over: bool,
}

impl Recent {
    fn recurrence(&self, occasion: &Occasion, now: Instant) -> Recurrence {
        match self.0.get(&event::name(occasion)) {
            Some(sent) if sent.is_over => Recurrence::Again,
            Some(sent) if now < sent.at + REPEAT => Recurrence::Recent,
            _ => Recurrence::Unknown,
        }
    }

    fn sent(&mut self, occasion: Occasion, now: Instant) {
        let name = event::name(&occasion);
        for other in self.0.values_mut().filter(|other| other.about == occasion.about) {
            other.is_over |= other.reason != occasion.reason;
        }
        self.0.retain(|_, sent| now < sent.at + REPEAT);
        let oldest = self
            .0
            .iter()
            .min_by_key(|(_, sent)| sent.at)
            .map(|(name, _)| name.clone());
        if let Some(oldest) = oldest.filter(|_| self.0.len() >= MEMORY) {
            self.0.remove(&oldest);
        }
        let Occasion { about, reason, .. } = occasion;
        self.0.insert(
            name,
            Sent {
                about,
                reason,
                at: now,
                is_over: false,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_every_two_seconds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let mut now = start;
        for _ in 0..BURST {
            assert_eq!(bucket.wait(now), Duration::ZERO);
            bucket.take(now);
        }
        for _ in 0..3 {
            assert_eq!(bucket.wait(now), REFILL);
            now += REFILL;
            assert_eq!(bucket.wait(now), Duration::ZERO);
            bucket.take(now);
        }
        now += Duration::from_hours(1);
        let mut sent = 0;
        while bucket.wait(now).is_zero() {
            bucket.take(now);
            sent += 1;
        }
        assert_eq!(sent, BURST, "no more than a burst is saved up");
    }

    #[test]
    fn the_same_is_said_again_when_something_else_was_said_between() {
        let occasion = |reason: &'static str| Occasion {
            about: About::ConfigMap {
                namespace: "n".into(),
                name: "m".into(),
            },
            is_warning: false,
            reason,
            message: String::new(),
        };
        let (mut recent, start) = (Recent::default(), Instant::now());
        assert_eq!(
            recent.recurrence(&occasion("EntryRejected"), start),
            Recurrence::Unknown
        );
        recent.sent(occasion("EntryRejected"), start);
        assert_eq!(recent.recurrence(&occasion("EntryRejected"), start), Recurrence::Recent);
        assert_eq!(
            recent.recurrence(&occasion("EntryRejected"), start + REPEAT),
            Recurrence::Unknown
        );
        recent.sent(occasion("Mended"), start);
        assert_eq!(recent.recurrence(&occasion("EntryRejected"), start), Recurrence::Again);
        recent.sent(occasion("EntryRejected"), start);
        assert_eq!(recent.recurrence(&occasion("EntryRejected"), start), Recurrence::Recent);
        assert_eq!(recent.recurrence(&occasion("Mended"), start), Recurrence::Again);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        for number in 0..1000_u32 {
            let about = About::Mapping {
                name: number.to_string().into(),
                uid: "".into(),
            };
            let occasion = Occasion {
                about,
                is_warning: false,
                reason: "Serving",
                message: String::new(),
            };
            recent.sent(occasion, start + Duration::from_millis(number.into()));
        }
        assert_eq!(recent.0.len(), MEMORY);
    }
}
