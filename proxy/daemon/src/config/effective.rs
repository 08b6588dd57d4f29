//! What a configuration says in effect, flat and without secrets: for the record, and to see what
//! a new one changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use decide::policy::Mode;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::built::{
    Config, Credential, Drain, Inbound, Limits, Listen, MasterKeyFrom, Pod, Provider, Sink, Source,
    Tls, Upstream,
};
use super::keys::KEYS;

/// What stands for a secret.
const SECRET: &str = "secret";

impl Config {
    /// SHA-256 of all values in effect, defaults included. A secret is in it by its key path only.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let written = serde_json::to_vec(&self.effective()).unwrap_or_default();
        Sha256::digest(written).into()
    }

    /// All values in effect by key path, defaults included; a secret is not told.
    #[must_use]
    pub fn effective(&self) -> BTreeMap<String, String> {
        let Self {
            mode,
            state,
            policy,
            master_key,
            credentials,
            providers,
            sinks,
            listen,
            drain: Drain { delay, streams },
            upstream: Upstream { ca, connect_to },
            limits: Limits { connections, per_address },
            pod,
        } = self;
        let mut all = Values::default();
        let mode = match mode {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        all.put("mode", mode);
        all.put("state", &state.display());
        all.put("policy", &policy.display());
        match master_key {
            MasterKeyFrom::StateFolder => {}
            MasterKeyFrom::File(path) => all.put("vault.master_key.file", &path.display()),
            MasterKeyFrom::Env { variable, key: _ } => all.put("vault.master_key.env", variable),
        }
        for (name, credential) in credentials {
            all.credential(name, credential);
        }
        for (name, provider) in providers {
            all.provider(name, provider);
        }
        for (name, sink) in sinks {
            all.sink(name, sink);
        }
        all.listen(listen);
        all.put("drain.delay", &format!("{delay:?}"));
        all.put("drain.streams", &format!("{streams:?}"));
        all.each("upstream.ca", ca.iter().map(|path| path.display()));
        all.each("upstream.connect_to", connect_to.iter().map(|(written, _)| written));
        all.put("limits.connections", connections);
        all.put("limits.per_address", per_address);
        if let Some(pod) = pod {
            all.pod(pod);
        }
        all.0
    }

    /// Key paths that differ in `new` and that a running gate does not take over.
    #[must_use]
    pub fn changes_needing_restart(&self, new: &Self) -> Vec<String> {
        let (old, new_values) = (self.effective(), new.effective());
        let paths = old.keys().chain(new_values.keys().filter(|path| !old.contains_key(*path)));
        let changed = paths.filter(|path| old.get(*path) != new_values.get(*path)).cloned();
        let mut changed: Vec<String> =
            changed.chain(self.changed_headers(new)).filter(|path| !reloaded(path)).collect();
        changed.sort();
        changed
    }

    /// Headers whose value differs; values are not in effect's view, being secret.
    fn changed_headers(&self, new: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        for (name, Sink::Otlp { headers, .. }) in &self.sinks {
            let Some(Sink::Otlp { headers: others, .. }) = new.sinks.get(name) else { continue };
            for (header, value) in headers {
                let other = others.get(header).map(ExposeSecret::expose_secret);
                if other.is_some_and(|other| other != value.expose_secret()) {
                    changed.push(format!("sinks.{name}.headers.{header}"));
                }
            }
        }
        changed
    }
}

/// Whether a running gate takes over a change at this path.
fn reloaded(path: &str) -> bool {
    let first = path.split('.').next().unwrap_or_default();
    let last = path.rsplit('.').next().unwrap_or_default();
    // Names may hold dots, so a key is known by its first and last step; no two differ in `reload`.
    KEYS.iter().any(|key| {
        key.reload
            && key.steps().next() == Some(first)
            && (key.path == path || key.steps().last() == Some(last))
    })
}

#[derive(Default)]
struct Values(BTreeMap<String, String>);

impl Values {
    fn put(&mut self, path: impl Into<String>, value: &(impl ToString + ?Sized)) {
        self.0.insert(path.into(), value.to_string());
    }

    fn each<T: ToString>(&mut self, path: &str, values: impl Iterator<Item = T>) {
        let values: Vec<String> = values.map(|value| value.to_string()).collect();
        self.put(path, &format!("{values:?}"));
    }

    fn pod(&mut self, pod: &Pod) {
        let Pod { agent, file, minimum, inbound } = pod;
        let Inbound { connections, bytes_out, window_bytes_out, window } = inbound;
        self.put("pod.agent", agent);
        self.put("pod.file", &file.display());
        self.put("pod.minimum", minimum.name());
        self.put("pod.inbound.connections", connections);
        self.put("pod.inbound.bytes_out", bytes_out);
        self.put("pod.inbound.window_bytes_out", window_bytes_out);
        self.put("pod.inbound.window", &format!("{window:?}"));
    }

    fn credential(&mut self, name: &str, credential: &Credential) {
        let Credential { provider, from } = credential;
        self.put(format!("credentials.{name}.provider"), provider);
        let from = match from {
            Source::Sealed => "sealed",
        };
        self.put(format!("credentials.{name}.from"), from);
    }

    fn provider(&mut self, name: &str, provider: &Provider) {
        let Provider { dialect, url, credential, free, ca } = provider;
        let at = |key: &str| format!("providers.{name}.{key}");
        self.put(at("dialect"), wire::dialect(*dialect).name());
        self.put(at("url"), url);
        self.put(at("credential"), credential.as_deref().unwrap_or("none"));
        self.put(at("price"), if *free { "free" } else { "catalog" });
        if let Some(ca) = ca {
            self.put(at("ca"), &ca.display());
        }
    }

    fn sink(&mut self, name: &str, sink: &Sink) {
        let Sink::Otlp { url, headers } = sink;
        self.put(format!("sinks.{name}.to"), "otlp");
        self.put(format!("sinks.{name}.url"), url);
        for header in headers.keys() {
            self.put(format!("sinks.{name}.headers.{header}"), SECRET);
        }
    }

    fn listen(&mut self, listen: &Listen) {
        let Listen { transparent, proxy, routed, dns, health, tls, plain } = listen;
        let all: [(&str, &Vec<SocketAddr>); 5] = [
            ("listen.transparent", transparent),
            ("listen.proxy", proxy),
            ("listen.routed", routed),
            ("listen.dns", dns),
            ("listen.health", health),
        ];
        for (path, addresses) in all {
            self.each(path, addresses.iter());
        }
        self.put("listen.plain", plain);
        if let Some(Tls { cert, key, client_ca }) = tls {
            self.put("listen.tls.cert", &cert.display());
            self.put("listen.tls.key", &key.display());
            if let Some(client_ca) = client_ca {
                self.put("listen.tls.client_ca", &client_ca.display());
            }
        }
    }
}
