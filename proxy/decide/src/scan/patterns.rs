//! The table of secrets: for each, the shortest prefix that is the violation.
//!
//! A pattern is a sequence of byte sets and nothing else, so its proof has one length, which is
//! checked while this file is compiled: a pattern without a proof of at most [`PROOF_MAX`] bytes
//! does not build.
//!
//! A pattern whose first bytes end ordinary words (`sk-` ends *task-*, `eyJ` and `AIza` turn up in
//! base64) is only looked for where no letter or digit stands before it; an escape such as `\n`,
//! `\u0022` or `%22` there is no letter. A prefix that no ordinary text contains is found anywhere.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::SecretClass;

/// The most bytes a proof may have (DESIGN §4).
pub(crate) const PROOF_MAX: usize = 256;

/// A set of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Set {
    /// One of these.
    Of(&'static [u8]),
    /// `0-9`.
    Digit,
    /// `A-Z 0-9`.
    Upper,
    /// `A-Z a-z 0-9`.
    Alnum,
    /// `A-Z a-z 0-9 _`.
    Word,
    /// `A-Z a-z 0-9 -`.
    Dashed,
    /// `A-Z a-z 0-9 _ -`.
    Url,
    /// `A-Z a-z 0-9 _ - .`.
    Dotted,
    /// What the lines of a PEM block hold, line ends as escapes too.
    Pem,
}

impl Set {
    pub(crate) const fn has(self, byte: u8) -> bool {
        match self {
            Self::Of(bytes) => contains(bytes, byte),
            Self::Digit => byte.is_ascii_digit(),
            Self::Upper => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Dashed => byte.is_ascii_alphanumeric() || byte == b'-',
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Pem => {
                byte.is_ascii_alphanumeric()
                    || byte.is_ascii_whitespace()
                    || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'\\' | b':' | b',')
            }
        }
    }

    const fn written(self) -> &'static str {
        match self {
            Self::Of(_) => "",
            Self::Digit => "0-9",
            Self::Upper => "A-Z 0-9",
            Self::Alnum => "A-Z a-z 0-9",
            Self::Word => "A-Z a-z 0-9 _",
            Self::Dashed => "A-Z a-z 0-9 -",
            Self::Url => "A-Z a-z 0-9 _ -",
            Self::Dotted => "A-Z a-z 0-9 _ - .",
            Self::Pem => "the characters of a PEM block",
        }
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// These bytes.
    Text(&'static str),
    /// So many bytes of this set.
    Run(Set, usize),
}

/// One way in which one issuer writes a secret.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Whose it is.
    pub(crate) class: SecretClass,
    /// Only where no letter or digit stands before it.
    pub(crate) boundary: bool,
    /// The proof.
    pub(crate) parts: &'static [Part],
    /// The proof goes on with the rest of a JWT's first segment and the start of its second.
    pub(crate) second_segment: bool,
    /// What follows the proof and still belongs to the secret.
    pub(crate) rest: Set,
}

/// Most further bytes of a JWT's header after its first eleven.
pub(crate) const JWT_HEADER_REST: usize = 222;
/// How a JWT's second segment begins: JSON in base64.
pub(crate) const JWT_SECOND: &[u8] = b"eyJ";
/// Bytes of the second segment that complete the proof, [`JWT_SECOND`] included.
pub(crate) const JWT_SECOND_LEN: usize = 11;

use Part::{Run, Text};
use Set::{Alnum, Dashed, Digit, Dotted, Of, Pem, Upper, Url, Word};

/// Every pattern.
pub(crate) static PATTERNS: [Pattern; 39] = TABLE;

