//! A simple index of one Python package, `tollgate-sample`, as a wheel.

use std::io::{Cursor, Write};

use anyhow::Result;
use bytes::Bytes;
use http::StatusCode;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::routes::{Reply, hex};

const WHEEL: &str = "tollgate_sample-1.0.0-py3-none-any.whl";
const METADATA: &str = "Metadata-Version: 2.1\nName: tollgate-sample\nVersion: 1.0.0\n";
const TAGS: &str = "Wheel-Version: 1.0\nGenerator: e2e\nRoot-Is-Purelib: true\nTag: py3-none-any\n";

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    wheel: Bytes,
}

impl Index {
    /// Packs the wheel.
    pub(super) fn build() -> Result<Self> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let info = "tollgate_sample-1.0.0.dist-info";
        let record = ["tollgate_sample.py", "METADATA", "WHEEL", "RECORD"]
            .map(|name| {
                if name.ends_with("py") {
                    format!("{name},,\n")
                } else {
                    format!("{info}/{name},,\n")
                }
            })
            .concat();
        for (path, text) in [
            ("tollgate_sample.py".to_owned(), "NAME = 'sample'\n"),
            (format!("{info}/METADATA"), METADATA),
            (format!("{info}/WHEEL"), TAGS),
            (format!("{info}/RECORD"), record.as_str()),
        ] {
            zip.start_file(path, stored)?;
            zip.write_all(text.as_bytes())?;
        }
        Ok(Self { wheel: zip.finish()?.into_inner().into() })
    }

    pub(super) fn answer(&self, path: &str) -> Reply {
        if path == "/simple/tollgate-sample/" {
            let link = format!(
                "https://files.pythonhosted.org/packages/{WHEEL}#sha256={}",
                hex(&self.wheel)
            );
            let page = format!(
                "<!DOCTYPE html><html><body><a href=\"{link}\">{WHEEL}</a></body></html>\n"
            );
            return Reply::document(StatusCode::OK, "text/html", page);
        }
        if path == format!("/packages/{WHEEL}") {
            return Reply::document(StatusCode::OK, "application/octet-stream", self.wheel.clone());
        }
        Reply::not_found()
    }
}
