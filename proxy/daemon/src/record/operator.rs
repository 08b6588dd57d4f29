//! What operators do, as the ledger keeps it.

use serde::{Deserialize, Serialize};

/// An act of an operator that has no kind of entry of its own. It precedes what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Operator {
    /// A credential is sealed under a new name.
    CredentialAdded {
        /// The credential.
        credential: String,
        /// Whose it is.
        provider: String,
        /// The variable that it was found in, where it was adopted.
        adopted: Option<String>,
        /// Who did it.
        by: String,
    },
    /// A credential's secret is exchanged.
    CredentialRotated {
        /// The credential.
        credential: String,
        /// Who did it.
        by: String,
    },
    /// A credential is forgotten.
    CredentialRemoved {
        /// The credential.
        credential: String,
        /// Who did it.
        by: String,
    },
    /// What the entry before says of this credential could not be done: the vault is as it was.
    CredentialUnchanged {
        /// The credential.
        credential: String,
        /// Why.
        why: String,
        /// Who tried it.
        by: String,
    },
    /// A new root is made: it is handed out beside the one that signs.
    CaRotationBegun {
        /// SHA-256 of the certificate that signs, hex.
        old: String,
        /// And of the one that is to succeed it.
        new: String,
        /// When it does, microseconds since the epoch; `None` waits for an operator.
        until: Option<u64>,
        /// Who did it.
        by: String,
    },
    /// The successor signs and is the only root; the key of the one before is gone.
    CaRotationFinished {
        /// SHA-256 of the certificate that is retired, hex.
        old: String,
        /// And of the one that signs now.
        new: String,
        /// Who did it.
        by: String,
    },
    /// What the entry before says of the roots could not be done: they are as they were.
    CaUnchanged {
        /// Why.
        why: String,
        /// Who tried it.
        by: String,
    },
}
