//! What the status writer remembers, so that it never writes in a circle: which fields the installed definition drops,
//! and which objects another program writes too.
//!
//! It is all memory of this process. After a restart one write that changes nothing finds out about the definition again.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::crd::status::view;
use crate::mapping::index::{StatusView, Verdict};

/// So often the same status of an object is written; then somebody else wants another one, and we stop.
const WRITES: u8 = 4;

/// How long each write of the same status waits after the one before.
const DELAYS: [Duration; WRITES as usize] = [
    Duration::ZERO,
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// A status that was not written anew for so long is at peace.
const PEACE: Duration = Duration::from_mins(10);

/// A definition that drops fields is tried again so often.
const PROBE: Duration = Duration::from_mins(1);

/// As many mappings as we promise to hold. When so many objects are fought over, no further one is rewritten.
const MAX_NOTES: usize = 100_000;

/// Which fields of the status the installed definition keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each field")]
struct Kept {
    canonical_arn: bool,
    user_id: bool,
    observed_generation: bool,
    conditions: bool,
}

impl Kept {
    const ALL: Self = Self {
        canonical_arn: true,
        user_id: true,
        observed_generation: true,
        conditions: true,
    };
    const NONE: Self = Self {
        canonical_arn: false,
        user_id: false,
        observed_generation: false,
        conditions: false,
    };

    /// Learns from what became of a status. A field that was empty anyway teaches nothing.
    fn learn(self, wanted: &StatusView<'_>, stored: &StatusView<'_>) -> Self {
        let kept = |before: bool, wanted: bool, stored: bool| if wanted { stored } else { before };
        Self {
            canonical_arn: kept(
                self.canonical_arn,
                !wanted.canonical_arn.is_empty(),
                !stored.canonical_arn.is_empty(),
            ),
            user_id: kept(self.user_id, !wanted.user_id.is_empty(), !stored.user_id.is_empty()),
            observed_generation: kept(
                self.observed_generation,
                wanted.observed_generation != 0,
                stored.observed_generation != 0,
            ),
            conditions: kept(self.conditions, true, !stored.reason.is_empty()),
        }
    }

    /// What is left of a status.
    fn reduce(self, view: StatusView<'_>) -> StatusView<'_> {
        let text = |kept, text| if kept { text } else { "" };
        StatusView {
            canonical_arn: text(self.canonical_arn, view.canonical_arn),
            user_id: text(self.user_id, view.user_id),
            observed_generation: if self.observed_generation {
                view.observed_generation
            } else {
                0
            },
            ready: self.conditions && view.ready,
            reason: text(self.conditions, view.reason),
            message: text(self.conditions, view.message),
        }
    }

    fn dropped(self) -> Vec<&'static str> {
        let fields = [
            ("canonicalARN", self.canonical_arn),
            ("userID", self.user_id),
            ("observedGeneration", self.observed_generation),
            ("conditions", self.conditions),
        ];
        fields
            .into_iter()
            .filter_map(|(name, kept)| (!kept).then_some(name))
            .collect()
    }
}

/// An object's `metadata.uid`, reduced: one that is deleted and made anew is another object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Uid(u64);

impl Uid {
    pub(super) fn of(uid: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What was written for one object.
#[derive(Clone, Copy, Debug)]
struct Note {
    wanted: u64,
    generation: i64,
    uid: Uid,
    writes: u8,
    last: Instant,
    told: bool,
}

/// Whether a status is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Advice {
    /// Now.
    Write,
    /// All that the installed definition keeps is there.
    Dropped,
    /// Not before then: another program overwrote it.
    Later(Instant),
    /// No more: another program insists.
    GiveUp {
        /// Whether nobody was told yet.
        news: bool,
    },
}

/// What a write taught.
#[derive(Default, Debug)]
pub(super) struct Lesson {
    /// The fields that the definition drops, when that is news; empty when it now keeps all.
    pub(super) dropped: Option<Vec<&'static str>>,
    /// What was left alone although something can be written now.
    pub(super) again: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    kept: Kept,
    probed: Option<Instant>,
    left_alone: HashSet<Arc<str>>,
    notes: HashMap<Arc<str>, Note>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            kept: Kept::ALL,
            probed: None,
            left_alone: HashSet::new(),
            notes: HashMap::new(),
        }
    }

    /// Whether the status of this object, which does not say what it must, is to be written.
    pub(super) fn advise(&mut self, verdict: &Verdict, now: Instant) -> Advice {
        let reduced = self.kept.reduce(verdict.view()).digest();
        if self.kept != Kept::ALL && (reduced == verdict.stored.status || self.kept == Kept::NONE) {
            if self.probed.is_none_or(|at| now >= at + PROBE) {
                self.probed = Some(now);
                return Advice::Write;
            }
            if self.left_alone.len() < MAX_NOTES {
                self.left_alone.insert(Arc::clone(&verdict.name));
            }
            return Advice::Dropped;
        }
        let full = self.notes.len() >= MAX_NOTES;
        let Some(note) = self.notes.get_mut(&verdict.name) else {
            return if full {
                Advice::GiveUp { news: false }
            } else {
                Advice::Write
            };
        };
        if note.wanted != verdict.view().digest() || note.generation != verdict.stored.generation {
            return Advice::Write;
        }
        match DELAYS.get(usize::from(note.writes)) {
            Some(delay) if now >= note.last + *delay => Advice::Write,
            Some(delay) => Advice::Later(note.last + *delay),
            None => Advice::GiveUp {
                news: !std::mem::replace(&mut note.told, true),
            },
        }
    }

    /// Which object of that name was written.
    pub(super) fn uid(&self, name: &str) -> Option<Uid> {
        self.notes.get(name).map(|note| note.uid)
    }

    /// The status was written, and this is what became of it.
    pub(super) fn wrote(&mut self, verdict: &Verdict, uid: &str, stored: &Value, now: Instant) -> Lesson {
        let (wanted, stored) = (verdict.view(), view(stored));
        self.left_alone.remove(&verdict.name);
        let lesson = self.learn(self.kept.learn(&wanted, &stored), now);
        if stored.digest() != verdict.stored.status {
            self.note(verdict, uid, now);
        }
        if stored.digest() != wanted.digest() && self.left_alone.len() < MAX_NOTES {
            self.left_alone.insert(Arc::clone(&verdict.name));
        }
        lesson
    }

    /// There is such an object, and no status of it can be written: the definition has none.
    pub(super) fn no_status(&mut self, verdict: &Verdict, now: Instant) -> Lesson {
        let lesson = self.learn(Kept::NONE, now);
        self.left_alone.insert(Arc::clone(&verdict.name));
        lesson
    }

    fn learn(&mut self, kept: Kept, now: Instant) -> Lesson {
        if kept != Kept::ALL {
            self.probed = Some(now);
        }
        if kept == self.kept {
            return Lesson::default();
        }
        self.kept = kept;
        Lesson {
            dropped: Some(kept.dropped()),
            again: std::mem::take(&mut self.left_alone).into_iter().collect(),
        }
    }

    /// The status was written or would not be accepted; it counts against the object.
    pub(super) fn note(&mut self, verdict: &Verdict, uid: &str, now: Instant) {
        let (wanted, generation, uid) = (verdict.view().digest(), verdict.stored.generation, Uid::of(uid));
        let fresh = Note {
            wanted,
            generation,
            uid,
            writes: 0,
            last: now,
            told: false,
        };
        let note = self.notes.entry(Arc::clone(&verdict.name)).or_insert(fresh);
        if (note.wanted, note.generation, note.uid) != (wanted, generation, uid) {
            *note = fresh;
        }
        note.writes = note.writes.saturating_add(1);
        note.last = now;
    }

    /// The object is another one, or gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.notes.remove(name);
        self.left_alone.remove(name);
    }

    /// One of the objects whose status the definition does not keep, to look whether it does now.
    pub(super) fn any_left_alone(&self) -> Option<Arc<str>> {
        self.left_alone.iter().next().cloned()
    }

    /// How many objects are given up.
    pub(super) fn given_up(&self) -> usize {
        self.notes.values().filter(|note| note.told).count()
    }

    /// Forgets objects that are at peace.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.notes.retain(|_, note| note.told || now < note.last + PEACE);
        self.notes.shrink_to_fit();
    }
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;
