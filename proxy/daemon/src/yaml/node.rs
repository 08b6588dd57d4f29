//! A file of keys as it is written, each with its place.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// The keys of a file with their places.
#[derive(Debug)]
pub(crate) struct Places(Spanned<Node>);

/// A part of the file.
#[derive(Debug)]
pub(crate) enum Node {
    /// Keys with what stands below them, in the order written.
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    /// Items.
    List(Vec<Spanned<Node>>),
    /// A word, a number or a truth value, as it is said.
    Text(String),
    /// Nothing.
    Null,
}

impl Places {
    /// The places in `text`, if it can be read at all.
    pub(crate) fn of(text: &str) -> Option<Self> {
        serde_saphyr::from_str_with_options(text, super::options()).ok().map(Self)
    }

    /// Line and column of the key at `path`, or of the nearest one above it that is there.
    pub(crate) fn find(&self, path: &str) -> Option<(u64, u64)> {
        let (mut node, mut rest, mut at) = (&self.0.value, path, None);
        while !rest.is_empty() {
            let Some((child, place, after)) = node.step(rest) else { break };
            (node, rest, at) = (child, after, Some(place));
        }
        at.map(|at: Location| (at.line(), at.column())).filter(|at| at.0 > 0)
    }

    /// The path of the last key that stands at or before line and column.
    pub(crate) fn path_at(&self, at: (u64, u64)) -> Option<String> {
        let mut last = None;
        self.0.value.walk(&mut String::new(), &mut |path, place| {
            if (place.line(), place.column()) <= at {
                last = Some(path.to_owned());
            }
        });
        last
    }
}

impl Node {
    /// One step down `path`: the child, its place and what is left. Keys may hold dots, so the
    /// longest key that fits is taken.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, Location, &'p str)> {
        match self {
            Self::Map(fields) => fields
                .iter()
                .filter_map(|(key, child)| {
                    let after = path.strip_prefix(key.value.as_str())?;
                    let after = if after.starts_with('[') || after.is_empty() {
                        after
                    } else {
                        after.strip_prefix('.')?
                    };
                    Some((key.value.len(), (&child.value, key.referenced, after)))
                })
                .max_by_key(|(length, _)| *length)
                .map(|(_, found)| found),
            Self::List(items) => {
                let (index, after) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((&item.value, item.referenced, after.strip_prefix('.').unwrap_or(after)))
            }
            Self::Text(_) | Self::Null => None,
        }
    }

    fn walk(&self, path: &mut String, see: &mut impl FnMut(&str, Location)) {
        let above = path.len();
        match self {
            Self::Map(fields) => {
                for (key, child) in fields {
                    if above > 0 {
                        path.push('.');
                    }
                    path.push_str(&key.value);
                    see(path, key.referenced);
                    child.value.walk(path, see);
                    path.truncate(above);
                }
            }
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    write!(path, "[{i}]").unwrap_or_default();
                    see(path, item.referenced);
                    item.value.walk(path, see);
                    path.truncate(above);
                }
            }
            Self::Text(_) | Self::Null => {}
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_bool<E>(self, said: bool) -> Result<Node, E> {
        Ok(Node::Text(said.to_string()))
    }

    fn visit_i64<E>(self, said: i64) -> Result<Node, E> {
        Ok(Node::Text(said.to_string()))
    }

    fn visit_u64<E>(self, said: u64) -> Result<Node, E> {
        Ok(Node::Text(said.to_string()))
    }

    fn visit_f64<E>(self, said: f64) -> Result<Node, E> {
        Ok(Node::Text(said.to_string()))
    }

    fn visit_str<E>(self, said: &str) -> Result<Node, E> {
        Ok(Node::Text(said.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
}
