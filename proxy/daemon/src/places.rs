//! Finds what stands in the places of a request that can authenticate or choose an account.

use http::request::Parts;
use wire::{Form, Kind, Place};
use zeroize::Zeroizing;

use crate::keys;
use crate::vault::inject;

/// One filled place.
#[derive(Debug)]
pub(crate) struct Found {
    /// The place.
    pub(crate) place: Place,
    /// What stands there, without its scheme. May be a secret.
    pub(crate) value: Value,
}

/// A value that may be a secret: zeroized when dropped, never printed.
pub(crate) struct Value(Zeroizing<String>);

impl Value {
    /// The value.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value(…)")
    }
}

/// How the gate puts a real key into a place; `None` where it puts none, so that a virtual key that
/// stands there would leave as it is.
pub(crate) fn form(place: &Place) -> Option<inject::Form> {
    match place.kind {
        Kind::Header("authorization") => Some(inject::Form::Bearer),
        Kind::Header("x-api-key") => Some(inject::Form::ApiKey),
        Kind::Header(_) | Kind::Query(_) => None,
    }
}

/// Every filled place of a request, in the order of `places`, once for each value that stands in it.
pub(crate) fn standing(head: &Parts, places: &'static [Place]) -> Vec<Found> {
    places.iter().flat_map(|place| values(head, place)).collect()
}

/// Where else in the head a virtual key stands: it would leave as it is, to whoever reads it there.
pub(crate) fn astray(head: &Parts, places: &[Place]) -> Vec<String> {
    let listed = |kind: &dyn Fn(&Kind) -> bool| places.iter().any(|place| kind(&place.kind));
    let mut found = Vec::new();
    for (name, value) in &head.headers {
        let is_place = listed(&|kind| matches!(kind, Kind::Header(header) if header == name));
        if !is_place && keys::holds_virtual(&String::from_utf8_lossy(value.as_bytes())) {
            found.push(format!("header {name}"));
        }
    }
    if keys::holds_virtual(&percent_decoded(head.uri.path())) {
        found.push("path".to_owned());
    }
    for pair in head.uri.query().into_iter().flat_map(|query| query.split('&')) {
        let name = percent_decoded(pair.split('=').next().unwrap_or_default());
        let is_place =
            listed(&|kind| matches!(kind, Kind::Query(query) if query.eq_ignore_ascii_case(&name)));
        if !is_place && keys::holds_virtual(&percent_decoded(pair)) {
            found.push("query".to_owned());
        }
    }
    found
}

fn values(head: &Parts, place: &Place) -> Vec<Found> {
    let found = |text: &str| Found { place: *place, value: Value(Zeroizing::new(text.to_owned())) };
    match place.kind {
        Kind::Header(name) => head
            .headers
            .get_all(name)
            .iter()
            .map(|value| found(bare(&String::from_utf8_lossy(value.as_bytes()), place.form)))
            .filter(|found| !found.value.as_str().is_empty())
            .collect(),
        Kind::Query(name) => query(head.uri.query().unwrap_or_default(), name)
            .map(|value| found(&percent_decoded(value)))
            .filter(|found| !found.value.as_str().is_empty())
            .collect(),
    }
}

/// The value without the scheme `Bearer`.
fn bare(value: &str, form: Form) -> &str {
    let value = value.trim();
    let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    match form {
        Form::Bearer | Form::Any if scheme.is_some() => value.get(7..).unwrap_or_default().trim(),
        Form::Bearer | Form::Any | Form::Raw => value,
    }
}

fn query<'q>(query: &'q str, name: &str) -> impl Iterator<Item = &'q str> {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        percent_decoded(key).eq_ignore_ascii_case(name).then_some(value)
    })
}

/// `text` with its percent escapes decoded; what is no valid escape stays as it is.
fn percent_decoded(text: &str) -> Zeroizing<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escape = (*byte == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        if let Some(decoded) = escape {
            out.push(decoded);
            at += 3;
        } else {
            out.push(if *byte == b'+' { b' ' } else { *byte });
            at += 1;
        }
    }
    Zeroizing::new(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: &[Place] = &[
        Place {
            kind: Kind::Header("authorization"),
            form: Form::Bearer,
            role: wire::Role::Credential,
        },
        Place { kind: Kind::Query("key"), form: Form::Raw, role: wire::Role::Credential },
    ];

    fn found(request: http::Request<()>) -> Vec<(String, String)> {
        let (head, ()) = request.into_parts();
        standing(&head, PLACES)
            .iter()
            .map(|found| (found.place.label(), found.value.as_str().to_owned()))
            .collect()
    }

    #[test]
    fn each_value_of_a_place_is_found_without_its_scheme() {
        let request = http::Request::get("/v1?a=1&KEY=se%63ret")
            .header("authorization", "bearer one")
            .header("authorization", "Basic two")
            .body(())
            .unwrap();
        let expected = [
            ("header authorization", "one"),
            ("header authorization", "Basic two"),
            ("query key", "secret"),
        ];
        assert_eq!(found(request), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_key_is_put_into_the_two_headers_that_are_replaced_and_nowhere_else() {
        let kinds = wire::dialect(Some(wire::Provider::OpenAi)).places();
        let replaced: Vec<_> =
            kinds.iter().filter(|place| form(place).is_some()).map(Place::label).collect();
        assert_eq!(replaced, ["header authorization", "header x-api-key"]);
    }

    #[test]
    fn a_virtual_key_is_found_wherever_in_the_head_nothing_replaces_it() {
        let key = format!("sk-tg-{}", "a".repeat(43));
        let strays = |request: http::request::Builder| {
            let (head, ()) = request.body(()).unwrap().into_parts();
            astray(&head, PLACES)
        };
        let get = |target: &str| http::Request::get(target);
        assert_eq!(strays(get("/").header("x-debug", format!("key={key}"))), ["header x-debug"]);
        assert_eq!(strays(get(&format!("/u/{key}?other={key}"))), ["path", "query"]);
        assert_eq!(strays(get(&format!("/?a=%73{}", key.trim_start_matches('s')))), ["query"]);
        let placed = get(&format!("/?key={key}")).header("authorization", format!("Bearer {key}"));
        assert_eq!(strays(placed), [""; 0]);
    }

    #[test]
    fn an_empty_place_holds_nothing() {
        let request = http::Request::get("/v1?key=").header("authorization", "").body(()).unwrap();
        assert!(found(request).is_empty());
    }
}
