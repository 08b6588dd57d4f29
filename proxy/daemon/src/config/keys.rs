//! Every key of the configuration, in the order of the file: what it is for, what is written there,
//! and what holds where nothing is. Reading, overriding, the schema and the page of the
//! documentation follow this list.

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its path; `*` stands for a name that the operator chooses.
    pub(crate) path: &'static str,
    /// What it is for.
    pub(crate) says: &'static str,
    /// What is written there.
    pub(crate) like: Like,
    /// What holds where nothing is written, as text; `None`: nothing holds.
    pub(crate) default: Option<&'static str>,
    /// Whether its section makes no sense without it.
    pub(crate) needed: bool,
    /// Whether a running gate takes a change over; everything else needs a restart.
    pub(crate) reload: bool,
}

/// What is written at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Like {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The path of a file; a relative one begins at the configuration's folder.
    File,
    /// Paths of files.
    Files,
    /// The path of a folder, as [`Like::File`].
    Folder,
    /// A name.
    Name,
    /// `http` or `https`, host, port, path.
    Url,
    /// `ADDRESS:PORT`, several of them, or null for none.
    Addresses,
    /// `true` or `false`.
    Truth,
    /// `5s`, `2m`.
    Duration,
    /// A whole number in these bounds, both included.
    Count(u64, u64),
    /// `512KiB`, `64MiB`.
    Bytes,
    /// `HOST:PORT:ADDRESS:PORT`.
    Reroutes,
    /// A value that is shown nowhere.
    Secret,
    /// Nothing yet: it is refused.
    NotBuilt,
}

