//! What the installer wrote about the pod, for its gate.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as Permissions, OFlags};
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Mode, PodError};

/// The version of the file that this gate reads.
const VERSION: u32 = 1;
/// More than a file of this kind has, in bytes.
const LONGEST: u64 = 1 << 20;
/// Ports that a pod may declare.
const MOST_PORTS: usize = 256;

/// What the installer wrote.
#[derive(Debug, Deserialize)]
pub(crate) struct PodFile {
    /// How the pod is shut in.
    pub(crate) mode: Mode,
    /// Why no stronger mode was possible, or why this one was chosen.
    #[serde(default)]
    pub(crate) why: String,
    /// Where the kernel programs' maps are pinned, as the gate sees it.
    #[serde(default)]
    pub(crate) maps: Option<PathBuf>,
    /// Ports at which the agent serves.
    #[serde(default)]
    pub(crate) inbound: Vec<u16>,
    /// The pod's own addresses.
    #[serde(default)]
    pub(crate) own: Vec<IpAddr>,
    /// Its interfaces but loopback.
    #[serde(default)]
    pub(crate) interfaces: Vec<String>,
    /// SHA-256 of the token by which the installer knows this gate again.
    #[serde(deserialize_with = "hashed")]
    pub(crate) token: [u8; 32],
    /// How `AF_XDP` is kept from passing by everything else.
    #[serde(default)]
    pub(crate) xdp: Xdp,
}

/// What keeps a process with `CAP_NET_RAW` from sending by `AF_XDP`, past all that the pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Xdp {
    /// Nothing: admission has to take the capability.
    #[default]
    Open,
    /// The gate holds every queue.
    Hold,
    /// The kernel has none, or the node closes it.
    Closed,
}

/// Only the version, which says how the rest is to be read.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The gate never tells the token, so it does not keep it.
fn hashed<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let token = Zeroizing::new(String::deserialize(from)?);
    Ok(Sha256::digest(token.as_bytes()).into())
}

impl PodFile {
    /// Reads the file at `path`, which belongs to this user or to root and which nobody else may write.
    pub(crate) fn read(path: &Path) -> Result<Self, PodError> {
        let shown = || path.display().to_string();
        let about = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                return PodError::Absent(shown());
            }
            PodError::Unreadable { path: shown(), source }
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, Permissions::empty());
        let file = File::from(fd.map_err(|errno| about(errno.into()))?);
        let stat = file.metadata().map_err(about)?;
        let own = rustix::process::geteuid().as_raw();
        if !stat.is_file() || (stat.uid() != own && stat.uid() != 0) || stat.mode() & 0o022 != 0 {
            return Err(PodError::Foreign(shown()));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(LONGEST).read_to_string(&mut text).map_err(about)?;
        Self::parse(&text).map_err(|why| PodError::Malformed { path: shown(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // What the parser says may quote what stands there, and the token stands there.
        let form = |error: &serde_json::Error| {
            format!(
                "is not what an installer writes (line {}, column {})",
                error.line(),
                error.column()
            )
        };
        let Versioned { version } = serde_json::from_str(text).map_err(|error| form(&error))?;
        if version != VERSION {
            return Err(format!(
                "has version {version}, and this gate reads version {VERSION}: use tollgate-init and tollgate of one release"
            ));
        }
        let file: Self = serde_json::from_str(text).map_err(|error| form(&error))?;
        if file.inbound.len() > MOST_PORTS {
            return Err(format!("declares more than {MOST_PORTS} ports"));
        }
        if file.inbound.contains(&0) {
            return Err("declares port 0".to_owned());
        }
        if let Some(port) = file.inbound.iter().find(|port| ebpf::GATE_PORTS.contains(port)) {
            return Err(format!("declares port {port}, at which the gate itself listens"));
        }
        if file.mode == Mode::Kernel && file.maps.is_none() {
            return Err("does not say where the maps are, which mode kernel needs".to_owned());
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const WHOLE: &str = r#"{"version":1,"mode":"nft-cgroup","why":"no bpffs","maps":"/m","inbound":[8080],
        "own":["10.0.0.5","fd00::5"],"interfaces":["eth0"],"token":"c0ffee","xdp":"hold","meshes":["istio"],"new":1}"#;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.json");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn what_the_installer_wrote_is_read_and_its_token_is_shown_nowhere() {
        let (_folder, path) = written(WHOLE, 0o600);
        let file = PodFile::read(&path).unwrap();
        assert_eq!((file.mode, file.xdp), (Mode::NftCgroup, Xdp::Hold));
        assert_eq!(file.inbound, [8080]);
        assert_eq!(file.own, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(file.interfaces, ["eth0"]);
        let token: [u8; 32] = Sha256::digest("c0ffee").into();
        assert_eq!(file.token, token);
        assert!(!format!("{:?}", PodFile::parse(WHOLE).unwrap()).contains("c0ffee"));
    }

    #[test]
    fn a_file_that_is_not_there_or_that_others_may_write_is_refused_with_what_to_do() {
        let missing = PodFile::read(Path::new("/nonexistent/pod.json")).unwrap_err();
        assert!(missing.to_string().contains("tollgate-init install"), "{missing}");
        for mode in [0o620, 0o602, 0o666] {
            let (_folder, path) = written(WHOLE, mode);
            let error = PodFile::read(&path).unwrap_err();
            assert!(matches!(error, PodError::Foreign(_)), "{mode:o}: {error}");
        }
        let (folder, path) = written(WHOLE, 0o600);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(PodFile::read(&link).is_err(), "a link may lead anywhere");
    }

    #[test]
    fn what_cannot_be_understood_is_refused_and_not_quoted() {
        for (from, to, why) in [
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"version\":1,", "", "not what an installer writes"),
            ("nft-cgroup", "ebpf", "not what an installer writes"),
            ("\"token\":\"c0ffee\"", "\"token\":[\"c0ffee\"]", "not what an installer writes"),
            ("[8080]", "[0]", "port 0"),
            ("[8080]", "[80, 16806]", "port 16806"),
            ("[8080]", "[80800]", "not what an installer writes"),
            ("\"hold\"", "\"maybe\"", "not what an installer writes"),
        ] {
            assert!(WHOLE.contains(from));
            let error = PodFile::parse(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.contains(why) && !error.contains("c0ffee"), "{to}: {error}");
        }
        let text = r#"{"version":1,"mode":"kernel","token":"c0ffee"}"#;
        assert!(PodFile::parse(text).unwrap_err().contains("where the maps are"));
    }
}
