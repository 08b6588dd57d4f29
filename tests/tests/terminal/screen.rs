//! A terminal that tmux emulates, with an interactive shell in it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::Stand;

use super::until;

/// One window with `bash`, on a tmux server of its own.
pub(crate) struct Screen {
    socket: PathBuf,
}

impl Screen {
    /// Opens a window of that size and waits for the shell's prompt.
    pub(crate) fn open(stand: &Stand, columns: u16, rows: u16) -> Result<Self> {
        let (socket, config) = (stand.home().join("tmux"), stand.home().join("tmux.conf"));
        std::fs::write(&config, "set -g status off\nset -g default-terminal screen\n")?;
        let screen = Self { socket };
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

    /// Waits until the screen is as `wanted` says.
    pub(crate) fn shows_that(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut shown = String::new();
        until(&format!("{what:?} was not shown"), || {
            shown = self.text()?;
            Ok(wanted(&shown))
        })
        .with_context(|| format!("the screen:\n{shown}"))?;
        Ok(shown)
    }

    fn tmux(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(args)
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
