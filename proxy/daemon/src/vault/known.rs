//! The environment variables that everybody keeps keys in, and what the gate does with each.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use zeroize::Zeroizing;

use super::Secret;
use super::inject::Form;
use crate::keys::Shape;

/// A kind of credential that the gate puts in: one a provider.
///
/// Credentials are named freely and each is of a kind. What runs bring is named as its kind is.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The provider's name, and that of the credential of a run.
    pub name: &'static str,
    /// The hosts it is for, and no other.
    pub hosts: &'static [&'static str],
    /// Where a request may carry it. It is put where the virtual key stood: which of them a provider
    /// takes depends on the kind of key.
    pub places: &'static [Form],
    /// What its virtual keys look like.
    pub shape: Shape,
}

/// The providers whose dialects are built.
pub static KINDS: [Kind; 2] = [
    Kind {
        name: "openai",
        hosts: &["api.openai.com"],
        places: &[Form::Bearer],
        shape: Shape::Openai,
    },
    Kind {
        name: "anthropic",
        hosts: &["api.anthropic.com"],
        places: &[Form::ApiKey, Form::Bearer],
        shape: Shape::Anthropic,
    },
];

/// Variables that hold a credential, the one that goes before others first.
const SEALED: [(&str, &str); 5] = [
    ("OPENAI_API_KEY", "openai"),
    ("CODEX_API_KEY", "openai"),
    ("ANTHROPIC_API_KEY", "anthropic"),
    ("ANTHROPIC_AUTH_TOKEN", "anthropic"),
    ("CLAUDE_CODE_OAUTH_TOKEN", "anthropic"),
];

/// Variables that choose an account, and the header that they become.
const ACCOUNT: [(&str, &str); 3] = [
    ("OPENAI_ORG_ID", "openai-organization"),
    ("OPENAI_ORGANIZATION", "openai-organization"),
    ("OPENAI_PROJECT_ID", "openai-project"),
];

/// Variables that hold a credential the gate cannot put in: the command does not get them.
const WITHHELD: [&str; 60] = [
    "AI21_API_KEY",
    "ANTHROPIC_ADMIN_KEY",
    "ANYSCALE_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_API_KEY",
    "AZURE_CLIENT_SECRET",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "BITBUCKET_TOKEN",
    "BRAVE_API_KEY",
    "CARGO_REGISTRY_TOKEN",
    "CEREBRAS_API_KEY",
    "CLOUDFLARE_API_TOKEN",
    "COHERE_API_KEY",
    "CO_API_KEY",
    "DASHSCOPE_API_KEY",
    "DATABRICKS_TOKEN",
    "DEEPSEEK_API_KEY",
    "DIGITALOCEAN_ACCESS_TOKEN",
    "DOCKER_AUTH_CONFIG",
    "ELEVENLABS_API_KEY",
    "EXA_API_KEY",
    "FIREWORKS_API_KEY",
    "GEMINI_API_KEY",
    "GH_ENTERPRISE_TOKEN",
    "GH_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GITHUB_PERSONAL_ACCESS_TOKEN",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "GOOGLE_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GROQ_API_KEY",
    "HF_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "LANGCHAIN_API_KEY",
    "LANGSMITH_API_KEY",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "NODE_AUTH_TOKEN",
    "NPM_TOKEN",
    "NVIDIA_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENROUTER_API_KEY",
    "PERPLEXITY_API_KEY",
    "REPLICATE_API_TOKEN",
    "SLACK_BOT_TOKEN",
    "SLACK_TOKEN",
    "STRIPE_API_KEY",
    "STRIPE_SECRET_KEY",
    "TAVILY_API_KEY",
    "TOGETHER_API_KEY",
    "VOYAGE_API_KEY",
    "WANDB_API_KEY",
    "XAI_API_KEY",
];

/// A real key of the environment, to be sealed.
#[derive(Debug)]
pub struct Found {
    /// The variables that hold it, all of which get the virtual key.
    pub variables: Vec<String>,
    /// What it is.
    pub credential: &'static Kind,
    /// The key.
    pub secret: Secret,
}

/// What the gate does with the known variables of an environment.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Keys to be sealed, one a credential.
    pub found: Vec<Found>,
    /// Headers that the gate sets to these values, and the variable each came from.
    pub account: Vec<Account>,
    /// Variables that the command does not get, in order.
    pub withheld: Vec<String>,
    /// Known variables that `keep` names: the command gets the real value.
    pub kept: Vec<String>,
}

/// A value that chooses an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The variable.
    pub variable: String,
    /// The header.
    pub header: &'static str,
    /// The value.
    pub value: String,
}

/// The kind of a provider's name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The kind of credential that a variable holds, and its place among those of the kind: the lower goes
/// before the higher.
#[must_use]
pub fn held_by(variable: &str) -> Option<(usize, &'static Kind)> {
    let rank = SEALED.iter().position(|(known, _)| *known == variable)?;
    SEALED.get(rank).and_then(|(_, kind)| named(kind)).map(|kind| (rank, kind))
}

