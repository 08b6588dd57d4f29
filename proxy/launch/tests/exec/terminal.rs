use std::{
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    pty::OpenptFlags,
    termios::{LocalModes, Winsize},
};

use super::cage;
use crate::cage::Cage;

/// How long something that must happen may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal as an emulator holds it, and what was shown on it so far.
struct Screen {
    master: std::fs::File,
    terminal: OwnedFd,
    shown: String,
}

impl Screen {
    fn open() -> Self {
        let master =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        // The user's, as whoever logged them in makes it.
        if let Some(owner) = super::FORM.owner() {
            rustix::fs::fchown(&terminal, Some(owner), None).unwrap();
        }
        let screen = Self { master: master.into(), terminal, shown: String::new() };
        screen.resize(24, 80);
        screen
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).unwrap();
    }

    /// Starts a program as the terminal's session leader, streams given or the terminal's.
    fn start(&self, command: &mut Command) -> Child {
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                match libc::ioctl(2, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        command.stderr(self.stream()).spawn().unwrap()
    }

    fn stream(&self) -> Stdio {
        Stdio::from(self.terminal.try_clone().unwrap())
    }

    fn all_streams(&self, command: &mut Command) -> Child {
        self.start(command.stdin(self.stream()).stdout(self.stream()))
    }

    fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown after what was waited for before.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            assert!(Instant::now() < deadline, "{text:?} never came; shown: {:?}", self.shown);
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let short = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            if rustix::event::poll(&mut ready, Some(&short)).unwrap() > 0 {
                let mut room = [0; 4096];
                let read = rustix::io::read(self.master.as_fd(), &mut room).unwrap_or(0);
                self.shown.push_str(&String::from_utf8_lossy(&room[..read]));
            }
        }
    }

    fn is_raw(&self) -> bool {
        !rustix::termios::tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }
}

fn code(child: &mut Child) -> Option<i32> {
    child.wait().unwrap().code()
}

/// An interactive shell on the screen, and the line that runs `script` in the cage.
fn shell(cage: &Cage, script: &str) -> (Screen, Child, String) {
    let mut screen = Screen::open();
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-i"])
        .env("PS1", "$ ")
        .env("TERM", "dumb")
        .current_dir("/tmp");
    bash.env("HISTFILE", "/dev/null");
    let child = screen.all_streams(&mut bash);
    screen.wait_for("$ ");
    let file = cage.place().join("script");
    std::fs::write(&file, script).unwrap();
    let line = format!("{} -- sh {}", cage.line(), file.display());
    (screen, child, line)
}

/// What is typed before the shell has the terminal again would be the command's.
fn leave(screen: &mut Screen, bash: &mut Child) {
    screen.wait_for("$ ");
    screen.type_in("exit\n");
    bash.wait().unwrap();
}

#[test]
fn the_command_has_a_terminal_of_its_own_that_it_controls() {
    let Some(cage) = cage(&[]) else { return };
    let mut screen = Screen::open();
    let outside =
        rustix::termios::ttyname(&screen.terminal, Vec::new()).unwrap().into_string().unwrap();
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo three; echo seen >/dev/tty; ls /dev/pts | tr '\\n' ' '";
    let mut child = screen.all_streams(&mut cage.command(&["sh", "-c", script]));
    screen.wait_for("/dev/pts/0");
    screen.wait_for("three");
    screen.wait_for("seen");
    screen.wait_for("0 ptmx ");
    assert_eq!(code(&mut child), Some(0));
    assert!(outside.starts_with("/dev/pts/"));
}

#[test]
fn control_c_reaches_the_command_through_its_terminal() {
    let Some(cage) = cage(&[]) else { return };
    let mut screen = Screen::open();
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = screen.all_streams(&mut cage.command(&["sh", "-c", script]));
    screen.wait_for("ready");
    assert!(screen.is_raw());
    screen.type_in("\x03");
    screen.wait_for("caught");
    assert_eq!(code(&mut child), Some(9));
    assert!(!screen.is_raw(), "the terminal was not restored");
}

#[test]
fn a_command_killed_by_control_c_ends_with_130() {
    let Some(cage) = cage(&[]) else { return };
    let mut screen = Screen::open();
    let mut child =
        screen.all_streams(&mut cage.command(&["sh", "-c", "echo ready; exec sleep 1000"]));
    screen.wait_for("ready");
    screen.type_in("\x03");
    assert_eq!(code(&mut child), Some(130));
}

#[test]
fn the_size_of_the_window_is_the_commands_too() {
    let Some(cage) = cage(&[]) else { return };
    let mut screen = Screen::open();
    screen.resize(31, 101);
    let script =
        "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut child = screen.all_streams(&mut cage.command(&["sh", "-c", script]));
    screen.wait_for("31 101");
    screen.wait_for("ready");
    screen.resize(40, 120);
    screen.wait_for("40 120");
    assert_eq!(code(&mut child), Some(0));
}

