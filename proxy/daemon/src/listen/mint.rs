//! The deployment's certificate authority, and the leaves that the gate shows to its agents.
//!
//! A root is made once and trusted by agents; its bytes never change. Each gate process signs with an
//! intermediate of its own that lives in memory only, so a leaf that leaks out of a process dies with its
//! intermediate. A leaf is minted for a name only when the caller asks, which it does after policy has
//! admitted the name. While one root is exchanged for another ([`Roots`]) both are trusted, and leaves hold
//! for who trusts either.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use decide::case::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SigningKey};
use zeroize::{Zeroize as _, Zeroizing};

mod leaves;
mod roots;
pub use leaves::{Change, Leaves};
pub use roots::{Root, Roots, Successor};

/// Where serial numbers come from: [`crate::clock::random`], or a test's own.
pub type Random = fn() -> std::io::Result<[u8; 16]>;

/// How long a root is valid: 10 years, the age at which operators expect to rotate one.
const ROOT_LIFE: Duration = Duration::from_hours(24 * 3650);
/// How long an intermediate and its leaves are valid: a week, so that a stolen one is soon worthless.
const SHORT_LIFE: Duration = Duration::from_hours(24 * 7);
/// How far certificates are backdated: agents' clocks run late.
const BACKDATED: Duration = Duration::from_hours(1);

/// How many authorities may stand between a root and a leaf: the root it replaces, and an intermediate.
const BELOW_A_ROOT: u8 = 2;

/// Why a certificate could not be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MintError {
    /// The name cannot stand in a certificate.
    #[error("{0:?} is neither a DNS name nor an IP address, so no certificate can be made for it")]
    Name(String),
    /// The certificate or key of the authority does not parse, or they do not belong together.
    #[error(
        "the CA's {0} cannot be used: restore the state folder from its backup, or remove the CA and trust a new one"
    )]
    Authority(&'static str),
    /// The operating system gave no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(Arc<std::io::Error>),
    /// The certificate could not be encoded or signed.
    #[error("a certificate could not be signed: {0}")]
    Sign(#[from] rcgen::Error),
    /// The TLS library refused the result.
    #[error("a certificate could not be put to use: {0}")]
    Use(#[from] rustls::Error),
    /// The agent has asked for more new names than it may in so short a time.
    #[error(
        "this agent asks for more new names than certificates are made for: ask again in a second"
    )]
    TooMany,
}

impl From<std::io::Error> for MintError {
    fn from(error: std::io::Error) -> Self {
        Self::Random(Arc::new(error))
    }
}

/// What the caller keeps of a new authority: the certificate in the open, the key sealed.
pub struct Parts {
    /// The root certificate, DER. These bytes are what agents trust; they are never made anew.
    pub certificate: Vec<u8>,
    /// The root's private key, PKCS#8 DER, wiped when dropped.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("certificate", &self.certificate.len())
            .finish_non_exhaustive()
    }
}

