use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

const CANARY: &str = "sk-canary-5512";

fn fd(folder: &Path) -> OwnedFd {
    OwnedFd::from(fs::File::open(folder).unwrap())
}

fn open(folder: &Path) -> Result<Vault, VaultError> {
    Vault::open(fd(folder), &MasterKey::open(fd(folder))?)
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn sealed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path()).unwrap();
    vault.seal("openai", &secret(CANARY)).unwrap();
    vault.seal("anthropic", &secret("second")).unwrap();
    folder
}

#[test]
fn what_is_sealed_is_there_after_a_restart_and_nowhere_in_clear() {
    let folder = sealed();
    let vault = open(folder.path()).unwrap();
    assert_eq!(vault.names(), ["anthropic", "openai"]);
    assert_eq!(vault.reveal("openai").unwrap().reveal(), CANARY.as_bytes());
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(CANARY), "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn sealing_again_replaces_and_the_same_secret_is_not_written_twice() {
    let folder = sealed();
    let vault = open(folder.path()).unwrap();
    let before = fs::read(folder.path().join(FILE)).unwrap();
    vault.seal("openai", &secret(CANARY)).unwrap();
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), before);
    vault.seal("openai", &secret("new")).unwrap();
    assert_eq!(vault.reveal("openai").unwrap().reveal(), b"new");
    assert_eq!(open(folder.path()).unwrap().reveal("openai").unwrap().reveal(), b"new");
}

#[test]
fn a_name_without_a_secret_is_an_error_that_names_it() {
    let folder = sealed();
    let error = open(folder.path()).unwrap().reveal("gemini").unwrap_err();
    assert_eq!(error.to_string(), "the vault holds no credential gemini");
}

#[test]
fn every_changed_byte_of_a_sealed_value_is_found_at_the_start() {
    let folder = sealed();
    let path = folder.path().join(FILE);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] = if bad[at] == b'7' { b'8' } else { b'7' };
        fs::write(&path, &bad).unwrap();
        assert!(matches!(open(folder.path()), Err(VaultError::Corrupt)), "byte {at}");
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(matches!(open(folder.path()), Err(VaultError::Corrupt)));
}

#[test]
fn an_entry_cannot_be_passed_off_as_another_or_as_an_older_one() {
    let folder = sealed();
    let path = folder.path().join(FILE);
    let old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut swapped = old.clone();
    swapped["entries"]["openai"] = old["entries"]["anthropic"].clone();
    fs::write(&path, swapped.to_string()).unwrap();
    assert!(matches!(open(folder.path()), Err(VaultError::Corrupt)));
    let mut aged = old;
    aged["entries"]["openai"]["version"] = 2.into();
    fs::write(&path, aged.to_string()).unwrap();
    assert!(matches!(open(folder.path()), Err(VaultError::Corrupt)));
}

#[test]
fn a_vault_of_another_master_key_does_not_open() {
    let (one, other) = (sealed(), sealed());
    fs::copy(other.path().join("master.key"), one.path().join("master.key")).unwrap();
    let error = open(one.path()).unwrap_err();
    assert!(error.to_string().contains("restore both"), "{error}");
}

#[test]
fn a_master_key_that_is_gone_is_not_made_anew_over_a_vault() {
    let folder = sealed();
    fs::remove_file(folder.path().join("master.key")).unwrap();
    assert!(matches!(open(folder.path()), Err(VaultError::MasterKeyGone)));
    assert!(!folder.path().join("master.key").exists());
}

#[test]
fn a_master_key_of_another_length_is_not_one() {
    let folder = sealed();
    let path = folder.path().join("master.key");
    for length in [0, 31, 33] {
        fs::write(&path, vec![1; length]).unwrap();
        assert!(matches!(open(folder.path()), Err(VaultError::NoMasterKey)), "{length}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    for file in ["master.key", FILE] {
        let folder = sealed();
        fs::set_permissions(folder.path().join(file), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(folder.path()), Err(VaultError::Exposed { .. })), "{file}");
    }
}

#[test]
fn a_link_is_not_followed() {
    for file in ["master.key", FILE] {
        let folder = sealed();
        let path = folder.path().join(file);
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        assert!(matches!(open(folder.path()), Err(VaultError::Io { .. })), "{file}");
    }
}

