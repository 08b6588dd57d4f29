//! Files that others execute later, and helpers that are not sockets (attacks 8 and 9).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::{UIDS, cage};
use crate::cage::Cage;

/// What stands in every place before.
const BEFORE: &str = "before";

/// A home with a start-up file, one that is a link, and a repository; owned by the user who tries.
struct Home {
    _place: tempfile::TempDir,
    home: PathBuf,
}

impl Home {
    fn of(uid: u32) -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let home = place.path().join("home");
        for folder in ["dotfiles", "git/.git/hooks", ".ssh"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        for file in PLACES {
            fs::write(home.join(file), BEFORE).unwrap();
        }
        symlink("dotfiles/.zshrc", home.join(".zshrc")).unwrap();
        let owner = format!("{uid}:{uid}");
        let given = std::process::Command::new("chown").args(["-Rh", &owner]).arg(&home).status();
        assert!(given.unwrap().success());
        Self { _place: place, home }
    }

    fn path(&self, below: &str) -> String {
        self.home.join(below).into_os_string().into_string().unwrap()
    }

    /// As `exec` guards it.
    fn flags(&self, uid: u32) -> Vec<String> {
        let mut flags = vec!["--uid".to_owned(), uid.to_string()];
        for fixed in PLACES.iter().chain(&[".zshrc"]) {
            let fixed = match *fixed {
                "git/.git/hooks/pre-commit" => "git/.git/hooks",
                ".ssh/config" => ".ssh",
                file => file,
            };
            flags.extend(["--fix".to_owned(), self.path(fixed)]);
        }
        for held in ["", "dotfiles", "git", "git/.git"] {
            flags.extend(["--hold".to_owned(), self.path(held).trim_end_matches('/').to_owned()]);
        }
        flags
    }

