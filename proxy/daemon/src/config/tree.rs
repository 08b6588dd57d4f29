//! The configuration as it is written, with what the environment puts in the place of the file's
//! words; every part knows where it comes from.

use serde_saphyr::{Location, Spanned};

use crate::yaml::{self, Fault};

/// Where a part was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// In the file, at this line and column where known.
    File(Option<(u64, u64)>),
    /// In this variable of the environment.
    Variable(String),
}

/// A part of the configuration. It may hold a secret, so it has no `Debug`.
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// What is written.
pub(super) enum Value {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Null,
}

/// A whole configuration.
pub(super) struct Tree {
    file: String,
    pub(super) root: Node,
}

impl Tree {
    /// Reads `text`, which is the file `name`.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Fault> {
        let empty =
            text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        let value = if empty {
            Value::Null
        } else {
            let root: Spanned<yaml::Node> = yaml::parse(name, text)?;
            Value::of(root.value)
        };
        let value = match value {
            Value::Null => Value::Map(Vec::new()),
            value @ (Value::Map(_) | Value::List(_) | Value::Text(_)) => value,
        };
        Ok(Self { file: name.to_owned(), root: Node { at: At::File(None), value } })
    }

    /// What stands at `path`.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, step| node.child(step))
    }

    /// Names of what stands below `path`.
    pub(super) fn names(&self, path: &[&str]) -> Vec<&str> {
        match self.find(path).map(|node| &node.value) {
            Some(Value::Map(children)) => children.iter().map(|(name, _)| name.as_str()).collect(),
            Some(Value::List(_) | Value::Text(_) | Value::Null) | None => Vec::new(),
        }
    }

    /// Puts `value` at `path`; sections that are not there are made.
    pub(super) fn put(&mut self, path: &[&str], value: Value, variable: &str) {
        let at = At::Variable(variable.to_owned());
        let mut node = &mut self.root;
        for step in path {
            if !matches!(node.value, Value::Map(_)) {
                node.value = Value::Map(Vec::new());
            }
            let Value::Map(children) = &mut node.value else { return };
            let index = children.iter().position(|(name, _)| name == step).unwrap_or_else(|| {
                let made = Node { at: at.clone(), value: Value::Null };
                children.push(((*step).to_owned(), made));
                children.len() - 1
            });
            let Some((_, child)) = children.get_mut(index) else { return };
            node = child;
        }
        *node = Node { at, value };
    }

    /// The fault of the nearest part at or above `path`.
    pub(super) fn fault(&self, path: &[&str], message: impl Into<String>) -> Fault {
        let (mut node, mut at) = (&self.root, &self.root.at);
        for step in path {
            let Some(child) = node.child(step) else { break };
            (node, at) = (child, &child.at);
        }
        self.fault_at(at, path, message)
    }

    /// The fault of the part at `path` that was written at `at`.
    pub(super) fn fault_at(&self, at: &At, path: &[&str], message: impl Into<String>) -> Fault {
        let message = message.into();
        match at {
            At::File(at) => Fault {
                file: self.file.clone(),
                at: *at,
                path: Some(path.join(".").replace(".[", "[")),
                message,
            },
            At::Variable(name) => {
                Fault { file: ENVIRONMENT.to_owned(), at: None, path: Some(name.clone()), message }
            }
        }
    }
}

/// What stands for the file where the environment is at fault.
pub(super) const ENVIRONMENT: &str = "the environment";

impl Node {
    fn child(&self, step: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(children) => {
                children.iter().find(|(name, _)| name == step).map(|(_, child)| child)
            }
            Value::List(_) | Value::Text(_) | Value::Null => None,
        }
    }
}

impl Value {
    fn of(node: yaml::Node) -> Self {
        let place = |at: Location| At::File(Some((at.line(), at.column())).filter(|at| at.0 > 0));
        match node {
            yaml::Node::Map(children) => Self::Map(
                children
                    .into_iter()
                    .map(|(name, child)| {
                        let at = place(name.referenced);
                        (name.value, Node { at, value: Self::of(child.value) })
                    })
                    .collect(),
            ),
            yaml::Node::List(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Node { at: place(item.referenced), value: Self::of(item.value) })
                    .collect(),
            ),
            yaml::Node::Text(text) => Self::Text(text),
            yaml::Node::Null => Self::Null,
        }
    }
}
