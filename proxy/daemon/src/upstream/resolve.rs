//! A judged name becomes addresses once, and those are the addresses that are dialled.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use decide::case::AddressClass;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;

use super::address::classify;
use super::own::is_own;
use crate::listen::dns::Exists;

mod connect_to;
pub use connect_to::{ConnectTo, ConnectToError};

/// How long a look-up may take in all.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long one name server may take before the next is asked.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// Names kept, for as long as their own times say.
const CACHED: u64 = 4096;

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// In the order in which they are tried, IPv4 first; at least one.
    pub addresses: Vec<SocketAddr>,
    /// The worst class among them, since any of them may be dialled.
    pub class: AddressClass,
    /// The user named where to dial (`--connect-to`).
    pub named: bool,
}

impl Resolved {
    fn new(addresses: Vec<SocketAddr>, named: bool) -> Option<Self> {
        let class = addresses.iter().map(|at| class_here(at.ip())).max()?;
        Some(Self { addresses, class, named })
    }
}

/// The class of an address as seen from this machine: a public one of its own is no less itself.
fn class_here(ip: IpAddr) -> AddressClass {
    let class = classify(ip);
    if class == AddressClass::Public && is_own(ip) { AddressClass::Loopback } else { class }
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist or has no address.
    #[error("{0} does not exist, or has no address: check the name")]
    NoSuchName(String),
    /// No name server answered in time.
    #[error("no name server answered for {0} within {deadline} s: check /etc/resolv.conf", deadline = DEADLINE.as_secs())]
    Timeout(String),
    /// The name servers answered with an error.
    #[error("{name} could not be looked up ({why}): check /etc/resolv.conf")]
    Failed {
        /// The name asked for.
        name: String,
        /// What the resolver said.
        why: String,
    },
}

/// Looks names up as this system is configured, the hosts file first.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    overrides: Vec<ConnectTo>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("overrides", &self.overrides).finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver with the system's configuration, read now. The first of `overrides` that fits a host wins.
    ///
    /// # Errors
    ///
    /// The system's configuration cannot be read.
    pub fn system(overrides: Vec<ConnectTo>) -> io::Result<Self> {
        let builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
        Self::build(builder, overrides)
    }

    /// A resolver that asks the servers of `config`, and the hosts file.
    ///
    /// # Errors
    ///
    /// `config` names no usable server.
    pub fn with_servers(config: ResolverConfig, overrides: Vec<ConnectTo>) -> io::Result<Self> {
        Self::build(
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()),
            overrides,
        )
    }

    fn build(
        mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>,
        overrides: Vec<ConnectTo>,
    ) -> io::Result<Self> {
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        options.cache_size = CACHED;
        options.timeout = ATTEMPT;
        options.attempts = 2;
        Ok(Self { inner: builder.build().map_err(io::Error::other)?, overrides })
    }

    /// Where `host` and `port` lead. Call it only for a host that policy has admitted by name: it asks the network.
    ///
    /// # Errors
    ///
    /// The name has no address, or nobody could say.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Resolved, ResolveError> {
        let (host, port, named) = match self.overrides.iter().find(|rule| rule.fits(host, port)) {
            Some(rule) => (rule.to_host().unwrap_or(host), rule.to_port().unwrap_or(port), true),
            None => (host, port, false),
        };
        let mut ips = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            // Few requests get here, and the future is large: it is not part of every exchange's.
            Err(_name) => Box::pin(self.look_up(host)).await?,
        };
        ips.sort_by_key(IpAddr::is_ipv6);
        let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        Resolved::new(addresses, named).ok_or_else(|| ResolveError::NoSuchName(host.to_owned()))
    }

    /// Whether `host` has an address, for the DNS responder.
    pub async fn exists(&self, host: &str) -> Exists {
        if self.overrides.iter().any(|rule| rule.names(host)) {
            return Exists::Yes;
        }
        match self.resolve(host, 0).await {
            Ok(_) => Exists::Yes,
            Err(ResolveError::NoSuchName(_)) => Exists::No,
            Err(ResolveError::Timeout(_) | ResolveError::Failed { .. }) => Exists::Unknown,
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let Ok(mut name) = Name::from_ascii(host) else {
            return Err(ResolveError::NoSuchName(host.to_owned()));
        };
        // The name that was judged and no other: no search domain is tried.
        name.set_fqdn(true);
        match tokio::time::timeout(DEADLINE, self.inner.lookup_ip(name)).await {
            Err(_elapsed) => Err(ResolveError::Timeout(host.to_owned())),
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(error)) if error.is_no_records_found() => {
                Err(ResolveError::NoSuchName(host.to_owned()))
            }
            Ok(Err(error)) => {
                Err(ResolveError::Failed { name: host.to_owned(), why: error.to_string() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
