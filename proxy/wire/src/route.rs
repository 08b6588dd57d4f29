//! The paths of a provider, and what the gate does with each.

use decide::case::{Endpoint, EndpointClass};
use http::Method;

/// Which methods a path is listed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
    /// Every method.
    Any,
}

/// A listed path. `{}` stands for one segment, a final `**` for any number of them.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) class: EndpointClass,
}

impl Route {
    pub(crate) const fn priced(path: &'static str, operation: &'static str) -> Self {
        Self { verb: Verb::Post, path, operation, class: EndpointClass::Priced }
    }

    pub(crate) const fn free(verb: Verb, path: &'static str, operation: &'static str) -> Self {
        Self { verb, path, operation, class: EndpointClass::Free }
    }

    pub(crate) const fn ungoverned(path: &'static str, operation: &'static str) -> Self {
        Self { verb: Verb::Any, path, operation, class: EndpointClass::Ungoverned }
    }

    fn covers(&self, method: &Method, path: &str) -> bool {
        let verb = match self.verb {
            Verb::Get => method == Method::GET || method == Method::HEAD,
            Verb::Post => method == Method::POST,
            Verb::Any => true,
        };
        verb && matches(self.path, path)
    }
}

/// The operation of the first route that covers the request line.
///
/// TRACE is an operation nowhere: its answer repeats the credential that the gate put in.
pub(crate) fn find(dialect: &str, routes: &[Route], method: &Method, path: &str) -> Endpoint {
    let endpoint = |operation: &str, class| Endpoint {
        dialect: dialect.to_owned(),
        operation: operation.to_owned(),
        class,
    };
    if method == Method::TRACE || method == Method::CONNECT {
        return endpoint("trace", EndpointClass::Ungoverned);
    }
    match routes.iter().find(|route| route.covers(method, path)) {
        Some(route) => endpoint(route.operation, route.class),
        None => endpoint("unlisted", EndpointClass::Unlisted),
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) | (Some("**"), _) => return true,
            (Some("{}"), Some(segment)) if !segment.is_empty() => {}
            (Some(one), Some(other)) if one == other => {}
            (None | Some(_), None | Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_covers_whole_segments_only() {
        assert!(matches("/v1/models/{}", "/v1/models/gpt"));
        assert!(!matches("/v1/models/{}", "/v1/models/"));
        assert!(!matches("/v1/models/{}", "/v1/models/a/b"));
        assert!(!matches("/v1/models", "/v1/models/"));
        assert!(matches("/v1/files/**", "/v1/files"));
        assert!(matches("/v1/files/**", "/v1/files/a/content"));
        assert!(!matches("/v1/files/**", "/v1/filesystem"));
    }
}
