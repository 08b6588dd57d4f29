//! `TOLLGATE_<PATH>` in the environment says what holds in the place of the file's word.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::keys::{KEYS, Key, Like};
use super::shape::nearest;
use super::tree::{At, ENVIRONMENT, Node, Tree, Value};
use crate::yaml::Fault;

/// What every variable of ours begins with.
const PREFIX: &str = "TOLLGATE_";

/// Variables with this beginning that are no keys of the configuration: the log's filter, where the
/// configuration lies, and what the repository's own chores read.
pub(crate) const OTHERS: [&str; 4] =
    ["TOLLGATE_LOG", "TOLLGATE_CONFIG", "TOLLGATE_CACHE", "TOLLGATE_BIN"];

/// The environment, as far as the configuration asks for it.
pub(super) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    pub(super) fn new(env: impl Iterator<Item = (OsString, OsString)>) -> Self {
        Self(env.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect())
    }

    /// The value of a variable, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str()
    }

    /// What Kubernetes puts into every container beside a service whose name begins with ours, such
    /// as `TOLLGATE_PORT_16802_TCP_ADDR`. It always comes with `…_SERVICE_HOST`.
    fn service_link(&self, name: &str) -> bool {
        let ends = name.match_indices("_SERVICE_").chain(name.match_indices("_PORT"));
        ends.filter_map(|(at, _)| name.get(..at))
            .any(|service| self.0.contains_key(&format!("{service}_SERVICE_HOST")))
    }

    /// Puts what the environment says into `tree`, and tells what is wrong with it.
    pub(super) fn overlay(&self, tree: &mut Tree) -> Vec<Fault> {
        let mut paths: BTreeMap<String, Vec<(Vec<String>, &Key)>> = BTreeMap::new();
        for key in KEYS.iter().filter(|key| key.like != Like::NotBuilt) {
            for path in expanded(tree, key) {
                paths.entry(variable(&path)).or_default().push((path, key));
            }
        }
        let (mut faults, mut unknown) = (Vec::new(), Vec::new());
        for (name, value) in self.0.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            match paths.get(name).map(Vec::as_slice) {
                Some([(path, key)]) => match value.to_str() {
                    Some("") => faults.push(fault(name, "is empty: unset it, or give a value")),
                    Some(text) => {
                        let path: Vec<&str> = path.iter().map(String::as_str).collect();
                        tree.put(&path, said(key.like, text, name), name);
                    }
                    None => faults.push(fault(name, "is not text")),
                },
                Some(several) => {
                    let paths: Vec<_> = several.iter().map(|(path, _)| path.join(".")).collect();
                    let paths = paths.join(", ");
                    let message =
                        format!("could mean any of these, so say it in the file: {paths}");
                    faults.push(fault(name, message));
                }
                None if OTHERS.contains(&name.as_str()) || self.service_link(name) => {}
                None => unknown.push(name),
            }
        }
        // The operator chooses this one's name, which is known only now.
        let own = tree.find(&["vault", "master_key", "env"]).map(|node| &node.value);
        unknown.retain(|name| !matches!(own, Some(Value::Text(own)) if own == *name));
        faults.extend(unknown.into_iter().map(|name| {
            let known = paths.keys().map(String::as_str).chain(OTHERS);
            fault(
                name,
                match nearest(name, known) {
                    Some(near) => format!("sets nothing; did you mean {near}? Unset it otherwise"),
                    None => "sets nothing: unset it".to_owned(),
                },
            )
        }));
        faults
    }
}

fn fault(variable: &str, message: impl Into<String>) -> Fault {
    Fault {
        file: ENVIRONMENT.to_owned(),
        at: None,
        path: Some(variable.to_owned()),
        message: message.into(),
    }
}

/// The variable of the key at `path`.
pub(crate) fn variable(path: &[impl AsRef<str>]) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let steps: Vec<String> =
        path.iter().map(|step| step.as_ref().chars().map(upper).collect()).collect();
    format!("{PREFIX}{}", steps.join("_"))
}

/// The paths of `key`, with each name that the file has where the operator chooses one.
fn expanded(tree: &Tree, key: &Key) -> Vec<Vec<String>> {
    let mut paths: Vec<Vec<String>> = vec![Vec::new()];
    for step in key.steps() {
        paths = paths
            .into_iter()
            .flat_map(|path| {
                let above: Vec<&str> = path.iter().map(String::as_str).collect();
                let names = if step == "*" { tree.names(&above) } else { vec![step] };
                let below = |name: &str| [path.as_slice(), &[name.to_owned()]].concat();
                names.into_iter().map(below).collect::<Vec<_>>()
            })
            .collect();
    }
    paths
}

/// What `text` says at a key like this. Where several may be, commas stand between them.
fn said(like: Like, text: &str, name: &str) -> Value {
    let off = like == Like::Addresses && matches!(text, "null" | "false");
    if off {
        return Value::Null;
    }
    if !like.many() {
        return Value::Text(text.to_owned());
    }
    let item = |item: &str| Node {
        at: At::Variable(name.to_owned()),
        value: Value::Text(item.trim().to_owned()),
    };
    Value::List(text.split(',').map(item).collect())
}
