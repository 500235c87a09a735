//! Deadlines that are armed. They fire in order of (deadline, sequence of the command that armed them).
//!
//! A binary heap in one vector, in which each timer knows its place: one that is disarmed is taken out at once, and
//! arming and disarming take no memory that an earlier timer has left. Invariants: no timer comes before its parent;
//! a timer's place in the heap is the one that it remembers.

use domain::{Sequence, Timestamp};

use crate::book::arena::{Arena, Handle};

/// What fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// An order's time runs out.
    Order(Handle),
    /// A session's dead-man switch.
    DeadMan(Handle),
}

/// When a timer fires, among others.
type Due = (Timestamp, Sequence);

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Due,
    armed: Handle,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    timer: Timer,
    place: usize,
}

/// All armed deadlines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<Entry>,
    armed: Arena<Armed>,
}

impl Timers {
    /// Arms a timer and returns the name under which it is disarmed.
    pub(crate) fn arm(&mut self, deadline: Timestamp, armed_by: Sequence, timer: Timer) -> Handle {
        let place = self.heap.len();
        let armed = self.armed.insert(Armed { timer, place });
        self.heap.push(Entry {
            due: (deadline, armed_by),
            armed,
        });
        self.rise(place);
        armed
    }

    /// Disarms a timer that has not fired.
    pub(crate) fn disarm(&mut self, armed: Handle) {
        let place = self.armed.remove(armed).place;
        self.take(place);
    }

    /// What an armed timer fires.
    pub(crate) fn get(&self, armed: Handle) -> Timer {
        self.armed[armed].timer
    }

    /// When an armed timer fires.
    pub(crate) fn deadline(&self, armed: Handle) -> Timestamp {
        self.heap[self.armed[armed].place].due.0
    }

    /// The next deadline.
    #[inline]
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.first().map(|entry| entry.due.0)
    }

    /// Takes the next timer that is due.
    #[inline]
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let armed = self.heap[0].armed;
        self.take(0);
        Some(self.armed.remove(armed).timer)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Takes the entry at a place out of the heap; the last one moves there and finds its own place.
    fn take(&mut self, place: usize) {
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            let moved = self.heap[place].armed;
            self.armed[moved].place = place;
            self.rise(place);
            let place = self.armed[moved].place;
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) >> 1;
            if self.heap[parent].due <= self.heap[place].due {
                return;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = [2 * place + 1, 2 * place + 2].into_iter();
            let earliest = children
                .filter(|child| *child < self.heap.len())
                .min_by_key(|child| self.heap[*child].due);
            let Some(child) = earliest.filter(|child| self.heap[*child].due < self.heap[place].due) else {
                return;
            };
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            let armed = self.heap[place].armed;
            self.armed[armed].place = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arms, disarms and fires at random, beside a list that is searched.
    #[test]
    fn timers_fire_in_order_whatever_was_disarmed() {
        let (mut timers, mut listed) = (Timers::default(), Vec::new());
        let mut random = 1u64;
        for step in 1..3_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = random >> 33;
            match dice % 5 {
                0..=2 => {
                    let due = (Timestamp::from_micros(dice % 97), Sequence::new(step));
                    let timer = Timer::Order(Handle::at(usize::try_from(step).unwrap()));
                    listed.push((due, timers.arm(due.0, due.1, timer), timer));
                }
                3 if !listed.is_empty() => {
                    let place = usize::try_from(dice).unwrap() % listed.len();
                    timers.disarm(listed.swap_remove(place).1);
                }
                _ => {
                    let now = Timestamp::from_micros(dice % 50);
                    listed.sort_unstable_by_key(|(due, _, _)| *due);
                    let next = listed.first().copied().filter(|(due, _, _)| due.0 <= now);
                    assert_eq!(timers.pop_due(now), next.map(|(_, _, timer)| timer));
                    listed.drain(..usize::from(next.is_some()));
                }
            }
            assert_eq!(timers.len(), listed.len());
            assert_eq!(timers.next(), listed.iter().map(|(due, _, _)| due.0).min());
        }
    }
}
