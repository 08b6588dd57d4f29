//! A command that runs as uid 0 still owns the host's files (attacks 2).

use std::{os::unix::fs::symlink, path::Path};

use super::cage;
use crate::cage::probe_outside;

const STEERING: &[&str] =
    &["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches"];

#[test]
fn files_that_steer_the_kernel_cannot_be_written() {
    let Some(cage) = cage(&[]) else { return };
    for path in STEERING.iter().filter(|path| Path::new(path).exists()) {
        assert_eq!(cage.probe(&["write", path]), "error 30", "{path}");
        assert_eq!(probe_outside(&["write", path]), "ok opened", "{path}: the test tests nothing");
    }
    let said = cage.sh("find /sys -maxdepth 3 -type f -perm /222 2>/dev/null | while read f; do [ -w $f ] && echo $f; done");
    assert_eq!(said.out, "");
}

#[test]
fn nor_from_namespaces_the_command_makes() {
    let Some(cage) = cage(&[]) else { return };
    for path in STEERING.iter().filter(|path| Path::new(path).exists()) {
        // Only opened, never written: where this fails the machine must not suffer.
        let said = cage.probe(&["escape", path]);
        assert!(said.starts_with("in a namespace of its own: error"), "{path}: {said}");
    }
}

#[test]
fn file_systems_of_the_kernel_are_absent() {
    let Some(cage) = cage(&[]) else { return };
    let said = cage.sh("ls -A /sys/fs/cgroup /sys/fs/bpf /sys/kernel/debug /sys/kernel/tracing 2>/dev/null | grep -v : | grep .; cat /proc/kcore 2>/dev/null | head -c 16; find /sys -name cgroup.procs 2>/dev/null | head");
    assert_eq!(said.out, "");
}

#[test]
fn devices_are_the_harmless_ones_only() {
    let Some(cage) = cage(&[]) else { return };
    let said = cage.sh("ls /dev | tr '\\n' ' '; ls /dev/pts; echo x >/dev/null && head -c4 /dev/zero | wc -c; touch /dev/shm/x");
    assert_eq!(
        said.out, "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ptmx\n4\n",
        "{}",
        said.err
    );
    assert!(!Path::new("/dev/shm/x").exists());
}

#[test]
fn system_folders_are_read_only() {
    let Some(cage) = cage(&[]) else { return };
    for folder in [
        "/usr",
        "/usr/bin",
        "/bin",
        "/sbin",
        "/lib",
        "/etc",
        "/etc/cron.d",
        "/boot",
        "/opt",
        "/var/lib",
        "/var/spool",
        "/run",
        "/home",
    ] {
        let said = cage.sh(&format!("touch {folder}/tollgate-test && echo wrote; true"));
        assert_eq!(said.out, "", "{folder}");
        assert!(!Path::new(folder).join("tollgate-test").exists());
    }
}

/// Of a test's own: if one went, the machine would suffer.
#[test]
fn folders_and_links_of_the_system_cannot_be_put_aside_for_others() {
    let Some(cage) = cage(&[]) else { return };
    for above in ["/", "/var"] {
        let folder = tempfile::tempdir_in(above).unwrap();
        let link =
            tempfile::Builder::new().make_in(above, |path| symlink("usr/bin", path)).unwrap();
        let (folder, link) = (folder.path().display(), link.path().display());
        let said = cage.sh(&format!(
            "mv {folder} {folder}-aside; mv {link} {link}-aside; rm {link}; rmdir {folder}; \
             touch {folder}/x && rm {folder}/x && ls -d {folder}* {link}*"
        ));
        assert_eq!(said.err.matches("busy").count(), 4, "{}", said.err);
        let mut all = [format!("{folder}\n"), format!("{link}\n")];
        all.sort();
        assert_eq!(said.out, all.concat());
    }
    // The very ones, without trying.
    let mounts = cage.sh("cut -d' ' -f5 /proc/self/mountinfo").out;
    for entry in std::fs::read_dir("/").unwrap() {
        let (kind, path) = entry.map(|entry| (entry.file_type().unwrap(), entry.path())).unwrap();
        if kind.is_dir() || kind.is_symlink() {
            assert!(mounts.lines().any(|line| Path::new(line) == path), "{}", path.display());
        }
    }
}

#[test]
fn home_the_working_folder_and_tmp_stay_writable() {
    let Some(cage) = cage(&[]) else { return };
    let said = cage.sh("touch \"$HOME/.tollgate-test\" && rm \"$HOME/.tollgate-test\" && f=$(mktemp) && rm $f && echo all");
    assert_eq!(said.out, "all\n", "{}", said.err);
    let project = tempfile::tempdir_in("/opt").unwrap();
    let mut command = cage.command(&["sh", "-c", "touch here && pwd; touch ../beside"]);
    let said = crate::cage::said(command.current_dir(project.path()).output().unwrap());
    assert_eq!(said.out.trim(), project.path().to_str().unwrap(), "{}", said.err);
    assert!(said.err.contains("Read-only"), "{}", said.err);
    assert!(project.path().join("here").exists());
}

#[test]
fn what_write_names_stays_writable() {
    let project = tempfile::tempdir_in("/var/lib");
    let Some(cage) =
        cage(&["--write", project.as_ref().map_or("/", |dir| dir.path().to_str().unwrap())])
    else {
        return;
    };
    let path = project.unwrap();
    let said = cage
        .sh(&format!("touch {}/x && echo wrote; touch /var/lib/tollgate-y", path.path().display()));
    assert_eq!(said.out, "wrote\n", "{}", said.err);
    assert!(said.err.contains("Read-only"), "{}", said.err);
}
