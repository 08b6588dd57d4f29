//! Facts that every dialect reads from a request the same way.

use decide::case::{Ask, Endpoint, EndpointClass, EnvelopeFault, ToolKind, ToolOffered};
use http::Uri;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::dialect::Reading;
use crate::json::{Document, Kind, Value, shown};

/// Collects what a request says while it is read.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) faults: Vec<EnvelopeFault>,
    pub(crate) objects: Vec<String>,
    pub(crate) contacts: Vec<String>,
    pub(crate) tools: Vec<ToolOffered>,
    pub(crate) ungoverned: Vec<String>,
}

impl Facts {
    pub(crate) fn wrong(&mut self, field: &str) {
        self.faults.push(EnvelopeFault::WrongType(field.to_owned()));
    }

    /// A string member; `null` and absent are `None`.
    pub(crate) fn string(&mut self, at: Value<'_, '_>, key: &str) -> Option<String> {
        let value = at.given(key)?;
        let text = value.as_str().map(std::borrow::Cow::into_owned);
        if text.is_none() {
            self.wrong(key);
        }
        text
    }

    /// A string member that is recorded: a secret in it is not.
    pub(crate) fn name(&mut self, at: Value<'_, '_>, key: &str) -> Option<String> {
        self.string(at, key).map(|text| safe(&text))
    }

    /// A whole number; `null` and absent are `None`.
    pub(crate) fn count(&mut self, at: Value<'_, '_>, key: &str) -> Option<u64> {
        let value = at.given(key)?;
        let number = value.as_u64();
        if number.is_none() {
            self.wrong(key);
        }
        number
    }

    /// A flag; `null` and absent are `false`.
    pub(crate) fn flag(&mut self, at: Value<'_, '_>, key: &str) -> bool {
        let Some(value) = at.given(key) else { return false };
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong(key);
        }
        flag.unwrap_or(false)
    }

    /// The elements of an array member; none where it is absent.
    pub(crate) fn list<'d, 'b>(&mut self, at: Value<'d, 'b>, key: &str) -> Vec<Value<'d, 'b>> {
        let Some(value) = at.given(key) else { return Vec::new() };
        if value.kind() != Kind::Array {
            self.wrong(key);
        }
        value.items().collect()
    }

    /// The id of an object at the provider.
    pub(crate) fn object(&mut self, at: Value<'_, '_>, key: &str) {
        if let Some(id) = self.string(at, key) {
            self.objects.push(id);
        }
    }

    /// Ids of objects at the provider.
    pub(crate) fn objects(&mut self, at: Value<'_, '_>, key: &str) {
        for item in self.list(at, key) {
            match item.as_str() {
                Some(id) => self.objects.push(id.into_owned()),
                None => self.wrong(key),
            }
        }
    }

    pub(crate) fn tool(&mut self, name: &str, kind: ToolKind) {
        self.tools.push(ToolOffered { name: safe(name), kind });
    }

    pub(crate) fn ungoverned(&mut self, what: &str) {
        let what = safe(what);
        if !self.ungoverned.contains(&what) {
            self.ungoverned.push(what);
        }
    }

    /// A URL that the provider is asked to fetch; `data:` has nothing to fetch.
    pub(crate) fn url(&mut self, at: Value<'_, '_>, key: &str) {
        let Some(url) = self.string(at, key) else { return };
        if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
            return;
        }
        match contact(&url) {
            Some(contact) if self.contacts.contains(&contact) => {}
            Some(contact) => self.contacts.push(contact),
            None => self.wrong(key),
        }
    }

    /// Fields that decide something and are written in another case: some parsers read those too.
    pub(crate) fn variants(&mut self, root: Value<'_, '_>, fields: &[&str]) {
        for (key, _) in root.members() {
            let key = key.decode();
            if let Some(field) =
                fields.iter().find(|field| field.eq_ignore_ascii_case(&key) && **field != key)
            {
                self.faults.push(EnvelopeFault::DuplicateKey((*field).to_owned()));
            }
        }
    }
}

