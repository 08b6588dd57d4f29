//! The ledger: format, hashing, recovery, verification.
