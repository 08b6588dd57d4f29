//! Where the deployment's roots lie: in the vault, as one secret, so that every change of them is one write.

use decide::case::Timestamp;
use zeroize::Zeroizing;

use super::open::StartError;
use crate::clock::{self, Clock};
use crate::listen::mint::{Authority, MintError, Parts, Roots, Successor};
use crate::vault::{Secret, Vault};

/// The vault's name for them.
const CA: &str = "tollgate/ca";
/// What begins two roots. One alone begins with the length of its certificate, which is never so large.
const TWO: &[u8] = b"two\0";
/// How no declared end of the overlap is written.
const NO_END: u64 = u64::MAX;

/// The deployment's roots. The first start makes one.
///
/// # Errors
///
/// The vault cannot be read or written, or what lies there cannot be used.
pub(super) fn load_or_make(vault: &Vault, clock: &Clock) -> Result<Roots, StartError> {
    if vault.names().iter().any(|name| name == CA) {
        return Ok(read(vault.reveal(CA)?.reveal())?);
    }
    let (authority, parts) = Authority::create(clock.now(), clock::random)?;
    vault.seal(CA, &Secret::new(one(&parts)))?;
    Ok(authority.into())
}

/// Puts a successor beside the root that signs. On disk when this returns.
///
/// # Errors
///
/// The vault cannot be read or written; it is then as it was.
pub(super) fn keep_both(vault: &Vault, next: &Parts, times: Successor) -> Result<(), StartError> {
    let sealed = vault.reveal(CA)?;
    let (signs, _) = split(sealed.reveal())?;
    let next = one(next);
    let mut bytes = Zeroizing::new(Vec::with_capacity(TWO.len() + 20 + signs.len() + next.len()));
    bytes.extend_from_slice(TWO);
    bytes.extend_from_slice(&times.since.0.to_be_bytes());
    bytes.extend_from_slice(&times.until.map_or(NO_END, |until| until.0).to_be_bytes());
    extend_sized(&mut bytes, signs);
    bytes.extend_from_slice(&next);
    Ok(vault.seal(CA, &Secret::new(bytes))?)
}

/// Keeps the successor alone: the key of the root before it is gone. On disk when this returns.
///
/// # Errors
///
/// The vault cannot be read or written; it is then as it was.
pub(super) fn keep_successor(vault: &Vault) -> Result<(), StartError> {
    let sealed = vault.reveal(CA)?;
    let (_, next) = split(sealed.reveal())?;
    let (next, _) = next.ok_or_else(broken)?;
    Ok(vault.seal(CA, &Secret::new(Zeroizing::new(next.to_vec())))?)
}

fn broken() -> MintError {
    MintError::Authority("certificate and key")
}

/// A root as bytes: the length of its certificate, the certificate, its key.
fn one(Parts { certificate, key }: &Parts) -> Zeroizing<Vec<u8>> {
    // Large enough from the start: what grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + certificate.len() + key.len()));
    extend_sized(&mut bytes, certificate);
    bytes.extend_from_slice(key);
    bytes
}

fn extend_sized(bytes: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or_default();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

/// The root that signs, and its successor.
type Both<'a> = (&'a [u8], Option<(&'a [u8], Successor)>);

fn split(bytes: &[u8]) -> Result<Both<'_>, MintError> {
    match bytes.strip_prefix(TWO) {
        Some(two) => both(two).ok_or_else(broken),
        None => Ok((bytes, None)),
    }
}

fn both(bytes: &[u8]) -> Option<Both<'_>> {
    let (since, rest) = bytes.split_first_chunk::<8>()?;
    let (until, rest) = rest.split_first_chunk::<8>()?;
    let (signs, next) = sized(rest)?;
    let until = Some(u64::from_be_bytes(*until)).filter(|until| *until != NO_END).map(Timestamp);
    let since = Timestamp(u64::from_be_bytes(*since));
    Some((signs, Some((next, Successor { since, until }))))
}

/// A part whose length stands before it, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn read(bytes: &[u8]) -> Result<Roots, MintError> {
    let (signs, next) = split(bytes)?;
    let signs = Roots::from(authority(signs)?);
    match next {
        Some((next, times)) => Ok(signs.followed_by(authority(next)?, times)),
        None => Ok(signs),
    }
}

fn authority(bytes: &[u8]) -> Result<Authority, MintError> {
    let (certificate, key) = sized(bytes).ok_or_else(broken)?;
    Authority::load(certificate, key, clock::random)
}

#[cfg(test)]
mod tests;
