//! Choices that follow from a seed, so that a soak that found something can be run again.

/// `SplitMix64`: <https://prng.di.unimi.it/splitmix64.c>, whose constants these are.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// One of these, of which there is at least one.
    #[expect(clippy::indexing_slicing, reason = "the number is below their count")]
    pub(super) fn one_of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        const { assert!(N > 0, "there is nothing to choose from") };
        all[self.below(N)]
    }

    /// A part of `bytes` from their beginning, and never all of them.
    pub(super) fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(..self.below(bytes.len())).unwrap_or_default()
    }

    /// Choices of somebody else, which follow from these.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_its_forks_others() {
        let draw = |mut random: Random| (0..8).map(|_| random.below(1000)).collect::<Vec<_>>();
        let mut first = Random::of(7);
        let fork = first.fork();
        assert_eq!(draw(Random::of(7).fork()), draw(fork.clone()));
        assert_ne!(draw(first), draw(fork));
    }
}
