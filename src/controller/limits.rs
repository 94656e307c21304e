//! How many Events are sent, and which are the same as before.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::event;
use super::outbox::{About, Occasion};

/// So many Events at once, then one more each [`REFILL`].
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(2);

/// The same Event is counted up at most so often.
pub(super) const REPEAT: Duration = Duration::from_mins(10);

/// As many sent Events are remembered.
const MEMORY: usize = 256;

/// A budget of requests that fills up again.
pub(super) struct Bucket {
    left: u32,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    /// How long to wait for the next one.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
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

    pub(super) fn take(&mut self, now: Instant) {
        if self.left >= BURST {
            self.filled = now;
        }
        self.left = self.left.saturating_sub(1);
    }
}

/// Whether an Event was sent before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recurrence {
    /// Not by this process, or long ago.
    Unknown,
    /// A short time ago, and nothing else about the object since.
    Recent,
    /// Something else was said about the object since, so it happened again.
    Again,
}

/// What was sent, by the Event's name.
#[derive(Default)]
pub(super) struct Recent(HashMap<String, Sent>);

struct Sent {
    about: About,
    reason: &'static str,
    at: Instant,
    is_over: bool,
}

impl Recent {
    pub(super) fn recurrence(&self, occasion: &Occasion, now: Instant) -> Recurrence {
        match self.0.get(&event::name(occasion)) {
            Some(sent) if sent.is_over => Recurrence::Again,
            Some(sent) if now < sent.at + REPEAT => Recurrence::Recent,
            _ => Recurrence::Unknown,
        }
    }

    pub(super) fn sent(&mut self, occasion: Occasion, now: Instant) {
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
