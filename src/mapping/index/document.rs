//! Sources that are texts: what a faulty edit may and may not change.
//!
//! A document that cannot be used keeps its last good content. One with bad entries gives its good entries at once,
//! and subjects of its last clean version that vanished are held for a while.

use std::collections::HashSet;
use std::time::Instant;

use super::super::aws_auth::{Content, Document, Entries, Problem};
use super::super::policy::MappingPolicy;
use super::super::{Mapping, Origin, SourceId};
use super::{Counts, HOLD, Notice, NoticeKind, Target, replace_in_table};

/// A faulty document with thousands of bad entries is one mistake; this many of them are spelled out.
const MAX_NOTICES: usize = 20;

type Mappings = Vec<Mapping>;

#[derive(Debug, Default)]
pub(super) struct Documents {
    states: Vec<State>,
    unknown_keys: Vec<String>,
    exists: Option<bool>,
    /// What the table has of this source, sorted by subject.
    effective: Mappings,
    held: usize,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    keys: Vec<&'static str>,
    clean: Mappings,
    dirty: Option<Dirty>,
    /// What was last complained of, so that a relist does not repeat it.
    complaints: Vec<Notice>,
    invalid: usize,
    /// Whether the newest version could not be used.
    rejected: bool,
    /// Whether any version could.
    accepted: bool,
}

/// A version with bad entries.
#[derive(Debug)]
struct Dirty {
    good: Mappings,
    since: Instant,
    hold_over: bool,
}

impl Documents {
    pub(super) fn replace(
        &mut self,
        source: SourceId,
        content: Option<Content>,
        policy: &MappingPolicy,
        now: Instant,
        target: &mut Target<'_>,
    ) -> (bool, Vec<Notice>) {
        let mut notices = Vec::new();
        match content {
            None => self.absent(source, &mut notices),
            Some(content) => self.present(source, content, policy, now, &mut notices),
        }
        let changed = self.rebuild(source, now, target, &mut notices);
        (changed, notices)
    }

    /// Ends the holds whose time is over.
    pub(super) fn expire(&mut self, source: SourceId, now: Instant, target: &mut Target<'_>) -> (bool, Vec<Notice>) {
        let mut notices = Vec::new();
        for state in &mut self.states {
            let Some(dirty) = &mut state.dirty else { continue };
            if !dirty.hold_over && now >= dirty.since + HOLD {
                dirty.hold_over = true;
                let message = format!(
                    "{}: still has bad entries; what it no longer lists is dropped now",
                    state.name
                );
                notices.push(Notice {
                    source,
                    kind: NoticeKind::HoldExpired,
                    message,
                });
            }
        }
        if notices.is_empty() {
            return (false, notices);
        }
        let changed = self.rebuild(source, now, target, &mut notices);
        (changed, notices)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let dirty = self.states.iter().filter_map(|state| state.dirty.as_ref());
        dirty
            .filter(|dirty| !dirty.hold_over)
            .map(|dirty| dirty.since + HOLD)
            .min()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            serving: self.effective.len(),
            held: self.held,
            invalid: self
                .states
                .iter()
                .map(|state| state.invalid + usize::from(state.rejected))
                .sum(),
        }
    }

    fn absent(&mut self, source: SourceId, notices: &mut Vec<Notice>) {
        self.states.clear();
        self.unknown_keys.clear();
        if self.exists.replace(false) != Some(false) {
            notices.push(Notice {
                source,
                kind: NoticeKind::Absent,
                message: "does not exist: no mappings".to_owned(),
            });
        }
    }

    fn present(
        &mut self,
        source: SourceId,
        content: Content,
        policy: &MappingPolicy,
        now: Instant,
        notices: &mut Vec<Notice>,
    ) {
        self.exists = Some(true);
        let appeared: Vec<_> = content
            .unknown_keys
            .iter()
            .filter(|key| !self.unknown_keys.contains(key))
            .cloned()
            .collect();
        let mut rejected = false;
        for document in content.documents {
            let place = self.states.iter().position(|state| state.name == document.name);
            let place = place.unwrap_or_else(|| {
                self.states.push(State::new(document.name));
                self.states.len() - 1
            });
            let Some(state) = self.states.get_mut(place) else {
                continue;
            };
            let fault = state.fault(&document, &appeared, content.has_known_key);
            rejected |= fault.is_some();
            match (fault, document.entries) {
                (Some(fault), _) => state.reject(source, &fault, notices),
                (None, Err(error)) => state.reject(source, &format!("{}: {error}", document.name), notices),
                (None, Ok(mut entries)) => {
                    entries.mappings = share(entries.mappings, &self.effective);
                    state.accept(source, document.keys, entries, policy, now, notices);
                }
            }
        }
        // After a rejected rename the unknown key must go on counting as new, or the next edit would slip through.
        if !rejected {
            for key in &appeared {
                let message = format!("unknown key {key:?} has no effect");
                notices.push(Notice {
                    source,
                    kind: NoticeKind::Ignored,
                    message,
                });
            }
            self.unknown_keys = content.unknown_keys;
        }
    }

    fn rebuild(&mut self, source: SourceId, now: Instant, target: &mut Target<'_>, notices: &mut Vec<Notice>) -> bool {
        let (effective, held) = self.merge(now);
        if held.len() > self.held {
            notices.push(held_notice(source, &held));
        }
        self.held = held.len();
        let old = std::mem::replace(&mut self.effective, effective);
        let changed = write_difference(&old, &self.effective, target);
        if changed {
            let message = format!("{} mappings", self.effective.len());
            notices.push(Notice {
                source,
                kind: NoticeKind::Changed,
                message,
            });
        }
        changed
    }

    /// One mapping a subject, by subject: a later entry before an earlier one, any entry before a held one.
    fn merge(&self, now: Instant) -> (Mappings, Mappings) {
        let held = self
            .states
            .iter()
            .flat_map(|state| state.held(now))
            .map(|mapping| (true, mapping));
        let good = self.states.iter().flat_map(State::good).map(|mapping| (false, mapping));
        let mut all: Vec<_> = held.chain(good).collect();
        all.sort_by(|(_, one), (_, other)| subject_key(one).cmp(subject_key(other)));
        let mut effective = Mappings::new();
        let mut held = Mappings::new();
        for same_subject in all.chunk_by(|(_, one), (_, other)| subject_key(one) == subject_key(other)) {
            let Some((is_held, mapping)) = same_subject.last() else {
                continue;
            };
            effective.push(Mapping::clone(mapping));
            held.extend(is_held.then(|| Mapping::clone(mapping)));
        }
        (effective, held)
    }
}

