//! One specimen per class of credential, put together at run time so that no file of this repository holds one.

/// A class of credential that the gate recognises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// An `OpenAI` project key.
    OpenAi,
    /// An Anthropic API key.
    Anthropic,
    /// An AWS access key id.
    Aws,
    /// A GitHub personal access token.
    GitHub,
    /// A GitLab personal access token.
    GitLab,
    /// A Slack bot token.
    Slack,
    /// A live Stripe key.
    Stripe,
    /// A Google API key.
    Google,
    /// A PEM private key.
    PrivateKey,
    /// A JSON web token.
    Jwt,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 10] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::Aws,
        Self::GitHub,
        Self::GitLab,
        Self::Slack,
        Self::Stripe,
        Self::Google,
        Self::PrivateKey,
        Self::Jwt,
    ];

    /// The word that names it in a script, as in `leak:github:3`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Aws => "aws",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Slack => "slack",
            Self::Stripe => "stripe",
            Self::Google => "google",
            Self::PrivateKey => "private-key",
            Self::Jwt => "jwt",
        }
    }

    /// The class of that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }

    /// A credential of this class that belongs to nobody.
    #[must_use]
    pub fn specimen(self) -> String {
        match self {
            Self::OpenAi => ["sk-", "proj-", &mixed(74), "T3Blbk", "FJ", &mixed(74)].concat(),
            Self::Anthropic => ["sk-", "ant-", "api03-", &mixed(93), "AA"].concat(),
            Self::Aws => ["AK", "IA", "Q3EGRZ7T5VXN2LKD"].concat(),
            Self::GitHub => ["gh", "p_", &mixed(36)].concat(),
            Self::GitLab => ["gl", "pat-", &mixed(20)].concat(),
            Self::Slack => ["xo", "xb-", "2718281828459-2718281828459-", &mixed(24)].concat(),
            Self::Stripe => ["sk_", "live_", &mixed(24)].concat(),
            Self::Google => ["AI", "za", &mixed(35)].concat(),
            Self::PrivateKey => {
                let (begin, end) =
                    (["-----BEGIN ", "PRIVATE KEY-----"].concat(), "-----END PRIVATE KEY-----");
                format!("{begin}\n{}\n{end}\n", mixed(64))
            }
            Self::Jwt => {
                let head = ["ey", "JhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"].concat();
                let claims = ["ey", "JzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkEgQiJ9"].concat();
                format!("{head}.{claims}.{}", mixed(43))
            }
        }
    }
}

/// Letters and digits that look random and are the same every time.
fn mixed(len: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = 0x2545_F491_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = usize::try_from(state >> 16).unwrap_or(0) % LETTERS.len();
            char::from(LETTERS.get(at).copied().unwrap_or(b'A'))
        })
        .collect()
}
