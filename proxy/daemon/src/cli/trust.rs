//! `tollgate trust`: the user vouches for a file as it is now.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint};
use crate::trust::{self, TrustError, hex};

/// Flags of `tollgate trust`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate trust policy.yaml")]
pub(crate) struct TrustArgs {
    /// The file that you have read and vouch for, as it is now
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    common: Common,
}

/// Remembers a file.
pub(crate) fn run(args: &TrustArgs, out: &mut Out) -> Ended {
    let unread = |error: io::Error| {
        Failure::usage(format!("{} cannot be read: {error}", args.file.display()))
    };
    let digest = digest(&args.file).map_err(unread)?;
    let state = args.common.folder_or_new()?;
    trust::remember(&state, &args.file, &digest)?;
    let path = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    if args.common.json {
        out.json(&json!({ "file": path.display().to_string(), "sha256": hex(&digest) }))?;
    } else {
        let line = Line::new().paint(Paint::Bold, "trusted");
        out.line(&line.text(format!(": {} · sha256 {}", path.display(), hex(&digest))))?;
    }
    Ok(Exit::Done)
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::could_not(error)
    }
}
