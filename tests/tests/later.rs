//! Files that others execute later (attacks 8): a governed command tries to leave something behind, and programs of
//! the user that start afterwards run nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::by::By;
use e2e::harness::Stand;
use e2e::process::Outcome;

/// Writes a line that makes a canary file, wherever a program that starts later would execute it.
const LEAVE: &str = r##"
C=$1
put() { mkdir -p "$(dirname "$1")"; printf '%s\n' "$2" >> "$1"; chmod +x "$1"; }
for file in ~/.bashrc ~/.bash_profile ~/.profile ~/.zshrc; do put "$file" "touch $C"; done
put ~/bin/ls "#!/bin/sh"; put ~/bin/ls "touch $C"
put "$(python3 -m site --user-site)/usercustomize.py" "import os; os.system('touch $C')"
put ~/.npm-global/lib/node_modules/tool/cli "touch $C"
put .git/hooks/post-index-change "#!/bin/sh"; put .git/hooks/post-index-change "touch $C"
put .git/hooks/pre-commit "#!/bin/sh"; put .git/hooks/pre-commit "touch $C"
git config core.fsmonitor "touch $C; false"
git config --global core.fsmonitor "touch $C; false"
git config --file sub/.git/config core.fsmonitor "touch $C; false"
put .envrc "touch $C"
mv .git .git2 && cp -r .git2 .git && git config core.fsmonitor "touch $C; false"
mv ~/work ~/work2 && cp -r ~/work2 ~/work
mv ~/.bashrc ~/.bashrc2; echo "touch $C" > ~/.evil; ln -s .evil ~/.bashrc
unshare -Urm sh -c "umount -l .git/hooks; umount -l ~/.bashrc; echo touch $C >> ~/.bashrc"
true
"##;

/// What the user does next.
const AFTERWARDS: &str = "bash -l -c true; bash -i -c 'ls' </dev/null; python3 -c pass; tool; cd ~/work && git status && touch a && \
                          git add a && git commit -m x; git -C sub status; command -v direnv >/dev/null && \
                          direnv exec . true; true";

/// A home folder with start-up files, a folder of programs, and a repository with another in it.
struct Desk {
    stand: Stand,
}

impl Desk {
    fn new() -> Result<Self> {
        let desk = Self { stand: Stand::new()? };
        let set_up = "cd && mkdir bin && touch .bashrc .bash_profile .profile .zshrc .gitconfig bin/mine && \
                      mkdir -p \"$(python3 -m site --user-site)\" .npm-global/lib/node_modules/tool && \
                      echo '#!/bin/sh' > .npm-global/lib/node_modules/tool/cli && chmod +x .npm-global/lib/node_modules/tool/cli && \
                      ln -s ../.npm-global/lib/node_modules/tool/cli bin/tool && git init -q ~/work && cd ~/work && git init -q sub && git config user.name a && \
                      git config user.email a@b && echo sub > .gitignore && touch .envrc && git add . && \
                      git commit -qm x && if command -v direnv; then direnv allow .; fi";
        let done = desk.shell(set_up)?;
        ensure!(done.status.success(), "{done:?}");
        Ok(desk)
    }

    fn home(&self) -> PathBuf {
        self.stand.home()
    }

    fn canary(&self) -> PathBuf {
        self.stand.file("canary")
    }

    /// The user's own shell, ungoverned.
    fn shell(&self, script: &str) -> Result<std::process::Output> {
        let mut shell = By::in_this_suite().command(Path::new("bash"));
        self.furnish(&mut shell);
        Ok(shell.args(["-c", script]).output()?)
    }

    fn furnish(&self, command: &mut Command) {
        let home = self.home();
        command.env_clear().env("HOME", &home).current_dir(&home);
        command.env("PATH", self.path());
    }

    /// The user's programs, and those that every user may execute.
    fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin", self.home().join("bin").display())
    }

    /// A script in the working tree under the gate.
    fn governed(&self, flags: &[&str], script: &str) -> Result<Outcome> {
        let enter = "bash -c \"$1\" sh \"$2\"";
        let state = self.stand.state();
        let state = state.to_str().context("a path")?;
        let flags = [&["--state", state], flags].concat();
        let run = self.stand.bare_gate(&flags)?.env("PATH", self.path());
        // Called from the tree, as a user would be.
        let mut command = run.command(["bash", "-c", enter, "sh", script]);
        command.arg(self.canary()).current_dir(self.home().join("work"));
        e2e::process::Running::start(&mut command)?.end(e2e::harness::LIMIT)
    }
}

