//! The stub that plays the gate, as its own process in the gate's container: what it tells and what it is told.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::attempt::Report;
use crate::container::{Place, Started};

/// The ports, which are those of DESIGN section 9 and of the inbound intake.
pub const INTAKE: u16 = 16801;
/// Explicit proxy.
pub const PROXY: u16 = 16802;
/// Redirected inbound connections.
pub const INBOUND: u16 = 16806;
/// Control.
pub const CONTROL: u16 = 16809;
/// Health.
pub const HEALTH: u16 = 16815;
/// Responder.
pub const RESPONDER: u16 = 16853;
/// All of them.
pub const PORTS: [u16; 6] = [INTAKE, PROXY, INBOUND, CONTROL, HEALTH, RESPONDER];
/// Names the folder of the programs' maps.
pub const MAPS: &str = "--maps";
/// Has it ask the kernel's address translation where a connection wanted to go.
pub const TRANSLATED: &str = "--translated";
/// The user it runs as.
pub const UID: u32 = 16801;

const PATIENCE: i32 = 10_000;

/// What the stub writes, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// All ports are open.
    Ready,
    /// It took a connection or a datagram at this port, which wanted to go there.
    Took {
        /// Which of its ports.
        port: u16,
        /// What the kernel knows of it; none when it knows nothing.
        wanted: Option<SocketAddr>,
    },
    /// How its own connection went.
    Dialled(Report),
}

/// What the stub is told, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub enum Tell {
    /// Connects there and says this.
    Dial {
        /// Where to.
        to: SocketAddr,
        /// What it says.
        marker: String,
    },
}

/// The stub's process.
#[derive(Debug)]
pub struct Gate {
    process: Started,
}

impl Gate {
    /// Starts it and waits until its ports are open.
    ///
    /// # Errors
    /// When it cannot open them.
    pub fn start(place: &Place<'_>, program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut process = place.start(program, arguments)?;
        let line = process.line_within(PATIENCE)?.context("the gate's stub says nothing")?;
        match serde_json::from_str(&line)? {
            Told::Ready => Ok(Self { process }),
            told @ (Told::Took { .. } | Told::Dialled(_)) => {
                bail!("not ready but {told:?}")
            }
        }
    }

    /// Its number outside.
    #[must_use]
    pub fn process(&self) -> i32 {
        self.process.process()
    }

    /// Where the connections at the intake wanted to go that it has taken since it was asked last.
    ///
    /// # Errors
    /// When it has ended.
    pub fn took(&mut self) -> Result<Vec<Option<SocketAddr>>> {
        let mut all = Vec::new();
        while let Some(line) = self.process.line_within(0)? {
            if let Told::Took { port: INTAKE, wanted } = serde_json::from_str(&line)? {
                all.push(wanted);
            }
        }
        Ok(all)
    }

    /// Has it connect by itself.
    ///
    /// # Errors
    /// When it does not say how that went.
    pub fn dial(&mut self, to: SocketAddr, marker: &str) -> Result<Report> {
        let tell = Tell::Dial { to, marker: marker.to_owned() };
        self.process.tell(&serde_json::to_string(&tell)?)?;
        loop {
            let line = self.process.line_within(PATIENCE)?.context("the gate says nothing")?;
            if let Told::Dialled(report) = serde_json::from_str(&line)? {
                return Ok(report);
            }
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}