/// The deployment's root.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    random: Random,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// Makes a new root, valid from an hour before `now` for ten years.
    ///
    /// # Errors
    ///
    /// No random numbers, or signing failed.
    pub fn create(now: Timestamp, random: Random) -> Result<(Self, Parts), MintError> {
        let (key, pkcs8) = new_key()?;
        let serial = random()?;
        let mut params = authority_params(
            &format!("Tollgate CA {}", short_hex(&serial)),
            now,
            ROOT_LIFE,
            serial,
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(BELOW_A_ROOT));
        let certificate = params.self_signed(&key)?.der().clone();
        let parts = Parts { certificate: certificate.to_vec(), key: pkcs8 };
        Ok((Self { certificate, issuer: Issuer::new(params, key), random }, parts))
    }

    /// Takes up the root that `certificate` and `key` (both DER) are.
    ///
    /// # Errors
    ///
    /// Either does not parse, or the key is not the certificate's.
    pub fn load(certificate: &[u8], key: &[u8], random: Random) -> Result<Self, MintError> {
        let certificate = CertificateDer::from(certificate).into_owned();
        let pkcs8 = PrivatePkcs8KeyDer::from(key);
        let pair = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&PrivateKeyDer::Pkcs8(
            pkcs8.clone_key(),
        ))
        .map_err(|_unspecific| MintError::Authority("key"))?;
        CertifiedKey::new(vec![certificate.clone()], pair).keys_match().map_err(|_unspecific| {
            MintError::Authority("certificate and key, which do not belong together,")
        })?;
        let mut key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_unspecific| MintError::Authority("key"))?;
        key.zeroize();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_unspecific| MintError::Authority("certificate"))?;
        Ok(Self { certificate, issuer, random })
    }

    /// The root certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The root certificate as PEM, for a bundle that agents trust.
    #[must_use]
    pub fn pem(&self) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        let mut rest = text.as_str();
        while let Some((line, more)) = rest.split_at_checked(64) {
            pem.extend([line, "\n"]);
            rest = more;
        }
        if !rest.is_empty() {
            pem.extend([rest, "\n"]);
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// A certificate of `other`, the root that this one succeeds: who trusts this one trusts what that one signs,
    /// for a week from `now`.
    fn vouch_for(
        &self,
        other: &Self,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, MintError> {
        let unreadable = || MintError::Authority("certificate");
        let (_, theirs) = x509_parser::parse_x509_certificate(&other.certificate)
            .map_err(|_unspecific| unreadable())?;
        let name = theirs.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut params =
            authority_params(name.ok_or_else(unreadable)?, now, SHORT_LIFE, (self.random)()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(BELOW_A_ROOT - 1));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(other.issuer.key(), &self.issuer)?.der().clone();
        // A chain is followed by the very bytes of the name.
        let same = x509_parser::parse_x509_certificate(&certificate)
            .is_ok_and(|(_, ours)| ours.subject().as_raw() == theirs.subject().as_raw());
        if same { Ok(certificate) } else { Err(unreadable()) }
    }

    /// A new intermediate with a key of its own, valid for a week from `now`.
    fn intermediate(&self, now: Timestamp) -> Result<Intermediate, MintError> {
        let (key, _pkcs8) = new_key()?;
        let serial = (self.random)()?;
        let name = format!("Tollgate gate {}", short_hex(&serial));
        let mut params = authority_params(&name, now, SHORT_LIFE, serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let (leaf_key, pkcs8) = new_key()?;
        let leaf_signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&PrivateKeyDer::Pkcs8(
            PrivatePkcs8KeyDer::from(pkcs8.as_slice()),
        ))?;
        Ok(Intermediate {
            above: vec![certificate],
            issuer: Issuer::new(params, key),
            leaf_key,
            leaf_signer,
            expires: later(now, SHORT_LIFE),
            random: self.random,
        })
    }
}

/// An intermediate and the one key that all its leaves share.
struct Intermediate {
    /// What follows a leaf in its chain: the intermediate, and during a rotation the signing root as its successor
    /// vouches for it.
    above: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn SigningKey>,
    expires: Timestamp,
    random: Random,
}

impl Intermediate {
    /// A leaf for `name` with its chain and key. It ends with the intermediate at the latest.
    fn leaf(&self, name: &ServerName<'_>, now: Timestamp) -> Result<CertifiedKey, MintError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&positive((self.random)()?)));
        valid(&mut params, now, self.expires);
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![match name {
            ServerName::DnsName(dns) => SanType::DnsName(dns.as_ref().try_into()?),
            ServerName::IpAddress(ip) => SanType::IpAddress(IpAddr::from(*ip)),
            other => return Err(MintError::Name(other.to_str().into_owned())),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&self.leaf_key, &self.issuer)?.der().clone();
        let chain = std::iter::once(leaf).chain(self.above.iter().cloned()).collect();
        Ok(CertifiedKey::new(chain, Arc::clone(&self.leaf_signer)))
    }
}

/// A P-256 key, and its PKCS#8 bytes apart from it: the pair itself keeps no copy outside the crypto library.
fn new_key() -> Result<(KeyPair, Zeroizing<Vec<u8>>), MintError> {
    let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let pkcs8 = Zeroizing::new(key.serialize_der());
    key.zeroize();
    Ok((key, pkcs8))
}

fn authority_params(
    name: &str,
    now: Timestamp,
    life: Duration,
    serial: [u8; 16],
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&positive(serial)));
    valid(&mut params, now, later(now, life));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Tollgate");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Serial numbers are positive and not zero (RFC 5280 4.1.2.2): the first byte is made 0x40 to 0x7f.
fn positive(mut serial: [u8; 16]) -> [u8; 16] {
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    serial
}

fn short_hex(bytes: &[u8]) -> String {
    let start = bytes.first_chunk::<4>().map_or(0, |first| u32::from_be_bytes(*first));
    format!("{start:08x}")
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
}

/// Sets the span of validity. Certificates hold whole seconds.
fn valid(params: &mut CertificateParams, now: Timestamp, until: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_micros(now.0).saturating_sub(BACKDATED);
    params.not_after = epoch + Duration::from_micros(until.0);
}

#[cfg(test)]
mod tests;
