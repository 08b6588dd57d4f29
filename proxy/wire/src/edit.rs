//! Edits of a body that leave every other byte alone.

use std::ops::Range;

/// Bytes of a decoded body and what stands there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Bytes that go; empty inserts.
    pub at: Range<usize>,
    /// Bytes that come.
    pub with: Vec<u8>,
}

/// `body` with every edit made, in order of place; of two that overlap the later one is left out.
///
/// Callers take edits from one document, whose places are inside it; a place outside is left out.
#[must_use]
pub fn splice(body: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut ordered: Vec<&Edit> = edits.iter().collect();
    ordered.sort_by_key(|edit| (edit.at.start, edit.at.end));
    let mut out =
        Vec::with_capacity(body.len() + edits.iter().map(|edit| edit.with.len()).sum::<usize>());
    let mut done = 0;
    for edit in ordered {
        let Some(kept) = body.get(done..edit.at.start) else { continue };
        if edit.at.end < edit.at.start || edit.at.end > body.len() {
            continue;
        }
        out.extend_from_slice(kept);
        out.extend_from_slice(&edit.with);
        done = edit.at.end;
    }
    out.extend_from_slice(body.get(done..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::{Edit, splice};

    fn edit(at: std::ops::Range<usize>, with: &str) -> Edit {
        Edit { at, with: with.as_bytes().to_vec() }
    }

    #[test]
    fn edits_in_any_order_leave_all_other_bytes_alone() {
        let edits = [edit(8..9, "[b]"), edit(0..0, ">"), edit(2..5, "")];
        assert_eq!(splice(b"0123456789", &edits), b">01567[b]9");
    }

    #[test]
    fn an_overlapping_or_outside_edit_changes_nothing() {
        let edits = [edit(2..5, "x"), edit(3..4, "y"), edit(20..30, "z")];
        assert_eq!(splice(b"0123456789", &edits), b"01x56789");
    }
}
