//! A registry of one npm package, `tollgate-sample`.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha512};

use super::routes::Reply;

const TARBALL: &str = "/tollgate-sample/-/tollgate-sample-1.0.0.tgz";

/// The registry.
#[derive(Debug)]
pub(super) struct Registry {
    tarball: Bytes,
    integrity: String,
}

impl Registry {
    /// Packs the package.
    pub(super) fn build() -> Result<Self> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let mut tar = tar::Builder::new(gzip);
        let manifest =
            json!({"name": "tollgate-sample", "version": "1.0.0", "main": "index.js"}).to_string();
        for (path, text) in [
            ("package/package.json", manifest.as_str()),
            ("package/index.js", "module.exports = 'sample';\n"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len())?);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, path, text.as_bytes())?;
        }
        let tarball = tar.into_inner()?.finish()?;
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&tarball)));
        Ok(Self { tarball: tarball.into(), integrity })
    }

    pub(super) fn answer(&self, path: &str) -> Reply {
        match path {
            "/tollgate-sample" => Reply::json(
                StatusCode::OK,
                &json!({
                    "name": "tollgate-sample",
                    "dist-tags": {"latest": "1.0.0"},
                    "versions": {"1.0.0": {
                        "name": "tollgate-sample", "version": "1.0.0", "main": "index.js",
                        "dist": {
                            "tarball": format!("https://registry.npmjs.org{TARBALL}"), "integrity": self.integrity,
                        },
                    }},
                }),
            ),
            TARBALL => {
                Reply::document(StatusCode::OK, "application/octet-stream", self.tarball.clone())
            }
            _ => Reply::json(StatusCode::NOT_FOUND, &json!({"error": "Not found"})),
        }
    }
}
