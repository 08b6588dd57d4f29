//! From what is written to what the gate works with, with everything that is wrong on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use decide::policy::Mode;
use secrecy::{ExposeSecret, SecretString};

use super::built::{Config, Drain, Limits, Listen, MasterKeyFrom, Sink, Tls, Upstream};
use super::env::Environment;
use super::keys::{KEYS, Like};
use super::tree::{Tree, Value};
use super::{pod, providers, read};
use crate::upstream::resolve::ConnectTo;
use crate::yaml::Fault;

/// What is read from, and what was found to be wrong.
pub(super) struct Building<'t> {
    pub(super) tree: &'t Tree,
    pub(super) env: &'t Environment,
    /// Where relative paths begin.
    pub(super) folder: &'t Path,
    pub(super) faults: Vec<Fault>,
}

impl Building<'_> {
    /// The whole configuration. It counts only if there are no faults.
    pub(super) fn config(&mut self) -> Option<Config> {
        let mode = self.value(&["mode"], |word| match word {
            "observe" => Ok(Mode::Observe),
            "enforce" => Ok(Mode::Enforce),
            _ => Err(None),
        });
        let state = self.path(&["state"]);
        let policy = self.path(&["policy"]);
        let master_key = self.master_key();
        let (credentials, providers) = providers::read(self);
        let sinks = self.sinks();
        let listen = self.listen();
        let pod = self.pod();
        let (delay, streams) =
            (self.duration(&["drain", "delay"]), self.duration(&["drain", "streams"]));
        let connect_to = self.values(&["upstream", "connect_to"], |text| {
            let rule: Result<ConnectTo, _> = text.parse();
            rule.map(|rule| (text.to_owned(), rule)).or(Err(None))
        });
        let upstream = Upstream { ca: self.paths(&["upstream", "ca"]), connect_to };
        let mut limit = |name| {
            self.value(&["limits", name], |text| {
                text.parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or(None)
            })
        };
        let (connections, per_address) = (limit("connections"), limit("per_address"));
        Some(Config {
            mode: mode?,
            state: state?,
            policy: policy?,
            master_key: master_key?,
            credentials,
            providers,
            sinks,
            listen,
            drain: Drain { delay: delay?, streams: streams? },
            upstream,
            limits: Limits { connections: connections?, per_address: per_address? },
            pod,
        })
    }

    /// The text at `path`: as written, or the key's default.
    pub(super) fn text(&self, path: &[&str]) -> Option<String> {
        match self.tree.find(path).map(|node| &node.value) {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(Value::Map(_) | Value::List(_) | Value::Null) | None => {
                default(path).map(str::to_owned)
            }
        }
    }

    /// What the text at `path` means to `read`; its error says why not, beside what would be right.
    pub(super) fn value<T>(
        &mut self,
        path: &[&str],
        read: impl Fn(&str) -> Result<T, Option<String>>,
    ) -> Option<T> {
        let text = self.text(path)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                let fault = self.tree.fault(path, not(&text, like(path), why));
                self.faults.push(fault);
                None
            }
        }
    }

    /// The same for each of several; one text alone is a list of one.
    fn values<T>(
        &mut self,
        path: &[&str],
        read: impl Fn(&str) -> Result<T, Option<String>>,
    ) -> Vec<T> {
        let Some(node) = self.tree.find(path) else { return Vec::new() };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Text(_) => std::slice::from_ref(node),
            Value::Map(_) | Value::Null => &[],
        };
        let several = matches!(node.value, Value::List(_));
        let mut read_all = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let Value::Text(text) = &item.value else { continue };
            match read(text) {
                Ok(value) => read_all.push(value),
                Err(why) => {
                    let index = format!("[{i}]");
                    let place =
                        if several { [path, &[index.as_str()]].concat() } else { path.into() };
                    let message = not(text, like(path), why);
                    self.faults.push(self.tree.fault_at(&item.at, &place, message));
                }
            }
        }
        read_all
    }

    pub(super) fn fault(&mut self, path: &[&str], message: impl Into<String>) {
        let fault = self.tree.fault(path, message);
        self.faults.push(fault);
    }

    /// The path at `path`, from the configuration's folder where it is relative.
    pub(super) fn path(&mut self, path: &[&str]) -> Option<PathBuf> {
        let folder = self.folder;
        self.value(path, |text| read::path(folder, text))
    }

    fn paths(&mut self, path: &[&str]) -> Vec<PathBuf> {
        let folder = self.folder;
        self.values(path, |text| read::path(folder, text))
    }

    pub(super) fn duration(&mut self, path: &[&str]) -> Option<Duration> {
        self.value(path, |text| read::duration(text).ok_or(None))
    }

    /// The path at `path`, which must be given.
    fn needed(&mut self, path: &[&str]) -> Option<PathBuf> {
        if self.text(path).is_none() {
            self.fault(path, format!("is missing: give {}", like(path).called()));
        }
        self.path(path)
    }

    fn master_key(&mut self) -> Option<MasterKeyFrom> {
        const AT: [&str; 2] = ["vault", "master_key"];
        let (file, env) = ([&AT[..], &["file"]].concat(), [&AT[..], &["env"]].concat());
        match (self.text(&file), self.text(&env)) {
            (None, None) => {
                let written = self.tree.find(&AT).map(|node| &node.value);
                if matches!(written, Some(Value::Map(keys)) if keys.is_empty()) {
                    self.fault(&AT, "is empty: write { file: PATH } or { env: NAME }");
                }
                Some(MasterKeyFrom::StateFolder)
            }
            (Some(_), None) => self.path(&file).map(MasterKeyFrom::File),
            (None, Some(variable)) => {
                // What is said of it never holds what the variable holds.
                let key = match self.env.text(&variable).map(read::key) {
                    None => Err(format!("the variable {variable} is not set")),
                    Some(None) => Err(format!(
                        "the variable {variable} does not hold 32 bytes in base64 or hexadecimal: \
                         make some with `openssl rand -base64 32`"
                    )),
                    Some(Some(key)) => Ok(key),
                };
                match key {
                    Ok(key) => Some(MasterKeyFrom::Env { variable, key: Arc::new(key) }),
                    Err(message) => {
                        self.fault(&env, message);
                        None
                    }
                }
            }
            (Some(_), Some(_)) => {
                self.fault(&env, "stands beside vault.master_key.file: keep one of them");
                None
            }
        }
    }

    fn sinks(&mut self) -> BTreeMap<String, Sink> {
        let mut sinks = BTreeMap::new();
        for name in self.tree.names(&["sinks"]) {
            let at = |key| ["sinks", name, key];
            providers::check_name(self, &["sinks", name]);
            for needed in ["to", "url"] {
                if self.text(&at(needed)).is_none() {
                    self.fault(&at(needed), "is missing: write { to: otlp, url: URL }");
                }
            }
            let url = self.value(&at("url"), |text| read::base_url(text).map_err(Some));
            let mut headers = BTreeMap::new();
            for header in self.tree.names(&at("headers")) {
                let path = ["sinks", name, "headers", header];
                let value = SecretString::from(self.text(&path).unwrap_or_default());
                let named = header.parse::<http::HeaderName>();
                match (named, http::HeaderValue::from_str(value.expose_secret())) {
                    (Ok(header), Ok(_)) => {
                        headers.insert(header.as_str().to_owned(), value);
                    }
                    (Err(_), _) => self.fault(&path, "is not the name of a header"),
                    (Ok(_), Err(_)) => self.fault(&path, "holds what no header may hold"),
                }
            }
            if let Some(url) = url {
                sinks.insert(name.to_owned(), Sink::Otlp { url, headers });
            }
        }
        sinks
    }

    fn listen(&mut self) -> Listen {
        let listen = Listen {
            transparent: self.addresses("transparent"),
            proxy: self.addresses("proxy"),
            routed: self.addresses("routed"),
            dns: self.addresses("dns"),
            health: self.addresses("health"),
            tls: self.tls(),
            plain: self.value(&["listen", "plain"], read::truth) == Some(true),
        };
        self.no_address_twice(&listen);
        let open = listen.proxy.iter().find(|address| !address.ip().to_canonical().is_loopback());
        // Where it is written and wrong, that is said already.
        let tls = self.tree.find(&["listen", "tls"]).map(|node| &node.value);
        let tls_written = tls.is_some_and(|tls| !matches!(tls, Value::Null));
        match (open, tls_written, listen.plain) {
            (Some(address), false, false) => self.fault(
                &["listen", "proxy"],
                format!(
                    "{address} is beyond loopback, where virtual keys and content can be read on the way: \
                     give listen.tls, or say `plain: true` under listen"
                ),
            ),
            (_, true, true) => {
                self.fault(&["listen", "plain"], "says the opposite of listen.tls: remove one of them");
            }
            (Some(_) | None, _, _) => {}
        }
        listen
    }

    fn addresses(&mut self, name: &str) -> Vec<std::net::SocketAddr> {
        let path = ["listen", name];
        let address = |text: &str| text.parse().or(Err(None));
        match self.tree.find(&path).map(|node| &node.value) {
            None => {
                let in_pod = self.in_pod().then(|| pod::listens(name)).flatten();
                in_pod.or_else(|| default(&path)).map_or_else(Vec::new, read::addresses)
            }
            Some(Value::Text(word)) if word == "false" => Vec::new(),
            Some(Value::Text(_) | Value::List(_) | Value::Map(_) | Value::Null) => {
                self.values(&path, address)
            }
        }
    }

    fn tls(&mut self) -> Option<Tls> {
        if self.tree.names(&["listen", "tls"]).is_empty() {
            let written = self.tree.find(&["listen", "tls"]).map(|node| &node.value);
            if matches!(written, Some(Value::Map(_))) {
                self.fault(&["listen", "tls"], "is empty: write { cert: FILE, key: FILE }");
            }
            return None;
        }
        let cert = self.needed(&["listen", "tls", "cert"]);
        let key = self.needed(&["listen", "tls", "key"]);
        let client_ca = self.path(&["listen", "tls", "client_ca"]);
        Some(Tls { cert: cert?, key: key?, client_ca })
    }

    /// Two listeners cannot have one address; said here, because the system's own word for it names
    /// neither.
    fn no_address_twice(&mut self, listen: &Listen) {
        let Listen { transparent, proxy, routed, dns, health, tls: _, plain: _ } = listen;
        let all = [
            ("transparent", transparent),
            ("proxy", proxy),
            ("routed", routed),
            ("dns", dns),
            ("health", health),
        ];
        let mut seen: Vec<(&str, std::net::SocketAddr)> = Vec::new();
        for (name, address) in
            all.iter().flat_map(|(name, all)| all.iter().map(move |a| (*name, *a)))
        {
            let clash = seen.iter().find(|(_, other)| {
                let any = |a: &std::net::SocketAddr| a.ip().is_unspecified();
                let family = other.is_ipv4() == address.is_ipv4();
                let same = other.ip() == address.ip() || (family && (any(other) || any(&address)));
                address.port() != 0 && other.port() == address.port() && same
            });
            if let Some((other, taken)) = clash {
                let message = format!("{address} is taken by listen.{other} ({taken})");
                self.fault(&["listen", name], message);
            }
            seen.push((name, address));
        }
    }
}

fn not(text: &str, like: Like, why: Option<String>) -> String {
    match why {
        Some(why) if like == Like::Secret => why,
        Some(why) => format!("`{text}` {why}"),
        None => format!("`{text}` is not {}", like.called()),
    }
}

fn like(path: &[&str]) -> Like {
    KEYS.iter().find(|key| key.is(path)).map_or(Like::Name, |key| key.like)
}

/// What holds at `path` where nothing is written.
fn default(path: &[&str]) -> Option<&'static str> {
    KEYS.iter().find(|key| key.is(path)).and_then(|key| key.default)
}
