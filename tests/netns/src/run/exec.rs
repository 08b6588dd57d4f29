//! The same techniques by a command under `tollgate exec`: by root, and by a user without any privilege.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{AGENT, Harness};
use crate::case::{Case, Form, Who};
use crate::container::{Place, Started, User};

use super::whole::Sights;

impl Harness {
    /// Tries every case that is about `exec`, in a pod without enforcement: all that holds it is the run.
    ///
    /// # Errors
    /// When the run cannot be started, or the harness fails.
    pub(super) fn under_exec(&mut self, cases: &[Case], controls: &Sights) -> Result<Sights> {
        let mut sights = Sights::new();
        for who in [Who::Agent, Who::Root] {
            let mut process = self.run_of(who)?;
            self.ensure_started(&mut process)?;
            self.helpers.start_later()?;
            let own = cases.iter().filter(|case| case.form != Form::Pod && case.who.contains(&who));
            for case in own {
                let attempt = self.attempt(case.technique, &case.words)?;
                let report = process.carry_out(&attempt);
                let report = report.with_context(|| format!("case {} under exec", case.name))?;
                let mut sight = self.seen(attempt, report)?;
                // No floor is in force here, so connections of the controls may still be closing.
                sight
                    .frames
                    .retain(|frame| !controls.values().any(|past| frame.is_of(&past.attempt)));
                sights.insert((case.name, who), sight);
            }
        }
        Ok(sights)
    }

    /// Waits until the command answers, which it does after everything that the run's start does.
    fn ensure_started(&mut self, process: &mut Started) -> Result<()> {
        let attempt = self.attempt("nothing", &[])?;
        process.carry_out(&attempt).context("the run does not start").map(drop)
    }

    /// A run whose command carries out techniques.
    fn run_of(&self, who: Who) -> Result<Started> {
        let (uid, user) = match who {
            Who::Agent => (AGENT, User::Plain(AGENT)),
            Who::Root => (0, User::Mighty),
        };
        let folder = self.scratch.0.join(format!("exec-{uid}"));
        let (home, work, state) = (folder.join("home"), folder.join("work"), folder.join("state"));
        for made in [&folder, &home, &work] {
            fs::create_dir(made)?;
            chown(made, Some(uid), Some(uid))?;
        }
        let log = fs::File::create(self.scratch.0.join(format!("exec-{uid}.log")))?;
        let mut command = Command::new(&self.programs.tollgate);
        command
            .args(["exec", "--state", crate::text(&state)?, "--"])
            .arg(&self.programs.techniques)
            .current_dir(&work)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &home)
            .stderr(Stdio::from(log));
        let place =
            Place { cgroup: &self.cgroups.outside, network: &self.topology.pod, hidden: &[], user };
        place.start_command(command)
    }
}
