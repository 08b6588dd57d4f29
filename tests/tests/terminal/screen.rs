//! A terminal that tmux emulates, with an interactive shell in it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::Stand;
use rustix::fs::OFlags;

use super::until;

/// How often in a row the shell waits before nothing is on its way any more: tmux hands keys on, and draws what was
/// written, each time before it answers the next question.
const SETTLED: u32 = 5;

/// One window with `bash`, on a tmux server of its own.
pub(crate) struct Screen {
    home: PathBuf,
}

impl Screen {
    /// Opens a window of that size and waits for the shell's prompt.
    pub(crate) fn open(stand: &Stand, columns: u16, rows: u16) -> Result<Self> {
        let (home, config) = (stand.home(), stand.home().join("tmux.conf"));
        fs::write(&config, "set -g status off\nset -g default-terminal screen\n")?;
        let screen = Self { home };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = format!(
            "exec env -i PATH=\"$PATH\" TERM=\"$TERM\" HOME='{}' LANG=C.UTF-8 PS1='own> ' bash --norc --noprofile -i",
            stand.home().display()
        );
        let config = config.display().to_string();
        screen.tmux(&["-f", &config, "new-session", "-d", "-x", &columns, "-y", &rows, &shell])?;
        screen.shows("own>")?;
        Ok(screen)
    }

    /// Types text and Enter.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text])?;
        self.key("Enter")
    }

    /// Presses a key by tmux's name for it.
    pub(crate) fn key(&self, name: &str) -> Result<()> {
        self.tmux(&["send-keys", name]).map(drop)
    }

    /// Gives the window another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// What is on the screen now, wrapped lines joined.
    pub(crate) fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-J"])
    }

    /// Whether a program has the second screen, the one that full-screen programs draw on.
    pub(crate) fn is_full(&self) -> Result<bool> {
        Ok(self.tmux(&["display-message", "-p", "#{alternate_on}"])?.trim() == "1")
    }

    /// Waits until the screen shows `text`.
    pub(crate) fn shows(&self, text: &str) -> Result<String> {
        self.shows_that(text, |shown| shown.contains(text))
    }

    /// Waits until the screen is as `wanted` says; fails at once where it cannot become so any more.
    pub(crate) fn shows_that(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let (mut shown, mut settled) = (String::new(), 0);
        until(&format!("{what:?} was not shown"), || {
            // Asked before the screen is: what was written until then is on it.
            let waits = self.shell_waits()?;
            shown = self.text()?;
            if wanted(&shown) {
                return Ok(true);
            }
            let prompted = shown.trim_end().lines().last().is_some_and(|line| line == "own>");
            settled = if waits && prompted { settled + 1 } else { 0 };
            ensure!(settled < SETTLED, "{what:?} was not shown, and all that ran has ended");
            Ok(false)
        })
        .with_context(|| format!("the screen:\n{}", shown.trim_end()))?;
        Ok(shown)
    }

    /// Whether the shell waits for keys: none are typed that it has not read, and nothing that it started is left.
    fn shell_waits(&self) -> Result<bool> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let process = Path::new("/proc").join(shell.trim());
        // Where it has ended in this moment, tmux says so to the next question.
        let Ok(stat) = fs::read_to_string(process.join("stat")) else { return Ok(false) };
        let children = process.join("task").join(shell.trim()).join("children");
        let Ok(children) = fs::read_to_string(children) else { return Ok(false) };
        let Ok(terminal) = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed())
            .open(process.join("fd/0"))
        else {
            return Ok(false);
        };
        let sleeps = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
        let unread = rustix::io::ioctl_fionread(&terminal)?;
        Ok(sleeps && children.trim().is_empty() && unread == 0)
    }

    fn tmux(&self, args: &[&str]) -> Result<String> {
        // Named from its folder: a socket's path has a hundred characters at most, and the folder's may have more.
        let output = Command::new("tmux")
            .args(["-S", "tmux"])
            .args(args)
            .current_dir(&self.home)
            .env_remove("TMUX")
            .output()
            .context("tmux is not installed: run cargo xtask setup")?;
        ensure!(
            output.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Fails where its shell has ended already, and the server with it.
        drop(self.tmux(&["kill-server"]));
    }
}