#[test]
fn control_z_stops_the_job_and_fg_continues_it() {
    let Some(cage) = cage(&[]) else { return };
    let (mut screen, mut bash, line) =
        shell(&cage, "echo rea''dy; read word; echo got-$word; exit 4");
    screen.type_in(&format!("{line}\n"));
    screen.wait_for("ready");
    screen.type_in("\x1a");
    screen.wait_for("Stopped");
    screen.wait_for("$ ");
    // The shell edits lines again: what is typed is echoed and run.
    screen.type_in("echo in-the''-shell\n");
    screen.wait_for("in-the-shell");
    screen.wait_for("$ ");
    screen.type_in("fg\n");
    screen.wait_for("script");
    screen.type_in("word\n");
    screen.wait_for("got-word");
    screen.wait_for("$ ");
    screen.type_in("echo code-$?\n");
    screen.wait_for("code-4\r\n");
    leave(&mut screen, &mut bash);
}

#[test]
fn a_job_in_the_background_stops_when_it_reads_and_goes_on_in_the_foreground() {
    let Some(cage) = cage(&[]) else { return };
    let (mut screen, mut bash, line) = shell(&cage, "echo rea''dy; read word; echo got-$word");
    screen.type_in(&format!("{line} &\n"));
    screen.wait_for("ready");
    let deadline = Instant::now() + PATIENCE;
    loop {
        screen.type_in("jobs; echo lis''ted\n");
        let stopped = screen.wait_for("listed").contains("Stopped");
        screen.wait_for("$ ");
        if stopped {
            break;
        }
        assert!(Instant::now() < deadline, "the job never stopped");
    }
    screen.type_in("fg\n");
    screen.wait_for("script");
    screen.type_in("word\n");
    screen.wait_for("got-word");
    leave(&mut screen, &mut bash);
}

#[test]
fn in_a_pipeline_the_keyboard_is_left_to_who_wants_it() {
    let Some(cage) = cage(&[]) else { return };
    let (mut screen, mut bash, line) = shell(&cage, "echo from-the''-cage; exit 0");
    // The reader at the end of the pipe gets the keys, as `less` would.
    screen.type_in(&format!("{line} | (cat; read key </dev/tty; echo key-$key)\n"));
    screen.wait_for("from-the-cage");
    screen.type_in("q\n");
    screen.wait_for("key-q");
    leave(&mut screen, &mut bash);
}

#[test]
fn in_a_pipeline_the_command_may_still_ask() {
    let Some(cage) = cage(&[]) else { return };
    let (mut screen, mut bash, line) =
        shell(&cage, "echo na''me >/dev/tty; read name </dev/tty; echo hello $name");
    screen.type_in(&format!("{line} | cat\n"));
    screen.wait_for("name");
    screen.type_in("ann\n");
    screen.wait_for("hello ann");
    leave(&mut screen, &mut bash);
}

#[test]
fn a_stream_that_is_no_terminal_stays_what_it_is() {
    let Some(cage) = cage(&[]) else { return };
    let screen = Screen::open();
    let mut command = cage.command(&[
        "sh",
        "-c",
        "test -t 0 && echo in; test -t 1 || echo out; test -t 2 && echo err",
    ]);
    let child = screen.start(command.stdin(screen.stream()).stdout(Stdio::piped()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "in\nout\nerr\n");
}

#[test]
fn with_a_socket_for_input_the_terminal_is_still_the_commands() {
    let Some(cage) = cage(&[]) else { return };
    let mut screen = Screen::open();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = cage.command(&[
        "sh",
        "-c",
        "read line; echo from-$line; read key </dev/tty; echo key-$key",
    ]);
    let mut child = screen.start(command.stdin(OwnedFd::from(theirs)).stdout(screen.stream()));
    ours.write_all(b"socket\n").unwrap();
    screen.wait_for("from-socket");
    screen.type_in("k\r");
    screen.wait_for("key-k");
    assert_eq!(code(&mut child), Some(0));
}

#[test]
fn all_that_was_written_before_the_end_is_shown() {
    let Some(cage) = cage(&[]) else { return };
    let mut screen = Screen::open();
    let mut child =
        screen.all_streams(&mut cage.command(&["sh", "-c", "seq 1 20000; echo the-end"]));
    let shown = screen.wait_for("the-end");
    assert_eq!(shown.lines().count(), 20_001);
    assert_eq!(code(&mut child), Some(0));
}

#[test]
fn nothing_can_be_typed_into_the_shell_that_follows() {
    let Some(cage) = cage(&[]) else { return };
    let script = format!("{} ioctl 0x5412 </dev/tty; echo tri''ed", crate::cage::probe());
    let (mut screen, mut bash, line) = shell(&cage, &script);
    screen.type_in(&format!("{line}\n"));
    assert!(screen.wait_for("tried").contains("error 1"));
    leave(&mut screen, &mut bash);
    assert!(!screen.shown.contains('#'), "{}", screen.shown);
}

#[test]
fn a_terminal_of_another_is_out_of_reach() {
    let Some(cage) = cage(&[]) else { return };
    let other = Screen::open();
    let path =
        rustix::termios::ttyname(&other.terminal, Vec::new()).unwrap().into_string().unwrap();
    let number = path.rsplit('/').next().unwrap().to_owned();
    // Private: the numbers inside are not those outside, and there is no terminal inside without one of its own.
    assert_eq!(cage.sh(&format!("echo typed >/dev/pts/{number}")).code, 2);
    let mut ready = [PollFd::new(&other.master, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut ready, Some(&now)).unwrap(), 0);
}
