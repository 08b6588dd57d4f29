//! What the installer tells the pod's gate, in a file that only the gate's user reads.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::mode::Mode;

#[cfg(test)]
mod tests;

/// The version that is written; a gate refuses another.
const VERSION: u32 = 1;

/// Where it lies unless another place is named.
pub const PATH: &str = "/run/tollgate/pod.json";

/// The file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFile {
    version: u32,
    /// The mode in force.
    pub mode: Mode,
    /// Why no stronger one is.
    pub why: String,
    /// The folder of the pinned maps, as the gate's container sees it; only in [`Mode::Kernel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maps: Option<PathBuf>,
    /// The application's TCP ports that are reached from outside.
    pub inbound: Vec<u16>,
    /// The pod's own addresses.
    pub own: Vec<IpAddr>,
    /// Every interface but the loopback.
    pub interfaces: Vec<String>,
    token: Token,
    /// What is done about `AF_XDP`.
    pub xdp: Xdp,
    /// The meshes that were found.
    pub meshes: Vec<String>,
}

/// What keeps a process with `CAP_NET_RAW` from sending by `AF_XDP`, past everything in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Xdp {
    /// Nothing here: admission has to take the capability.
    Open,
    /// The gate is to bind every queue.
    Hold,
    /// The kernel has none.
    Closed,
}

/// 64 hexadecimal digits that the pod's gate proves to know, and nobody else in the pod can.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(String);

/// What a pod file says beside its token.
#[derive(Debug, Clone)]
pub struct Said {
    /// See [`PodFile::mode`].
    pub mode: Mode,
    /// See [`PodFile::why`].
    pub why: String,
    /// See [`PodFile::maps`].
    pub maps: Option<PathBuf>,
    /// See [`PodFile::inbound`].
    pub inbound: Vec<u16>,
    /// See [`PodFile::own`].
    pub own: Vec<IpAddr>,
    /// See [`PodFile::interfaces`].
    pub interfaces: Vec<String>,
    /// See [`PodFile::xdp`].
    pub xdp: Xdp,
    /// See [`PodFile::meshes`].
    pub meshes: Vec<String>,
}

/// Why the file cannot be read or written. None quotes it.
#[derive(Debug, thiserror::Error)]
pub enum PodFileError {
    /// The file or its folder.
    #[error("cannot {act} {path}: {source}{hint}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// It is not one of ours.
    #[error(
        "{0} is not what `tollgate-init install` of this version writes: remove it and install again"
    )]
    Malformed(String),
    /// There is no randomness.
    #[error("the kernel gives no random bytes: {0}")]
    Random(String),
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn new() -> Result<Self, PodFileError> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| PodFileError::Random(error.to_string()))?;
        Ok(Self(crate::probes::hex(&bytes)))
    }

    /// Its digits.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PodFile {
    /// A file that says this, with the token of the one that is at `path`: a gate that runs has read it.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn succeeding(path: &Path, said: Said) -> Result<Self, PodFileError> {
        let token = Self::read(path).map(|before| before.token).or_else(|_| Token::new())?;
        let Said { mode, why, maps, inbound, own, interfaces, xdp, meshes } = said;
        Ok(Self { version: VERSION, mode, why, maps, inbound, own, interfaces, token, xdp, meshes })
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or is not one of this version.
    pub fn read(path: &Path) -> Result<Self, PodFileError> {
        let text = fs::read(path).map_err(failed("read", path))?;
        let malformed = || PodFileError::Malformed(path.display().to_string());
        // What the parser says may quote what stands there, and the token stands there.
        let file: Self = serde_json::from_slice(&text).map_err(|_quoting| malformed())?;
        if file.version == VERSION { Ok(file) } else { Err(malformed()) }
    }

    /// Writes it to `path` for `user` and `group` alone: whole or not at all. Its folder is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be written to, or the file not be given away.
    pub fn write(&self, path: &Path, user: u32, group: u32) -> Result<(), PodFileError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .map_err(failed("make", folder))?;
        let text = serde_json::to_vec(self)
            .map_err(|_quoting| PodFileError::Malformed(path.display().to_string()))?;
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let written = Self::write_new(&new, &text, user, group)
            .and_then(|()| fs::rename(&new, path).map_err(failed("replace", path)));
        if written.is_err() && new.exists() {
            fs::remove_file(&new).map_err(failed("remove", &new))?;
        }
        written
    }

    fn write_new(new: &Path, text: &[u8], user: u32, group: u32) -> Result<(), PodFileError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(new);
        let mut file = file.map_err(failed("make", new))?;
        file.write_all(text).map_err(failed("write", new))?;
        give(&file, user, group).map_err(failed("give away", new))?;
        file.sync_all().map_err(failed("write", new))
    }
}

/// Gives the file away last: from then on it may not be changed by who has no capability for that.
fn give(file: &File, user: u32, group: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    fchown(file, Some(user), Some(group))
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PodFileError {
    let path = path.display().to_string();
    move |source| {
        let hint = if source.kind() == io::ErrorKind::PermissionDenied {
            ": capabilities CHOWN, to give it to the gate's user, and DAC_OVERRIDE, to read it again, are needed"
        } else if source.kind() == io::ErrorKind::NotFound {
            ": run `tollgate-init install` first"
        } else {
            ""
        };
        PodFileError::Io { act, path, source, hint }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl std::fmt::Debug for PodFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodFile").field("mode", &self.mode).finish_non_exhaustive()
    }
}
