//! The kinds of secret that the scanner knows.

use serde::{Deserialize, Serialize};

/// A kind of secret, by issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretClass {
    /// A key of `OpenAI`.
    OpenaiKey,
    /// A key or token of Anthropic.
    AnthropicKey,
    /// The id of an AWS access key, which stands beside its secret.
    AwsAccessKeyId,
    /// A token of GitHub.
    GithubToken,
    /// A token of GitLab.
    GitlabToken,
    /// A token of Slack.
    SlackToken,
    /// A secret or restricted key of Stripe.
    StripeKey,
    /// An API key or OAuth token of Google.
    GoogleKey,
    /// A private key in PEM form, by its BEGIN line.
    PrivateKey,
    /// A JSON Web Token.
    Jwt,
}

impl SecretClass {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::OpenaiKey,
        Self::AnthropicKey,
        Self::AwsAccessKeyId,
        Self::GithubToken,
        Self::GitlabToken,
        Self::SlackToken,
        Self::StripeKey,
        Self::GoogleKey,
        Self::PrivateKey,
        Self::Jwt,
    ];

    /// The permanent name: ledger field, metric label, and what a splice writes in its place.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenaiKey => "openai_key",
            Self::AnthropicKey => "anthropic_key",
            Self::AwsAccessKeyId => "aws_access_key_id",
            Self::GithubToken => "github_token",
            Self::GitlabToken => "gitlab_token",
            Self::SlackToken => "slack_token",
            Self::StripeKey => "stripe_key",
            Self::GoogleKey => "google_key",
            Self::PrivateKey => "private_key",
            Self::Jwt => "jwt",
        }
    }

    /// The name in a sentence: `an OpenAI key`.
    #[must_use]
    pub const fn article_name(self) -> &'static str {
        match self {
            Self::OpenaiKey => "an OpenAI key",
            Self::AnthropicKey => "an Anthropic key",
            Self::AwsAccessKeyId => "an AWS access key id",
            Self::GithubToken => "a GitHub token",
            Self::GitlabToken => "a GitLab token",
            Self::SlackToken => "a Slack token",
            Self::StripeKey => "a Stripe key",
            Self::GoogleKey => "a Google key",
            Self::PrivateKey => "a private key",
            Self::Jwt => "a JSON Web Token",
        }
    }

    pub(crate) const fn in_brackets(self) -> &'static str {
        match self {
            Self::OpenaiKey => " (OpenAI)",
            Self::AnthropicKey => " (Anthropic)",
            Self::AwsAccessKeyId => " (AWS)",
            Self::GithubToken => " (GitHub)",
            Self::GitlabToken => " (GitLab)",
            Self::SlackToken => " (Slack)",
            Self::StripeKey => " (Stripe)",
            Self::GoogleKey => " (Google)",
            Self::PrivateKey => " (private key)",
            Self::Jwt => " (JSON Web Token)",
        }
    }
}
