//! What the ledger promises, tried on small segments.

mod damage;
mod full;
mod group;
mod harness;
mod life;
mod rollback;
