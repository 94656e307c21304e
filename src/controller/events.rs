//! Sends Events: each once, few at a time, and never a storm.

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
use super::limits::{Bucket, REPEAT, Recent, Recurrence};
use super::outbox::{About, EventSender, Occasion, Queued};
use crate::metrics::Metrics;

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