/// Sorts the known variables of an environment. Empty ones count as not set; names in `keep` stay
/// with the command. Where two variables hold different keys of one credential, the one that goes
/// before the other is sealed and the other withheld.
#[must_use]
pub fn sort(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    keep: &[String],
) -> Sorted {
    let mut sorted = Sorted::default();
    let mut sealed: Vec<(usize, &'static Kind, String, Secret)> = Vec::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        let value = Zeroizing::new(value.into_vec());
        if value.is_empty() {
            continue;
        }
        let held = held_by(&name);
        let account = ACCOUNT.iter().find(|(known, _)| *known == name);
        let withheld = WITHHELD.contains(&name.as_str());
        if keep.contains(&name) {
            if held.is_some() || account.is_some() || withheld {
                sorted.kept.push(name);
            }
        } else if let Some((rank, kind)) = held {
            sealed.push((rank, kind, name, Secret::new(value)));
        } else if let Some((_, header)) = account {
            match std::str::from_utf8(&value) {
                Ok(text) => {
                    let value = text.to_owned();
                    sorted.account.push(Account { variable: name, header, value });
                }
                Err(_) => sorted.withheld.push(name),
            }
        } else if withheld {
            sorted.withheld.push(name);
        }
    }
    sealed.sort_by_key(|(rank, ..)| *rank);
    for (_, kind, variable, secret) in sealed {
        sorted.seal(kind, variable, secret);
    }
    sorted.withheld.sort();
    sorted.kept.sort();
    sorted.account.sort_by(|one, other| one.variable.cmp(&other.variable));
    sorted
}

impl Sorted {
    fn seal(&mut self, credential: &'static Kind, variable: String, secret: Secret) {
        let before = self.found.iter_mut().find(|found| found.credential == credential);
        match before {
            None => self.found.push(Found { variables: vec![variable], credential, secret }),
            Some(found) if found.secret.reveal() == secret.reveal() => {
                found.variables.push(variable);
            }
            Some(_) => self.withheld.push(variable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn every_sealed_variable_has_a_credential_and_no_name_stands_in_two_lists() {
        for (variable, credential) in SEALED {
            assert!(named(credential).is_some(), "{variable}");
            assert!(!WITHHELD.contains(&variable), "{variable}");
        }
        assert!(WITHHELD.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn keys_of_built_providers_are_sealed_and_those_of_others_withheld() {
        let sorted = sort(
            environment(&[
                ("PATH", "/bin"),
                ("GITHUB_TOKEN", "ghp_x"),
                ("OPENAI_API_KEY", "sk-real"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
                ("ANTHROPIC_AUTH_TOKEN", "sk-ant-real"),
                ("OPENAI_ORG_ID", "org-1"),
            ]),
            &[],
        );
        let found: Vec<_> = sorted.found.iter().map(|found| found.credential.name).collect();
        assert_eq!(found, ["openai", "anthropic"]);
        assert_eq!(sorted.withheld, ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"]);
        assert_eq!(sorted.account[0].header, "openai-organization");
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let sorted = sort(environment(&[("OPENAI_API_KEY", ""), ("GH_TOKEN", "")]), &[]);
        assert!(sorted.found.is_empty() && sorted.withheld.is_empty());
    }

    #[test]
    fn two_variables_with_one_key_share_its_virtual_key() {
        let sorted = sort(environment(&[("CODEX_API_KEY", "a"), ("OPENAI_API_KEY", "a")]), &[]);
        assert_eq!(sorted.found[0].variables, ["OPENAI_API_KEY", "CODEX_API_KEY"]);
    }

    #[test]
    fn of_two_different_keys_of_one_credential_the_second_is_withheld() {
        let sorted = sort(environment(&[("CODEX_API_KEY", "b"), ("OPENAI_API_KEY", "a")]), &[]);
        assert_eq!(sorted.found[0].secret.reveal(), b"a");
        assert_eq!(sorted.withheld, ["CODEX_API_KEY"]);
    }

    #[test]
    fn what_the_user_keeps_is_neither_sealed_nor_withheld() {
        let keep = ["OPENAI_API_KEY".to_owned(), "GH_TOKEN".to_owned(), "HOME".to_owned()];
        let all = environment(&[("OPENAI_API_KEY", "a"), ("GH_TOKEN", "b"), ("HOME", "/")]);
        let sorted = sort(all, &keep);
        assert!(sorted.found.is_empty() && sorted.withheld.is_empty());
        assert_eq!(sorted.kept, ["GH_TOKEN", "OPENAI_API_KEY"]);
    }

    #[test]
    fn sorting_shows_no_value() {
        let sorted = sort(environment(&[("OPENAI_API_KEY", "canary-7731")]), &[]);
        assert!(!format!("{sorted:?}").contains("canary-7731"));
    }
}