#[test]
fn what_an_interrupted_write_left_is_replaced_and_a_planted_link_not_written_through() {
    let folder = sealed();
    let vault = open(folder.path()).unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    symlink(&victim, folder.path().join("vault.new")).unwrap();
    vault.seal("openai", &secret("new")).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(open(folder.path()).unwrap().reveal("openai").unwrap().reveal(), b"new");
}

#[test]
fn a_write_that_fails_leaves_the_vault_as_it_was() {
    let folder = sealed();
    let vault = open(folder.path()).unwrap();
    fs::create_dir(folder.path().join("vault.new")).unwrap();
    assert!(matches!(vault.seal("openai", &secret("new")), Err(VaultError::Io { .. })));
    assert_eq!(vault.reveal("openai").unwrap().reveal(), CANARY.as_bytes());
    assert_eq!(open(folder.path()).unwrap().reveal("openai").unwrap().reveal(), CANARY.as_bytes());
}

#[test]
fn each_label_has_a_key_of_its_own_that_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = MasterKey::open(fd(folder.path())).unwrap();
    let second = MasterKey::open(fd(folder.path())).unwrap();
    assert_eq!(*first.derive("ledger"), *second.derive("ledger"));
    assert_ne!(*first.derive("ledger"), *first.derive("ca"));
}

#[test]
fn nothing_that_holds_a_secret_prints_it() {
    let folder = sealed();
    let master = MasterKey::open(fd(folder.path())).unwrap();
    let vault = Vault::open(fd(folder.path()), &master).unwrap();
    let revealed = vault.reveal("openai").unwrap();
    let mut headers = http::HeaderMap::new();
    inject::inject(&mut headers, inject::Form::Bearer, &revealed).unwrap();
    let key = fs::read(folder.path().join("master.key")).unwrap();
    let printed = format!("{vault:?} {master:?} {revealed:?} {headers:?}");
    assert!(!printed.contains(CANARY), "{printed}");
    assert!(!printed.contains(&format!("{key:?}")));
}

#[test]
fn the_real_key_replaces_what_stood_there_and_is_marked_sensitive() {
    use inject::{Form, inject};
    for (form, name, value) in
        [(Form::Bearer, "authorization", "Bearer real"), (Form::ApiKey, "x-api-key", "real")]
    {
        let mut headers = http::HeaderMap::new();
        headers.append(name, "virtual".parse().unwrap());
        headers.append(name, "another".parse().unwrap());
        inject(&mut headers, form, &secret("real")).unwrap();
        let all: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(all, [value]);
        assert!(all[0].is_sensitive());
    }
}

#[test]
fn a_key_that_no_header_can_carry_leaves_none_behind() {
    use inject::{Form, NotAHeader, inject};
    let mut headers = http::HeaderMap::new();
    headers.insert("x-api-key", "virtual".parse().unwrap());
    assert_eq!(inject(&mut headers, Form::ApiKey, &secret("a\nb")), Err(NotAHeader));
    assert!(headers.is_empty());
}

const THEN: Timestamp = Timestamp(1_795_262_400_000_000);

fn kind(name: &str) -> &'static Kind {
    known::named(name).unwrap()
}

/// A vault with a credential that an operator added.
fn kept() -> (tempfile::TempDir, Vault) {
    let folder = sealed();
    let vault = open(folder.path()).unwrap();
    assert_eq!(vault.add("openai-prod", kind("openai"), &secret(CANARY), THEN).unwrap(), 1);
    (folder, vault)
}

#[test]
fn a_credential_has_a_name_of_its_own_and_the_provider_that_was_said() {
    let (folder, vault) = kept();
    for vault in [&vault, &open(folder.path()).unwrap()] {
        assert_eq!(vault.provider("openai-prod"), Some(kind("openai")));
        assert_eq!(vault.provider("anthropic"), Some(kind("anthropic")), "by its own name");
        assert_eq!(vault.provider("gemini"), None);
        let listed = |name: &str, provider: &str, since| Listed {
            name: name.to_owned(),
            provider: Some(provider.to_owned()),
            since,
            version: 1,
        };
        let all = [
            listed("anthropic", "anthropic", None),
            listed("openai", "openai", None),
            listed("openai-prod", "openai", Some(THEN)),
        ];
        assert_eq!(vault.credentials(), all);
    }
}