pub(super) const TABLE: [Pattern; 39] = [
    after_boundary(SecretClass::OpenaiKey, &[Text("sk-proj-"), Run(Url, 24)], Url),
    after_boundary(SecretClass::OpenaiKey, &[Text("sk-svcacct-"), Run(Url, 24)], Url),
    after_boundary(SecretClass::OpenaiKey, &[Text("sk-admin-"), Run(Url, 24)], Url),
    after_boundary(SecretClass::OpenaiKey, &[Text("sk-"), Run(Alnum, 32)], Alnum),
    after_boundary(
        SecretClass::AnthropicKey,
        &[Text("sk-ant-api"), Run(Digit, 2), Text("-"), Run(Url, 24)],
        Url,
    ),
    after_boundary(
        SecretClass::AnthropicKey,
        &[Text("sk-ant-oat"), Run(Digit, 2), Text("-"), Run(Url, 24)],
        Url,
    ),
    after_boundary(
        SecretClass::AnthropicKey,
        &[Text("sk-ant-ort"), Run(Digit, 2), Text("-"), Run(Url, 24)],
        Url,
    ),
    after_boundary(
        SecretClass::AnthropicKey,
        &[Text("sk-ant-sid"), Run(Digit, 2), Text("-"), Run(Url, 24)],
        Url,
    ),
    after_boundary(
        SecretClass::AnthropicKey,
        &[Text("sk-ant-admin"), Run(Digit, 2), Text("-"), Run(Url, 24)],
        Url,
    ),
    after_boundary(SecretClass::AwsAccessKeyId, &[Text("AKIA"), Run(Upper, 16)], Upper),
    after_boundary(SecretClass::AwsAccessKeyId, &[Text("ASIA"), Run(Upper, 16)], Upper),
    anywhere(
        SecretClass::GithubToken,
        &[Text("gh"), Run(Of(b"pousr"), 1), Text("_"), Run(Alnum, 36)],
        Alnum,
    ),
    anywhere(SecretClass::GithubToken, &[Text("github_pat_"), Run(Word, 36)], Word),
    anywhere(SecretClass::GitlabToken, &[Text("glpat-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("gldt-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("glrt-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("glcbt-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("glptt-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("glft-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("glsoat-"), Run(Url, 20)], Dotted),
    anywhere(SecretClass::GitlabToken, &[Text("glagent-"), Run(Url, 20)], Dotted),
    anywhere(
        SecretClass::SlackToken,
        &[Text("xox"), Run(Of(b"abcdeoprs"), 1), Text("-"), Run(Dashed, 20)],
        Dashed,
    ),
    anywhere(
        SecretClass::SlackToken,
        &[Text("xapp-"), Run(Digit, 1), Text("-"), Run(Dashed, 20)],
        Dashed,
    ),
    after_boundary(
        SecretClass::StripeKey,
        &[Run(Of(b"sr"), 1), Text("k_live_"), Run(Alnum, 24)],
        Alnum,
    ),
    after_boundary(
        SecretClass::StripeKey,
        &[Run(Of(b"sr"), 1), Text("k_test_"), Run(Alnum, 24)],
        Alnum,
    ),
    after_boundary(SecretClass::GoogleKey, &[Text("AIza"), Run(Url, 35)], Url),
    after_boundary(SecretClass::GoogleKey, &[Text("ya29."), Run(Url, 20)], Dotted),
    private_key(&[Text("-----BEGIN PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN RSA PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN EC PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN DSA PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN OPENSSH PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN ENCRYPTED PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN ED25519 PRIVATE KEY-----")]),
    private_key(&[Text("-----BEGIN PGP PRIVATE KEY BLOCK-----")]),
    private_key(&[Text("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----")]),
    private_key(&[Text("PuTTY-User-Key-File-2: ")]),
    private_key(&[Text("PuTTY-User-Key-File-3: ")]),
    Pattern {
        class: SecretClass::Jwt,
        boundary: true,
        parts: &[Text("eyJ"), Run(Url, 8)],
        second_segment: true,
        rest: Dotted,
    },
];

const fn after_boundary(class: SecretClass, parts: &'static [Part], rest: Set) -> Pattern {
    Pattern { class, boundary: true, parts, second_segment: false, rest }
}

const fn anywhere(class: SecretClass, parts: &'static [Part], rest: Set) -> Pattern {
    Pattern { class, boundary: false, parts, second_segment: false, rest }
}

const fn private_key(parts: &'static [Part]) -> Pattern {
    anywhere(SecretClass::PrivateKey, parts, Pem)
}

impl Part {
    /// Bytes that this part takes.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Run(_, count) => *count,
        }
    }
}

impl Pattern {
    /// Bytes of the proof that have one length.
    pub(crate) const fn head(&self) -> usize {
        let (mut parts, mut len) = (self.parts, 0);
        while let Some((part, rest)) = parts.split_first() {
            len += part.len();
            parts = rest;
        }
        len
    }

    /// The most bytes that the proof can have.
    pub(crate) const fn proof(&self) -> usize {
        let second = if self.second_segment { JWT_HEADER_REST + 1 + JWT_SECOND_LEN } else { 0 };
        self.head() + second
    }

    /// The proof as the documentation writes it.
    pub(crate) fn written(&self) -> String {
        let mut written = Vec::new();
        for part in self.parts {
            written.push(match part {
                Text(text) => format!("`{text}`"),
                Run(Of(bytes), _) => format!("one of `{}`", String::from_utf8_lossy(bytes)),
                Run(set, count) => format!("{count} of `{}`", set.written()),
            });
        }
        if self.second_segment {
            written.push(format!(
                "up to {JWT_HEADER_REST} more, `.`, `eyJ`, {} more",
                JWT_SECOND_LEN - JWT_SECOND.len()
            ));
        }
        written.join(", ")
    }
}

const fn contains(mut bytes: &[u8], byte: u8) -> bool {
    while let Some((first, rest)) = bytes.split_first() {
        if *first == byte {
            return true;
        }
        bytes = rest;
    }
    false
}

/// A pattern without a proof does not compile.
const _: () = {
    let mut patterns: &[Pattern] = &TABLE;
    while let Some((pattern, rest)) = patterns.split_first() {
        assert!(pattern.head() >= 4 && pattern.proof() <= PROOF_MAX);
        patterns = rest;
    }
};

#[cfg(test)]
pub(super) mod tests;
