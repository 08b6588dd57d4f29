//! Reads the list of mounts as the kernel writes it.

use std::{ffi::OsString, io, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// One mount: what of its file system is where, and of which type that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The folder or file of its file system that is at its top.
    pub root: PathBuf,
    /// Where it is.
    pub point: PathBuf,
    /// The type of its file system, such as `ext4`.
    pub kind: String,
}

/// All mounts that this process sees.
///
/// # Errors
/// When their list cannot be read.
pub fn mounts() -> io::Result<Vec<Mounted>> {
    Ok(read(&std::fs::read("/proc/self/mountinfo")?))
}

/// Reads what stands in `/proc/self/mountinfo`, where a path is any bytes; a line that is none is left out.
pub(crate) fn read(text: &[u8]) -> Vec<Mounted> {
    text.split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ').skip(3);
            let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
            // Options of the mount, then any number of fields, then a dash.
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            let kind = String::from_utf8_lossy(kind).into_owned();
            Some(Mounted { root: root.into(), point: point.into(), kind })
        })
        .collect()
}

/// Major and minor number of the file system that the mount with this number shows.
pub(crate) fn device_of(text: &str, mount: u64) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(' ');
        if fields.next()?.parse() != Ok(mount) {
            return None;
        }
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// Undoes the escapes of a field: a backslash and three octal digits are a byte.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] if *first == b'\\' => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read() {
        let line = b"36 35 98:0 /mnt1 /mnt/my\\040disk rw,noatime master:1 - ext3 /dev/root rw\n";
        let expected =
            Mounted { root: "/mnt1".into(), point: "/mnt/my disk".into(), kind: "ext3".into() };
        assert_eq!(read(line), [expected]);
    }

    #[test]
    fn a_mount_point_that_is_no_text_is_read_as_it_is() {
        let line = b"36 35 98:0 / /mnt/caf\xe9 rw - nfs4 server:/ rw\n";
        let point = OsString::from_vec(b"/mnt/caf\xe9".to_vec()).into();
        assert_eq!(read(line), [Mounted { root: "/".into(), point, kind: "nfs4".into() }]);
    }

    #[test]
    fn the_device_of_a_mount_is_found_by_its_number() {
        let text = "36 35 98:0 / /mnt rw - ext3 /dev/root rw\n98 35 0:41 / /a rw - btrfs x rw\n";
        assert_eq!(device_of(text, 98), Some((0, 41)));
        assert_eq!(device_of(text, 36), Some((98, 0)));
        assert_eq!(device_of(text, 35), None);
    }

    #[test]
    fn every_octal_escape_is_undone_and_nothing_else() {
        for (written, meant) in [
            ("a\\040b\\011c\\012d", "a b\tc\nd"),
            ("hash\\043", "hash#"),
            // A backslash is escaped itself, so what follows one that was is no escape.
            ("\\134040", "\\040"),
            ("unit\\134x2d", "unit\\x2d"),
            ("plain\\04", "plain\\04"),
            ("\\", "\\"),
            ("\\777", "\\777"),
            ("\\303\\244", "ä"),
        ] {
            assert_eq!(unescape(written.as_bytes()), *meant, "{written}");
        }
    }
}
