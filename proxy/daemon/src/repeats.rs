//! Equal events that come again and again: the first is told at once, the others as one when their time is over.
//!
//! What an agent or a stranger can cause as often as they like must not fill the log or the ledger.

use std::collections::BTreeMap;

use decide::case::Timestamp;

/// An event that another of its kind can be added to.
pub(crate) trait Add {
    /// Adds what came later.
    fn add(&mut self, later: Self);
}

/// What was told lately, by kind.
#[derive(Debug)]
pub(crate) struct Repeats<K, V> {
    /// How long equal events are one, microseconds.
    within: u64,
    /// Kinds that are told apart at a time.
    most: usize,
    told: BTreeMap<K, Told<V>>,
}

#[derive(Debug)]
struct Told<V> {
    until: Timestamp,
    again: Option<V>,
}

impl<K: Ord + Clone, V: Add> Repeats<K, V> {
    /// Nothing yet. Equal events of `within` microseconds are one, and at most `most` kinds are told apart.
    pub(crate) const fn new(within: u64, most: usize) -> Self {
        Self { within, most, told: BTreeMap::new() }
    }

    /// Takes in an event. Returned is what to tell now: the event itself where it is the first of its kind. Where too
    /// many kinds are known, it counts as what `others` makes of it.
    pub(crate) fn take(
        &mut self,
        kind: K,
        event: V,
        now: Timestamp,
        others: impl FnOnce(V) -> (K, V),
    ) -> Option<V> {
        if self.told.len() >= self.most && !self.told.contains_key(&kind) {
            let (kind, event) = others(event);
            return self.enter(kind, event, now);
        }
        self.enter(kind, event, now)
    }

    fn enter(&mut self, kind: K, event: V, now: Timestamp) -> Option<V> {
        if let Some(told) = self.told.get_mut(&kind) {
            match &mut told.again {
                Some(again) => again.add(event),
                None => told.again = Some(event),
            }
            return None;
        }
        let until = Timestamp(now.0.saturating_add(self.within));
        self.told.insert(kind, Told { until, again: None });
        Some(event)
    }

    /// What came again, of the kinds whose time is over. They begin anew.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<V> {
        let over: Vec<K> = self
            .told
            .iter()
            .filter(|(_, told)| told.until <= now)
            .map(|(kind, _)| kind.clone())
            .collect();
        over.iter().filter_map(|kind| self.told.remove(kind)?.again).collect()
    }

    /// Everything that came again, at the end.
    pub(crate) fn drain(&mut self) -> Vec<V> {
        std::mem::take(&mut self.told).into_values().filter_map(|told| told.again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Add for u64 {
        fn add(&mut self, later: Self) {
            *self += later;
        }
    }

    fn take(repeats: &mut Repeats<&'static str, u64>, kind: &'static str, at: u64) -> Option<u64> {
        repeats.take(kind, 1, Timestamp(at), |event| ("others", event))
    }

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_the_others_as_one() {
        let mut repeats = Repeats::new(10, 8);
        assert_eq!(take(&mut repeats, "a", 0), Some(1));
        assert_eq!(take(&mut repeats, "b", 1), Some(1));
        assert_eq!((take(&mut repeats, "a", 2), take(&mut repeats, "a", 9)), (None, None));
        assert_eq!(repeats.due(Timestamp(9)), [0_u64; 0]);
        assert_eq!(repeats.due(Timestamp(11)), [2], "of b nothing came again");
        assert_eq!(take(&mut repeats, "a", 12), Some(1), "a new time begins");
    }

    #[test]
    fn kinds_beyond_the_room_are_counted_together_and_nothing_is_lost() {
        let mut repeats = Repeats::new(10, 2);
        let kinds = ["a", "b", "c", "d", "e", "a"];
        let told: u64 = kinds.iter().filter_map(|kind| take(&mut repeats, kind, 0)).sum();
        assert_eq!((told, repeats.told.len()), (3, 3), "a, b and the first of the others");
        assert_eq!(repeats.drain(), [1, 2]);
        assert_eq!(take(&mut repeats, "z", 1), Some(1));
    }
}
