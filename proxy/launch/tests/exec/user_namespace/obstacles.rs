//! Where the form without root cannot be had, nothing runs, and it is said what to do.

use std::{
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use super::cage;
use crate::cage::{Cage, Said, said};

/// What the cage says in a shell that has done `before`, started by `words`.
fn after(cage: &Cage, words: &[&str], before: &str, line: &str) -> Said {
    cage.give_away();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["sh", "-c", &format!("{before} && exec {line} -- echo ran")]);
    command.current_dir("/tmp").stdin(Stdio::null());
    said(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap())
}

fn nothing_ran(refused: &Said, words: &[&str]) {
    assert_eq!((refused.code, refused.out.as_str()), (125, ""), "{}", refused.err);
    for word in words {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
}

/// Mounts of one's own, seen by nobody else.
const MOUNTS: &[&str] = &["unshare", "-m"];

#[test]
fn a_kernel_that_gives_users_no_namespaces_is_said_with_what_changes_it() {
    let Some(cage) = cage(&[]) else { return };
    let owner = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"];
    let inside = ["unshare", "-U", "--map-current-user", "--keep-caps"];
    // The limit of a user namespace holds for all below it.
    let limit = "echo 0 >/proc/sys/user/max_user_namespaces";
    let plain = crate::cage::example("cage");
    let refused = after(&cage, &[&owner[..], &inside].concat(), limit, plain.to_str().unwrap());
    nothing_ran(&refused, &["making a user namespace", "sysctl -w user.max_user_namespaces="]);
}

#[test]
fn without_nft_it_says_what_to_install() {
    let Some(cage) = cage(&[]) else { return };
    // The same folder, but for that program.
    let folder = cage.place().join("sbin");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir("/usr/sbin").unwrap().flatten() {
        if entry.file_name() != "nft" {
            symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    let hide = format!("mount --bind {} /usr/sbin", folder.display());
    nothing_ran(&after(&cage, MOUNTS, &hide, &cage.line()), &["apt install nftables"]);
}

#[test]
fn an_nft_that_does_nothing_starts_no_run() {
    let Some(cage) = cage(&[]) else { return };
    let refused = after(&cage, MOUNTS, "mount --bind /bin/true /usr/sbin/nft", &cage.line());
    nothing_ran(&refused, &["the redirection does not hold for 192.0.2.2"]);
}

#[test]
fn a_proc_with_covered_places_starts_no_run() {
    let Some(cage) = cage(&[]) else { return };
    // As containers have it: the kernel then gives a user no fresh one.
    let refused = after(&cage, MOUNTS, "mount -t tmpfs none /proc/bus", &cage.line());
    nothing_ran(&refused, &["mounting /proc", "sudo"]);
}
