//! Who writes: the rules of the lease, without clock and network.
//!
//! Clocks of different hosts are never compared. A candidate takes the lease when its version has not changed for the
//! lease's time by the candidate's own clock; the holder stops writing when two thirds of that time have passed since it
//! last asked for a renewal that was granted. So the holder has stopped before anybody takes over.

use std::time::Duration;

use tokio::time::Instant;

/// The times of the election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// How long the lease holds without being renewed.
    pub lease: Duration,
    /// The holder renews it so often.
    pub renew: Duration,
    /// The holder stops writing so long after the last renewal.
    pub stop: Duration,
    /// Candidates look so often.
    pub poll: Duration,
    /// After a failure the next attempt comes so much later.
    pub retry: Duration,
    /// After a refusal the next attempt comes so much later: somebody has to grant the right first.
    pub refused: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            stop: Duration::from_secs(10),
            poll: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            refused: Duration::from_mins(1),
        }
    }
}

/// Nobody waits longer for a silent holder, whatever its lease says.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why there is no election, so that every replica writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotElected {
    /// Our service account may not read and write the lease.
    NoLeaseRights,
    /// The API server knows no leases, or not the namespace.
    NoLeaseApi,
    /// It is switched off.
    Disabled,
}

impl NotElected {
    /// A label for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoLeaseRights => "no_lease_rights",
            Self::NoLeaseApi => "no_lease_api",
            Self::Disabled => "disabled",
        }
    }
}

/// Whether this replica writes status and Events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The lease was not read yet.
    Unknown,
    /// Another replica writes.
    Follower,
    /// This one writes, until then unless it renews the lease.
    Leader {
        /// When the right ends.
        until: Instant,
    },
    /// Every replica writes.
    Everyone(NotElected),
}

impl Standing {
    /// Every value of [`Standing::as_str`].
    pub const LABELS: [&'static str; 6] = [
        "unknown",
        "follower",
        "leader",
        "no_lease_rights",
        "no_lease_api",
        "disabled",
    ];

    /// Whether this replica may write now.
    pub fn may_write(self, now: Instant) -> bool {
        match self {
            Self::Unknown | Self::Follower => false,
            Self::Leader { until } => now < until,
            Self::Everyone(_) => true,
        }
    }

    /// A label for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Follower => "follower",
            Self::Leader { .. } => "leader",
            Self::Everyone(why) => why.reason(),
        }
    }
}

/// What a lease says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// Nobody's when empty.
    pub(super) holder: String,
    /// For how long it holds.
    pub(super) lease: Duration,
    /// Its `resourceVersion`.
    pub(super) version: String,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Read the lease.
    Read,
    /// Make the lease ours, or renew it: create it when it is absent, otherwise replace exactly the version last seen.
    Write,
    /// Nothing before then.
    Wait(Instant),
}

/// One candidate's view of the election.
#[derive(Debug)]
pub(super) struct Election {
    me: String,
    timing: Timing,
    known: Known,
    /// Whether what is known may be out of date, so that it must be read before anything is written.
    stale: bool,
    not_before: Option<Instant>,
    /// When the last granted write was asked for.
    held: Option<Instant>,
    refused: Option<NotElected>,
}

#[derive(Debug)]
enum Known {
    Nothing,
    Absent,
    Lease {
        record: Record,
        /// Since when it has had this version.
        since: Instant,
        read: Instant,
    },
}

impl Election {
    /// A candidate that knows nothing yet.
    pub(super) fn new(me: String, timing: Timing) -> Self {
        Self {
            me,
            timing,
            known: Known::Nothing,
            stale: true,
            not_before: None,
            held: None,
            refused: None,
        }
    }

    /// What is to be done now.
    pub(super) fn next(&mut self, now: Instant) -> Action {
        let end = self.held.map(|at| at + self.timing.stop);
        if end.is_some_and(|end| now >= end) {
            (self.held, self.stale) = (None, true);
            return self.next(now);
        }
        let wait = |until: Instant| Action::Wait(end.map_or(until, |end| end.min(until)));
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return wait(until);
        }
        if self.stale {
            return Action::Read;
        }
        match &self.known {
            Known::Nothing => Action::Read,
            Known::Absent => Action::Write,
            Known::Lease { record, .. } if record.holder == self.me => match self.held {
                Some(at) if now < at + self.timing.renew => wait(at + self.timing.renew),
                _ => Action::Write,
            },
            Known::Lease { record, since, read } => {
                let (over, look) = (*since + self.patience(record), *read + self.timing.poll);
                match () {
                    () if record.holder.is_empty() || now >= over => Action::Write,
                    () if now >= look => Action::Read,
                    () => Action::Wait(over.min(look)),
                }
            }
        }
    }

    /// From when a version was first seen until its holder counts as gone. It was written up to one look before it was
    /// seen; taking that off, a lease never outlives its holder by more than its own time.
    fn patience(&self, record: &Record) -> Duration {
        let own = self.timing.lease;
        let lease = if record.lease.is_zero() { own } else { record.lease };
        lease.min(PATIENCE).saturating_sub(self.timing.poll)
    }

    /// The lease was read; `None` when there is none.
    pub(super) fn on_read(&mut self, found: Option<Record>, now: Instant) {
        (self.stale, self.not_before, self.refused) = (false, None, None);
        if found.as_ref().is_none_or(|record| record.holder != self.me) {
            self.held = None;
        }
        let seen_since = match (&self.known, &found) {
            (Known::Lease { record, since, .. }, Some(found)) if record == found => *since,
            _ => now,
        };
        self.known = match found {
            None => Known::Absent,
            Some(record) => Known::Lease {
                record,
                since: seen_since,
                read: now,
            },
        };
    }

    /// The lease is ours: what it says now, and when it was asked for.
    pub(super) fn on_written(&mut self, record: Record, asked: Instant) {
        (self.stale, self.not_before, self.refused) = (false, None, None);
        self.held = Some(asked);
        self.known = Known::Lease {
            record,
            since: asked,
            read: asked,
        };
    }

    /// Somebody else wrote it since we read it.
    pub(super) fn on_conflict(&mut self) {
        self.stale = true;
    }

    /// The API server does not let us.
    pub(super) fn on_refused(&mut self, why: NotElected, now: Instant) {
        (self.held, self.known, self.stale) = (None, Known::Nothing, true);
        self.refused = Some(why);
        self.not_before = Some(now + self.timing.refused);
    }

    /// There was no answer: whether something was written is not known.
    pub(super) fn on_failed(&mut self, now: Instant) {
        self.stale = true;
        self.not_before = Some(now + self.timing.retry);
    }

    /// Whether this replica writes.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let until = self.held.map(|at| at + self.timing.stop).filter(|until| now < *until);
        match (until, self.refused, &self.known) {
            (Some(until), ..) => Standing::Leader { until },
            (None, Some(why), _) => Standing::Everyone(why),
            (None, None, Known::Lease { .. }) => Standing::Follower,
            (None, None, Known::Nothing | Known::Absent) => Standing::Unknown,
        }
    }

    /// Who holds the lease, as far as it is known.
    pub(super) fn holder(&self) -> Option<&str> {
        match &self.known {
            Known::Lease { record, .. } => Some(&record.holder),
            Known::Nothing | Known::Absent => None,
        }
    }
}

#[cfg(test)]
#[path = "election/tests.rs"]
mod tests;
