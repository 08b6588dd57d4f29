use super::{FORM, INTAKE_BY_NAME, cage};
use crate::cage::{Form, probe_outside};

const EPERM: &str = "error 1";
const EAFNOSUPPORT: &str = "error 97";

#[test]
fn a_connection_anywhere_reaches_the_gate_with_the_destination_it_wanted() {
    let Some(cage) = cage(&[]) else { return };
    for to in ["1.2.3.4:443", "198.18.200.7:80", "10.0.0.1:16801", "[2001:db8::1]:8443"] {
        assert_eq!(cage.probe(&["connect", to]), format!("ok {to} peer {to}"));
    }
    assert_eq!(cage.log().len(), 4);
}

#[test]
fn a_link_local_address_leads_to_the_gate_or_nowhere() {
    let Some(cage) = cage(&[]) else { return };
    let (said, heard) = match FORM {
        Form::KernelPrograms => ("ok [fe80::1]:22 peer [fe80::1]:22", 1),
        // Without the interface's number the kernel itself knows no such destination.
        Form::UserNamespace | Form::UserNamespaceOfRoot => ("error 22", 0),
    };
    assert_eq!(cage.probe(&["connect", "[fe80::1]:22"]), said);
    assert_eq!(cage.log().len(), heard);
}

#[test]
fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
    let Some(cage) = cage(&[]) else { return };
    assert_eq!(
        cage.probe(&["connect", "[::ffff:9.8.7.6]:22"]),
        "ok 9.8.7.6:22 peer [::ffff:9.8.7.6]:22"
    );
}

#[test]
fn the_intake_cannot_be_reached_by_its_own_name() {
    let Some(cage) = cage(&[]) else { return };
    for name in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0.0.0.0]",
    ] {
        let said = cage.probe(&["connect", &format!("{name}:16801")]);
        assert_eq!(said, INTAKE_BY_NAME, "{name}");
    }
    assert_eq!(cage.log(), Vec::<String>::new());
}

#[test]
fn what_listens_inside_is_reached_directly() {
    let Some(cage) = cage(&[]) else { return };
    // Nothing listens: the refusal is the kernel's own, not the gate's.
    assert_eq!(cage.probe(&["connect", "127.0.0.1:9"]), "error 111");
    assert_eq!(cage.probe(&["connect", "[::1]:9"]), "error 111");
    assert_eq!(cage.log(), Vec::<String>::new());
}

#[test]
fn datagrams_other_than_questions_are_refused() {
    let Some(cage) = cage(&[]) else { return };
    for to in [
        "8.8.8.8:443",
        "[2001:db8::8]:443",
        "[::ffff:8.8.8.8]:443",
        "198.18.0.7:443",
        "224.0.0.251:5353",
    ] {
        assert_eq!(cage.probe(&["udp-send", to]), EPERM, "{to}");
        assert_eq!(cage.probe(&["udp-connect", to]), EPERM, "{to}");
    }
}

#[test]
fn a_question_to_any_server_is_answered_by_the_responder_in_that_servers_name() {
    let Some(cage) = cage(&[]) else { return };
    for to in ["8.8.8.8:53", "[2001:db8::8]:53", "[::ffff:8.8.8.8]:53", "127.0.0.53:53"] {
        assert!(cage.probe(&["udp-send", to]).ends_with(&format!("from {to}")), "{to}");
        assert!(cage.probe(&["udp-connect", to]).ends_with(&format!("from {to}")), "{to}");
    }
    assert_eq!(cage.log(), vec!["dns udp"; 8]);
}

#[test]
fn the_c_library_asks_the_responder_and_nobody_else() {
    let Some(cage) = cage(&[]) else { return };
    let said = cage
        .sh("getent ahostsv4 some.name.test; cat /etc/resolv.conf; grep ^hosts /etc/nsswitch.conf");
    assert!(said.out.starts_with("198.18.0.7"), "{}", said.out);
    assert!(said.out.contains("nameserver 127.0.0.1\noptions ndots:1\n"), "{}", said.out);
    assert!(said.out.ends_with("hosts: files dns\n"), "{}", said.out);
    assert!(cage.log().iter().all(|line| line == "dns udp"));
}

#[test]
fn sockets_that_are_neither_tcp_nor_udp_are_refused() {
    let Some(cage) = cage(&[]) else { return };
    let (stream, dgram, raw) = ("1", "2", "3");
    for (what, words, refusal) in [
        ("raw", ["2", raw, "1"], EPERM),
        ("raw v6", ["10", raw, "58"], EPERM),
        ("udp-lite", ["2", dgram, "136"], EPERM),
        ("mptcp", ["2", stream, "262"], EPERM),
        ("packet", ["17", raw, "0"], EAFNOSUPPORT),
        ("packet dgram", ["17", dgram, "0"], EAFNOSUPPORT),
        ("vsock", ["40", stream, "0"], EAFNOSUPPORT),
        ("xdp", ["44", raw, "0"], EAFNOSUPPORT),
        ("alg", ["38", "5", "0"], EAFNOSUPPORT),
    ] {
        assert_eq!(cage.probe(&[&["socket"], &words[..]].concat()), refusal, "{what}");
    }
    assert_eq!(cage.probe(&["socketpair", "40"]), EAFNOSUPPORT);
    // Ping sockets: by the filter, by the group range of a new namespace, and by the kernel program.
    for family in ["2", "10"] {
        assert_eq!(
            cage.probe(&["socket", family, dgram, if family == "2" { "1" } else { "58" }]),
            EPERM
        );
    }
    for (family, kind) in
        [("1", stream), ("2", stream), ("2", dgram), ("10", stream), ("10", dgram), ("16", raw)]
    {
        assert!(cage.probe(&["socket", family, kind, "0"]).starts_with("ok"), "{family} {kind}");
    }
}

#[test]
fn outside_the_same_sockets_open() {
    let Some(_cage) = cage(&[]) else { return };
    for words in [["2", "3", "1"], ["2", "2", "136"], ["17", "3", "0"]] {
        assert!(probe_outside(&[&["socket"], &words[..]].concat()).starts_with("ok"), "{words:?}");
    }
}

#[test]
fn the_only_interface_is_loopback() {
    let Some(cage) = cage(&[]) else { return };
    let said =
        cage.sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; cat /proc/net/route | wc -l");
    assert_eq!(said.out, "lo\n1\n");
}

#[test]
fn a_network_made_inside_leads_nowhere() {
    let Some(cage) = cage(&["--uid", "1000"]) else { return };
    let script = format!("unshare -Urn {} connect 1.2.3.4:80", crate::cage::probe());
    // Redirected to an intake that is not there, or without a route.
    assert!(cage.sh(&script).out.starts_with("error "), "{}", cage.sh(&script).err);
    assert_eq!(cage.log(), Vec::<String>::new());
}
