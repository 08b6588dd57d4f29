use std::os::unix::{fs::MetadataExt, process::CommandExt};

use super::{FORM, UIDS, cage};
use crate::cage::{Form, probe_outside, said};

const EPERM: &str = "error 1";

/// A secret that only front's environment holds.
const CANARY: &str = "sk-canary-3f9a1c77";

#[test]
fn the_command_has_no_capability_and_cannot_gain_one() {
    for uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let said = cage.sh("grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status");
        for line in said.out.lines().filter(|line| line.starts_with("Cap")) {
            assert!(line.ends_with("\t0000000000000000"), "uid {uid}: {line}");
        }
        assert_eq!(said.out.lines().filter(|line| line.starts_with("Cap")).count(), 5);
        assert!(
            said.out.contains("NoNewPrivs:\t1") && said.out.contains("Seccomp:\t2"),
            "{}",
            said.out
        );
        assert!(said.out.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{}", said.out);
        // Without root they are those of the caller, who here has none.
        let groups = if FORM == Form::KernelPrograms { uid } else { "" };
        assert!(said.out.contains(&format!("Groups:\t{groups} \n")), "{}", said.out);
    }
}

#[test]
fn calls_that_reach_outside_are_refused() {
    let Some(cage) = cage(&[]) else { return };
    for call in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "add_key",
        "keyctl",
        "request_key",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "kexec_load",
        "kexec_file_load",
        "open_by_handle_at",
    ] {
        assert_eq!(cage.probe(&["call", call]), EPERM, "{call}");
    }
}

#[test]
fn the_filter_is_what_refuses_them() {
    // Without it these are answered otherwise, so the refusals above are not the kernel's own.
    let Some(_cage) = cage(&[]) else { return };
    for call in ["io_uring_setup", "add_key", "keyctl", "request_key", "bpf", "open_by_handle_at"] {
        assert_ne!(probe_outside(&["call", call]), EPERM, "{call}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_system_call_interfaces_are_refused() {
    let Some(cage) = cage(&[]) else { return };
    for family in ["1", "2", "40"] {
        assert_eq!(cage.probe(&["int80", family]), EPERM);
        assert!(
            probe_outside(&["int80", family]).starts_with("ok"),
            "the probe is broken: {family}"
        );
    }
    assert_eq!(cage.probe(&["x32"]), EPERM);
}

#[test]
fn terminal_controls_that_type_are_refused() {
    let Some(cage) = cage(&[]) else { return };
    for control in ["0x5412", "0x541c", "0x5423"] {
        assert_eq!(cage.probe(&["ioctl", control]), EPERM, "{control}");
    }
    // Standard input is no terminal: any other control is answered by the kernel itself.
    assert_eq!(cage.probe(&["ioctl", "0x5413"]), "error 25");
}

#[test]
fn the_first_process_inside_knows_nothing_and_cannot_be_looked_into() {
    for uid in UIDS {
        let Some(cage) = cage(&["--uid", uid, "--unset", "REAL_KEY"]) else { return };
        let script = "echo pid $$ of $(ls -d /proc/[0-9]* | wc -l); tr '\\0' ' ' </proc/1/cmdline; \
                      cat /proc/1/environ /proc/1/mem; readlink /proc/1/fd/* && echo LINKED; cat /proc/1/fd/0; ls /proc/1/root/; \
                      grep -al canary-3f9a /proc/[0-9]*/environ /proc/[0-9]*/cmdline";
        let said =
            said(cage.command(&["sh", "-c", script]).env("REAL_KEY", CANARY).output().unwrap());
        assert!(said.out.contains("tollgate __init "), "{}", said.out);
        assert!(!said.out.contains(CANARY), "uid {uid}: {}", said.out);
        assert!(!said.out.contains("LINKED"), "uid {uid}: {}", said.out);
        assert!(!said.out.contains("environ:"), "uid {uid}: {}", said.out);
        for what in ["/proc/1/environ", "/proc/1/mem", "/proc/1/fd/", "/proc/1/root"] {
            assert!(
                said.err
                    .lines()
                    .any(|line| line.contains(what) && line.contains("ermission denied")),
                "uid {uid}: {what}: {}",
                said.err
            );
        }
        assert_eq!(cage.probe(&["getfd", "1"]), EPERM, "uid {uid}");
    }
}

#[test]
fn processes_outside_are_not_seen() {
    let Some(cage) = cage(&[]) else { return };
    let said =
        cage.sh("ls -d /proc/[0-9]* | wc -l; ls /proc/1/ns/ >/dev/null 2>&1; ls -d /proc/$$");
    let count: usize = said.out.lines().next().unwrap().parse().unwrap();
    assert!(count <= 5, "{}", said.out);
}

#[test]
fn a_key_of_the_callers_session_is_not_seen() {
    let Some(cage) = cage(&[]) else { return };
    let inside = with_key(cage.command(&["cat", "/proc/keys"]));
    // The key stays possessed by nobody inside: without a session keyring that links it, it is not the reader's.
    assert!(!possessed(&inside), "{inside}");
    let mut outside = std::process::Command::new("cat");
    assert!(possessed(&with_key({
        outside.arg("/proc/keys");
        outside
    })));
}

/// Started with a session keyring that holds one key, which only its possessor may see.
fn with_key(mut command: std::process::Command) -> String {
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            const JOIN_SESSION: libc::c_long = 1;
            const SET_PERMISSIONS: libc::c_long = 5;
            const SESSION: libc::c_long = -3;
            const POSSESSOR_ALL: libc::c_long = 0x3f00_0000;
            libc::syscall(libc::SYS_keyctl, JOIN_SESSION, std::ptr::null::<u8>());
            let name = c"tollgate-canary-key".as_ptr();
            let key =
                libc::syscall(libc::SYS_add_key, c"user".as_ptr(), name, c"x".as_ptr(), 1, SESSION);
            match libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, key, POSSESSOR_ALL) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    said(command.output().unwrap()).out
}

fn possessed(keys: &str) -> bool {
    keys.contains("tollgate-canary-key")
}

#[test]
fn no_file_is_made_that_is_executed_as_its_owner() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let script = "import ctypes, os, stat
os.chdir(os.environ.get('TMPDIR', '/tmp'))
os.mkdir(f'made-{os.getpid()}'); os.chdir(f'made-{os.getpid()}')
open('f', 'w').close()
libc = ctypes.CDLL(None, use_errno=True)
def raw(*a):
    if libc.syscall(*a) < 0: raise OSError(ctypes.get_errno(), '')
fd = os.open('f', os.O_RDWR)
ways = [
    lambda: os.chmod('f', 0o4755), lambda: os.fchmod(fd, 0o4711), lambda: raw(452, -100, b'f', 0o4755, 0),
    lambda: os.open('g', os.O_CREAT | os.O_WRONLY, 0o4755),
    lambda: os.open('.', os.O_TMPFILE | os.O_WRONLY, 0o4755),
    lambda: os.mknod('h', stat.S_IFREG | 0o4755),
    lambda: raw(437, -100, b'i', (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0), 24),
]
for way in ways:
    try: way(); print('made')
    except OSError as e: print(e.errno)
# What programs do every day.
os.chmod('f', 0o755); os.chmod('.', 0o2775); os.chmod('.', 0o1777); os.open('g', os.O_CREAT | os.O_WRONLY, 0o666)
raw(257, -100, b'f', os.O_RDONLY, 0o4755)
print([n for n in os.listdir('.') if os.stat(n).st_mode & 0o4000])
import shutil; shutil.rmtree(os.getcwd())";
        let said = cage.run(&["python3", "-c", script]);
        let refused =
            if cfg!(target_arch = "x86_64") { "1\n1\n1\n1\n1\n1\n38\n[]\n" } else { return };
        assert_eq!(said.out, refused, "as {uid}: {}", said.err);
    }
}