    fn cage(&self, uid: u32) -> Option<Cage> {
        let flags = self.flags(uid);
        cage(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Nothing of what others execute is another than it was, or is elsewhere.
    fn is_unchanged(&self) -> bool {
        let link = fs::read_link(self.home.join(".zshrc"));
        let alone =
            |folder: &str| fs::read_dir(self.home.join(folder)).map_or(0, Iterator::count) == 1;
        link.is_ok_and(|to| to == Path::new("dotfiles/.zshrc"))
            && alone("git/.git/hooks")
            && alone(".ssh")
            && PLACES.iter().all(|file| {
                fs::read_to_string(self.home.join(file)).is_ok_and(|text| text == BEFORE)
            })
    }
}

const PLACES: [&str; 5] =
    [".bashrc", "dotfiles/.zshrc", ".ssh/config", "git/.git/config", "git/.git/hooks/pre-commit"];

/// Every way to put other bytes under the name of a place; `H` is the home.
const TRIES: [&str; 14] = [
    "echo evil > $H/.bashrc",
    "echo evil > $H/x && mv -f $H/x $H/.bashrc",
    "rm -f $H/.bashrc && echo evil > $H/.bashrc",
    "ln $H/.bashrc $H/hard && echo evil > $H/hard",
    "echo evil > $H/x && ln -sfn $H/x $H/.bashrc",
    "echo evil > $H/.zshrc",
    "echo evil > $H/x && ln -sfn x $H/.zshrc",
    "mv $H/dotfiles $H/old && mkdir $H/dotfiles && echo evil > $H/dotfiles/.zshrc",
    "echo evil > $H/.ssh/rc",
    "mv $H/.ssh $H/.ssh2 && mkdir $H/.ssh && echo evil > $H/.ssh/config",
    "echo evil > $H/git/.git/hooks/pre-commit",
    "echo evil > $H/git/.git/hooks/post-checkout",
    "mv $H/git/.git $H/git/.git2 && mkdir -p $H/git/.git/hooks && echo evil > $H/git/.git/hooks/pre-commit",
    "mv $H/git $H/git2 && mkdir -p $H/git/.git && echo evil > $H/git/.git/config",
];

fn tried(home: &Home, uid: u32, attempt: &str) -> String {
    let Some(cage) = home.cage(uid) else { return String::new() };
    let script = format!("H={}; {attempt}", home.path(""));
    format!("{} | {}", cage.sh(&script).err, cage.sh(&format!("unshare -Urm sh -c '{script}'")).err)
}

#[test]
fn files_that_others_execute_stay_as_they_were_whatever_is_tried() {
    for uid in UIDS.iter().map(|uid| uid.parse().unwrap()) {
        let home = Home::of(uid);
        if home.cage(uid).is_none() {
            return;
        }
        for attempt in TRIES {
            let said = tried(&home, uid, attempt);
            assert!(home.is_unchanged(), "uid {uid}: {attempt}: {said}");
        }
        let all = "umount -l $H/.bashrc; umount -l $H; mount -o remount,rw,bind $H/.bashrc; chmod 777 $H/.bashrc; \
                   touch $H/.bashrc; echo evil > /proc/self/root$H/.bashrc; mv $H ${H}2; truncate -s 0 $H/.bashrc";
        let said = tried(&home, uid, all);
        assert!(home.is_unchanged(), "uid {uid}: {said}");
    }
}

#[test]
fn without_the_guard_every_one_of_them_succeeds() {
    for uid in UIDS {
        for attempt in TRIES {
            let home = Home::of(uid.parse().unwrap());
            let Some(cage) = cage(&["--uid", uid]) else { return };
            let said = cage.sh(&format!("H={}; {attempt}", home.path("")));
            assert!(!home.is_unchanged(), "uid {uid}: {attempt}: {}", said.err);
        }
    }
}

#[test]
fn beside_them_everything_can_be_written_as_ever() {
    for uid in UIDS.iter().map(|uid| uid.parse().unwrap()) {
        let home = Home::of(uid);
        let Some(cage) = home.cage(uid) else { return };
        let said = cage.sh(&format!(
            "cd {} && echo x > a && mv a b && mkdir c && mv b c/d && rm -r c && echo x > git/.git/index && \
             mv git/.git/index git/.git/i && cat .bashrc .zshrc && ls .ssh && echo x > dotfiles/.other",
            home.path("")
        ));
        assert_eq!((said.code, said.out.as_str()), (0, "beforebeforeconfig\n"), "{}", said.err);
    }
}

#[test]
fn what_write_names_in_a_fixed_folder_can_be_written() {
    let home = Home::of(1000);
    let mut flags = home.flags(1000);
    flags.extend(["--write".to_owned(), home.path("git/.git/hooks/pre-commit")]);
    let Some(cage) = cage(&flags.iter().map(String::as_str).collect::<Vec<_>>()) else { return };
    let hooks = home.path("git/.git/hooks");
    let said = cage.sh(&format!("echo after > {hooks}/pre-commit; echo evil > {hooks}/other"));
    assert!(said.err.contains("Read-only"), "{}", said.err);
    assert_eq!(fs::read_to_string(format!("{hooks}/pre-commit")).unwrap(), "after\n");
    assert!(!Path::new(&hooks).join("other").exists());
}

#[test]
fn a_folder_that_became_a_link_stops_the_run() {
    let home = Home::of(1000);
    symlink("git", home.home.join("linked")).unwrap();
    let place = home.path("linked/.git/config");
    let Some(cage) = cage(&["--uid", "1000", "--fix", &place]) else { return };
    let said = cage.sh("echo ran");
    assert_eq!((said.code, said.out.as_str()), (125, ""), "{}", said.err);
    assert!(said.err.contains(&place), "{}", said.err);
}

#[test]
fn a_fifo_of_the_outside_that_is_hidden_reaches_nobody() {
    let home = Home::of(1000);
    let fifo = home.path("fifo");
    let made = std::process::Command::new("mkfifo").args(["-m", "666", &fifo]).status();
    assert!(made.unwrap().success());
    // Open on both ends, as a helper that serves it would have it.
    let helper = rustix::fs::open(
        &fifo,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    let heard = || {
        let mut buffer = [0; 16];
        rustix::io::read(&helper, &mut buffer).unwrap_or(0)
    };
    for (flags, arrives) in
        [(vec!["--uid", "1000", "--hide", &fifo], false), (vec!["--uid", "1000"], true)]
    {
        let Some(cage) = cage(&flags) else { return };
        let said = cage.sh(&format!("echo outside > {fifo}"));
        assert_eq!(heard() > 0, arrives, "{}", said.err);
    }
}

#[test]
fn shared_memory_is_the_runs_own() {
    let outside = format!("/dev/shm/tollgate-test-{}", std::process::id());
    for uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        fs::write(&outside, BEFORE).unwrap();
        fs::set_permissions(&outside, PermissionsExt::from_mode(0o666)).unwrap();
        let said = cage.sh(&format!(
            "cat {outside}; echo x > {outside}; echo x > /dev/shm/tollgate-inside && echo made"
        ));
        assert_eq!(said.out, "made\n", "uid {uid}: {}", said.err);
        assert_eq!(fs::read_to_string(&outside).unwrap(), BEFORE, "uid {uid}");
        assert!(!Path::new("/dev/shm/tollgate-inside").exists(), "uid {uid}");
        fs::remove_file(&outside).unwrap();
    }
}

#[test]
fn message_queues_of_the_outside_are_not_there_however_they_are_mounted() {
    for uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let queues = cage.place().join("queues");
        fs::create_dir(&queues).unwrap();
        fs::set_permissions(cage.place(), PermissionsExt::from_mode(0o755)).unwrap();
        // An IPC namespace of the test's own stands for the outside, so that no queue of the machine is touched.
        let script = "mount -t mqueue none \"$1\" && touch \"$1/queue\" && shift && ls \"$0\" && exec \"$@\"";
        let inside = cage.command(&["ls".as_ref(), queues.as_os_str()]);
        let mut outside = std::process::Command::new("unshare");
        outside.args(["-mi", "sh", "-c", script]).arg(&queues).arg(&queues);
        outside.arg(inside.get_program()).args(inside.get_args()).current_dir("/tmp");
        let said = crate::cage::said(outside.output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (0, "queue\n"), "uid {uid}: {}", said.err);
    }
}
