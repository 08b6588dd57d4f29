//! Finds what is executed behind the names in folders of PATH, and what Python executes whenever it starts.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Found, Hold, trail};

/// Below the home folder: each entry of these is something that was installed as a whole, and that package managers do
/// not install into. New ones can be put beside it.
const INSTALLED: [&str; 6] = [
    ".rustup/toolchains",
    ".nvm/versions/node",
    ".local/share/fnm/node-versions",
    ".local/share/uv/python",
    ".local/share/uv/tools",
    ".local/share/pipx/venvs",
];

/// Links that are looked at in one folder.
const MOST: usize = 4096;

/// What was installed below `home`, with the modules that each Python of its user loads.
pub(super) fn installed(home: &Path, found: &mut Found) {
    for folder in INSTALLED {
        for entry in entries(&home.join(folder)) {
            found.fix(&entry, &Hold::All);
        }
    }
    for version in entries(&home.join(".local/lib")) {
        if version.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python")) {
            found.fix(&version.join("site-packages"), &Hold::All);
        }
    }
}

/// What the links in a folder of PATH lead to below `home`, and is not of the working tree: there it is the command's
/// business.
pub(super) fn behind(folder: &Path, home: &Path, tree: &Path, found: &mut Found) {
    for link in entries(folder).filter(|path| path.is_symlink()) {
        let Some(program) = trail::follow(&link).end else { continue };
        let elsewhere = !program.starts_with(folder) && !program.starts_with(tree);
        if elsewhere && program.starts_with(home) {
            found.fix(&whole(&program, home), &Hold::All);
        }
    }
}

/// What a program is a part of: a package of npm's, an environment of Python's, or itself.
fn whole(program: &Path, home: &Path) -> PathBuf {
    let above =
        program.ancestors().take_while(|folder| folder.starts_with(home) && *folder != home);
    let outermost =
        above.filter(|folder| is_package(folder) || folder.join("pyvenv.cfg").is_file());
    outermost.last().unwrap_or(program).to_owned()
}

fn is_package(folder: &Path) -> bool {
    let name = |path: Option<&Path>| path.and_then(Path::file_name).map(OsStr::to_owned);
    let above = folder.parent();
    let modules = |path| name(path).is_some_and(|name| name == "node_modules");
    let scope = |name: &OsStr| name.to_string_lossy().starts_with('@');
    let scoped =
        name(above).is_some_and(|name| scope(&name)) && modules(above.and_then(Path::parent));
    scoped || (modules(above) && !folder.file_name().is_some_and(scope))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let all = folder.read_dir().into_iter().flatten().flatten();
    all.take(MOST).map(|entry| entry.path())
}
