use std::process;

use super::*;

/// A folder shaped like a cgroup tree; inodes are a file system's own as they are a cgroup's.
struct Shape(tempfile::TempDir);

impl Shape {
    fn new(folders: &[(&str, &str)]) -> Self {
        let shape = Self(tempfile::tempdir().unwrap());
        for (folder, processes) in folders {
            let folder = shape.0.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            for above in folder.ancestors().take_while(|at| at.starts_with(shape.0.path())) {
                if !above.join("cgroup.procs").exists() {
                    fs::write(above.join("cgroup.procs"), "").unwrap();
                }
            }
            fs::write(folder.join("cgroup.procs"), processes).unwrap();
        }
        shape
    }

    fn check(&self, named: bool) -> Option<Shared> {
        shared::check(self.0.path(), Path::new("/proc"), network().unwrap(), named).unwrap()
    }
}

#[test]
fn processes_of_this_network_are_the_pods() {
    let own = process::id();
    let shape = Shape::new(&[("app", &format!("{own}\n")), ("pause", &format!("{own}\n"))]);
    assert_eq!(shape.check(false), None);
}

#[test]
fn a_process_of_another_network_shows_that_the_folder_is_shared() {
    let mut other = process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "cat"])
        .stdin(process::Stdio::piped())
        .spawn()
        .unwrap();
    let own = network().unwrap();
    let at = format!("/proc/{}/ns/net", other.id());
    while fs::metadata(&at).is_ok_and(|at| at.ino() == own) {
        std::thread::yield_now();
    }
    let shape = Shape::new(&[("a/b", &format!("{}\n", other.id()))]);
    let found = shape.check(true);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(
        found,
        Some(Shared::Process { pid: other.id(), folder: shape.0.path().join("a/b") })
    );
}

#[test]
fn processes_that_are_not_seen_need_the_pods_id_in_the_name() {
    let shape = Shape::new(&[("app", "0\n0\n")]);
    assert_eq!(shape.check(false), Some(Shared::Unproven { unseen: 2 }));
    assert_eq!(shape.check(true), None);
}

#[test]
fn a_process_that_has_ended_shows_nothing() {
    assert_eq!(Shape::new(&[("app", "4194999\n")]).check(false), None);
}

#[test]
fn a_folder_is_the_pods_by_its_id_in_either_spelling() {
    let uid = "7d1f0c44-7a54-4f5e-9a3c-0d6f3a1b2c3d";
    for folder in [
        "/t/kubepods/burstable/pod7d1f0c44-7a54-4f5e-9a3c-0d6f3a1b2c3d",
        "/t/kubepods.slice/kubepods-pod7d1f0c44_7a54_4f5e_9a3c_0d6f3a1b2c3d.slice",
    ] {
        assert!(tree::is_of(Path::new(folder), uid), "{folder}");
    }
    assert!(!tree::is_of(Path::new("/t/kubepods"), uid));
    assert!(!tree::is_of(Path::new("/t/kubepods"), "pod"));
}

#[test]
fn what_is_no_cgroup_cannot_be_named() {
    let view = View { root: None, processes: "/proc".into(), pod: None };
    let folder = tempfile::tempdir().unwrap();
    let error = Place::named(folder.path(), &view).unwrap_err();
    assert!(matches!(error, PlaceError::NotACgroup(_)), "{error}");
}

#[test]
fn the_top_of_the_tree_is_nobodys() {
    let Ok(tree) = Tree::open(None) else { return };
    let view = View { root: None, processes: "/proc".into(), pod: None };
    let error = Place::named(tree.root(), &view).unwrap_err();
    assert!(matches!(error, PlaceError::Shared { why: Shared::Top, .. }), "{error}");
}

#[test]
fn a_listener_is_found_with_its_cgroup_and_only_as_its_user() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(of_listener(port, user).unwrap(), Some(own_id().unwrap()));
    assert_eq!(of_listener(port, user + 1).unwrap(), None);
    drop(listener);
    assert_eq!(of_listener(port, user).unwrap(), None);
}

#[test]
fn a_socket_tells_the_same_cgroup_as_the_mounts_do() {
    assert_eq!(sockets::own_cgroup().unwrap(), own_id().unwrap());
}
