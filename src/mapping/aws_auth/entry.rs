//! One entry of a list: keys in any letter case, values as lenient as the Go program's, errors that say what to mend.

use std::collections::BTreeMap;

use super::super::yaml::{DocumentError, Item, Node};
use super::super::{Mapping, MappingError, MappingText, Origin, SourceId, Subject};
use super::{Entries, List, Problem};
use crate::arn::AccountId;

/// With more bad entries than this it is no list of mappings, and to report each would cost more than it tells.
const MAX_PROBLEMS: usize = 1_000;

const ENTRY_KEYS: [&str; 6] = ["rolearn", "userarn", "username", "groups", "sso", "userid"];
const SSO_KEYS: [&str; 3] = ["permissionsetname", "accountid", "partition"];

type Fields = BTreeMap<String, Item>;

/// Reads a whole list.
///
/// # Errors
/// When it is not a list; bad entries are reported in the result.
pub(super) fn read_list(list: List, item: Item, source: SourceId) -> Result<Entries, DocumentError> {
    let items = match item.node {
        Node::List(items) => items,
        Node::Null => return Ok(Entries::default()),
        Node::Text(text) if text.trim().is_empty() => return Ok(Entries::default()),
        _ => return Err(item.error(format!("{} must be a list, not {}", list.as_str(), item.kind()))),
    };
    let mut entries = Entries {
        mappings: Vec::with_capacity(items.len()),
        ..Entries::default()
    };
    for item in items {
        if entries.problems.len() >= MAX_PROBLEMS || entries.warnings.len() >= MAX_PROBLEMS {
            let message = format!("{} has more than {MAX_PROBLEMS} bad entries", list.as_str());
            return Err(item.error(message));
        }
        let line = item.line;
        let origin = Origin::Entry { list, line };
        let mut warn = |error| entries.warnings.push(Problem { list, line, error });
        let mapping = match list {
            List::MapAccounts => read_account(&item).map(|account| Mapping::account(account, source, origin)),
            List::MapRoles | List::MapUsers => read_entry(list, item, source, origin, &mut warn),
        };
        match mapping {
            Ok(mapping) => entries.mappings.push(mapping),
            Err(error) => entries.problems.push(Problem { list, line, error }),
        }
    }
    Ok(entries)
}

fn read_account(item: &Item) -> Result<AccountId, MappingError> {
    let (text, bare) = match &item.node {
        Node::Text(text) => (text, false),
        Node::Integer(digits) => (digits, true),
        _ => {
            return Err(field(format!(
                "an account must be a string of 12 digits, not {}",
                item.kind()
            )));
        }
    };
    AccountId::parse(text).ok_or_else(|| {
        if bare && text.len() < 12 {
            let digits = text.len();
            return field(format!(
                "account {text} has {digits} digits: a bare integer loses its leading zeros; write it in quotes, as 12 digits"
            ));
        }
        field("an account must be a string of 12 digits, leading zeros included")
    })
}

fn read_entry(
    list: List,
    item: Item,
    source: SourceId,
    origin: Origin,
    warn: &mut dyn FnMut(MappingError),
) -> Result<Mapping, MappingError> {
    let fields = fields(item, "an entry", &ENTRY_KEYS, warn)?;
    let subject = read_subject(list, &fields, warn)?;
    let username = optional_text(&fields, "username")?.unwrap_or_default();
    let groups = fields.get("groups").map_or(Ok(Vec::new()), read_groups)?;
    let user_id = optional_text(&fields, "userid")?.filter(|pin| !pin.is_empty());
    Mapping::new(
        &subject,
        MappingText {
            username,
            groups: &groups,
            user_id,
        },
        source,
        origin,
    )
}

fn read_subject(list: List, fields: &Fields, warn: &mut dyn FnMut(MappingError)) -> Result<Subject, MappingError> {
    let (key, choices) = match list {
        List::MapUsers => ("userarn", "userarn"),
        List::MapRoles | List::MapAccounts => ("rolearn", "rolearn and sso"),
    };
    let arn = optional_text(fields, key)?.filter(|arn| !arn.is_empty());
    let sso = fields
        .get("sso")
        .filter(|item| list == List::MapRoles && !matches!(item.node, Node::Null));
    match (arn, sso) {
        (Some(arn), None) => Subject::from_arn(arn),
        (None, Some(sso)) => read_sso(sso, warn),
        _ => Err(MappingError::OneSubject(choices)),
    }
}

fn read_sso(item: &Item, warn: &mut dyn FnMut(MappingError)) -> Result<Subject, MappingError> {
    let Node::Map(entries) = &item.node else {
        return Err(field(format!("sso must have keys, not be {}", item.kind())));
    };
    let mut get = BTreeMap::new();
    for (key, value) in entries {
        let name = key.to_ascii_lowercase();
        if !SSO_KEYS.contains(&name.as_str()) {
            warn(field(format!("sso: unknown key {key:?} is ignored")));
        } else if get.insert(name, value).is_some() {
            return Err(field(format!("sso: key {key:?} is given twice")));
        }
    }
    let get = |key: &str| get.get(key).and_then(|item| text(item)).unwrap_or_default();
    let partition = match get("partition") {
        "" => "aws",
        partition => partition,
    };
    Subject::permission_set(get("permissionsetname"), get("accountid"), partition)
}

fn read_groups(item: &Item) -> Result<Vec<String>, MappingError> {
    let group = |item: &Item| {
        text(item).map(str::to_owned).ok_or_else(|| {
            field(format!(
                "line {}: a group must be a string, not {}; write it in quotes",
                item.line,
                item.kind()
            ))
        })
    };
    match &item.node {
        Node::Null => Ok(Vec::new()),
        Node::List(items) => items.iter().map(group).collect(),
        // The Go program splits a string here, in its configuration file.
        Node::Text(text) => Ok(text.split(',').map(|group| group.trim().to_owned()).collect()),
        _ => Err(field(format!("groups must be a list of strings, not {}", item.kind()))),
    }
}

fn fields(item: Item, what: &str, known: &[&str], warn: &mut dyn FnMut(MappingError)) -> Result<Fields, MappingError> {
    let kind = item.kind();
    let Node::Map(entries) = item.node else {
        return Err(field(format!(
            "{what} must have keys such as rolearn and username, not be {kind}"
        )));
    };
    let mut fields = Fields::new();
    for (key, value) in entries {
        let name = key.to_ascii_lowercase();
        if !known.contains(&name.as_str()) {
            warn(field(format!(
                "unknown key {key:?} is ignored; known are {}",
                known.join(", ")
            )));
        } else if fields.insert(name, value).is_some() {
            return Err(field(format!("key {key:?} is given twice in different letter case")));
        }
    }
    Ok(fields)
}

fn optional_text<'a>(fields: &'a Fields, key: &str) -> Result<Option<&'a str>, MappingError> {
    let Some(item) = fields.get(key) else { return Ok(None) };
    match &item.node {
        Node::Null => Ok(None),
        _ => text(item)
            .map(Some)
            .ok_or_else(|| field(format!("{key} must be a string, not {}", item.kind()))),
    }
}

/// The text of a string, or the digits of an integer.
pub(super) fn text(item: &Item) -> Option<&str> {
    match &item.node {
        Node::Text(text) | Node::Integer(text) => Some(text),
        _ => None,
    }
}

fn field(message: impl Into<Box<str>>) -> MappingError {
    MappingError::Field(message.into())
}
