//! YAML as a loose tree: every scalar is a text, because people write `port: "21362"` as well as `port: 21362`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::MAPPING_KEYS;

/// A YAML value, without the mappings in it.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<Entry>),
}

/// A key of a mapping, the line it stands in, and what it has.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) node: Node,
}

impl Node {
    /// A scalar or a list of scalars, as texts.
    pub(super) fn into_texts(self) -> Option<Vec<String>> {
        match self {
            Self::Null => Some(Vec::new()),
            Self::Text(text) => Some(vec![text]),
            Self::List(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Self::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            Self::Map(_) => None,
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

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let line = key.referenced.line();
            let key = key.value;
            let node = if MAPPING_KEYS
                .into_iter()
                .any(|mapping| mapping.eq_ignore_ascii_case(&key))
            {
                access.next_value::<IgnoredAny>()?;
                Node::Null
            } else {
                access.next_value()?
            };
            entries.push(Entry { key, line, node });
        }
        Ok(Node::Map(entries))
    }
}
