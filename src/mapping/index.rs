//! The state behind the table: what every source last said, in three verbs (apply, delete, reset) and documents.
//!
//! One task owns it. It decides what is served, what is held, and what each object's status would say.

mod document;
mod objects;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::aws_auth::Content;
use super::policy::MappingPolicy;
use super::table::MappingTable;
use super::{Mapping, MappingError, Origin, SourceId};
use document::Documents;
use objects::Objects;

/// How long a source that was read once may answer 404 before its content is dropped: a definition that is deleted and
/// installed again by a GitOps tool must not lock anybody out in between.
pub const NOT_FOUND_GRACE: Duration = Duration::from_secs(30);

/// How long a subject that vanished in a faulty edit stays.
pub const HOLD: Duration = Duration::from_secs(15 * 60);

/// One custom resource, reduced to what is needed of it.
#[derive(Clone, Debug)]
pub struct Object {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// The mapping, or why there is none.
    pub mapping: Result<Mapping, MappingError>,
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
    /// Entries or objects that are not mappings.
    pub invalid: usize,
}

/// Per-source state and the table made from it.
#[derive(Debug)]
pub struct Index {
    policy: Arc<MappingPolicy>,
    table: MappingTable,
    objects: Objects,
    documents: BTreeMap<SourceId, Documents>,
    sources: Vec<SourceState>,
    not_found_since: Option<(SourceId, Instant)>,
    cluster_id: Option<Box<str>>,
    changed: bool,
}

impl Index {
    /// An index without any content for these sources, in backend order.
    pub fn new(order: &[SourceId], policy: Arc<MappingPolicy>) -> Self {
        let state = |source: &SourceId| SourceState {
            source: *source,
            synced: false,
            last_heard: None,
            failure: None,
            serving: 0,
            held: 0,
            invalid: 0,
        };
        Self {
            policy,
            table: MappingTable::new(order),
            objects: Objects::default(),
            documents: BTreeMap::new(),
            sources: order.iter().map(state).collect(),
            not_found_since: None,
            cluster_id: None,
            changed: false,
        }
    }

    /// Takes in what a source says.
    pub fn update(&mut self, update: SourceUpdate, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        let source = update.source();
        match update {
            SourceUpdate::Failed(source, failure) => self.failed(source, failure, &mut notices),
            SourceUpdate::NotFound(source) => self.not_found(source, now, &mut notices),
            SourceUpdate::Alive(_) => self.heard(source, now, &mut notices),
            SourceUpdate::Apply(object) => {
                self.apply(object, &mut notices);
                self.heard(source, now, &mut notices);
            }
            SourceUpdate::Delete(name) => {
                self.changed |= self.objects.delete(&name, &mut self.table);
                self.heard(source, now, &mut notices);
            }
            SourceUpdate::Reset(objects) => {
                self.reset(objects, &mut notices);
                self.synced(source, now, &mut notices);
            }
            SourceUpdate::Content(source, content) => {
                self.content(source, content, now, &mut notices);
                self.synced(source, now, &mut notices);
            }
        }
        self.count(source);
        notices
    }

    /// Lets time pass: ends holds and the grace of a missing definition.
    pub fn tick(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (source, documents) in &mut self.documents {
            let (changed, expired) = documents.expire(*source, now, &mut self.table);
            self.changed |= changed;
            notices.extend(expired);
        }
        if let Some((source, since)) = self.not_found_since
            && now >= since + NOT_FOUND_GRACE
        {
            self.not_found_since = None;
            self.changed |= self.objects.reset(Vec::new(), &mut self.table);
            let message = "the definition is still not installed: all its mappings are dropped".to_owned();
            notices.push(Notice {
                source,
                kind: NoticeKind::Absent,
                message,
            });
        }
        for source in SourceId::ALL {
            self.count(source);
        }
        notices
    }

