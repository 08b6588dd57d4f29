//! Reads the list of mounts as the kernel writes it.

use std::path::PathBuf;

/// One mount: where it is and of which type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
}

/// Reads the text of `/proc/self/mountinfo`; a line that is none is left out.
pub(crate) fn read(text: &str) -> Vec<Mounted> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let point = before.split(' ').nth(4)?;
            let kind = after.split(' ').next()?;
            Some(Mounted { point: PathBuf::from(unescape(point)), kind: kind.to_owned() })
        })
        .collect()
}

/// Undoes the octal escapes of space, tab, newline and backslash.
pub(crate) fn unescape(field: &str) -> String {
    let mut out = field.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(escape, plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read() {
        let line = "36 35 98:0 /mnt1 /mnt/my\\040disk rw,noatime master:1 - ext3 /dev/root rw\n";
        assert_eq!(read(line), [Mounted { point: "/mnt/my disk".into(), kind: "ext3".into() }]);
    }
}