/// Those of keyboards, other terminals, the hypervisor, and so on: here of the kernel's log, which everybody may read.
#[test]
fn devices_of_the_outside_are_not_there_unless_they_are_given() {
    for &uid in UIDS {
        let Some(plain) = cage(&["--uid", uid]) else { return };
        let out = plain.sh("ls -A /dev").out;
        let harmless = "accel dri dxg fd full fuse kfd kvm net null ptmx pts random shm stderr stdin stdout tty \
                        urandom zero";
        let odd: Vec<&str> = out
            .lines()
            .filter(|name| !harmless.split_ascii_whitespace().any(|one| one == *name))
            .filter(|name| !name.starts_with("nvidia"))
            .collect();
        assert_eq!(odd, [""; 0], "as {uid}");
        let read = "test -c /dev/kmsg && echo there";
        assert_eq!(plain.sh(read).out, "", "as {uid}");
        let given = cage(&["--uid", uid, "--write", "/dev/kmsg"]).unwrap();
        assert_eq!(given.sh(read).out, "there\n", "as {uid}");
    }
    assert!(std::path::Path::new("/dev/kmsg").exists(), "it tests nothing");
}

/// A service manager gives a user's control groups to that user: whoever writes there stops, kills and moves processes.
#[test]
fn control_groups_that_belong_to_the_user_are_read_only() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: needs root");
        return;
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" cgroup2 ")).unwrap();
    let mount = std::path::Path::new(mount.split(' ').nth(1).unwrap());
    let group = tempfile::Builder::new().prefix("delegated-").tempdir_in(mount).unwrap();
    for path in [
        group.path().to_owned(),
        group.path().join("cgroup.procs"),
        group.path().join("cgroup.freeze"),
    ] {
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    }
    let write = format!(
        "cd {} || exit; mkdir below; echo 1 >cgroup.freeze && echo wrote",
        group.path().display()
    );
    let outside = std::process::Command::new("setpriv")
        .args(["--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-c", &write])
        .output()
        .unwrap();
    assert_eq!(said(outside).out, "wrote\n", "it tests nothing");
    std::fs::remove_dir(group.path().join("below")).unwrap();
    if let Some(cage) = cage(&["--uid", "1000"]) {
        let said = cage.sh(&write);
        assert_eq!(said.out, "", "{}", said.err);
        assert_eq!(said.err.matches("Read-only").count(), 2, "{}", said.err);
    }
    // Not what a temporary folder's removal does: the files of a control group go with it.
    let path = group.keep();
    std::fs::remove_dir(path).unwrap();
}

