//! What the configuration names, at hand: credentials by host, private providers, upstreams, sinks.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use rustls::pki_types::CertificateDer;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::ServeError;
use crate::config::{Config, ProviderName, Sink as Configured};
use crate::gate::Gate;
use crate::run::Upstream;
use crate::telemetry::Sink;
use crate::terms::{Held, Holdings, Private};
use crate::upstream::connect::{Connector, read_authorities};
use crate::upstream::pool::Pool;
use crate::upstream::resolve::Resolver;
use crate::vault::known;

/// The port at which public providers answer.
const HTTPS: u16 = 443;

/// Credentials and private providers as terms refer to them.
pub(super) fn of(config: &Config, gate: &Gate) -> Result<Holdings, ServeError> {
    let mut holdings = Holdings::default();
    for (name, provider) in &config.providers {
        let private = Private { provider: provider.dialect, free: provider.free };
        holdings.providers.insert(provider.url.host.clone(), private);
        if let Some(credential) = &provider.credential {
            let kind = kind_of(provider.dialect).ok_or_else(|| {
                named(&format!("providers.{name}.credential"), &"a plain provider takes none")
            })?;
            hold(&mut holdings, (&provider.url.host, provider.url.port), credential, kind);
        }
    }
    for (name, credential) in &config.credentials {
        if gate.vault.provider(name).is_none() && !gate.vault.names().contains(name) {
            tracing::warn!(name, "the vault holds no such credential yet: tollgate credential add");
        }
        let dialect = match &credential.provider {
            ProviderName::Public(provider) => Some(*provider),
            ProviderName::Named(named) => {
                config.providers.get(named).and_then(|provider| provider.dialect)
            }
        };
        let Some(kind) = kind_of(dialect) else { continue };
        // Whose key it is was sealed with it: a file that says otherwise would send it to somebody else.
        if let Some(sealed) = gate.vault.provider(name)
            && sealed != kind
        {
            let why = format!("the vault holds a key of {} under this name", sealed.name);
            return Err(named(&format!("credentials.{name}.provider"), &why));
        }
        if let ProviderName::Public(_) = &credential.provider {
            for host in kind.hosts {
                hold(&mut holdings, (host, HTTPS), name, kind);
            }
        }
    }
    Ok(holdings)
}

/// How upstreams are reached.
pub(super) fn upstream(config: &Config) -> Result<Upstream, ServeError> {
    let mut authorities = Vec::new();
    let files = config.upstream.ca.iter().map(|file| ("upstream.ca", file));
    let private = config.providers.values().filter_map(|provider| provider.ca.as_ref());
    for (path, file) in files.chain(private.map(|file| ("providers.*.ca", file))) {
        authorities.extend(authorities_in(path, file)?);
    }
    let overrides = config.upstream.connect_to.iter().map(|(_, to)| to.clone()).collect();
    Ok(Upstream {
        resolver: Resolver::system(overrides)
            .context("the system's resolver configuration")
            .map_err(|error| named("upstream", &format!("{error:#}")))?,
        pool: Pool::new(
            Connector::new(&authorities).map_err(|error| named("upstream.ca", &error))?,
        ),
    })
}

fn hold(
    holdings: &mut Holdings,
    (host, port): (&str, u16),
    name: &str,
    kind: &'static known::Kind,
) {
    let held = holdings.credentials.entry(host.to_owned()).or_default();
    if held.iter().all(|held| held.name != name || held.port != port) {
        held.push(Held { name: name.to_owned(), kind, port });
    }
}

fn kind_of(provider: Option<wire::Provider>) -> Option<&'static known::Kind> {
    known::named(wire::dialect(Some(provider?)).name())
}

/// Receivers of traces and metrics.
pub(super) fn sinks(config: &Config) -> Result<Vec<Sink>, ServeError> {
    let mut sinks = Vec::new();
    for (name, sink) in &config.sinks {
        let Configured::Otlp { url, headers } = sink;
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        let sink = Sink::new(name, &url.to_string(), headers, &[])
            .map_err(|error| named(&format!("sinks.{name}"), &error))?;
        sinks.push(sink);
    }
    Ok(sinks)
}

/// The master key in a file of 32 bytes that nobody else may read.
pub(super) fn key_file(path: &Path) -> Result<Zeroizing<[u8; 32]>, ServeError> {
    const AT: &str = "vault.master_key.file";
    let shown = path.display();
    let about = |error: std::io::Error| named(AT, &format!("{shown}: {error}"));
    let file = std::fs::File::open(path).map_err(about)?;
    let stat = file.metadata().map_err(about)?;
    let own = rustix::process::geteuid().as_raw();
    if !stat.is_file() || (stat.uid() != own && stat.uid() != 0) {
        return Err(named(AT, &format!("{shown} is no file of this user's or root's")));
    }
    if stat.permissions().mode() & 0o077 != 0 {
        let what = format!("{shown} can be read by others: chmod 600 it, and make a new key");
        return Err(named(AT, &what));
    }
    let mut key = Zeroizing::new([0; 32]);
    let whole = stat.len() == key.len() as u64;
    std::io::Read::read_exact(&mut &file, key.as_mut()).map_err(about)?;
    if !whole {
        let what = format!("{shown} does not have 32 bytes: head -c 32 /dev/urandom > {shown}");
        return Err(named(AT, &what));
    }
    Ok(key)
}

fn authorities_in(path: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| named(path, &format!("{shown}: {error}")))?;
    read_authorities(&bytes).map_err(|why| named(path, &format!("{shown} {why}")))
}

fn named(path: &str, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Named { path: path.to_owned(), why: why.to_string() }
}
