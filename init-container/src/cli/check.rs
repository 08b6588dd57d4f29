//! `tollgate-init check`: which mode would be in force, found out without changing anything.

use std::net::SocketAddr;

use ebpf::{Ports, Redirection};
use serde::Serialize;

use super::{
    out::{Exit, Failure, Out},
    pod::InstallArgs,
};
use crate::{
    install::{self, Cgroup, Scene},
    mesh::Mesh,
    mode::{self, Mode, Obstacles},
    nft::{Counters, Refused},
    ports,
};

#[derive(Debug, Serialize)]
struct Document {
    /// The mode that an installation would bring into force, if any.
    mode: Option<Mode>,
    /// Why no stronger one, or none.
    why: String,
    /// What stands in the way of each.
    obstacles: Obstacles,
    cgroups: Vec<Cgroup>,
    interfaces: Vec<String>,
    meshes: Vec<Mesh>,
    /// Packets by the floor's counters, where there is one.
    dropped: Counters,
    /// What it dropped of whose sockets, where no programs tell that.
    refused: Vec<Refused>,
}

pub(super) fn run(args: &InstallArgs, out: &mut Out) -> Result<Exit, Failure> {
    let options = args.options()?;
    let scene = Scene::look(&options).map_err(Failure::could_not)?;
    let mut obstacles = scene.obstacles().clone();
    for (mode, obstacle) in [
        (Mode::Kernel, &mut obstacles.kernel),
        (Mode::NftCgroup, &mut obstacles.nft_cgroup),
        (Mode::NftUser, &mut obstacles.nft_user),
    ] {
        if obstacle.is_none() {
            *obstacle = scene.refused(mode, &options).map_err(Failure::could_not)?;
        }
    }
    obstacles.kernel = obstacles.kernel.or_else(programs);
    let choice = mode::choose(options.wanted, options.minimum, &obstacles);
    let (mode, why) = match choice {
        Ok(choice) => (Some(choice.mode), choice.why),
        Err(error) => (None, error.to_string()),
    };
    let document = Document {
        mode,
        why,
        obstacles,
        cgroups: scene.places().unwrap_or_default().iter().map(Cgroup::of).collect(),
        interfaces: scene.network().interfaces.iter().map(ToString::to_string).collect(),
        meshes: scene.meshes(&options).map_err(Failure::could_not)?,
        dropped: scene.nft().counters().map_err(Failure::could_not)?,
        refused: scene.nft().refused().map_err(Failure::could_not)?,
    };
    out.document(&document, |out| print(&document, out))?;
    Ok(if mode.is_some() { Exit::Done } else { Exit::No })
}

/// Why the programs cannot be loaded, if they cannot.
fn programs() -> Option<String> {
    let ports = Ports { intake: ports::INTAKE, responder: ports::RESPONDER };
    Redirection::load(ports).err().map(|error| install::brief(&error))
}

fn print(document: &Document, out: &mut Out) -> std::io::Result<()> {
    for mode in Mode::STRONGEST_FIRST {
        match document.obstacles.of(mode) {
            None => out.line(&format!("✓ {mode}"))?,
            Some(obstacle) => out.line(&format!("✗ {mode}: {obstacle}"))?,
        }
    }
    for cgroup in &document.cgroups {
        out.line(&format!("  cgroup {} (id {})", cgroup.folder.display(), cgroup.id))?;
    }
    for mesh in &document.meshes {
        out.line(&format!("‼ {}: {}", mesh.name, mesh.means))?;
    }
    for (counter, packets) in &document.dropped {
        out.line(&format!("  {counter}: {packets} packets"))?;
    }
    for one in &document.refused {
        let Refused { uid, protocol, destination, port, packets } = one;
        let to = SocketAddr::new(*destination, *port);
        out.line(&format!("  refused: user {uid}, protocol {protocol}, {to}, {packets} packets"))?;
    }
    match document.mode {
        Some(mode) => out.line(&format!("an installation would be in mode {mode}")),
        None => out.line(&format!("an installation would be refused: {}", document.why)),
    }
}