#[test]
fn nothing_that_a_governed_command_leaves_is_run_by_the_users_next_programs() -> Result<()> {
    let desk = Desk::new()?;
    let outcome = desk.governed(&[], LEAVE)?;
    ensure!(outcome.status.success(), "{outcome:?}");
    let after = desk.shell(AFTERWARDS)?;
    ensure!(!desk.canary().exists(), "{outcome:?} {after:?}");
    ensure!(outcome.stderr.contains("read-only inside: start-up files"), "{outcome:?}");
    Ok(())
}

#[test]
fn without_the_gate_each_of_the_users_programs_runs_it() -> Result<()> {
    let left = [
        "bash -l -c true",
        "bash -i -c true",
        "python3 -c pass",
        "tool",
        "cd ~/work && git status",
        "ls",
    ];
    let desk = Desk::new()?;
    let script = format!("cd ~/work; set -- {}; {LEAVE}", desk.canary().display());
    desk.shell(&script)?;
    for program in left {
        drop(fs::remove_file(desk.canary()));
        let after = desk.shell(program)?;
        ensure!(desk.canary().exists(), "{program} ran nothing: the test tests nothing: {after:?}");
    }
    Ok(())
}

#[test]
fn what_write_gives_back_is_written_and_listed() -> Result<()> {
    let desk = Desk::new()?;
    let script = "git config a.b c && echo '{}' > package.json && mkdir .vscode && echo x > .vscode/tasks.json && \
                  printf x > $'.github\\nx' && mkdir .github && touch $'.github/\\e[31mred'";
    let refused = desk.governed(&[], "git config a.b c")?;
    ensure!(!refused.status.success() && refused.stderr.contains(".git/config"), "{refused:?}");
    let outcome = desk.governed(&["--write", ".git/config"], script)?;
    ensure!(outcome.status.success(), "{outcome:?}");
    for line in [
        "changed, and git runs it: .git/config\n",
        "new, and others run it: package.json\n",
        "new, and others run it: .vscode/tasks.json\n",
        "new, and others run it: .github/\\u{1b}[31mred\n",
    ] {
        ensure!(outcome.stderr.contains(line), "{line}: {outcome:?}");
    }
    ensure!(!outcome.stderr.contains('\u{1b}'), "a name steers the terminal: {outcome:?}");
    let config = fs::read_to_string(desk.home().join("work/.git/config"))?;
    ensure!(config.contains("b = c"), "{config}");
    Ok(())
}

#[test]
fn git_and_npm_go_on_working_inside() -> Result<()> {
    let desk = Desk::new()?;
    let script = "set -e; echo y > y; git add y; git commit -qm y; git checkout -q -b feature; git fetch -q . master; \
                  git worktree add -q ../side; cd ../side; echo z > z; git add z; git commit -qm z; cd ../work; \
                  git merge -q side; git worktree remove ../side; git stash list; git gc -q; git tag t; \
                  echo '{\"name\":\"n\",\"version\":\"1.0.0\"}' > package.json; npm install --offline --no-audit; \
                  test -f package-lock.json; git log --oneline | wc -l";
    let outcome = desk.governed(&[], script)?;
    ensure!(outcome.status.success() && outcome.stdout.ends_with("3\n"), "{outcome:?}");
    ensure!(outcome.stderr.contains("new, and others run it: package.json"), "{outcome:?}");
    Ok(())
}

#[test]
fn a_repository_without_a_folder_for_hooks_has_a_new_one_listed() -> Result<()> {
    let desk = Desk::new()?;
    fs::remove_dir_all(desk.home().join("work/.git/hooks"))?;
    let script = "mkdir .git/hooks && echo x > .git/hooks/pre-commit && git init -q new";
    let outcome = desk.governed(&[], script)?;
    for line in
        ["new, and git runs it: .git/hooks/pre-commit", "new, and git runs it: new/.git/config"]
    {
        ensure!(outcome.stderr.contains(line), "{line}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn a_pipe_that_somebody_outside_reads_is_hidden_and_named() -> Result<()> {
    let desk = Desk::new()?;
    let made = desk.shell("mkfifo -m 666 ~/work/pipe")?;
    ensure!(made.status.success(), "{made:?}");
    // Read and write, so that a writer inside would not wait.
    let pipe = Path::new(&desk.home()).join("work/pipe");
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&pipe)?;
    let outcome =
        desk.governed(&[], "test -p pipe && echo there; mkfifo own && test -p own && echo own")?;
    ensure!(outcome.stdout == "own\n", "{outcome:?}");
    ensure!(outcome.stderr.contains("pipe (FIFO)"), "{outcome:?}");
    fs::remove_file(desk.home().join("work/own"))?;
    let given = desk.governed(&["--write", "pipe"], "test -p pipe && echo there")?;
    ensure!(given.stdout == "there\n", "{given:?}");
    Ok(())
}
