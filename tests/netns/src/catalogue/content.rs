//! What is no packet of its own but content of an allowed connection: shown by the gate's own tests.

use serde::{Deserialize, Serialize};

/// A way out that another test shows to be closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The part of the table.
    pub group: String,
    /// What is tried.
    pub says: String,
    /// The file of the test.
    pub file: String,
    /// The test's name.
    pub test: String,
}

const GUARDS: &str = "tests/tests/guards.rs";

/// All of them: part, what is tried, file, test.
const LISTED: [(&str, &str, &str, &str); 31] = [
    (
        "SNI and Host",
        "SNI, Host, `:authority` and destination that differ, per request and per stream",
        GUARDS,
        "a_request_goes_where_its_connection_does_or_nowhere",
    ),
    (
        "SNI and Host",
        "a ClientHello in pieces, without a name, with an encrypted one",
        GUARDS,
        "a_hello_is_read_however_it_is_cut_and_refused_where_it_hides_its_name",
    ),
    (
        "SNI and Host",
        "clear text to a host that takes a credential",
        "proxy/daemon/src/route.rs",
        "a_host_with_a_credential_is_not_spoken_to_in_clear",
    ),
    (
        "DNS",
        "a thousand refused names, asked of the responder",
        "proxy/daemon/src/listen/dns/tests.rs",
        "no_refused_name_of_a_thousand_is_looked_up_or_given_an_address",
    ),
    (
        "DNS",
        "refused names by question, SNI, Host, CONNECT and URL, with a name server that listens",
        "tests/tests/around.rs",
        "a_refused_name_is_asked_of_no_name_server",
    ),
    (
        "DNS",
        "refused names at the explicit proxy",
        "tests/tests/refused_names.rs",
        "a_name_refused_at_the_proxy_is_asked_of_no_name_server",
    ),
    (
        "DNS",
        "long labels and many questions below a wildcard",
        "proxy/daemon/src/listen/dns/tests.rs",
        "look_ups_are_limited_in_rate_and_length",
    ),
    (
        "DNS",
        "rebinding: a public name with a private address among its addresses",
        "proxy/daemon/src/upstream/resolve/tests.rs",
        "one_private_address_among_public_ones_makes_the_name_private",
    ),
    (
        "SSRF",
        "private, link-local, metadata and cluster addresses, also inside IPv6",
        GUARDS,
        "no_address_of_the_gates_own_network_is_dialled_even_where_every_name_is_let_pass",
    ),
    (
        "SSRF",
        "an address written in octal, hexadecimal, as one number",
        GUARDS,
        "an_address_is_written_in_one_way_or_it_is_another_destination",
    ),
    (
        "SSRF",
        "a public address that is the machine's own",
        GUARDS,
        "an_address_of_the_machine_itself_is_not_dialled_however_public_it_looks",
    ),
    ("SSRF", "a redirect to elsewhere", GUARDS, "a_redirect_is_the_clients_to_follow"),
    (
        "Nested tunnels",
        "CONNECT in CONNECT, TLS in a tunnel or WebSocket, upgrades",
        GUARDS,
        "nothing_is_tunnelled_in_what_is_read",
    ),
    (
        "Smuggling",
        "conflicting lengths, bare line ends, folded and doubled fields, at the transparent intake",
        "tests/tests/abuse.rs",
        "every_abuse_is_refused_or_harmless_over_the_transparent_intake",
    ),
    (
        "Smuggling",
        "the same in a tunnel",
        "tests/tests/abuse.rs",
        "every_abuse_is_refused_or_harmless_in_a_tunnel",
    ),
    (
        "Smuggling",
        "the same at the gateway",
        "tests/tests/abuse.rs",
        "every_abuse_is_refused_or_harmless_at_the_gateway_over_tls",
    ),
    (
        "Smuggling",
        "every head that two servers could read differently",
        "proxy/daemon/src/listen/strict/tests.rs",
        "what_two_servers_could_read_differently_is_a_fault",
    ),
    (
        "Credentials",
        "an echo of the injected key, encoded and in pieces",
        GUARDS,
        "the_key_that_was_put_in_comes_back_in_no_form",
    ),
    (
        "Descriptors",
        "sockets, folders, memory and namespaces inherited by a command",
        "proxy/launch/tests/exec/command.rs",
        "only_the_standard_streams_and_what_is_shared_is_inherited",
    ),
    (
        "Descriptors",
        "a socket as a standard stream",
        "proxy/launch/tests/exec/command.rs",
        "a_stream_that_is_a_socket_is_relayed_and_not_passed",
    ),
    (
        "Inbound",
        "a Service's client gets its streamed answer by way of the gate, at declared ports only",
        "init-container/tests/pod/inbound.rs",
        "a_client_gets_its_streamed_answer_at_declared_ports_and_nothing_elsewhere",
    ),
    (
        "Inbound",
        "the gate's counts, which the agent moves, for who reads them, where the readers are named",
        "init-container/tests/pod/inbound.rs",
        "the_gates_counts_are_read_by_those_that_were_named_alone",
    ),
    (
        "The gate's exemption",
        "a PID namespace of the agent's of which all is the gate's user, when the node's agent passes",
        "init-container/tests/pod/node.rs",
        "who_was_in_the_pod_once_is_never_taken_for_the_gate",
    ),
    (
        "The gate's life",
        "the collection of what pods left while the gate's container is started anew",
        "init-container/tests/pod/node.rs",
        "folders_of_a_pod_that_somebody_is_in_stay_when_others_are_collected",
    ),
    (
        "Weaker modes",
        "what leaves in the modes without kernel programs",
        "init-container/tests/pod/floor.rs",
        "nothing_that_an_agent_sends_arrives_in_any_mode",
    ),
    (
        "Upgrade",
        "connections while the programs are replaced",
        "ebpf/loader/tests/pod/upgrade.rs",
        "an_upgrade_under_load_loses_no_connection_and_lets_none_past",
    ),
    (
        "Unix sockets",
        "links, mounts, descriptors and namespaces that lead to a socket outside",
        "proxy/launch/tests/exec/connects.rs",
        "no_other_way_to_its_file_leads_to_a_socket_outside",
    ),
    (
        "Unix sockets",
        "an address that another thread changes while it is read",
        "proxy/launch/tests/exec/connects.rs",
        "what_changes_under_a_connect_leads_it_to_nobody_outside",
    ),
    (
        "No sockets",
        "a FIFO of a program outside",
        "proxy/launch/tests/exec/places.rs",
        "a_fifo_of_the_outside_that_is_hidden_reaches_nobody",
    ),
    (
        "No sockets",
        "shared memory with a program outside",
        "proxy/launch/tests/exec/places.rs",
        "shared_memory_is_the_runs_own",
    ),
    (
        "No sockets",
        "files that somebody executes later",
        "proxy/launch/tests/exec/places.rs",
        "files_that_others_execute_stay_as_they_were_whatever_is_tried",
    ),
];

/// All of them.
#[must_use]
pub fn elsewhere() -> Vec<Elsewhere> {
    let own = |(group, says, file, test): &(&str, &str, &str, &str)| Elsewhere {
        group: (*group).to_owned(),
        says: (*says).to_owned(),
        file: (*file).to_owned(),
        test: (*test).to_owned(),
    };
    LISTED.iter().map(own).collect()
}
