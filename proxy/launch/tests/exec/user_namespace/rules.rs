//! What leads to the gate without root cannot be changed from inside.

use super::cage;

/// Takes away the rules, the addresses and the route, and tries a datagram, in this network.
const ATTACK: &str = "nft flush ruleset; nft list ruleset | grep -c tollgate; ip link set lo down; \
                      ip addr add 10.1.1.1/24 dev lo; ip route del local default dev lo table local; \
                      ip link add wire type veth peer name away; ip link add t type dummy";

/// Still led to the gate, with the destination, and nothing else passes.
fn still_led(cage: &crate::cage::Cage, after: &str) {
    let probe = crate::cage::probe();
    let said = cage.sh(&format!(
        "{{ {after} ; }} >/dev/null 2>&1; {probe} connect 1.2.3.4:443; {probe} udp-send 8.8.8.8:443; \
         {probe} connect 127.0.0.1:16801; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"
    ));
    assert_eq!(
        said.out, "ok 1.2.3.4:443 peer 1.2.3.4:443\nerror 1\nerror 111\nlo\n",
        "after {after}: {}",
        said.err
    );
}

#[test]
fn the_command_cannot_change_what_leads_to_the_gate() {
    let Some(cage) = cage(&[]) else { return };
    let said = cage.sh("nft flush ruleset; echo $?");
    assert!(said.out.ends_with("1\n") && said.err.contains("not permitted"), "{}", said.err);
    still_led(&cage, ATTACK);
}

#[test]
fn nor_from_a_user_namespace_that_it_makes() {
    let Some(cage) = cage(&[]) else { return };
    // It is somebody there, with every capability, and the network is not theirs.
    let said = cage
        .sh("unshare -Ur sh -c 'grep CapEff /proc/self/status; id -u; nft flush ruleset; echo $?'");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(!lines[0].ends_with("0000000000000000"), "{}", said.out);
    assert_eq!(&lines[1..], ["0", "1"], "{}", said.err);
    assert!(said.err.contains("not permitted"), "{}", said.err);
    still_led(&cage, &format!("unshare -Ur sh -c '{ATTACK}'"));
    // Deeper, and with a mount namespace of its own, it is the same.
    still_led(&cage, &format!("unshare -Urm unshare -Urm sh -c '{ATTACK}'"));
}

#[test]
fn a_control_outside_can_flush_rules_of_its_own() {
    let Some(_cage) = cage(&[]) else { return };
    // The attack is one that works where the network belongs to whoever tries.
    let script = "nft add table inet t && nft flush ruleset && nft list ruleset | wc -l";
    let outside = std::process::Command::new("unshare").args(["-n", "sh", "-c", script]).output();
    let outside = crate::cage::said(outside.unwrap());
    assert_eq!(outside.out, "0\n", "{}", outside.err);
}

#[test]
fn the_namespaces_of_the_run_cannot_be_joined_again_with_capabilities() {
    let Some(cage) = cage(&[]) else { return };
    for attempt in [
        "nsenter --user=/proc/self/ns/user true",
        "nsenter --net=/proc/self/ns/net true",
        "nsenter -t 1 -U true",
        "nsenter -t 1 -n true",
        // From a namespace of its own it is still no owner of the outer one.
        "unshare -Ur nsenter --net=/proc/self/ns/net nft flush ruleset",
    ] {
        let said = cage.sh(&format!("{attempt} && echo joined"));
        assert_eq!(said.out, "", "{attempt}");
    }
}

#[test]
fn every_capability_of_the_first_process_is_out_of_reach() {
    let Some(cage) = cage(&[]) else { return };
    // It holds them over the run's namespaces, so nothing of it may be had: see also `inside`.
    let script = "grep CapEff /proc/1/status; for f in environ mem maps fd/0 root/ cwd/ ns/user; do \
                  head -c1 /proc/1/$f >/dev/null 2>&1 && echo $f; done; \
                  kill -9 1; kill -STOP 1; kill -SEGV 1; echo alive";
    let said = cage.sh(script);
    assert_eq!(said.out.lines().last(), Some("alive"));
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
}

#[test]
fn an_address_bound_inside_is_answered_and_leads_nowhere_else() {
    let Some(cage) = cage(&[]) else { return };
    // Everything is local, so a program may bind what looks like somebody else's address. Who connects there by
    // name is at the gate all the same.
    let script = "import socket, threading\n\
        l = socket.socket(); l.bind(('1.2.3.4', 8443)); l.listen()\n\
        s = socket.socket(); s.connect(('1.2.3.4', 8443)); print(s.recv(100).decode().strip())\n\
        b = socket.socket(); b.bind(('9.9.9.9', 0)); b.connect(('5.6.7.8', 22)); print(b.recv(100).decode().strip())\n\
        l.setblocking(False)\n\
        try: l.accept(); print('accepted')\n\
        except BlockingIOError: print('nobody')\n";
    let said = cage.run(&["/usr/bin/python3", "-c", script]);
    assert_eq!(said.out, "1.2.3.4:8443\n5.6.7.8:22\nnobody\n", "{}", said.err);
}

#[test]
fn two_connections_from_one_port_keep_their_destinations() {
    let Some(cage) = cage(&[]) else { return };
    let script = "import socket\n\
        def go(to):\n\
        \x20s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
        \x20s.bind(('127.0.0.1', 40123)); s.settimeout(5)\n\
        \x20try: s.connect(to); print(s.recv(100).decode().strip())\n\
        \x20except OSError as e: print(type(e).__name__)\n\
        \x20return s\n\
        kept = [go(('1.2.3.4', 443)), go(('5.6.7.8', 443)), go(('1.2.3.4', 80))]\n";
    let said = cage.run(&["/usr/bin/python3", "-c", script]);
    let lines: Vec<&str> = said.out.lines().collect();
    // The kernel may refuse the second use of a source at the gate; it never mixes them up.
    for (line, wanted) in lines.iter().zip(["1.2.3.4:443", "5.6.7.8:443", "1.2.3.4:80"]) {
        assert!(*line == wanted || line.ends_with("Error") || *line == "timeout", "{lines:?}");
    }
    assert_eq!((lines.len(), lines[0]), (3, "1.2.3.4:443"), "{}", said.err);
}