    /// When [`Index::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let holds = self.documents.values().filter_map(Documents::next_deadline);
        holds
            .chain(self.not_found_since.map(|(_, since)| since + NOT_FOUND_GRACE))
            .min()
    }

    /// The table, when it differs from the one given out before.
    pub fn publish(&mut self) -> Option<MappingTable> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.table.bump_generation();
        Some(self.table.clone())
    }

    /// How each source is doing, in backend order.
    pub fn sources(&self) -> &[SourceState] {
        &self.sources
    }

    /// The cluster id that the watched configuration gives.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The newest state of the table, published or not.
    pub fn table(&self) -> &MappingTable {
        &self.table
    }

    fn apply(&mut self, object: Object, notices: &mut Vec<Notice>) {
        let (name, mapping) = (object.name, self.admit(object.mapping));
        let news = self.objects.apply(name.clone(), mapping, &mut self.table);
        self.changed |= news.changed;
        if let Some(error) = news.newly_invalid {
            notices.push(invalid_object(&name, &error));
        }
    }

    fn reset(&mut self, objects: Vec<Object>, notices: &mut Vec<Notice>) {
        self.not_found_since = None;
        let admitted: Vec<_> = objects
            .into_iter()
            .map(|object| (object.name, self.admit(object.mapping)))
            .collect();
        for (name, mapping) in &admitted {
            if let Err(error) = mapping
                && !self.objects.is_invalid_for(name, error)
            {
                notices.push(invalid_object(name, error));
            }
        }
        self.changed |= self.objects.reset(admitted, &mut self.table);
    }

    fn admit(&self, mapping: Result<Mapping, MappingError>) -> Result<Arc<Mapping>, MappingError> {
        let mapping = mapping?;
        self.policy.check_mapping(&mapping)?;
        Ok(Arc::new(mapping))
    }

    fn content(&mut self, source: SourceId, content: Option<Content>, now: Instant, notices: &mut Vec<Notice>) {
        let id = content.as_ref().and_then(|content| content.cluster_id.clone());
        if source == SourceId::AuthenticatorConfigMap && id.is_some() {
            self.cluster_id = id;
        }
        let documents = self.documents.entry(source).or_default();
        let (changed, news) = documents.replace(source, content, &self.policy, now, &mut self.table);
        self.changed |= changed;
        notices.extend(news);
    }

    fn synced(&mut self, source: SourceId, now: Instant, notices: &mut Vec<Notice>) {
        self.heard(source, now, notices);
        if self.table.mark_synced(source) {
            self.changed = true;
            if let Some(state) = self.state(source) {
                state.synced = true;
            }
            notices.push(Notice {
                source,
                kind: NoticeKind::Synced,
                message: "read for the first time".to_owned(),
            });
        }
    }

    fn heard(&mut self, source: SourceId, now: Instant, notices: &mut Vec<Notice>) {
        self.not_found_since = self.not_found_since.filter(|(missing, _)| *missing != source);
        let Some(state) = self.state(source) else { return };
        state.last_heard = Some(now);
        if state.failure.take().is_some() {
            notices.push(Notice {
                source,
                kind: NoticeKind::Recovered,
                message: "can be read again".to_owned(),
            });
        }
    }

    fn failed(&mut self, source: SourceId, failure: SourceFailure, notices: &mut Vec<Notice>) {
        // Whether the definition is still missing is not known while nobody answers: the 404s are no longer steady.
        self.not_found_since = self.not_found_since.filter(|(missing, _)| *missing != source);
        let Some(state) = self.state(source) else { return };
        if state.failure.as_ref() != Some(&failure) {
            notices.push(Notice {
                source,
                kind: NoticeKind::Failed,
                message: failure.to_string(),
            });
            state.failure = Some(failure);
        }
    }

    fn not_found(&mut self, source: SourceId, now: Instant, notices: &mut Vec<Notice>) {
        let since = self
            .not_found_since
            .filter(|(missing, _)| *missing == source)
            .map(|(_, since)| since);
        let was_synced = self.state(source).is_some_and(|state| state.synced);
        self.synced(source, now, notices);
        if !was_synced {
            let message = "the definition is not installed: no mappings".to_owned();
            notices.push(Notice {
                source,
                kind: NoticeKind::Absent,
                message,
            });
        } else if !self.objects.is_empty() {
            self.not_found_since = Some((source, since.unwrap_or(now)));
            if since.is_none() {
                let seconds = NOT_FOUND_GRACE.as_secs();
                let message = format!("the definition is gone: its mappings stay for {seconds} s");
                notices.push(Notice {
                    source,
                    kind: NoticeKind::Failed,
                    message,
                });
            }
        }
    }

    fn state(&mut self, source: SourceId) -> Option<&mut SourceState> {
        self.sources.iter_mut().find(|state| state.source == source)
    }

    fn count(&mut self, source: SourceId) {
        let counts = match source {
            SourceId::Crd => self.objects.counts(),
            _ => self.documents.get(&source).map(Documents::counts).unwrap_or_default(),
        };
        if let Some(state) = self.state(source) {
            (state.serving, state.held, state.invalid) = (counts.serving, counts.held, counts.invalid);
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    serving: usize,
    held: usize,
    invalid: usize,
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

fn invalid_object(name: &str, error: &MappingError) -> Notice {
    let message = format!("IAMIdentityMapping {name:?}: {error}");
    Notice {
        source: SourceId::Crd,
        kind: NoticeKind::EntryRejected,
        message,
    }
}

/// Puts a mapping in its place among the contenders of its subject, and takes the one it replaces out.
fn replace_in_table(table: &mut MappingTable, old: Option<&Mapping>, new: Option<Arc<Mapping>>) {
    let moved = old.filter(|old| new.as_ref().is_none_or(|new| new.subject() != old.subject()));
    if let Some(old) = moved {
        let left = table
            .contenders(old.subject().key())
            .iter()
            .filter(|other| !is_same_place(other, old))
            .cloned();
        let left = left.collect();
        table.set_contenders(old.subject().key(), left);
    }
    if let Some(new) = new {
        let mut all: Vec<_> = table.contenders(new.subject().key()).to_vec();
        all.retain(|other| !old.is_some_and(|old| is_same_place(other, old)) && !is_same_place(other, &new));
        let place = all.partition_point(|other| precedence(table, other) < precedence(table, &new));
        all.insert(place, Arc::clone(&new));
        table.set_contenders(new.subject().key(), all);
    }
}

/// Objects are told apart by name; the documents of one source give at most one mapping for a subject.
fn is_same_place(one: &Mapping, other: &Mapping) -> bool {
    one.source() == other.source()
        && match (one.origin(), other.origin()) {
            (Origin::Object { name: one, .. }, Origin::Object { name: other, .. }) => one == other,
            _ => true,
        }
}

/// Backend order, then age, then name: the same on every replica.
fn precedence<'a>(table: &MappingTable, mapping: &'a Mapping) -> (usize, i64, &'a str) {
    let (created, name) = match mapping.origin() {
        Origin::Object { name, created } => (*created, &**name),
        Origin::Entry { .. } => (0, ""),
    };
    (table.rank_of(mapping.source()), created, name)
}
