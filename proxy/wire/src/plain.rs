//! The dialect of a destination that is no provider: method, target and headers are judged, bodies scanned.

use bytes::Bytes;
use decide::case::{Endpoint, EndpointClass};
use http::request::Parts;
use http::{Method, Response, Uri};

use crate::answer::choose::{self, Media};
use crate::answer::counted::Counted;
use crate::answer::{Decoder, Unreadable};
use crate::dialect::{Amendment, AnswerTerms, CutState, Dialect, Reading, Told};
use crate::edit::Edit;
use crate::json::Document;
use crate::place::{Form, Place};
use crate::refusal;

mod lines;

/// The most bytes of a request's body; a contract can allow more.
const BODY_LIMIT: u64 = 1 << 20;

/// The dialect of everything else.
#[derive(Debug)]
pub(crate) struct Plain;

/// Names under which clients and servers in use authenticate. What has another name passes as a text, and is scanned.
static PLACES: [Place; 32] = [
    Place::credential("authorization", Form::Any),
    Place::credential("proxy-authorization", Form::Any),
    Place::credential("cookie", Form::Any),
    Place::credential("x-api-key", Form::Raw),
    Place::credential("api-key", Form::Raw),
    Place::credential("apikey", Form::Raw),
    Place::credential("x-auth-token", Form::Raw),
    Place::credential("x-access-token", Form::Raw),
    Place::credential("private-token", Form::Raw),
    Place::credential("job-token", Form::Raw),
    Place::credential("x-goog-api-key", Form::Raw),
    Place::credential("x-github-token", Form::Raw),
    Place::credential("x-gitlab-token", Form::Raw),
    Place::credential("x-vault-token", Form::Raw),
    Place::credential("x-amz-security-token", Form::Raw),
    Place::credential("x-registry-auth", Form::Raw),
    Place::credential("npm-otp", Form::Raw),
    Place::query("key"),
    Place::query("api_key"),
    Place::query("apikey"),
    Place::query("access_token"),
    Place::query("token"),
    Place::query("auth"),
    Place::query("sig"),
    Place::query("signature"),
    Place::query("private_token"),
    Place::query("X-Amz-Signature"),
    Place::query("X-Amz-Credential"),
    Place::query("X-Amz-Security-Token"),
    Place::query("X-Goog-Signature"),
    Place::query("X-Goog-Credential"),
    Place::query("AWSAccessKeyId"),
];

impl Dialect for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    /// A git fetch is a POST that changes nothing.
    fn endpoint(&self, method: &Method, uri: &Uri) -> Endpoint {
        let fetch = method == Method::POST && uri.path().ends_with("/git-upload-pack");
        let (operation, class) = if method == Method::TRACE || method == Method::CONNECT {
            ("trace", EndpointClass::Ungoverned)
        } else if fetch
            || method == Method::GET
            || method == Method::HEAD
            || method == Method::OPTIONS
        {
            ("read", EndpointClass::Read)
        } else {
            ("write", EndpointClass::Write)
        };
        Endpoint { dialect: self.name().to_owned(), operation: operation.to_owned(), class }
    }

    fn body_limit(&self, _: &Endpoint) -> u64 {
        BODY_LIMIT
    }

    /// A body that is JSON is read as such whatever it is called; any other is a text.
    fn read<'b>(&self, _: &Endpoint, _: &Parts, body: &'b [u8]) -> Reading<'b> {
        Reading { document: Document::parse(body).ok(), ..Reading::default() }
    }

    fn amend(&self, _: &Endpoint, _: &Reading<'_>, _: &Amendment) -> Vec<Edit> {
        Vec::new()
    }

    fn min_output_limit(&self) -> u64 {
        0
    }

    fn answer(
        &self,
        _: &Endpoint,
        terms: &AnswerTerms,
        head: &http::response::Parts,
    ) -> Result<Box<dyn Decoder>, Unreadable> {
        let media = choose::media(&choose::media_type(head));
        if terms.head_only || media == Media::Other {
            return Ok(Box::new(Counted));
        }
        if !choose::readable_charset(head) {
            return Err(Unreadable::ContentType(
                "text that is not in an ASCII-compatible charset".into(),
            ));
        }
        // The strings of JSON, of events that carry it and of source text have escapes.
        choose::unpacked(head, Box::new(lines::Lines::default()))
    }

    fn refuse(&self, told: &Told<'_>) -> Response<Bytes> {
        // git, curl and people read this as it is.
        refusal::response(
            told,
            "text/plain; charset=utf-8",
            format!("tollgate: {}\n", refusal::message(told)),
        )
    }

    /// There is no form of error in the middle of a body: the connection is reset.
    fn cut(&self, _: &Told<'_>, _: &CutState) -> Bytes {
        Bytes::new()
    }

    fn places(&self) -> &'static [Place] {
        &PLACES
    }
}

#[cfg(test)]
mod tests;
