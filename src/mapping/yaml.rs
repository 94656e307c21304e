//! YAML (and so JSON) as a loose tree with line numbers, so that one bad entry can be told from its good neighbours; and
//! texts as scalars of it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use thiserror::Error;

/// A mounted file with 100 000 entries has a million nodes; ConfigMaps are capped at 1 MiB by the API server.
const MAX_NODES: usize = 4_000_000;

/// How much all aliases of a text may add to it: a thousand entries that share their groups, ten times over.
const ALIAS_EVENTS: usize = 20_000;

/// A text that is not YAML, or not of the expected shape.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("line {line}: {message}")]
pub struct DocumentError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong there.
    pub message: Box<str>,
}

/// A node and the line on which it begins.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) line: u32,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Text(String),
    /// A plain integer, with the digits that were written.
    Integer(String),
    /// A boolean or a fraction: never what a mapping wants.
    Other(&'static str),
    List(Vec<Item>),
    Map(Vec<(String, Item)>),
}

impl Item {
    pub(super) fn error(&self, message: impl Into<Box<str>>) -> DocumentError {
        DocumentError {
            line: self.line,
            message: message.into(),
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.node {
            Node::Null => "nothing",
            Node::Text(_) => "a string",
            Node::Integer(_) => "a number",
            Node::Other(kind) => kind,
            Node::List(_) => "a list",
            Node::Map(_) => "a mapping of keys",
        }
    }
}

/// Reads one YAML document. What users write for "empty" is [`Node::Null`].
///
/// # Errors
/// When the text is not YAML, has duplicate keys or is unreasonably large.
pub(super) fn parse(text: &str) -> Result<Item, DocumentError> {
    if matches!(text.trim(), "" | "``" | "\"\"" | "''") {
        return Ok(Item {
            line: 1,
            node: Node::Null,
        });
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        leading_zero_numbers_as_strings: true,
        budget: budget(text),
        alias_limits: alias_limits(),
    };
    serde_saphyr::from_str_with_options::<Spanned<Node>>(text, options)
        .map(Into::into)
        .map_err(|error| DocumentError {
            line: error.location().map_or(1, |location| line(location.line())),
            message: one_line(&error.to_string()),
        })
}

/// What a text may cost to read. Without aliases it has fewer events than bytes; aliases may be used, but not to make
/// hundreds of megabytes out of a few hundred bytes, which would take the whole process down, edit after edit.
pub(crate) fn budget(text: &str) -> Option<serde_saphyr::Budget> {
    let events = (text.len() + 64).min(2 * MAX_NODES) + ALIAS_EVENTS;
    serde_saphyr::budget! {
        max_nodes: events,
        max_events: events,
        max_aliases: 1_000,
        max_recorded_anchor_events: 2 * ALIAS_EVENTS,
        max_recorded_anchor_bytes: 256 * 1024,
        enforce_alias_anchor_ratio: false,
    }
}

/// The limits on aliases that belong to [`budget`].
pub(crate) fn alias_limits() -> serde_saphyr::options::AliasLimits {
    serde_saphyr::alias_limits! {
        max_total_replayed_events: ALIAS_EVENTS,
        max_replay_stack_depth: 8,
    }
}

/// A text as a plain scalar where every reader takes it for that text, else in quotes.
pub(crate) fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@:+=,{}-".contains(&byte);
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(is_plain)
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if plain { text.to_owned() } else { quoted(text) }
}

/// A text in double quotes, which mean the same in JSON and YAML.
pub(crate) fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

fn line(line: impl TryInto<u32>) -> u32 {
    line.try_into().unwrap_or(u32::MAX)
}

fn one_line(message: &str) -> Box<str> {
    message
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(300)
        .collect::<String>()
        .into()
}

impl From<Spanned<Node>> for Item {
    fn from(spanned: Spanned<Node>) -> Self {
        Self {
            line: line(spanned.referenced.line()),
            node: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other("a boolean"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other("a fraction"))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Integer(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Node>>()? {
            items.push(item.into());
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = access.next_entry::<String, Spanned<Node>>()? {
            entries.push((key, value.into()));
        }
        Ok(Node::Map(entries))
    }
}
