//! The gateway: `http(s)://gate/openai/v1/…` and the like, for clients that are given a base URL.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use decide::case::Scheme;
use http::{HeaderValue, Response, StatusCode, header};
use wire::Provider;

use crate::answer::body::AnswerBody;
use crate::config;
use crate::route::Route;

/// The paths of public providers.
const PUBLIC: [(&str, &str, Provider); 2] = [
    ("/openai", "api.openai.com", Provider::OpenAi),
    ("/anthropic", "api.anthropic.com", Provider::Anthropic),
];

/// The gateway's paths, and where each leads.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    paths: BTreeMap<String, Arc<Route>>,
}

impl Gateway {
    /// A path for each public provider, and for each that the configuration names.
    pub(crate) fn new(private: &BTreeMap<String, config::Provider>) -> Self {
        let mut paths = BTreeMap::new();
        for (path, host, provider) in PUBLIC {
            let route = to(host.to_owned(), 443, Scheme::Https, Some(provider));
            paths.insert(path.to_owned(), route);
        }
        for (name, provider) in private {
            let scheme = match provider.url.scheme {
                config::Scheme::Http => Scheme::Http,
                config::Scheme::Https => Scheme::Https,
            };
            let route = to(provider.url.host.clone(), provider.url.port, scheme, provider.dialect);
            paths.insert(format!("/custom/{name}"), route);
        }
        Self { paths }
    }

    /// Where a path leads, and the rest of it there.
    pub(crate) fn route<'a>(&self, path: &'a str) -> Option<(Arc<Route>, &'a str)> {
        let after = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.starts_with('/'));
        self.paths.iter().find_map(|(prefix, route)| Some((Arc::clone(route), after(prefix)?)))
    }

    /// What a path that leads nowhere is told.
    pub(crate) fn nowhere(&self) -> Response<AnswerBody> {
        let paths: Vec<&str> = self.paths.keys().map(String::as_str).collect();
        let what = format!(
            "nothing is served here: use this address as an HTTP proxy, or as a base URL with one of the paths {}",
            paths.join(", ")
        );
        let body = serde_json::json!({ "error": { "type": "not_found", "message": what } });
        let mut response = Response::new(AnswerBody::whole(Bytes::from(body.to_string())));
        *response.status_mut() = StatusCode::NOT_FOUND;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

fn to(host: String, port: u16, scheme: Scheme, provider: Option<Provider>) -> Arc<Route> {
    let named_by_request = false;
    Arc::new(Route { named_by_request, ..Route::new(host, port, scheme, provider) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_provider_with_what_follows() {
        let gateway = Gateway::new(&BTreeMap::new());
        let led = |path| gateway.route(path).map(|(route, rest)| (route.host.clone(), rest));
        assert_eq!(
            led("/openai/v1/chat/completions"),
            Some(("api.openai.com".to_owned(), "/v1/chat/completions"))
        );
        assert_eq!(
            led("/anthropic/v1/messages"),
            Some(("api.anthropic.com".to_owned(), "/v1/messages"))
        );
        for nowhere in ["/", "/openai", "/openaix/v1", "/gemini/v1", "/custom/a/v1", "/v1/openai"] {
            assert_eq!(led(nowhere), None, "{nowhere}");
        }
    }
}
