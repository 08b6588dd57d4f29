//! Finds what git executes, or is led to other settings by, in a repository's folder.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::lists::{OF_REPOSITORY, OF_REPOSITORY_WATCHED};
use super::{Found, Hold, trail};

/// Submodules lie in each other this deep.
const DEEPEST: usize = 8;
/// Repositories that one holds in it; what is beyond them is listed if it is new.
const MOST: usize = 256;
/// The longest file of settings that is read.
const LONGEST: u64 = 1 << 20;

/// Notes the repository whose `.git` this is: a folder, or a file that names one.
pub(super) fn note(dot_git: &Path, found: &mut Found) {
    let Some(tree) = dot_git.parent() else { return };
    if dot_git.is_dir() {
        // It may be a link to the folder.
        let links = trail::follow(dot_git).links;
        found.watched.extend(links.iter().cloned());
        found.fixed.extend(links);
        folder(dot_git, Some(tree), found, 0);
        return;
    }
    found.fix(dot_git, &Hold::Nothing);
    let named = text(dot_git);
    if let Some(named) = named.as_deref().and_then(|text| text.strip_prefix("gitdir:")) {
        folder(&tree.join(named.trim()), Some(tree), found, 0);
    }
}

/// Notes a repository's own folder, wherever it lies.
pub(super) fn folder(git: &Path, tree: Option<&Path>, found: &mut Found, depth: usize) {
    let Ok(git) = git.canonicalize() else { return };
    if depth > DEEPEST
        || found.repositories.len() >= MOST
        || !found.repositories.insert(git.clone())
    {
        return;
    }
    found.hold(&git);
    let below = Hold::Below(git.clone());
    for name in OF_REPOSITORY {
        found.fix(&git.join(name), &below);
    }
    for name in OF_REPOSITORY_WATCHED {
        found.watched.insert(git.join(name));
    }
    for file in ["config", "config.worktree"] {
        settings(&git.join(file), tree, found);
    }
    if let Some(common) = text(&git.join("commondir")) {
        folder(&git.join(common.trim()), tree, found, depth + 1);
    }
    for below in ["worktrees", "modules"] {
        let inner = git.join(below);
        if inner.is_dir() {
            found.hold(&inner);
            nested(&inner, found, depth);
        }
    }
}

/// Repositories in a folder of them; a submodule's name may have parts.
fn nested(inner: &Path, found: &mut Found, depth: usize) {
    let Ok(entries) = inner.read_dir() else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if path.join("HEAD").exists() {
            folder(&path, None, found, depth + 1);
        } else if depth < DEEPEST {
            found.hold(&path);
            nested(&path, found, depth + 1);
        }
    }
}

/// Notes where settings lead: to hooks elsewhere, and to more settings.
pub(super) fn settings(file: &Path, tree: Option<&Path>, found: &mut Found) {
    let Some(text) = text(file) else { return };
    for (key, value) in leads(&text) {
        let base = if key == Lead::Hooks { tree } else { file.parent() };
        let path = match (value.strip_prefix("~/"), &found.home, base) {
            (Some(below), Some(home), _) => home.join(below),
            (Some(_), None, _) => continue,
            (None, _, base) => base.unwrap_or(Path::new("/")).join(value),
        };
        if path.is_absolute() {
            found.fix(&path, &Hold::Nothing);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// `core.hooksPath`.
    Hooks,
    /// `include.path`, `includeIf.….path`.
    Settings,
}

/// What of git's settings names a path that matters. Quotes around a value are taken away; nothing else of the syntax
/// changes a path in practice.
fn leads(text: &str) -> Vec<(Lead, &str)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let name = header.split([']', ' ', '\t', '.']).next().unwrap_or_default();
            section = name.to_ascii_lowercase();
        }
        let setting = line.rsplit_once(']').map_or(line, |(_, rest)| rest);
        let Some((key, value)) = setting.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match (section.as_str(), key.trim().to_ascii_lowercase().as_str()) {
            ("core", "hookspath") => found.push((Lead::Hooks, value)),
            ("include" | "includeif", "path") => found.push((Lead::Settings, value)),
            _ => {}
        }
    }
    found
}

/// The text of a small ordinary file; never waits for a FIFO's other end.
fn text(path: &Path) -> Option<String> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_further_settings_are_found_however_they_are_written() {
        let text = "[core]\n\tbare = false\n\tHooksPath = .husky/_\n[include] path = ~/a\n[includeIf \"gitdir:~/w/\"]\n\
                    \tpath = \"b c\"\n[user]\n\tpath = no\n[CORE]\nhookspath=/x\n";
        assert_eq!(
            leads(text),
            [
                (Lead::Hooks, ".husky/_"),
                (Lead::Settings, "~/a"),
                (Lead::Settings, "b c"),
                (Lead::Hooks, "/x"),
            ]
        );
    }
}
