//! Whether the configuration of a gate and everything that it names is as it should be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use decide::policy::Mode;

use super::Item;
use crate::cli::out::counted;
use crate::clock::Clock;
use crate::config::{Config, MasterKeyFrom, Pod};
use crate::pod::{self, PodError};
use crate::policies::Policies;
use crate::trust::hex;
use crate::yaml::Fault;

/// Of who is neither owner nor root: may write.
const OTHERS_WRITE: u32 = 0o022;
/// Of who is neither owner nor root: may read, write or execute.
const OTHERS: u32 = 0o077;

/// What there is to say of the configuration in `file`, and the state folder that it names.
pub(super) fn items(file: &Path) -> (Vec<Item>, Option<PathBuf>) {
    let config = match Config::load(file, std::env::vars_os()) {
        Ok(config) => config,
        Err(errors) => {
            return (errors.0.iter().map(|fault| faulty("configuration", fault)).collect(), None);
        }
    };
    let mode = match config.mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    };
    let found = format!("{} · mode {mode} · sha256 {}", file.display(), hex(&config.digest()));
    let mut items = vec![Item::good("configuration", found)];
    items.extend(writable(file));
    items.extend(policy(&config.policy));
    items.extend(master_key(&config.master_key));
    items.extend(named(&config).into_iter().filter_map(|path| unreadable(&path)));
    items.extend(open_proxy(&config));
    items.extend(config.pod.as_ref().map(pod));
    if let Some(tls) = &config.listen.tls {
        items.extend(exposed(&tls.key));
    }
    (items, Some(config.state))
}

/// How the pod is shut in that the gate is to guard. Elsewhere than in the pod nothing is known of it.
fn pod(pod: &Pod) -> Item {
    const NAME: &str = "pod";
    match pod::standing(pod) {
        Ok(mode) => match mode.weakness() {
            None => Item::good(NAME, format!("mode {mode} · agent {}", pod.agent)),
            Some(weakness) => {
                Item::warning(NAME, format!("mode {mode}: {weakness}"), "tollgate-init check")
            }
        },
        Err(error @ PodError::Absent(_)) => {
            Item::warning(NAME, error.to_string(), "tollgate-init install")
        }
        Err(error) => Item::failure(NAME, error.to_string(), "tollgate-init install"),
    }
}

fn faulty(name: &'static str, fault: &Fault) -> Item {
    let line = fault.at.map_or(1, |(line, _)| line);
    let next = if fault.at.is_some() || Path::new(&fault.file).is_file() {
        format!("${{EDITOR:-vi}} +{line} {}", fault.file)
    } else if let Some(variable) = fault.path.as_ref().filter(|path| path.starts_with("TOLLGATE_"))
    {
        format!("unset {variable}")
    } else {
        "tollgate init".to_owned()
    };
    Item::failure(name, fault.to_string(), next)
}

fn policy(folder: &Path) -> Vec<Item> {
    match Policies::read(folder, Clock::system().now()) {
        Ok(policies) => {
            let files = counted(policies.files().len() as u64, "file", "files");
            let agents = counted(policies.agents().len() as u64, "agent", "agents");
            let found = format!("{} · {files} · {agents}", folder.display());
            let paths = policies.files().iter().map(|file| folder.join(&file.file));
            let open = std::iter::once(folder.to_owned()).chain(paths);
            std::iter::once(Item::good("policy", found))
                .chain(open.filter_map(|path| writable(&path)))
                .collect()
        }
        Err(faults) => faults.iter().map(|fault| faulty("policy", fault)).collect(),
    }
}

/// Whoever can write a contract or the configuration decides what agents may do.
fn writable(path: &Path) -> Option<Item> {
    let mode = fs::metadata(path).ok()?.mode();
    (mode & OTHERS_WRITE != 0).then(|| {
        Item::warning(
            "configuration",
            format!("{} can be written by others than its owner", path.display()),
            format!("chmod go-w {}", path.display()),
        )
    })
}

