//! A `.env` file: the real keys in it, and the same file with virtual ones in their place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file of settings is small.
const LARGEST: u64 = 1 << 20;

/// One assignment.
#[derive(PartialEq, Eq)]
pub(super) struct Assigned<'a> {
    /// The variable.
    pub(super) name: &'a str,
    /// Its value, without quotes.
    pub(super) value: &'a str,
    /// The line, from 1.
    pub(super) line: usize,
}

/// Every assignment of a file, in its order. A line that is none is passed over.
pub(super) fn assignments(text: &str) -> impl Iterator<Item = Assigned<'_>> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let (name, value) = line.split_once('=')?;
        let name = name.trim_end();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) {
            return None;
        }
        Some(Assigned { name, value: bare(value.trim_start()), line: at + 1 })
    })
}

/// The value without its quotes, or up to a comment.
fn bare(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split_once(quote).map_or(rest, |(inner, _)| inner);
        }
    }
    let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim_end()
}

/// The text of a file of settings.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file of settings"));
    }
    let capacity = usize::try_from(about.len()).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(about.len()).read_to_string(&mut text)?;
    Ok(text)
}

/// Puts `virtual_key` in the place of `real` wherever it stands in the file, comments and all. After a
/// crash there is the old file or the new one; it stays the owner's, as readable as it was.
pub(super) fn replace(path: &Path, real: &str, virtual_key: &str) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a link: name the file that it leads to",
        ));
    }
    let before = fs::metadata(path)?;
    let text = read(path)?;
    let changed = Zeroizing::new(text.replace(real, virtual_key));
    let fresh = beside(path);
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = (|| {
        new.write_all(changed.as_bytes())?;
        fchown(&new, Some(before.uid()), Some(before.gid()))?;
        new.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
        new.sync_all()?;
        fs::rename(&fresh, path)
    })();
    if written.is_err() {
        // What was begun is taken away; that it could not be is the lesser news.
        drop(fs::remove_file(&fresh));
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tollgate-{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_shells_and_libraries_read_them() {
        let text = "# OPENAI_API_KEY=commented\nexport A=1\n B = two # why\nC=\"th ree\" # x\nD='fo#ur'\nE=\nF=a#b\nno\n1-2=x\n";
        let found: Vec<_> = assignments(text).map(|one| (one.name, one.value, one.line)).collect();
        let expected = [
            ("A", "1", 2),
            ("B", "two", 3),
            ("C", "th ree", 4),
            ("D", "fo#ur", 5),
            ("E", "", 6),
            ("F", "a#b", 7),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_real_key_is_replaced_wherever_it_stands_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        fs::write(&path, "# was sk-real\nA=\"sk-real\"\r\nB=other\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "sk-real", "sk-tg-1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "# was sk-tg-1\nA=\"sk-tg-1\"\r\nB=other\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "A=sk-real\n").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(replace(&link, "sk-real", "x").is_err());
        assert_eq!(fs::read_to_string(&real).unwrap(), "A=sk-real\n");
    }
}
