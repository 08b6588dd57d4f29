//! Programs outside that send for whoever asks them.

use crate::case::{Case, Form, Seen};

pub(super) fn helpers() -> Vec<Case> {
    let case = |name, says, words| {
        Case::of("helper", name, says, words).only(Form::Exec).sees(Seen::NoAnswer)
    };
    let masked = |name, says, words| case(name, says, words).closed("masked when the run starts");
    vec![
        masked("helper_docker", "a container engine's /run/docker.sock", "docker"),
        masked("helper_system_bus", "the system's D-Bus", "system-bus"),
        masked("helper_session_bus", "the session's D-Bus", "session-bus"),
        masked("helper_systemd", "systemd-run: the service manager's private socket", "systemd"),
        masked("helper_user_systemd", "the user's own service manager", "user-systemd"),
        masked("helper_key_agent", "an agent's socket in a folder of its own", "key-agent"),
        masked("helper_datagram", "a datagram socket of a program outside", "notify"),
        case("helper_later", "a socket that was made after the run started", "later")
            .closed("the connection is made by the supervisor, or refused"),
        case("helper_abstract", "a socket with an abstract name", "abstract")
            .closed("a network namespace of its own"),
    ]
}
