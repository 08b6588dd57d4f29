use std::os::unix::fs::MetadataExt as _;

use super::*;

fn said(why: &str) -> Said {
    Said {
        mode: Mode::Kernel,
        why: why.to_owned(),
        maps: Some("/sys/fs/bpf/tollgate/maps".into()),
        inbound: vec![8080],
        own: vec!["10.0.0.5".parse().unwrap()],
        interfaces: vec!["eth0".to_owned()],
        xdp: Xdp::Hold,
        meshes: vec!["istio".to_owned()],
    }
}

#[test]
fn the_file_is_the_gates_users_alone_and_says_what_the_gate_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/pod.json");
    let file = PodFile::succeeding(&path, said("because")).unwrap();
    let user = rustix::process::geteuid().as_raw();
    let (user, group) =
        if user == 0 { (4711, 4712) } else { (user, rustix::process::getegid().as_raw()) };
    file.write(&path, user, group).unwrap();
    let at = fs::metadata(&path).unwrap();
    assert_eq!((at.mode() & 0o7777, at.uid(), at.gid()), (0o600, user, group));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.replace(file.token().reveal(), "T"),
        r#"{"version":1,"mode":"kernel","why":"because","maps":"/sys/fs/bpf/tollgate/maps","inbound":[8080],"own":["10.0.0.5"],"interfaces":["eth0"],"token":"T","xdp":"hold","meshes":["istio"]}"#
    );
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_file_that_is_written_again_keeps_the_token_that_the_gate_has_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pod.json");
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let first = PodFile::succeeding(&path, said("a")).unwrap();
    first.write(&path, user, group).unwrap();
    let second = PodFile::succeeding(&path, said("b")).unwrap();
    assert_eq!(first.token(), second.token());
    assert_ne!(first.token(), &Token::new().unwrap());
    assert_eq!(first.token().reveal().len(), 64);
}

#[test]
fn what_is_not_ours_is_refused_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pod.json");
    fs::write(&path, r#"{"version":1,"token":["s3cret"]}"#).unwrap();
    let error = PodFile::read(&path).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn the_token_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = PodFile::succeeding(&folder.path().join("none"), said("")).unwrap();
    assert!(!format!("{file:?} {:?}", file.token()).contains(file.token().reveal()));
}