#[test]
fn a_cover_shows_other_bytes_inside_only_and_cannot_be_written() {
    let Some(plain) = cage(&[]) else { return };
    let file = plain.place().join(".env");
    let link = plain.place().join("link");
    std::fs::write(&file, CANARY).unwrap();
    std::os::unix::fs::symlink(".env", &link).unwrap();
    plain.give_away();
    for path in [&file, &link] {
        let cage = cage(&["--cover", path.to_str().unwrap(), "virtual"]).unwrap();
        let said =
            cage.sh(&format!("cat {0}; echo x >{0}; rm {0}; mv {0} {0}.old", file.display()));
        assert_eq!(said.out, "virtual");
        assert_eq!(said.err.lines().count(), 3, "{}", said.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), CANARY);
    }
}

#[test]
fn a_cover_of_nothing_creates_nothing() {
    let Some(plain) = cage(&[]) else { return };
    let missing = plain.place().join("missing");
    let cage = cage(&["--cover", missing.to_str().unwrap(), "x"]).unwrap();
    assert_eq!(cage.sh(&format!("ls {}", missing.display())).code, 2);
    assert!(!missing.exists());
}

#[test]
fn what_is_read_only_stays_as_it_was_however_it_is_reached() {
    let Some(plain) = cage(&[]) else { return };
    let folder = plain.place().join("policy");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("policy.yaml");
    std::fs::write(&file, "deny").unwrap();
    plain.give_away();
    let (inside, path) = (folder.to_str().unwrap(), file.to_str().unwrap());
    let cage = cage(&["--read-only", inside]).unwrap();
    let script = format!(
        "echo allow >{path}; rm {path}; ln {path} {inside}/../hard; mv {inside} {inside}.old; touch {inside}/new; \
         chmod 777 {path}; echo allow >/proc/self/root{path}; truncate -s0 {path}"
    );
    let said = cage.sh(&script);
    assert_eq!(said.err.lines().count(), 8, "{}", said.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "deny");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn what_is_absent_cannot_be_read_entered_or_connected_to() {
    for uid in UIDS {
        let Some(plain) = cage(&[]) else { return };
        let state = plain.place().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join("vault"), CANARY).unwrap();
        let path = state.to_str().unwrap();
        let socket = plain.place().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        plain.give_away();
        std::fs::set_permissions(
            plain.place(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let cage =
            cage(&["--uid", uid, "--absent", path, "--absent", socket.to_str().unwrap()]).unwrap();
        let said = cage.sh(&format!(
            "cat {path}/vault; ls {path}; cd {path}; chmod 755 {path}; touch {path}/x; umount {path}; \
             test -S {} && echo socket; grep -rl canary-3f9a {} 2>/dev/null",
            socket.display(),
            plain.place().display()
        ));
        assert_eq!(said.out, "", "uid {uid}");
        assert!(said.err.lines().count() >= 6, "uid {uid}: {}", said.err);
    }
}

#[test]
fn a_state_folder_that_was_replaced_stops_the_run() {
    let Some(plain) = cage(&[]) else { return };
    let state = plain.place().join("state");
    std::fs::create_dir(&state).unwrap();
    plain.give_away();
    let inode = std::fs::metadata(&state).unwrap().ino().to_string();
    let cage = cage(&["--absent-inode", state.to_str().unwrap(), &inode]).unwrap();
    let said = cage.sh("echo ran");
    assert_eq!((said.code, said.out.as_str()), (125, ""));
    assert!(said.err.contains("no longer the folder that the gate holds"), "{}", said.err);
}

#[test]
fn a_nested_sandbox_still_works() {
    let Some(cage) = cage(&["--uid", "1000"]) else { return };
    let said = cage.sh(
        "unshare -Urpf --mount-proc sh -c 'echo $$ && mount -t tmpfs none /mnt && echo mounted'",
    );
    assert_eq!(said.out, "1\nmounted\n", "{}", said.err);
}

#[test]
fn for_another_user_nothing_is_mounted_below_proc_and_sys() {
    let Some(cage) = cage(&["--uid", "1000"]) else { return };
    let inside = cage.sh("grep -cE ' /proc/' /proc/self/mountinfo; cat /proc/self/mountinfo");
    assert_eq!(inside.out.lines().next(), Some("0"), "{}", inside.out);
}
