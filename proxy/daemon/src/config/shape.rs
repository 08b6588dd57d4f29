//! What is written is held against the list of keys: what is unknown, not built, or of another
//! shape than its key.

use super::keys::{KEYS, Like};
use super::tree::{Node, Tree, Value};
use crate::yaml::Fault;

/// Everything in `tree` that no key explains.
pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    walk(tree, &tree.root, &[], &mut faults);
    faults
}

fn walk(tree: &Tree, node: &Node, path: &[&str], faults: &mut Vec<Fault>) {
    let leaf = KEYS.iter().find(|key| key.is(path)).map(|key| key.like);
    if leaf == Some(Like::NotBuilt) {
        faults.push(tree.fault(path, NOT_BUILT));
        return;
    }
    let section = KEYS.iter().any(|key| key.under(path) && !key.is(path));
    match &node.value {
        Value::Map(children) if section => {
            let another = another_sink(path, children);
            if let Some(to) = another {
                let below = [path, &["to"]].concat();
                faults.push(tree.fault(&below, format!("`{to}` {NOT_BUILT}; built is otlp")));
                return;
            }
            for (name, child) in children {
                let below = [path, &[name.as_str()]].concat();
                if KEYS.iter().any(|key| key.under(&below)) {
                    walk(tree, child, &below, faults);
                } else {
                    faults.push(tree.fault(&below, unknown(path, name)));
                }
            }
        }
        Value::Map(_) | Value::List(_) | Value::Text(_) | Value::Null => {
            if let Some(message) = mismatch(&node.value, path, leaf) {
                faults.push(tree.fault(path, message));
            }
        }
    }
}

/// What a key, or what it asks for, is that this version does not have.
pub(super) const NOT_BUILT: &str = "is not built in this version: remove it";

/// A receiver of another kind has keys of its own, about which nothing can be said.
fn another_sink<'n>(path: &[&str], children: &'n [(String, Node)]) -> Option<&'n str> {
    let ["sinks", _] = path else { return None };
    children.iter().find_map(|(name, child)| match &child.value {
        Value::Text(to) if name == "to" && to != "otlp" => Some(to.as_str()),
        Value::Text(_) | Value::Map(_) | Value::List(_) | Value::Null => None,
    })
}

fn mismatch(value: &Value, path: &[&str], leaf: Option<Like>) -> Option<String> {
    match (value, leaf) {
        (Value::Null, _) | (Value::Text(_), Some(_)) => None,
        (Value::List(items), Some(like)) if like.many() => {
            let texts = items.iter().all(|item| matches!(item.value, Value::Text(_)));
            (!texts).then(|| format!("must hold {}", like.called()))
        }
        (Value::Map(_) | Value::List(_), Some(like)) => {
            Some(format!("must hold {}", like.called()))
        }
        (Value::Map(_) | Value::List(_) | Value::Text(_), None) => {
            let names = below(path);
            let names: Vec<_> = names.iter().map(|name| name.replace('*', "a name")).collect();
            Some(format!("must hold keys: {}", names.join(", ")))
        }
    }
}

fn unknown(section: &[&str], name: &str) -> String {
    let known = below(section);
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("is not a key; did you mean `{nearest}`?"),
        None => format!("is not a key; remove it. Keys here: {}", known.join(", ")),
    }
}

/// The names that may stand below `section`.
fn below(section: &[&str]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in KEYS.iter().filter(|key| key.like != Like::NotBuilt && key.under(section)) {
        if let Some(name) = key.steps().nth(section.len()).filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

/// The known name that is likely meant by `name`.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near = |known: &&str| strsim::damerau_levenshtein(name, known);
    known.min_by_key(near).filter(|known| near(known) <= name.len().max(known.len()) / 3)
}