/// A text as a record may hold it.
pub(crate) fn safe(text: &str) -> String {
    shown(text, 128)
}

/// `host:port` of an HTTP URL; `None` for what is no such URL, or not in a form that everybody reads alike.
fn contact(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?;
    let default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = uri.authority()?;
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let odd = authority.as_str().contains(['@', '\\', '%']) || host.is_empty();
    let port = match authority.port() {
        Some(port) => port.as_str().parse::<u16>().ok()?,
        None => default,
    };
    // A port that `http` cannot read is left out by it instead of refused.
    let port_read = authority.port().is_some()
        || !authority.as_str().trim_start_matches(authority.host()).contains(':');
    (!odd && port_read).then(|| format!("{host}:{port}"))
}

/// What a request to a provider asks for: `ask` reads the body of one that is priced.
pub(crate) fn read<'b>(
    endpoint: &Endpoint,
    head: &Parts,
    body: &'b [u8],
    ask: impl FnOnce(Value<'_, 'b>) -> (Option<Ask>, Facts),
) -> Reading<'b> {
    let priced = endpoint.class == EndpointClass::Priced;
    if body.is_empty() && !priced {
        return Reading::default();
    }
    let document = match json(head, body) {
        Ok(document) => document,
        Err(fault) => return Reading { faults: vec![fault], ..Reading::default() },
    };
    let (ask, facts) = if priced { ask(document.root()) } else { Default::default() };
    Reading {
        document: Some(document),
        ask,
        faults: facts.faults,
        objects: facts.objects,
        usage_missing: false,
    }
}

/// The JSON body of a request, or what is wrong with it.
fn json<'b>(head: &Parts, body: &'b [u8]) -> Result<Document<'b>, EnvelopeFault> {
    if !announced_as_json(head) {
        return Err(EnvelopeFault::WrongType("content-type".into()));
    }
    let document = Document::parse(body)?;
    if document.root().kind() == Kind::Object {
        Ok(document)
    } else {
        Err(EnvelopeFault::WrongType("body".into()))
    }
}

fn announced_as_json(head: &Parts) -> bool {
    let Some(value) = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.eq_ignore_ascii_case("charset")
            || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

/// A tool's type without the date of its version: `web_search_20250305`, `web_search_preview_2025_03_11`.
pub(crate) fn undated(kind: &str) -> &str {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let cut =
        |length: usize| kind.len().checked_sub(length).and_then(|at| kind.split_at_checked(at));
    if let Some((name, date)) = cut(9)
        && let Some(date) = date.strip_prefix('_')
        && digits(date)
    {
        return name;
    }
    if let Some((name, date)) = cut(11)
        && let Some(date) = date.strip_prefix('_')
        && let [year, month, day] = date.split('_').collect::<Vec<_>>().as_slice()
        && (year.len(), month.len(), day.len()) == (4, 2, 2)
        && [year, month, day].iter().all(|part| digits(part))
    {
        return name;
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::{contact, undated};

    #[test]
    fn a_contact_is_host_and_port() {
        let reads = |url: &str| contact(url);
        assert_eq!(reads("https://Example.COM./a?b#c").as_deref(), Some("example.com:443"));
        assert_eq!(reads("http://10.0.0.1/x").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(reads("https://[::1]:8443/").as_deref(), Some("[::1]:8443"));
        for url in [
            "ftp://a/b",
            "gs://bucket/x",
            "file:///etc/passwd",
            "//a/b",
            "a/b",
            "https://u:p@h/",
            "https://good\\@evil/",
            "https://h:99999/",
            "https://",
            "https://a b/",
            "https://a%2eb/",
            "",
        ] {
            assert_eq!(reads(url), None, "{url}");
        }
    }

    #[test]
    fn dates_of_versions_go() {
        assert_eq!(undated("web_search_20250305"), "web_search");
        assert_eq!(undated("web_search_preview_2025_03_11"), "web_search_preview");
        assert_eq!(undated("web_search"), "web_search");
        assert_eq!(undated("x_2025_0311"), "x_2025_0311");
    }
}
