use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::PathBuf,
};

use super::*;

/// A new volume as a kubelet makes it, and the user and group to whom a test can give it: root gives it away, another
/// has it already.
fn volume() -> (tempfile::TempDir, PathBuf, (u32, u32)) {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let own = fs::metadata(&volume).unwrap();
    let gate = if own.uid() == 0 { (16801, 16802) } else { (own.uid(), own.gid()) };
    (folder, volume, gate)
}

fn seen(path: &Path) -> (u32, u32, u32) {
    let now = fs::metadata(path).unwrap();
    (now.uid(), now.gid(), now.mode() & 0o7777)
}

#[test]
fn a_new_volume_becomes_the_gates_alone_and_stays_so() {
    let (_folder, volume, (user, group)) = volume();
    fs::create_dir(volume.join("lost+found")).unwrap();
    for _ in 0..2 {
        prepare(&volume, user, group).unwrap();
        assert_eq!(seen(&volume), (user, group, 0o700));
    }
    // With what the gate has put there.
    fs::write(volume.join("master.key"), "").unwrap();
    prepare(&volume, user, group).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o770)).unwrap();
    prepare(&volume, user, group).unwrap();
    assert_eq!(seen(&volume), (user, group, 0o700));
}

#[test]
fn a_folder_that_is_missing_in_one_that_is_there_is_made() {
    let (_folder, volume, (user, group)) = volume();
    prepare(&volume.join("state"), user, group).unwrap();
    assert_eq!(seen(&volume.join("state")), (user, group, 0o700));
    let error = prepare(&volume.join("none/state"), user, group).unwrap_err();
    assert!(error.to_string().contains("mount the volume"), "{error}");
}

#[test]
fn what_holds_something_of_somebody_elses_or_leads_elsewhere_is_refused() {
    let (_folder, volume, (user, group)) = volume();
    fs::write(volume.join("theirs"), "").unwrap();
    let before = seen(&volume);
    let error = prepare(&volume, user + 1, group).unwrap_err();
    assert!(matches!(error, StateError::Foreign { .. }), "{error}");
    assert_eq!(seen(&volume), before);
    let link = volume.join("link");
    symlink(volume.parent().unwrap(), &link).unwrap();
    let error = prepare(&link, user, group).unwrap_err();
    assert!(error.to_string().contains("no link"), "{error}");
}
