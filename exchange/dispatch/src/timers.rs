//! Deadlines by key, earliest first.

use std::collections::{BTreeMap, BTreeSet};

use domain::Timestamp;

/// At most one alarm a key. An alarm may ring early, never late: whoever set it looks again and sets it anew, so that
/// a deadline which moves with every token does not move the alarm each time.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    set: BTreeMap<K, Timestamp>,
    queue: BTreeSet<(Timestamp, K)>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self {
            set: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// Sees to it that the key's alarm rings at `at` or before.
    pub(crate) fn set(&mut self, key: K, at: Timestamp) {
        if let Some(earlier) = self.set.get(&key).copied() {
            if earlier <= at {
                return;
            }
            self.queue.remove(&(earlier, key));
        }
        self.set.insert(key, at);
        self.queue.insert((at, key));
    }

    /// Silences the key's alarm.
    pub(crate) fn clear(&mut self, key: K) {
        if let Some(at) = self.set.remove(&key) {
            self.queue.remove(&(at, key));
        }
    }

    /// When the first alarm rings.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first alarm that rings by `now`.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<K> {
        let (at, key) = self.queue.first().copied()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_at_its_earliest_setting_and_once() {
        let at = Timestamp::from_micros;
        let mut timers = Timers::new();
        timers.set("a", at(9));
        timers.set("a", at(5));
        timers.set("a", at(7));
        timers.set("b", at(6));
        timers.set("c", at(1));
        timers.clear("c");
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.take_due(at(4)), None);
        assert_eq!(timers.take_due(at(6)), Some("a"));
        assert_eq!(timers.take_due(at(6)), Some("b"));
        assert_eq!(timers.take_due(Timestamp::MAX), None);
        assert_eq!(timers.next(), None);
    }
}
