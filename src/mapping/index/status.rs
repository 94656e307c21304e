//! What the status of an object must say, from the same state that serves.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::table::MappingTable;
use super::super::{Mapping, MappingError, Origin};
use super::{Index, Stored};

/// Whether an object is served; the names are the reasons of the condition `Ready`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VerdictState {
    /// It decides who its subject becomes.
    Serving,
    /// It is not a mapping.
    Invalid,
    /// Another mapping decides about the same subject.
    Conflict,
    /// Its username begins with a prefix that this source may not use.
    ReservedPrefix,
}

impl VerdictState {
    /// The reason of the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Invalid => "Invalid",
            Self::Conflict => "Conflict",
            Self::ReservedPrefix => "ReservedPrefix",
        }
    }
}

/// What the status of one object must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// `metadata.name` of the object.
    pub name: Arc<str>,
    /// How it is stored.
    pub stored: Stored,
    /// Whether it is served.
    pub state: VerdictState,
    /// The same in words: the faulty part, or the mapping that wins.
    pub message: String,
    /// The subject in lower case; empty while the object is invalid.
    pub canonical_arn: String,
    /// The pin on the IAM unique id; empty without one.
    pub user_id: String,
}

/// The parts of a status that matter, whoever wrote it: without times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StatusView<'a> {
    /// `status.canonicalARN`
    pub canonical_arn: &'a str,
    /// `status.userID`
    pub user_id: &'a str,
    /// `status.observedGeneration`
    pub observed_generation: i64,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    /// Its reason.
    pub reason: &'a str,
    /// Its message.
    pub message: &'a str,
}

impl StatusView<'_> {
    /// A number that is the same for the same status in this process.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Verdict {
    /// The status that says it.
    pub fn view(&self) -> StatusView<'_> {
        StatusView {
            canonical_arn: &self.canonical_arn,
            user_id: &self.user_id,
            observed_generation: self.stored.generation,
            ready: self.state == VerdictState::Serving,
            reason: self.state.as_str(),
            message: &self.message,
        }
    }

    /// Whether the object already says it.
    pub fn is_stored(&self) -> bool {
        self.view().digest() == self.stored.status
    }
}

impl Index {
    /// What the status of an object must say; `None` when there is no such object.
    pub fn verdict(&self, name: &str) -> Option<Verdict> {
        let record = self.objects.get(name)?;
        let name = Arc::from(name);
        let stored = record.stored;
        match &record.mapping {
            Ok(mapping) => Some(served_or_not(name, stored, mapping, self.table())),
            Err(error) => Some(refused(name, stored, error)),
        }
    }

    /// The objects whose verdict may have changed since the last call, in no particular order.
    pub fn take_touched(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.touched.0).into_iter().collect()
    }
}

fn served_or_not(name: Arc<str>, stored: Stored, mapping: &Mapping, table: &MappingTable) -> Verdict {
    let key = mapping.subject_key();
    let winner = table.contenders(key).first().filter(|winner| !winner.is_same(mapping));
    let (state, message) = match winner {
        None => (
            VerdictState::Serving,
            "Decides who this AWS principal becomes".to_owned(),
        ),
        Some(winner) => (
            VerdictState::Conflict,
            format!("{} maps the same principal and wins: {}", whose(winner), why(winner)),
        ),
    };
    let (canonical_arn, user_id) = (key.to_owned(), mapping.user_id().unwrap_or_default().to_owned());
    Verdict {
        name,
        stored,
        state,
        message,
        canonical_arn,
        user_id,
    }
}

fn whose(winner: &Mapping) -> String {
    match winner.origin() {
        Origin::Object { name, .. } => format!("IAMIdentityMapping {name:?}"),
        Origin::Entry { list, .. } => format!("{} of {}", list.as_str(), winner.source().as_str()),
    }
}

fn why(winner: &Mapping) -> &'static str {
    match winner.origin() {
        Origin::Object { .. } => "it is older, or as old and lower in name",
        Origin::Entry { .. } => "that source comes first in --backend-mode",
    }
}

fn refused(name: Arc<str>, stored: Stored, error: &MappingError) -> Verdict {
    let state = match error {
        MappingError::ReservedPrefix(_) => VerdictState::ReservedPrefix,
        _ => VerdictState::Invalid,
    };
    Verdict {
        name,
        stored,
        state,
        message: error.to_string(),
        canonical_arn: String::new(),
        user_id: String::new(),
    }
}