#[test]
fn a_rotated_credential_is_the_new_one_at_once_and_after_a_restart() {
    let (folder, vault) = kept();
    let later = Timestamp(THEN.0 + 1);
    assert_eq!(vault.rotate("openai-prod", &secret("new"), later).unwrap(), 2);
    assert_eq!(vault.rotate("anthropic", &secret("own"), later).unwrap(), 2);
    for vault in [&vault, &open(folder.path()).unwrap()] {
        assert_eq!(vault.reveal("openai-prod").unwrap().reveal(), b"new");
        assert_eq!(vault.reveal("anthropic").unwrap().reveal(), b"own");
        assert!(
            vault.credentials().iter().all(|one| (one.version == 2) == (one.since == Some(later)))
        );
    }
    assert!(matches!(vault.rotate("gone", &secret("x"), later), Err(VaultError::Unknown(_))));
}

#[test]
fn a_removed_credential_is_gone_and_its_name_free() {
    let (folder, vault) = kept();
    vault.remove("openai-prod").unwrap();
    assert!(open(folder.path()).unwrap().reveal("openai-prod").is_err());
    assert!(vault.remove("openai-prod").is_err());
    vault.add("openai-prod", kind("anthropic"), &secret("x"), THEN).unwrap();
}

#[test]
fn a_name_is_not_taken_twice_nor_one_of_the_gates_own() {
    let (_folder, vault) = kept();
    let add = |name: &str| vault.add(name, kind("openai"), &secret("x"), THEN);
    assert!(matches!(add("openai-prod"), Err(VaultError::Taken(_))));
    for name in ["", "tollgate/ca", "a b", "ü", &"x".repeat(65)] {
        assert!(matches!(add(name), Err(VaultError::Name(_))), "{name}");
    }
    vault.seal("tollgate/ca", &secret("ca")).unwrap();
    assert!(vault.rotate("tollgate/ca", &secret("x"), THEN).is_err());
    assert!(vault.remove("tollgate/ca").is_err());
    assert!(vault.credentials().iter().all(|one| one.name != "tollgate/ca"));
    assert_eq!(vault.reveal("tollgate/ca").unwrap().reveal(), b"ca");
}

#[test]
fn a_run_does_not_replace_what_an_operator_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let vault = open(folder.path()).unwrap();
    vault.add("openai", kind("openai"), &secret(CANARY), THEN).unwrap();
    vault.seal("openai", &secret(CANARY)).unwrap();
    let error = vault.seal("openai", &secret("a run's")).unwrap_err();
    assert!(vault.keeps("openai") && vault.holds("openai", &secret(CANARY)).unwrap());
    assert!(matches!(error, VaultError::Kept(_)) && !error.to_string().contains(CANARY));
    assert_eq!(vault.reveal("openai").unwrap().reveal(), CANARY.as_bytes());
}

#[test]
fn what_a_run_brought_can_be_taken_over_and_is_kept_from_then_on() {
    let folder = sealed();
    let vault = open(folder.path()).unwrap();
    assert!(!vault.keeps("openai"));
    assert_eq!(vault.add("openai", kind("openai"), &secret("kept"), THEN).unwrap(), 2);
    assert!(vault.seal("openai", &secret(CANARY)).is_err());
    assert_eq!(open(folder.path()).unwrap().reveal("openai").unwrap().reveal(), b"kept");
}

#[test]
fn who_can_write_the_file_cannot_send_a_secret_to_another_provider() {
    let (folder, _vault) = kept();
    let path = folder.path().join(FILE);
    let good: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let changes: [fn(&mut serde_json::Value); 3] = [
        |entries| entries["openai-prod"]["kept"]["provider"] = "anthropic".into(),
        |entries| entries["openai-prod"]["kept"]["since"] = 1.into(),
        |entries| drop(entries["openai-prod"].as_object_mut().unwrap().remove("kept")),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad["entries"]);
        fs::write(&path, bad.to_string()).unwrap();
        assert!(matches!(open(folder.path()), Err(VaultError::Corrupt)));
    }
}
