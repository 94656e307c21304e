//! A map that forgets: entries expire, and the oldest go when the budget is spent.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use tokio::time::Instant;

/// Entries with an expiry and a weight; first in, first out when their weights exceed the budget.
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys in the order in which they came. An entry that left and came back has a new number, which tells its old place as void.
    order: VecDeque<(K, u64)>,
    next_number: u64,
    budget: usize,
    used: usize,
}

struct Entry<V> {
    value: V,
    weight: usize,
    expires: Instant,
    number: u64,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            next_number: 0,
            budget,
            used: 0,
        }
    }

    /// The value, unless it has expired.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        self.entries
            .get(key)
            .filter(|entry| now < entry.expires)
            .map(|entry| &entry.value)
    }

    /// Adds or replaces an entry; a replaced one keeps its place in the order.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize, expires: Instant, now: Instant) {
        let number = match self.entries.get(&key) {
            Some(entry) => entry.number,
            None => self.queue(key),
        };
        let entry = Entry {
            value,
            weight,
            expires,
            number,
        };
        self.used += weight;
        if let Some(replaced) = self.entries.insert(key, entry) {
            self.used -= replaced.weight;
        }
        self.make_room(now);
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.used -= entry.weight;
        }
    }

    fn queue(&mut self, key: K) -> u64 {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order
                .retain(|(key, number)| entries.get(key).is_some_and(|entry| entry.number == *number));
        }
        self.next_number += 1;
        self.order.push_back((key, self.next_number));
        self.next_number
    }

    /// Drops from the front what is void, expired, or too much.
    fn make_room(&mut self, now: Instant) {
        while let Some((key, number)) = self.order.front().copied() {
            let live = self.entries.get(&key).filter(|entry| entry.number == number);
            if self.used <= self.budget && live.is_some_and(|entry| now < entry.expires) {
                break;
            }
            if live.is_some() {
                self.remove(&key);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn entries_expire() {
        let now = Instant::now();
        let mut map = Bounded::new(100);
        map.insert(1, "a", 1, now + SECOND, now);
        assert_eq!(map.get(&1, now), Some(&"a"));
        assert_eq!(map.get(&1, now + SECOND), None);
        map.insert(2, "b", 1, now + 9 * SECOND, now + 2 * SECOND);
        assert_eq!((map.entries.len(), map.order.len(), map.used), (1, 1, 1));
    }

    #[test]
    fn the_oldest_go_first() {
        let now = Instant::now();
        let mut map = Bounded::new(3);
        for key in 0..5 {
            map.insert(key, key, 1, now + SECOND, now);
        }
        let left: Vec<_> = (0..5).filter(|key| map.get(key, now).is_some()).collect();
        assert_eq!((left, map.used), (vec![2, 3, 4], 3));
        map.insert(9, 9, 100, now + SECOND, now);
        assert_eq!(
            (map.entries.len(), map.used),
            (0, 0),
            "what is too large alone is not kept"
        );
    }

    #[test]
    fn a_replaced_entry_counts_once() {
        let now = Instant::now();
        let mut map = Bounded::new(10);
        for weight in [9, 2, 5] {
            map.insert(1, weight, weight, now + SECOND, now);
        }
        assert_eq!((map.used, map.order.len(), map.get(&1, now)), (5, 1, Some(&5)));
    }

    #[test]
    fn coming_and_going_leaves_nothing_behind() {
        let now = Instant::now();
        let mut map = Bounded::new(10);
        map.insert(0, 0, 1, now + SECOND, now);
        for key in 0..10_000 {
            map.insert(1 + key % 3, key, 1, now + SECOND, now);
            map.remove(&(1 + key % 3));
        }
        assert!(map.order.len() <= 70, "{}", map.order.len());
        assert_eq!(map.used, 1);
        assert!(map.get(&0, now).is_some());
    }
}
