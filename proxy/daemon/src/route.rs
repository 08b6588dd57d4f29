//! Where one request goes, and whether it says so itself.

use std::sync::Arc;

use decide::case::{Destination, Scheme};
use decide::policy::Mode;
use decide::{Reason, Refusal, RuleId};
use http::request::Parts;
use http::uri::Authority;
use wire::Provider;

use crate::terms::Terms;

/// Where a request goes: for all of a connection, or for one request.
#[derive(Debug)]
pub struct Route {
    pub(crate) host: String,
    /// The same, shared with the pool.
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    pub(crate) scheme: Scheme,
    pub(crate) provider: Option<Provider>,
    /// The name in the handshake and the address asked for mean the same host.
    pub(crate) agrees: bool,
    /// A request has to name the host itself; behind a gateway path it names the gateway.
    pub(crate) named_by_request: bool,
    /// A request named it in its target, as one does to a proxy.
    pub(crate) absolute: bool,
}

impl Route {
    /// A route to `host`, which is in the form of [`normal`].
    pub(crate) fn new(host: String, port: u16, scheme: Scheme, provider: Option<Provider>) -> Self {
        let name = host.as_str().into();
        Self {
            host,
            name,
            port,
            scheme,
            provider,
            agrees: true,
            named_by_request: true,
            absolute: false,
        }
    }

    /// Whether the request's Host or `:authority` names this destination.
    pub(crate) fn is_meant_by(&self, head: &Parts) -> bool {
        // Whatever a tunnel is asked to, it is not where this request goes.
        if head.method == http::Method::CONNECT {
            return false;
        }
        if !self.named_by_request {
            return true;
        }
        let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let authority = head.uri.authority().map(Authority::as_str);
        match (authority, host) {
            (Some(authority), Some(host)) => self.is(authority) && self.is(host),
            (Some(one), None) | (None, Some(one)) => self.is(one),
            (None, None) => false,
        }
    }

    fn is(&self, named: &str) -> bool {
        named_as(named).is_some_and(|(host, port)| {
            host == self.host && port.is_none_or(|port| port == self.port)
        })
    }

    /// Where it goes, as the chain judges it.
    pub(crate) fn fact(&self, terms: &Terms, key: Option<&str>, meant: bool) -> Destination {
        let held = terms.credential_for(&self.host, self.port, key);
        let credential = held.map(|held| held.name.clone());
        Destination {
            host: self.host.clone(),
            port: self.port,
            scheme: self.scheme,
            agrees: self.agrees && meant && is_fit(self.scheme, self.port, held.map(|held| held.port)),
            credential,
        }
    }

    /// Why nothing can be sent this way, from the name alone: nothing was asked of the network for it,
    /// and no certificate was made.
    pub(crate) fn refusal(&self, terms: &Terms) -> Option<Refusal> {
        let admitted = terms.admits(&self.host, self.port) || terms.mode == Mode::Observe;
        self.refusal_unless(admitted)
    }

    /// The same, where `admitted` says whether the name is in a contract.
    pub(crate) fn refusal_unless(&self, admitted: bool) -> Option<Refusal> {
        let destination = |reason| Some(Refusal { rule: RuleId("filtering/destination"), reason });
        if !self.agrees {
            return destination(Reason::DestinationsDisagree(self.host.clone()));
        }
        (!admitted).then(|| Reason::DestinationNotAllowed(self.destination())).and_then(destination)
    }

    /// The destination as a contract would write it.
    pub(crate) fn destination(&self) -> String {
        match self.port {
            443 | 80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// Whether a connection of this scheme to this port is one to a host at which the gate puts a credential in at port
/// `held`. A real key is for who proves to be that host: in clear nobody does, and everybody on the way reads it; and
/// what else answers there, at another port, is another service.
pub(crate) const fn is_fit(scheme: Scheme, port: u16, held: Option<u16>) -> bool {
    match (scheme, held) {
        (Scheme::Opaque, _) | (_, None) => true,
        (Scheme::Http, Some(_)) => false,
        (Scheme::Https, Some(held)) => port == held,
    }
}

/// A host name in the form in which contracts and facts write it.
pub(crate) fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The host and port that `Host`, `:authority` or CONNECT name, in that form; `None` where it is no
/// authority, or one with a user.
pub(crate) fn named_as(named: &str) -> Option<(String, Option<u16>)> {
    let authority = named.parse::<Authority>().ok()?;
    // A port that is no number of a port is left out by the parser, and is not the usual one.
    let rest = named.strip_prefix(authority.host())?;
    let port = authority.port().map(|port| port.as_u16());
    if !rest.is_empty() && port.is_none() {
        return None;
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (normal(host), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_credential_is_not_spoken_to_in_clear() {
        assert!(!is_fit(Scheme::Http, 80, Some(443)));
        assert!(!is_fit(Scheme::Http, 443, Some(443)));
        assert!(is_fit(Scheme::Https, 443, Some(443)));
        assert!(is_fit(Scheme::Http, 80, None));
    }

    #[test]
    fn a_host_with_a_credential_is_spoken_to_at_the_credentials_port_only() {
        assert!(!is_fit(Scheme::Https, 8443, Some(443)));
        assert!(is_fit(Scheme::Https, 8443, Some(8443)));
        assert!(is_fit(Scheme::Https, 8443, None));
    }

    #[test]
    fn a_name_is_read_in_one_form_or_not_at_all() {
        let named = |text: &str| named_as(text);
        assert_eq!(named("API.example.com.:443"), Some(("api.example.com".into(), Some(443))));
        assert_eq!(named("[::1]:80"), Some(("::1".into(), Some(80))));
        for odd in ["", "user@host", "a b", "host:99999", ":443"] {
            assert_eq!(named(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_request_means_its_route_by_every_name_it_gives() {
        let route = Route::new("a.example".into(), 443, Scheme::Https, None);
        let head = |target: &str, host: Option<&str>| {
            let mut request = http::Request::get(target);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            request.body(()).unwrap().into_parts().0
        };
        assert!(route.is_meant_by(&head("/", Some("A.example"))));
        assert!(route.is_meant_by(&head("https://a.example/", None)));
        assert!(!route.is_meant_by(&head("https://a.example/", Some("b.example"))));
        assert!(!route.is_meant_by(&head("/", Some("a.example:8443"))));
        assert!(!route.is_meant_by(&head("/", None)));
    }
}
