//! The certificates of the gate's own port and of its clients, from one CA of the test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

/// A CA and the server's certificate; more are made from it.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new CA, with a certificate for `localhost`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mut root = CertificateParams::new(Vec::new())?;
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        fs::write(dir.join("ca.pem"), root.self_signed(&key)?.pem())?;
        let pki = Self { dir: dir.to_owned(), issuer: Issuer::new(root, key) };
        let (cert, key) = pki.leaf(&CertificateParams::new(vec!["localhost".to_owned()])?)?;
        fs::write(pki.server_cert(), cert)?;
        fs::write(pki.server_key(), key)?;
        Ok(pki)
    }

    /// A client's certificate with this URI, and its key, in one file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn client(&self, uri: &str) -> Result<PathBuf> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri)?));
        let (cert, key) = self.leaf(&params)?;
        let name: String = uri.chars().filter(char::is_ascii_alphanumeric).collect();
        let path = self.dir.join(format!("{name}.pem"));
        fs::write(&path, cert + &key)?;
        Ok(path)
    }

    fn leaf(&self, params: &CertificateParams) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server_cert(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    /// The server's key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.dir.join("server.key")
    }
}
