//! Adds an entry to the text of `mapRoles` or `mapUsers` and changes nothing else: comments, order, indentation and line
//! ends stay as people wrote them.
//!
//! The text is edited as text, at the end of the list and in the style found there. Whatever comes of it is read back by
//! the parser of the server: unless all that was there before is there still and the new entry besides, it is thrown away.

mod text;

use thiserror::Error;

use super::super::policy::MappingPolicy;
use super::super::{Mapping, MappingError, MappingText, Origin, SourceId, Subject};
use super::yaml::{self, DocumentError};
use super::{Entries, List, entry};

/// Whom a new entry is for, as it is written.
#[derive(Clone, Copy, Debug)]
pub enum SubjectText<'a> {
    /// `rolearn` or `userarn`.
    Arn(&'a str),
    /// `sso`.
    PermissionSet {
        /// `permissionSetName`.
        name: &'a str,
        /// `accountID`.
        account: &'a str,
        /// `partition`.
        partition: &'a str,
    },
}

impl SubjectText<'_> {
    /// The subject, checked.
    ///
    /// # Errors
    /// When it is not one.
    pub fn subject(&self) -> Result<Subject, MappingError> {
        match self {
            Self::Arn(arn) => Subject::from_arn(arn),
            Self::PermissionSet {
                name,
                account,
                partition,
            } => Subject::permission_set(name, account, partition),
        }
    }
}

/// An entry to add.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// The list it goes to.
    pub list: List,
    /// Whom it is for.
    pub subject: SubjectText<'a>,
    /// The username template.
    pub username: &'a str,
    /// The group templates.
    pub groups: &'a [String],
}

impl NewEntry<'_> {
    /// The entry as the server would have it.
    ///
    /// # Errors
    /// When the server would refuse it.
    pub fn mapping(&self, policy: &MappingPolicy) -> Result<Mapping, MappingError> {
        let text = MappingText {
            username: self.username,
            groups: self.groups,
            user_id: None,
        };
        let origin = Origin::Entry {
            list: self.list,
            line: 1,
        };
        let mapping = Mapping::new(&self.subject.subject()?, text, SourceId::EksConfigMap, origin)?;
        policy.check_mapping(&mapping)?;
        Ok(mapping)
    }

    /// The entry as one would write it by hand.
    pub fn snippet(&self) -> String {
        text::block(self, &text::Style::default())
    }
}

/// What comes of adding an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addition {
    /// The new text.
    Text(String),
    /// The same entry is there already.
    Present {
        /// In this line, from 1.
        line: u32,
    },
}

/// Why an entry cannot be added.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddError {
    /// The server would refuse the new entry.
    #[error("the server would refuse the entry: {0}")]
    Entry(#[from] MappingError),
    /// The list as it is now cannot be read.
    #[error("{} cannot be read as it is now: {error}", list.as_str())]
    Document {
        /// The list.
        list: List,
        /// Why and where.
        error: DocumentError,
    },
    /// Another entry maps the same principal, and only one of them could hold.
    #[error("{}, line {line}, maps this principal already, to {grants}", list.as_str())]
    Taken {
        /// The list.
        list: List,
        /// The line of that entry, from 1.
        line: u32,
        /// To whom.
        grants: Box<str>,
    },
    /// The list is written in a way that cannot be added to without rewriting it.
    #[error("{} is written in a way that nothing can be added to without rewriting it", list.as_str())]
    Style {
        /// The list.
        list: List,
    },
}

/// Adds an entry at the end of a list, given as the text of its key in the `ConfigMap`.
///
/// # Errors
/// When the server would refuse the entry, the text cannot be read, somebody else has the subject, or the text is
/// written in a way that this cannot add to.
pub fn add(old: &str, new: &NewEntry<'_>, policy: &MappingPolicy) -> Result<Addition, AddError> {
    let mapping = new.mapping(policy)?;
    let list = new.list;
    let before = read(list, old).map_err(|error| AddError::Document { list, error })?;
    let same_subject = |other: &&Mapping| other.subject_key() == mapping.subject_key();
    // The last one is the one that holds.
    if let Some(other) = before.mappings.iter().rfind(same_subject) {
        let line = line_of(other);
        if other.grants_the_same(&mapping) {
            return Ok(Addition::Present { line });
        }
        let grants = grants(other).into();
        return Err(AddError::Taken { list, line, grants });
    }
    let is_empty = before.mappings.is_empty() && before.problems.is_empty();
    text::insert(old, new, is_empty)
        .filter(|text| holds_both(text, list, &before, &mapping))
        .map(Addition::Text)
        .ok_or(AddError::Style { list })
}

fn read(list: List, text: &str) -> Result<Entries, DocumentError> {
    yaml::parse(text).and_then(|item| entry::read_list(list, item, SourceId::EksConfigMap))
}

/// Whether a text says what was said before, and the new mapping last.
fn holds_both(text: &str, list: List, before: &Entries, mapping: &Mapping) -> bool {
    let Ok(after) = read(list, text) else { return false };
    let Some((newest, rest)) = after.mappings.split_last() else {
        return false;
    };
    rest == before.mappings
        && after.problems == before.problems
        && after.warnings == before.warnings
        && newest.subject_key() == mapping.subject_key()
        && newest.grants_the_same(mapping)
}

fn line_of(mapping: &Mapping) -> u32 {
    match mapping.origin() {
        Origin::Entry { line, .. } => *line,
        Origin::Object { .. } => 1,
    }
}

/// The username and groups of a mapping, for messages.
pub fn grants(mapping: &Mapping) -> String {
    let username = mapping.username().map(|name| name.to_string()).unwrap_or_default();
    let groups: Vec<_> = mapping.groups().map(|group| group.to_string()).collect();
    match groups.as_slice() {
        [] => format!("{username:?} without groups"),
        _ => format!("{username:?} in {}", groups.join(", ")),
    }
}

#[cfg(test)]
mod tests;
