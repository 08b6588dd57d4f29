//! The right edge of the RFC 6962 tree over all entries: enough to grow it and to know its root.

use sha2::{Digest, Sha256};

use crate::entry::Hash;
use crate::wire::{Cursor, Malformed};

/// The roots of the perfect subtrees that make up the tree, largest first; one for each bit that
/// is set in `size`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

/// The hash of an inner node: SHA-256 of a one byte and both children (RFC 6962, 2.1).
fn node(left: Hash, right: Hash) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([1])
            .chain_update(left.0)
            .chain_update(right.0)
            .finalize()
            .into(),
    )
}

impl Edge {
    /// An edge of which only the size is known.
    pub(crate) fn without_roots(size: u64) -> Edge {
        Edge { size, roots: Vec::new() }
    }

    /// Adds the next leaf.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                root = node(left, root);
            }
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// How many leaves there are.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The root; of the empty tree the hash of nothing.
    pub(crate) fn root(&self) -> Hash {
        let mut smallest_first = self.roots.iter().rev().copied();
        let Some(last) = smallest_first.next() else { return Hash::of(b"") };
        smallest_first.fold(last, |right, left| node(left, right))
    }

    /// Appends size and roots to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.size.to_be_bytes());
        for root in &self.roots {
            out.extend_from_slice(&root.0);
        }
    }

    /// Reads what [`Edge::write`] wrote.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Edge, Malformed> {
        let size = cursor.u64()?;
        let roots =
            (0..size.count_ones()).map(|_| cursor.array().map(Hash)).collect::<Result<_, _>>()?;
        Ok(Edge { size, roots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962, 2.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(b""),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(by_definition(&leaves[..split]), by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_the_one_of_rfc_6962_at_every_size() {
        let leaves: Vec<_> = (0u8..130).map(|number| Hash::of_leaf(&[number])).collect();
        let mut edge = Edge::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(edge.root(), by_definition(&leaves[..size]), "{size}");
            edge.push(*leaf);
        }
    }

    #[test]
    fn an_edge_goes_on_after_being_stored() {
        let mut edge = Edge::default();
        for number in 0u8..23 {
            edge.push(Hash::of_leaf(&[number]));
        }
        let mut bytes = Vec::new();
        edge.write(&mut bytes);
        let mut stored = Edge::read(&mut Cursor::new(&bytes)).unwrap();
        stored.push(Hash::ZERO);
        edge.push(Hash::ZERO);
        assert_eq!(stored.root(), edge.root());
    }
}