fn subject_key(mapping: &Mapping) -> &str {
    mapping.subject_key()
}

fn held_notice(source: SourceId, held: &[Mapping]) -> Notice {
    let (count, minutes) = (held.len(), HOLD.as_secs() / 60);
    let names: Vec<_> = held.iter().take(MAX_NOTICES).map(subject_key).collect();
    let names = names.join(", ");
    let message = format!("{count} subjects vanished in a faulty edit and stay for up to {minutes} minutes: {names}");
    Notice {
        source,
        kind: NoticeKind::Held,
        message,
    }
}

/// Brings the table from the old mappings to the new ones, both sorted by subject.
fn write_difference(old: &[Mapping], new: &[Mapping], target: &mut Target<'_>) -> bool {
    let mut changed = false;
    for mapping in old {
        if find(new, mapping).is_none() {
            replace_in_table(target.table, Some(mapping), None, target.touched);
            changed = true;
        }
    }
    for mapping in new {
        let before = find(old, mapping);
        if before.is_none_or(|before| !before.is_same(mapping)) {
            replace_in_table(target.table, before, Some(mapping.clone()), target.touched);
            changed = true;
        }
    }
    changed
}

fn find<'a>(sorted: &'a [Mapping], wanted: &Mapping) -> Option<&'a Mapping> {
    let place = sorted
        .binary_search_by(|mapping| subject_key(mapping).cmp(subject_key(wanted)))
        .ok()?;
    sorted.get(place)
}

/// Entries that did not change keep their value, so that reading a source again costs no second copy and no change.
fn share(new: Mappings, known: &[Mapping]) -> Mappings {
    let same = |mapping: Mapping| match find(known, &mapping) {
        Some(before) if *before == mapping => before.clone(),
        _ => mapping,
    };
    new.into_iter().map(same).collect()
}

