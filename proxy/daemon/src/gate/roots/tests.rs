use std::fs::File;
use std::os::fd::OwnedFd;

use super::*;
use crate::vault::MasterKey;

fn vault(folder: &tempfile::TempDir) -> Vault {
    let fd = || OwnedFd::from(File::open(folder.path()).unwrap());
    Vault::open(fd(), &MasterKey::open(fd()).unwrap()).unwrap()
}

fn fingerprints(folder: &tempfile::TempDir) -> Vec<String> {
    let roots = load_or_make(&vault(folder), &Clock::system()).unwrap();
    roots.list().into_iter().map(|root| root.fingerprint).collect()
}

/// A successor that is sealed beside the root, and its fingerprint.
fn begin(folder: &tempfile::TempDir, until: Option<Timestamp>) -> String {
    let (authority, parts) = Authority::create(Clock::system().now(), clock::random).unwrap();
    let times = Successor { since: Timestamp(7), until };
    keep_both(&vault(folder), &parts, times).unwrap();
    authority.fingerprint()
}

#[test]
fn the_root_and_each_step_of_its_rotation_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let old = fingerprints(&folder);
    assert_eq!(fingerprints(&folder), old, "made once");
    for until in [None, Some(Timestamp(99))] {
        let before = fingerprints(&folder).remove(0);
        let new = begin(&folder, until);
        assert_eq!(fingerprints(&folder), [before, new.clone()]);
        let roots = load_or_make(&vault(&folder), &Clock::system()).unwrap();
        assert_eq!(roots.successor(), Some(Successor { since: Timestamp(7), until }));
        keep_successor(&vault(&folder)).unwrap();
        assert_eq!(fingerprints(&folder), [new]);
    }
    assert!(keep_successor(&vault(&folder)).is_err(), "there is no successor to keep");
}

#[test]
fn bytes_that_are_no_roots_are_refused_wherever_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    fingerprints(&folder);
    begin(&folder, None);
    let whole = vault(&folder).reveal(CA).unwrap().reveal().to_vec();
    assert!(read(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
}
