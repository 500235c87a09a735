//! Finding values in an arena by what names them: an open-addressing hash table of handles.
//!
//! A slot is eight bytes: 32 bits of the name's hash and a handle. The names stay in the values, so whoever looks
//! something up says how to recognise it. Invariants: a handle is in the table at most once; no slot between a
//! handle's home and its place is free, so a search ends at the first free slot. Nothing ever walks the table, so
//! nothing that the engine does depends on the order in it.

use crate::book::arena::Handle;
use crate::prefetch::prefetch;

/// 32 bits of the hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

/// The golden ratio in 64 bits: odd, and without a pattern.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Slots in a cache line.
const LINE: usize = 8;

/// Tables begin with so many lines, as a power of two.
const FIRST_BITS: u32 = 1;

impl Tag {
    /// Of a number that counts up. Eight neighbours share a cache line: what is placed together is found together.
    #[inline(always)]
    pub(crate) fn of_sequence(number: u64) -> Self {
        let line = Self::of_number(number >> 3).0;
        Self((line & !7) | low_half(number & 7))
    }

    /// Of any number.
    #[inline(always)]
    pub(crate) fn of_number(number: u64) -> Self {
        Self(high_half(number.wrapping_mul(GOLDEN)))
    }

    /// Of a name that is long, within the numbers of a smaller space.
    #[inline(always)]
    pub(crate) fn of_pair(space: u64, name: u128) -> Self {
        let (low, high) = (low_word(name), low_word(name >> 64));
        let mixed = (low ^ space.rotate_left(32)).wrapping_mul(GOLDEN);
        Self::of_number(mixed ^ (mixed >> 32) ^ high)
    }
}

/// A place in the table: taken if it has a handle.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: Tag,
    handle: Option<Handle>,
}

const FREE: Slot = Slot {
    tag: Tag(0),
    handle: None,
};

/// The table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Nothing, or a power of two of lines.
    slots: Vec<Slot>,
    /// By how much a tag is shifted to name its line.
    shift: u32,
    count: usize,
}

impl Index {
    /// The handle under a tag that `is_meant` recognises.
    #[inline(always)]
    pub(crate) fn find(&self, tag: Tag, is_meant: impl Fn(Handle) -> bool) -> Option<Handle> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut place = self.home(tag);
        loop {
            let slot = self.slots[place & mask];
            let handle = slot.handle?;
            if slot.tag == tag && is_meant(handle) {
                return Some(handle);
            }
            place += 1;
        }
    }

    /// Puts in a handle that is not there.
    #[inline(always)]
    pub(crate) fn insert(&mut self, tag: Tag, handle: Handle) {
        // Three quarters full at most: a search looks at a line or two.
        if self.count * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        self.count += 1;
        self.place(Slot {
            tag,
            handle: Some(handle),
        });
    }

    /// Takes out a handle that is there.
    #[inline(always)]
    pub(crate) fn remove(&mut self, tag: Tag, handle: Handle) {
        let mask = self.slots.len() - 1;
        let mut hole = self.home(tag) & mask;
        while self.slots[hole & mask].handle != Some(handle) {
            assert!(
                self.slots[hole & mask].handle.is_some(),
                "a handle is in the table until it is taken out"
            );
            hole = (hole + 1) & mask;
        }
        self.count -= 1;
        // Whatever the hole now cuts off from its home moves into it.
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let slot = self.slots[place & mask];
            if slot.handle.is_none() {
                break;
            }
            let from_home = place.wrapping_sub(self.home(slot.tag)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.slots[hole & mask] = slot;
                hole = place;
            }
        }
        self.slots[hole & mask] = FREE;
    }

    /// Makes the table as large as so many handles need.
    pub(crate) fn make_room(&mut self, count: usize) {
        while self.slots.len() * 3 < count * 4 {
            self.grow();
        }
    }

    /// The handle that is likely to be under a tag, without asking who it is.
    #[inline(always)]
    pub(crate) fn guess(&self, tag: Tag) -> Option<Handle> {
        self.find(tag, |_| true)
    }

    /// Asks for the slot where the search for a tag begins.
    #[inline(always)]
    pub(crate) fn prefetch(&self, tag: Tag) {
        if let Some(mask) = self.slots.len().checked_sub(1) {
            prefetch(&self.slots[self.home(tag) & mask]);
        }
    }

    /// Where the search for a tag begins: a line by its high bits, a place in the line by its low ones.
    #[inline(always)]
    fn home(&self, tag: Tag) -> usize {
        let line = usize::try_from(tag.0 >> self.shift).expect("32 bits fit a usize");
        let place = usize::try_from(tag.0 & 7).expect("32 bits fit a usize");
        line * LINE + place
    }

    #[inline(always)]
    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut place = self.home(slot.tag);
        while self.slots[place & mask].handle.is_some() {
            place += 1;
        }
        self.slots[place & mask] = slot;
    }

    #[cold]
    fn grow(&mut self) {
        if self.slots.is_empty() {
            self.shift = u32::BITS - FIRST_BITS;
            self.slots = vec![FREE; LINE << FIRST_BITS];
            return;
        }
        self.shift -= 1;
        let larger = vec![FREE; self.slots.len() * 2];
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot.handle.is_some() {
                self.place(slot);
            }
        }
    }
}

#[inline(always)]
fn high_half(number: u64) -> u32 {
    low_half(number >> 32)
}

#[inline(always)]
fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits are left")
}

#[inline(always)]
fn low_word(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).expect("64 bits are left")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts in and takes out at random and compares with a list; few different tags, so that places are fought for.
    #[test]
    fn it_finds_what_was_put_in_and_not_taken_out() {
        let (mut index, mut known) = (Index::default(), Vec::new());
        let mut random = 1u64;
        for _ in 0..4_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 33) % 300;
            let handle = Handle::at(usize::try_from(number).unwrap());
            let tag = Tag(low_half(number % 40) << 27 | low_half(number % 3));
            match known.iter().position(|other| *other == handle) {
                Some(position) => {
                    index.remove(tag, handle);
                    known.swap_remove(position);
                    assert_eq!(index.find(tag, |found| found == handle), None);
                }
                None => {
                    index.insert(tag, handle);
                    known.push(handle);
                }
            }
            for other in &known {
                let number = u64::try_from(other.position()).unwrap();
                let tag = Tag(low_half(number % 40) << 27 | low_half(number % 3));
                assert_eq!(index.find(tag, |found| found == *other), Some(*other));
            }
        }
    }

    #[test]
    fn neighbours_share_a_line() {
        let mut index = Index::default();
        for position in 0..100 {
            index.insert(
                Tag::of_sequence(position),
                Handle::at(usize::try_from(position).unwrap()),
            );
        }
        let line = |number| index.home(Tag::of_sequence(number)).div_euclid(LINE);
        assert!((80..88).all(|number| line(number) == line(80)));
        assert!((0..100).step_by(8).any(|number| line(number) != line(80)));
    }
}