impl State {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            keys: Vec::new(),
            clean: Vec::new(),
            dirty: None,
            complaints: Vec::new(),
            invalid: 0,
            rejected: false,
            accepted: false,
        }
    }

    fn good(&self) -> &[Mapping] {
        self.dirty.as_ref().map_or(&self.clean, |dirty| &dirty.good)
    }

    /// The last clean version, while a faulty one is in force; entries that the faulty one still has override these.
    fn held(&self, now: Instant) -> &[Mapping] {
        let holds = self
            .dirty
            .as_ref()
            .is_some_and(|dirty| !dirty.hold_over && now < dirty.since + HOLD);
        if holds { &self.clean } else { &[] }
    }

    /// Why the document must not replace what is there, although it may parse.
    fn fault(&self, document: &Document, appeared: &[String], has_known_key: bool) -> Option<String> {
        let vanished = self.keys.iter().find(|key| !document.keys.contains(key))?;
        if !has_known_key {
            return Some(format!(
                "{}: no key that we know is left; delete the object to empty it",
                self.name
            ));
        }
        let unknown = appeared.first()?;
        Some(format!(
            "{}: key {vanished} vanished and the unknown key {unknown:?} appeared: a misspelling?",
            self.name
        ))
    }

    fn reject(&mut self, source: SourceId, fault: &str, notices: &mut Vec<Notice>) {
        self.rejected = true;
        let rest = if self.accepted {
            "its last good content stays"
        } else {
            "it had no good content yet"
        };
        let message = format!("{fault}; {rest}");
        self.complain(
            vec![Notice {
                source,
                kind: NoticeKind::DocumentRejected,
                message,
            }],
            notices,
        );
    }

    fn accept(
        &mut self,
        source: SourceId,
        keys: Vec<&'static str>,
        entries: Entries,
        policy: &MappingPolicy,
        now: Instant,
        notices: &mut Vec<Notice>,
    ) {
        self.keys = keys;
        let Entries {
            mappings,
            mut problems,
            warnings,
        } = entries;
        let (good, refused): (Mappings, Mappings) = mappings
            .into_iter()
            .partition(|mapping| policy.check_mapping(mapping).is_ok());
        problems.extend(refused.iter().filter_map(|mapping| refusal(mapping, policy)));
        let was_faulty = self.rejected || self.dirty.is_some();
        self.rejected = false;
        self.accepted = true;
        self.invalid = problems.len();
        let complaints = complaints(source, self.name, &problems, &warnings, &good);
        if problems.is_empty() {
            self.clean = good;
            self.dirty = None;
            if was_faulty {
                let message = format!("{}: is good again", self.name);
                notices.push(Notice {
                    source,
                    kind: NoticeKind::Mended,
                    message,
                });
            }
        } else {
            let (since, hold_over) = self
                .dirty
                .as_ref()
                .map_or((now, false), |dirty| (dirty.since, dirty.hold_over));
            self.dirty = Some(Dirty { good, since, hold_over });
        }
        self.complain(complaints, notices);
    }

    fn complain(&mut self, complaints: Vec<Notice>, notices: &mut Vec<Notice>) {
        if self.complaints != complaints {
            notices.extend(complaints.iter().cloned());
            self.complaints = complaints;
        }
    }
}

fn refusal(mapping: &Mapping, policy: &MappingPolicy) -> Option<Problem> {
    let error = policy.check_mapping(mapping).err()?;
    match mapping.origin() {
        Origin::Entry { list, line } => Some(Problem {
            list: *list,
            line: *line,
            error,
        }),
        Origin::Object { .. } => None,
    }
}

fn complaints(
    source: SourceId,
    name: &str,
    problems: &[Problem],
    warnings: &[Problem],
    good: &[Mapping],
) -> Vec<Notice> {
    let describe = |problem: &Problem| {
        let text = problem.to_string();
        if text.starts_with(name) {
            text
        } else {
            format!("{name}: {text}")
        }
    };
    let rejected = problems
        .iter()
        .map(|problem| (NoticeKind::EntryRejected, describe(problem)));
    let ignored = warnings.iter().map(|problem| (NoticeKind::Ignored, describe(problem)));
    let all = rejected.chain(duplicates(name, good)).chain(ignored);
    let mut notices: Vec<_> = all
        .take(MAX_NOTICES + 1)
        .map(|(kind, message)| Notice { source, kind, message })
        .collect();
    if notices.len() > MAX_NOTICES
        && let Some(last) = notices.last_mut()
    {
        last.message = format!("{name}: and more like these ({} bad entries in all)", problems.len());
    }
    notices
}

fn duplicates<'a>(name: &'a str, good: &'a [Mapping]) -> impl Iterator<Item = (NoticeKind, String)> + 'a {
    let mut last = HashSet::new();
    let shadowed: Vec<_> = good
        .iter()
        .rev()
        .filter(|mapping| !last.insert(mapping.subject_key()))
        .collect();
    shadowed.into_iter().rev().map(move |mapping| {
        let (key, line) = (mapping.subject_key(), line_of(mapping));
        (
            NoticeKind::Duplicate,
            format!("{name}, line {line}: {key} is mapped again further down, and the last entry wins"),
        )
    })
}

fn line_of(mapping: &Mapping) -> u32 {
    match mapping.origin() {
        Origin::Entry { line, .. } => *line,
        Origin::Object { .. } => 0,
    }
}
