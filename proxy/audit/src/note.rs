//! Checkpoints as text: a C2SP `tlog-checkpoint` in a `signed-note`, so that programs of others
//! read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::entry::Hash;
use crate::segment::LogId;
use crate::wire::{Cursor, Malformed};

/// How checkpoint files are called: their size, then this.
pub(crate) const ENDING: &str = ".checkpoint";

/// The signature type of Ed25519 in `signed-note`.
const ED25519: u8 = 1;

/// The origin line, which is also the key's name.
pub(crate) fn origin(log: &LogId) -> String {
    format!("tollgate.dev/ledger/{:032x}", u128::from_be_bytes(*log))
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The public key in the text form of `signed-note`: name, key id and key, joined by `+`.
pub(crate) fn verifier_key(log: &LogId, key: &VerifyingKey) -> String {
    let name = origin(log);
    let id = u32::from_be_bytes(key_id(&name, key));
    let public = STANDARD.encode([&[ED25519][..], key.as_bytes()].concat());
    format!("{name}+{id:08x}+{public}")
}

/// A signed checkpoint.
pub(crate) fn sign(log: &LogId, size: u64, root: Hash, signer: &SigningKey) -> String {
    let name = origin(log);
    let text = format!("{name}\n{size}\n{}\n", STANDARD.encode(root.0));
    let signature = signer.sign(text.as_bytes()).to_bytes();
    let id = key_id(&name, &signer.verifying_key());
    format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode([&id[..], &signature].concat()))
}

/// Reads a checkpoint that `key` has signed. Signatures by others are passed over, as the format
/// says.
pub(crate) fn open(note: &str, log: &LogId, key: &VerifyingKey) -> Result<(u64, Hash), Malformed> {
    let name = origin(log);
    let end = note.rfind("\n\n").ok_or(Malformed("it has no signature"))?;
    let (text, signatures) =
        note.split_at_checked(end + 1).ok_or(Malformed("it has no signature"))?;
    let ours = signatures.lines().filter_map(|line| line.strip_prefix("\u{2014} "));
    let mut ours = ours.filter_map(|line| line.strip_prefix(name.as_str())?.strip_prefix(' '));
    if !ours.any(|signature| signed(text, &name, key, signature)) {
        return Err(Malformed("its signature does not verify"));
    }
    let mut lines = text.lines();
    if lines.next() != Some(name.as_str()) {
        return Err(Malformed("its origin is another log"));
    }
    let size = lines
        .next()
        .and_then(|size| size.parse().ok())
        .ok_or(Malformed("its size is no number"))?;
    let root = lines.next().and_then(|root| STANDARD.decode(root).ok());
    let root = root.ok_or(Malformed("its root is not base64"))?;
    Ok((size, Hash(Cursor::new(&root).array()?)))
}

fn signed(text: &str, name: &str, key: &VerifyingKey, signature: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(signature) else { return false };
    let mut cursor = Cursor::new(&bytes);
    let (Ok(id), Ok(signature), Ok(())) = (cursor.array::<4>(), cursor.array::<64>(), cursor.end())
    else {
        return false;
    };
    id == key_id(name, key)
        && key.verify_strict(text.as_bytes(), &Signature::from_bytes(&signature)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = [7; 16];

    #[test]
    fn a_signed_checkpoint_opens_and_a_changed_one_does_not() {
        let signer = SigningKey::from_bytes(&[5; 32]);
        let note = sign(&LOG, 42, Hash([9; 32]), &signer);
        let key = signer.verifying_key();
        assert_eq!(open(&note, &LOG, &key), Ok((42, Hash([9; 32]))));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(open(&changed, &LOG, &key).is_err(), "{at}: {changed}");
            }
        }
    }

    #[test]
    fn signatures_of_others_are_passed_over() {
        let signer = SigningKey::from_bytes(&[5; 32]);
        let note = sign(&LOG, 1, Hash::ZERO, &signer) + "\u{2014} witness.example AAAAAAAA\n";
        assert!(open(&note, &LOG, &signer.verifying_key()).is_ok());
        assert!(open(&note, &LOG, &SigningKey::from_bytes(&[6; 32]).verifying_key()).is_err());
        assert!(open(&note, &[8; 16], &signer.verifying_key()).is_err());
    }

    #[test]
    fn the_text_is_the_one_of_the_format() {
        let note = sign(&LOG, 3, Hash::ZERO, &SigningKey::from_bytes(&[5; 32]));
        let name = "tollgate.dev/ledger/07070707070707070707070707070707";
        let body =
            format!("{name}\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} {name} ");
        assert!(note.starts_with(&body), "{note}");
    }
}