impl Like {
    /// What it is called in an error, a schema and the documentation.
    pub(crate) fn called(self) -> String {
        match self {
            Self::Choice(words) => match words {
                [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
                words => words.concat(),
            },
            Self::File => "the path of a file".into(),
            Self::Files => "paths of files, as a list".into(),
            Self::Folder => "the path of a folder".into(),
            Self::Name => "a name".into(),
            Self::Url => "a URL like https://host:8443/v1".into(),
            Self::Addresses => "ADDRESS:PORT, a list of them, or null for none".into(),
            Self::Truth => "true or false".into(),
            Self::Duration => "a duration like 5s, 500ms or 2m, at most 1h".into(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Bytes => "a size like 512KiB or 64MiB".into(),
            Self::Reroutes => "HOST:PORT:ADDRESS:PORT, as a list".into(),
            Self::Secret => "text".into(),
            Self::NotBuilt => "not built".into(),
        }
    }

    /// Whether more than one may be written.
    pub(crate) const fn many(self) -> bool {
        matches!(self, Self::Files | Self::Addresses | Self::Reroutes)
    }
}

const fn key(path: &'static str, like: Like, says: &'static str) -> Key {
    Key { path, says, like, default: None, needed: false, reload: false }
}

impl Key {
    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    const fn reloaded(self) -> Self {
        Self { reload: true, ..self }
    }

    /// The steps of its path.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.path.split('.')
    }

    /// Whether it lies at `path`, or below it.
    pub(crate) fn under(&self, path: &[&str]) -> bool {
        let mut steps = self.steps();
        path.iter().all(|name| steps.next().is_some_and(|step| step == "*" || step == *name))
    }

    /// Whether it lies exactly at `path`.
    pub(crate) fn is(&self, path: &[&str]) -> bool {
        self.steps().count() == path.len() && self.under(path)
    }
}

/// The keys.
pub(crate) const KEYS: &[Key] = &[
    key(
        "mode",
        Like::Choice(&["observe", "enforce"]),
        "`observe` makes every contract observe; `enforce` leaves each contract's own mode",
    )
    .or("enforce")
    .reloaded(),
    key("state", Like::Folder, "Where ledger, snapshots and vault lie").or("/var/lib/tollgate"),
    key(
        "policy",
        Like::Folder,
        "The folder of contracts (`*.yaml`), reloaded when it changes; the last good one stays in force",
    )
    .or("/etc/tollgate/policy"),
    key(
        "vault.master_key.file",
        Like::File,
        "A file of 32 bytes, readable by the gate only, from which every key of the state folder comes; \
         without this and without `env`, the state folder keeps its own",
    ),
    key(
        "vault.master_key.env",
        Like::Name,
        "The variable that holds those 32 bytes in base64 or hexadecimal",
    ),
    key("vault.master_key.vault_transit", Like::NotBuilt, "HashiCorp Vault transit"),
    key(
        "credentials.*.provider",
        Like::Name,
        "Whose key it is: `openai`, `anthropic`, or a name under `providers`",
    )
    .needed()
    .reloaded(),
    key(
        "credentials.*.from",
        Like::Choice(&["sealed"]),
        "Where the real key comes from: the vault of the state folder (`tollgate credential add`)",
    )
    .or("sealed")
    .reloaded(),
    key("credentials.*.from.vault", Like::NotBuilt, "HashiCorp Vault KV"),
    key("credentials.*.from.kubernetes_secret", Like::NotBuilt, "A Kubernetes Secret"),
    key(
        "providers.*.dialect",
        Like::Choice(&["openai", "anthropic", "plain"]),
        "The protocol it speaks; `plain` is any other HTTP API",
    )
    .needed(),
    key("providers.*.url", Like::Url, "Where it answers; `http` only without a credential").needed(),
    key(
        "providers.*.credential",
        Like::Name,
        "The credential it is sent, or `none`; without it, the one whose `provider` this is",
    ),
    key(
        "providers.*.price",
        Like::Choice(&["catalog", "free"]),
        "What its models cost: what the price catalog says of a model of this name, or nothing",
    )
    .or("catalog"),
    key("providers.*.ca", Like::File, "PEM certificates that vouch for it besides the system's"),
    key("sinks.*.to", Like::Choice(&["otlp"]), "What receives: OTLP over HTTP, traces and metrics").needed(),
    key("sinks.*.url", Like::Url, "Where it listens; `/v1/traces` and `/v1/metrics` are added").needed(),
    key("sinks.*.headers.*", Like::Secret, "A header that is sent along, such as `authorization`"),
    key(
        "listen.transparent",
        Like::Addresses,
        "Connections that the kernel redirected; any other is closed",
    )
    .or("[\"127.0.0.1:16801\", \"[::1]:16801\"]"),
    key(
        "listen.proxy",
        Like::Addresses,
        "Explicit proxy and gateway; beyond loopback it needs `listen.tls`, or `listen.plain: true`. In a pod: none",
    )
    .or("127.0.0.1:16802"),
    key(
        "listen.plain",
        Like::Truth,
        "Whether `listen.proxy` may be beyond loopback without TLS: virtual keys and content can be read on the way",
    )
    .or("false"),
    key("listen.routed", Like::Addresses, "Packets routed through this machine (TPROXY)")
        .or("null"),
    key("listen.dns", Like::Addresses, "The DNS responder, UDP and TCP").or("[\"127.0.0.1:16853\", \"[::1]:16853\"]"),
    key("listen.health", Like::Addresses, "`/healthz`, `/readyz` and `/metrics`. In a pod: port 16815 of every address")
        .or("127.0.0.1:16815"),
    key("listen.tls.cert", Like::File, "Certificate chain of `listen.proxy`, PEM").needed(),
    key("listen.tls.key", Like::File, "Its private key, PEM").needed(),
    key(
        "listen.tls.client_ca",
        Like::File,
        "Authorities of client certificates, PEM; with it a client may prove who it is",
    ),
    key(
        "drain.delay",
        Like::Duration,
        "From not ready to no longer accepting, so that nobody is sent here any more",
    )
    .or("5s")
    .reloaded(),
    key("drain.streams", Like::Duration, "How long open exchanges may go on before they are ended")
        .or("60s")
        .reloaded(),
    key("upstream.ca", Like::Files, "PEM certificates that vouch for upstreams besides the system's"),
    key(
        "upstream.connect_to",
        Like::Reroutes,
        "Where a host is really dialled, with curl's meaning; recorded at the start",
    ),
    key("limits.connections", Like::Count(1, 1_000_000), "Client connections open at a time")
        .or("16384"),
    key(
        "limits.per_address",
        Like::Count(1, 1_000_000),
        "Those of them from one address (of IPv6: from one /64) that have not said whose they are; more are closed",
    )
    .or("1024"),
    key(
        "pod.agent",
        Like::Name,
        "The agent that everything in the pod is; its contract holds for all of it",
    )
    .needed(),
    key("pod.file", Like::File, "What `tollgate-init` wrote about the pod; without it the gate does not start")
        .or("/run/tollgate/pod.json"),
    key(
        "pod.minimum",
        Like::Choice(&["kernel", "nft-cgroup", "nft-user"]),
        "The weakest enforcement, of these from strong to weak, under which the gate starts",
    )
    .or("kernel"),
    key(
        "pod.inbound.connections",
        Like::Count(1, 65_535),
        "Connections from outside to the agent's declared ports, at a time; the next ones wait",
    )
    .or("256"),
    key(
        "pod.inbound.bytes_out",
        Like::Bytes,
        "What one such connection may carry out of the pod; then it is cut",
    )
    .or("16MiB"),
    key(
        "pod.inbound.window_bytes_out",
        Like::Bytes,
        "What all of them together may carry out in each `pod.inbound.window`; beyond it they are cut",
    )
    .or("256MiB"),
    key("pod.inbound.window", Like::Duration, "How long that window is").or("1h"),
    key("control", Like::NotBuilt, "Control API and console"),
];

/// The section's own sentence, for sections of which one is needed.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("", "The configuration of one gate: `tollgate serve --config FILE`"),
    ("vault", "The vault of real keys"),
    ("vault.master_key", "Where the key that wraps all others comes from"),
    ("credentials", "The real keys, by name. An agent never sees one"),
    ("credentials.*", "One real key"),
    ("providers", "Providers that are not a public one at its usual address, by name"),
    ("providers.*", "One provider"),
    ("sinks", "Who receives telemetry, by name"),
    ("sinks.*", "One receiver"),
    ("sinks.*.headers", "Headers that are sent along, by name"),
    ("listen", "Where the gate listens; null switches one off"),
    ("listen.tls", "TLS of `listen.proxy`"),
    ("drain", "How the gate ends"),
    ("upstream", "How upstreams are reached"),
    ("limits", "Limits of the gate as a whole"),
    (
        "pod",
        "This gate guards the pod whose network it is in. `listen.proxy` is off then, and `listen.health` beyond loopback, \
         unless they say otherwise",
    ),
    (
        "pod.inbound",
        "What may leave in answer to connections from outside to the agent's declared ports",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_under_its_sections_and_a_star_is_any_name() {
        let url = KEYS.iter().find(|key| key.path == "providers.*.url").unwrap();
        assert!(url.under(&["providers"]) && url.under(&["providers", "v.llm"]));
        assert!(url.is(&["providers", "v.llm", "url"]) && !url.is(&["providers", "v"]));
        assert!(!url.under(&["credentials"]) && !url.under(&["providers", "v", "url", "x"]));
    }

    #[test]
    fn every_section_is_said_and_every_key_is_a_sentence_without_a_stop() {
        for key in KEYS {
            assert!(!key.says.is_empty() && !key.says.ends_with('.'), "{}", key.path);
            let mut above = key.path;
            while let Some((section, _)) = above.rsplit_once('.') {
                let leaf = KEYS.iter().any(|key| key.path == section);
                assert!(leaf || SECTIONS.iter().any(|(path, _)| *path == section), "{section}");
                above = section;
            }
        }
    }
}