fn master_key(from: &MasterKeyFrom) -> Option<Item> {
    const NAME: &str = "master key";
    let path = match from {
        MasterKeyFrom::StateFolder => return None,
        MasterKeyFrom::Env { variable, key: _ } => {
            return Some(Item::good(NAME, format!("32 bytes in {variable}")));
        }
        MasterKeyFrom::File(path) => path,
    };
    let shown = path.display();
    let make = format!("install -m 0600 /dev/null {shown} && openssl rand 32 > {shown}");
    Some(match fs::metadata(path) {
        Err(error) => Item::failure(NAME, format!("{shown}: {error}"), make),
        Ok(meta) if meta.len() != 32 => Item::failure(
            NAME,
            format!("{shown} has {} bytes, not 32", meta.len()),
            format!("ls -l {shown}"),
        ),
        Ok(meta) if meta.mode() & OTHERS != 0 => Item::failure(
            NAME,
            format!("{shown} is open to others than its owner"),
            format!("chmod 0600 {shown}"),
        ),
        Ok(_) => Item::good(NAME, shown.to_string()),
    })
}

/// Files of certificates that the configuration names.
fn named(config: &Config) -> Vec<PathBuf> {
    let mut named = config.upstream.ca.clone();
    named.extend(config.providers.values().filter_map(|provider| provider.ca.clone()));
    if let Some(tls) = &config.listen.tls {
        named.extend([tls.cert.clone(), tls.key.clone()]);
        named.extend(tls.client_ca.clone());
    }
    named
}

fn unreadable(path: &Path) -> Option<Item> {
    let error = fs::File::open(path).err()?;
    let shown = path.display();
    Some(Item::failure("configuration", format!("{shown}: {error}"), format!("ls -l {shown}")))
}

/// A private key that others can read is not private.
fn exposed(key: &Path) -> Option<Item> {
    let mode = fs::metadata(key).ok()?.mode();
    (mode & OTHERS != 0).then(|| {
        let shown = key.display();
        let found = format!("{shown} is a private key and open to others than its owner");
        Item::warning("configuration", found, format!("chmod 0600 {shown}"))
    })
}

fn open_proxy(config: &Config) -> Option<Item> {
    let listen = &config.listen;
    let beyond = |address: &&std::net::SocketAddr| !address.ip().to_canonical().is_loopback();
    let address = listen.proxy.iter().find(beyond).filter(|_| listen.tls.is_none())?;
    Some(Item::warning(
        "configuration",
        format!(
            "{address} takes requests without TLS: virtual keys and content can be read on the way"
        ),
        "give listen.tls a certificate and its key",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn levels(file: &Path) -> Vec<(Level, String)> {
        items(file).0.into_iter().map(|item| (item.level, item.found)).collect()
    }

    #[test]
    fn a_configuration_is_good_with_all_that_it_names_and_each_lack_has_a_next_command() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("policy")).unwrap();
        fs::set_permissions(at("policy"), fs::Permissions::from_mode(0o755)).unwrap();
        let contract = "policy_id: p\nversion: \"1\"\nmode: enforce\nagents: { a: {} }\n";
        write(&at("policy/a.yaml"), contract, 0o644);
        write(&at("master.key"), &"k".repeat(32), 0o600);
        write(&at("ca.pem"), "", 0o644);
        let config = "policy: policy\nvault: { master_key: { file: master.key } }\nupstream: { ca: [ca.pem] }\n";
        write(&at("t.yaml"), config, 0o644);
        let all = levels(&at("t.yaml"));
        assert!(all.len() == 3 && all.iter().all(|(level, _)| *level == Level::Good), "{all:?}");

        write(&at("t.yaml"), config, 0o666);
        write(&at("policy/a.yaml"), contract, 0o664);
        write(&at("master.key"), "short", 0o600);
        fs::remove_file(at("ca.pem")).unwrap();
        let all = levels(&at("t.yaml"));
        let count = |wanted| all.iter().filter(|(level, _)| *level == wanted).count();
        assert_eq!((count(Level::Warning), count(Level::Failure)), (2, 2), "{all:?}");
        write(&at("master.key"), &"k".repeat(32), 0o640);
        assert!(levels(&at("t.yaml")).iter().any(|(_, found)| found.contains("open to others")));
        assert!(
            items(&at("t.yaml"))
                .0
                .iter()
                .all(|item| (item.level == Level::Good) == item.next.is_none())
        );
    }

    #[test]
    fn each_fault_is_a_failure_with_the_line_to_go_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.yaml");
        write(&file, "mode: x\nstat: /y\n", 0o644);
        let (items, state) = items(&file);
        let next: Vec<_> = items.iter().map(|item| item.next.clone().unwrap()).collect();
        let shown = file.display();
        assert_eq!(
            next,
            [format!("${{EDITOR:-vi}} +1 {shown}"), format!("${{EDITOR:-vi}} +2 {shown}")]
        );
        assert!(state.is_none() && items.iter().all(|item| item.level == Level::Failure));
    }
}
