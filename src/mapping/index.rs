//! The state behind the table: what every source last said, in three verbs (apply, delete, reset) and documents.
//!
//! One task owns it. It decides what is served, what is held, and what each object's status would say.

mod document;
mod objects;
mod source;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::aws_auth::Content;
use super::policy::MappingPolicy;
use super::table::MappingTable;
use super::{Mapping, MappingError, Origin, SourceId};
use document::Documents;
use objects::{Admitted, Objects};
pub use source::{Notice, NoticeKind, Object, SourceFailure, SourceState, SourceUpdate, Stored};
pub use status::{StatusView, Verdict, VerdictState};

/// How long a source that was read once may answer 404 before its content is dropped: a definition that is deleted and
/// installed again by a GitOps tool must not lock anybody out in between.
pub const NOT_FOUND_GRACE: Duration = Duration::from_secs(30);

/// How long a subject that vanished in a faulty edit stays.
pub const HOLD: Duration = Duration::from_mins(15);

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
    touched: Touched,
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
            touched: Touched::default(),
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
                self.changed |= self.objects.delete(&name, &mut self.table, &mut self.touched);
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
        let mut target = Target {
            table: &mut self.table,
            touched: &mut self.touched,
        };
        for (source, documents) in &mut self.documents {
            let (changed, expired) = documents.expire(*source, now, &mut target);
            self.changed |= changed;
            notices.extend(expired);
        }
        if let Some((source, since)) = self.not_found_since
            && now >= since + NOT_FOUND_GRACE
        {
            self.not_found_since = None;
            self.changed |= self.objects.reset(Vec::new(), &mut self.table, &mut self.touched);
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
        let name = Arc::clone(&object.name);
        let admitted = self.admit_object(object);
        let news = self.objects.apply(admitted, &mut self.table, &mut self.touched);
        self.changed |= news.changed;
        if let Some(error) = news.newly_invalid {
            notices.push(invalid_object(&name, &error));
        }
    }

    fn reset(&mut self, objects: Vec<Object>, notices: &mut Vec<Notice>) {
        self.not_found_since = None;
        let admitted: Vec<_> = objects.into_iter().map(|object| self.admit_object(object)).collect();
        for object in &admitted {
            if let Err(error) = &object.mapping
                && !self.objects.is_invalid_for(&object.name, error)
            {
                notices.push(invalid_object(&object.name, error));
            }
        }
        self.changed |= self.objects.reset(admitted, &mut self.table, &mut self.touched);
    }

    fn admit_object(&self, object: Object) -> Admitted {
        Admitted {
            mapping: self.admit(object.mapping),
            name: object.name,
            stored: object.stored,
        }
    }

    fn admit(&self, mapping: Result<Mapping, MappingError>) -> Result<Mapping, MappingError> {
        let mapping = mapping?;
        self.policy.check_mapping(&mapping)?;
        Ok(mapping)
    }

    fn content(&mut self, source: SourceId, content: Option<Content>, now: Instant, notices: &mut Vec<Notice>) {
        let id = content.as_ref().and_then(|content| content.cluster_id.clone());
        if source == SourceId::AuthenticatorConfigMap && id.is_some() {
            self.cluster_id = id;
        }
        let documents = self.documents.entry(source).or_default();
        let mut target = Target {
            table: &mut self.table,
            touched: &mut self.touched,
        };
        let (changed, news) = documents.replace(source, content, &self.policy, now, &mut target);
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
                    kind: NoticeKind::Absent,
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

fn invalid_object(name: &str, error: &MappingError) -> Notice {
    let message = format!("IAMIdentityMapping {name:?}: {error}");
    Notice {
        source: SourceId::Crd,
        kind: NoticeKind::EntryRejected,
        message,
    }
}

/// The objects whose verdict may be another one since somebody last asked.
#[derive(Debug, Default)]
struct Touched(HashSet<Arc<str>>);

impl Touched {
    fn push(&mut self, name: &Arc<str>) {
        self.0.insert(Arc::clone(name));
    }

    fn push_objects(&mut self, contenders: &[Mapping]) {
        for mapping in contenders {
            if let Origin::Object { name, .. } = mapping.origin() {
                self.push(name);
            }
        }
    }
}

/// What a change is written to.
struct Target<'a> {
    table: &'a mut MappingTable,
    touched: &'a mut Touched,
}

/// Puts a mapping in its place among the contenders of its subject, and takes the one it replaces out.
fn replace_in_table(table: &mut MappingTable, old: Option<&Mapping>, new: Option<Mapping>, touched: &mut Touched) {
    let moved = old.filter(|old| new.as_ref().is_none_or(|new| new.subject_key() != old.subject_key()));
    if let Some(old) = moved {
        let mut left = table.contenders(old.subject_key()).to_vec();
        left.retain(|other| !is_same_place(other, old));
        touched.push_objects(&left);
        table.set_contenders(old.subject_key(), left);
    }
    if let Some(new) = new {
        let mut all: Vec<_> = table.contenders(new.subject_key()).to_vec();
        all.retain(|other| !old.is_some_and(|old| is_same_place(other, old)) && !is_same_place(other, &new));
        let place = all.partition_point(|other| precedence(table, other) < precedence(table, &new));
        all.insert(place, new.clone());
        touched.push_objects(&all);
        table.set_contenders(new.subject_key(), all);
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
