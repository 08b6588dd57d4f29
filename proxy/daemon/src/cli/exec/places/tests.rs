use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A home folder with a repository in it.
struct Desk {
    _dir: tempfile::TempDir,
    home: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("home");
        std::fs::create_dir_all(home.join("project")).unwrap();
        let desk = Self { _dir: dir, home };
        desk.git("project", &["init", "-q"]);
        desk
    }

    fn at(&self, below: &str) -> PathBuf {
        self.home.join(below)
    }

    fn write(&self, below: &str) {
        let path = self.at(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    fn git(&self, folder: &str, arguments: &[&str]) {
        let name =
            ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"];
        let mut git = Command::new("git");
        git.current_dir(self.at(folder)).args(name).args(arguments).env("HOME", &self.home);
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    }

    fn around(&self, here: &str, write: &[&str]) -> Around {
        Around {
            home: Some(self.home.clone()),
            account: None,
            here: self.at(here),
            identity: Identity { uid: 0, gid: 0, groups: Vec::new() },
            write: write.iter().map(|path| self.at(path)).collect(),
        }
    }

    fn places(&self, here: &str, write: &[&str]) -> Places {
        Guarded::find(self.around(here, write)).unwrap().places()
    }

    fn names(&self, paths: &[PathBuf]) -> BTreeSet<String> {
        let below = paths.iter().filter_map(|path| path.strip_prefix(&self.home).ok());
        below.map(|path| path.display().to_string()).collect()
    }
}

fn has(places: &BTreeSet<String>, all: &[&str]) {
    for one in all {
        assert!(places.contains(*one), "{one} is missing in {places:?}");
    }
}

#[test]
fn start_up_files_are_fixed_with_the_links_and_folders_that_lead_to_them() {
    let desk = Desk::new();
    for file in [".bashrc", "dotfiles/zshrc", ".config/fish/config.fish", ".ssh/config"] {
        desk.write(file);
    }
    symlink("dotfiles/zshrc", desk.at(".zshrc")).unwrap();
    let places = desk.places("project", &[]);
    let (fixed, held) = (desk.names(&places.fixed), desk.names(&places.held));
    has(&fixed, &[".bashrc", ".zshrc", "dotfiles/zshrc", ".config/fish", ".ssh"]);
    has(&held, &["", "dotfiles", ".config", "project", "project/.git"]);
    assert!(!fixed.contains(".profile"), "what is not there is not fixed");
    assert!(places.held.contains(&desk.home.parent().unwrap().to_owned()));
}

#[test]
fn the_folders_of_worktrees_and_submodules_are_fixed_like_the_repositorys_own() {
    let desk = Desk::new();
    desk.git("project", &["commit", "-q", "--allow-empty", "-m", "x"]);
    desk.git("project", &["worktree", "add", "-q", "../side"]);
    desk.git("project", &["submodule", "add", "-q", "./.git", "sub/one"]);
    let inside =
        ["project/.git/config", "project/.git/hooks", "project/.git/worktrees/side/commondir"];
    let fixed = desk.names(&desk.places("project", &[]).fixed);
    has(&fixed, &inside);
    has(&fixed, &["project/.git/modules/sub/one/config", "project/.git/modules/sub/one/hooks"]);
    has(&fixed, &["project/sub/one/.git"]);
    // From the worktree, the repository that it belongs to.
    let places = desk.places("side", &[]);
    has(&desk.names(&places.fixed), &inside);
    has(&desk.names(&places.fixed), &["side/.git"]);
    has(&desk.names(&places.held), &["project", "project/.git", "project/.git/worktrees"]);
}

#[test]
fn hooks_and_settings_elsewhere_are_fixed_where_the_repository_names_them() {
    let desk = Desk::new();
    for file in ["project/tools/hooks/pre-commit", "project/.gitshared", "project/sub/.envrc"] {
        desk.write(file);
    }
    desk.write("project/sub/.vscode/tasks.json");
    desk.git("project", &["config", "core.hooksPath", "tools/hooks"]);
    desk.git("project", &["config", "include.path", "../.gitshared"]);
    let fixed = desk.names(&desk.places("project", &[]).fixed);
    has(&fixed, &["project/tools/hooks", "project/.gitshared"]);
    has(&fixed, &["project/sub/.envrc", "project/sub/.vscode"]);
}

#[test]
fn what_write_names_is_free_and_all_else_is_not() {
    let desk = Desk::new();
    desk.write(".bashrc");
    let places = desk.places("project", &["project/.git/config", ".bashrc"]);
    let fixed = desk.names(&places.fixed);
    has(&fixed, &["project/.git/hooks"]);
    assert!(!fixed.contains("project/.git/config") && !fixed.contains(".bashrc"), "{fixed:?}");
    has(&desk.names(&places.held), &["project/.git"]);
    let places = desk.places("project", &["project/.git"]);
    assert!(!desk.names(&places.held).contains("project/.git"));
}

#[test]
fn what_cannot_be_made_below_a_fixed_folder_is_refused_by_name() {
    let desk = Desk::new();
    let missing = desk.around("project", &["project/.git/hooks/pre-commit"]);
    let refused = Guarded::find(missing).unwrap_err();
    assert!(refused.what()[0].contains("pre-commit"), "{refused:?}");
    assert!(Guarded::find(desk.around("project", &["project/new"])).is_ok());
}

#[test]
fn another_user_cannot_move_what_is_not_theirs_so_it_needs_no_hold() {
    let desk = Desk::new();
    let mut around = desk.around("project", &[]);
    around.identity = Identity { uid: 4_000_000, gid: 4_000_000, groups: Vec::new() };
    assert!(!around.is_movable(&desk.at("project")) && !around.is_movable(Path::new("/tmp")));
    std::fs::set_permissions(&desk.home, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    assert!(around.is_movable(&desk.at("project")));
    std::fs::set_permissions(&desk.home, std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .unwrap();
    assert!(!around.is_movable(&desk.at("project")), "sticky, and another's");
}

#[test]
fn what_changed_is_listed_with_what_is_new_and_counted_beyond_that() {
    let desk = Desk::new();
    desk.write("project/package.json");
    let guarded = Guarded::find(desk.around("project", &[])).unwrap();
    assert_eq!(guarded.changed(), (Changed::default(), Vec::new()));
    desk.write("project/package.json");
    desk.write("project/.git/hooks/pre-commit");
    desk.write("project/.github/workflows/ci.yml");
    desk.write(".zshrc");
    let (changed, lines) = guarded.changed();
    assert_eq!(
        lines,
        [
            "          new, and git runs it: .git/hooks/pre-commit",
            "          new, and others run it: ~/.zshrc",
            "          new, and others run it: .github/workflows/ci.yml",
            "          changed, and others run it: package.json",
        ]
    );
    let x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert_eq!(changed, Changed { count: 4, digests: vec![x.to_owned(); 4] });
    for number in 0..20 {
        desk.write(&format!("project/{number:02}/Makefile"));
    }
    let (changed, lines) = guarded.changed();
    assert_eq!((changed.count, lines.len()), (24, LISTED + 1));
    assert_eq!(lines[LISTED], "          and 14 more of that kind");
}

#[test]
fn a_repository_that_was_put_in_anothers_place_is_listed() {
    let desk = Desk::new();
    desk.git("project", &["init", "-q", "inner"]);
    let guarded = Guarded::find(desk.around("project", &[])).unwrap();
    std::fs::rename(desk.at("project/inner"), desk.at("project/old")).unwrap();
    desk.git("project", &["init", "-q", "inner"]);
    let (_, lines) = guarded.changed();
    assert!(
        lines.contains(&"          changed, and git runs it: inner/.git/config".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_fifo_is_hidden_and_named_unless_it_is_given() {
    let desk = Desk::new();
    assert!(Command::new("mkfifo").arg(desk.at("project/pipe")).status().unwrap().success());
    let guarded = Guarded::find(desk.around("project", &[])).unwrap();
    assert!(guarded.places().absent.contains(&desk.at("project/pipe")));
    assert!(guarded.said().iter().any(|line| line.contains("pipe (FIFO)")), "{:?}", guarded.said());
    let given = Guarded::find(desk.around("project", &["project/pipe"])).unwrap();
    assert!(!given.places().absent.contains(&desk.at("project/pipe")));
}

#[test]
fn a_repository_that_is_a_link_or_has_no_working_tree_is_one_too() {
    let desk = Desk::new();
    desk.git("project", &["init", "-q", "--bare", "mirror.git"]);
    std::fs::rename(desk.at("project/.git"), desk.at("elsewhere")).unwrap();
    symlink("../elsewhere", desk.at("project/.git")).unwrap();
    let fixed = desk.names(&desk.places("project", &[]).fixed);
    has(&fixed, &["project/.git", "elsewhere/config", "elsewhere/hooks"]);
    has(&fixed, &["project/mirror.git/config", "project/mirror.git/hooks"]);
}

#[test]
fn what_runs_behind_a_programs_name_is_fixed_as_a_whole() {
    let desk = Desk::new();
    let (npm, tool, own) = (".node/lib/node_modules/npm", "tools/black", "project/bin/own");
    for file in [
        &format!("{npm}/bin/npm-cli.js"),
        ".node/lib/node_modules/@a/b/node_modules/c/cli.js",
        &format!("{tool}/pyvenv.cfg"),
        &format!("{tool}/bin/black"),
        "opt/single",
        own,
        ".local/lib/python3.12/site-packages/usercustomize.py",
        ".rustup/toolchains/stable/bin/rustc",
        "project/it.code-workspace",
    ] {
        desk.write(file);
    }
    std::fs::create_dir_all(desk.at(".local/bin")).unwrap();
    for (name, to) in [
        ("npm", &*format!("{npm}/bin/npm-cli.js")),
        ("c", ".node/lib/node_modules/@a/b/node_modules/c/cli.js"),
        ("black", &format!("{tool}/bin/black")),
        ("single", "opt/single"),
        ("own", own),
        ("system", "../../usr/bin/env"),
    ] {
        symlink(Path::new("../..").join(to), desk.at(".local/bin").join(name)).unwrap();
    }
    let fixed = desk.names(&desk.places("project", &[]).fixed);
    has(&fixed, &[npm, ".node/lib/node_modules/@a/b", tool, "opt/single", ".local/bin"]);
    has(&fixed, &[".local/lib/python3.12/site-packages", ".rustup/toolchains/stable"]);
    has(&fixed, &["project/it.code-workspace"]);
    assert!(!fixed.contains(own), "the working tree is the command's business");
}

#[test]
fn the_accounts_home_is_looked_at_where_the_environment_names_another() {
    let desk = Desk::new();
    desk.write(".bashrc");
    let around = Around {
        home: Some(desk.at("project")),
        account: Some(desk.home.clone()),
        ..desk.around("project", &[])
    };
    has(&desk.names(&Guarded::find(around).unwrap().places().fixed), &[".bashrc"]);
}
