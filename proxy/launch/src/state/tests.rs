use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn why(result: Result<StateDir, LaunchError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_missing_folder_is_made_for_its_user_alone() {
    let place = tempfile::tempdir().unwrap();
    let state = open(&place.path().join("a/b"), me(), None).unwrap();
    assert_eq!(rustix::fs::fstat(&state).unwrap().st_mode & 0o777, 0o700);
    assert_eq!(fs::metadata(place.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_link_anywhere_in_the_path_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("real")).unwrap();
    symlink("real", place.path().join("link")).unwrap();
    assert!(why(open(&place.path().join("link"), me(), None)).contains("symbolic link"));
    assert!(why(open(&place.path().join("link/below"), me(), None)).contains("symbolic link"));
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_also_above() {
    let place = tempfile::tempdir().unwrap();
    let open_to_all = place.path().join("open");
    fs::create_dir(&open_to_all).unwrap();
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(why(open(&open_to_all.join("state"), me(), None)).contains("could replace it"));
    // Sticky, and root's: only owners replace what is theirs.
    if me() == 0 {
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(open(&open_to_all.join("state"), me(), None).is_ok());
    }
}

#[test]
fn a_folder_that_others_may_enter_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(why(open(place.path(), me(), None)).contains("chmod 700"));
}

#[test]
fn a_folder_of_another_user_is_refused() {
    let place = tempfile::tempdir().unwrap();
    assert!(why(open(place.path(), me() + 1, None)).contains("could replace it") || me() == 0);
    assert!(open(place.path(), me() + 1, None).is_err());
}

#[test]
fn a_named_folder_in_the_working_folder_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let inside = place.path().join("state");
    assert!(why(open(&inside, me(), Some(place.path()))).contains("working folder"));
    assert!(!inside.exists());
    assert!(why(open(place.path(), me(), Some(place.path()))).contains("working folder"));
    assert!(open(&inside, me(), Some(Path::new("/usr"))).is_ok());
}

#[test]
fn what_is_open_stays_itself_when_its_name_is_given_away() {
    let place = tempfile::tempdir().unwrap();
    let name = place.path().join("state");
    let state = open(&name, me(), None).unwrap();
    fs::rename(&name, place.path().join("moved")).unwrap();
    fs::create_dir(&name).unwrap();
    fs::write(state.path().join("entry"), b"x").unwrap();
    assert!(place.path().join("moved/entry").exists());
    assert!(!name.join("entry").exists());
}

#[test]
fn a_program_in_a_folder_of_the_user_is_writable_by_them() {
    let user = Identity { uid: 1234, gid: 1234, groups: vec![] };
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("tollgate");
    fs::write(&program, b"").unwrap();
    if me() == 0 {
        assert_eq!(writable_by(&program, &user).unwrap(), None);
        std::os::unix::fs::chown(place.path(), Some(1234), None).unwrap();
        assert_eq!(writable_by(&program, &user).unwrap().as_deref(), Some(place.path()));
    }
}
