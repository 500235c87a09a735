//! Finding values in an arena by what names them: an open-addressing hash table of handles.
//!
//! A slot is eight bytes: 32 bits of the name's hash and a handle. The names stay in the values, so whoever looks
//! something up says how to recognise it. Invariants: a handle is in the table at most once; no slot between a
//! handle's home and its place is free, so a search ends at the first free slot. Nothing ever walks the table, so
//! nothing that the engine does depends on the order in it.

use crate::book::arena::Handle;
use crate::prefetch::prefetch_at;

/// 32 bits of the hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

/// The golden ratio in 64 bits: odd, and without a pattern.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Slots in a cache line, as a power of two.
const LINE_BITS: u32 = 3;

/// The bits of a tag that say which place of a line.
const PLACE: u32 = (1 << LINE_BITS) - 1;

/// Lines that a table begins with, as a power of two.
const FIRST_BITS: u32 = 1;

impl Tag {
    /// Of a number that counts up. Eight neighbours share a cache line: what is placed together is found together.
    #[inline(always)]
    pub(crate) fn of_sequence(number: u64) -> Self {
        let line = Self::of_number(number >> LINE_BITS).0;
        Self((line & !PLACE) | low_half(number & u64::from(PLACE)))
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
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// A power of two of them.
    slots: Vec<Slot>,
    /// The bits of every place: one less than there are slots.
    mask: usize,
    /// By how much a tag is shifted to name its line.
    shift: u32,
    /// How many more handles fit before it grows.
    room: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self::with_lines(FIRST_BITS)
    }
}

impl Index {
    /// A table that is three quarters full at most: a search looks at a line or two.
    fn with_lines(bits: u32) -> Self {
        let count = 1 << (bits + LINE_BITS);
        Self {
            slots: vec![FREE; count],
            mask: count - 1,
            shift: u32::BITS - bits,
            room: count - (count >> 2),
        }
    }

    /// The handle under a tag that `is_meant` recognises.
    #[inline(always)]
    pub(crate) fn find(&self, tag: Tag, is_meant: impl Fn(Handle) -> bool) -> Option<Handle> {
        let mut place = self.home(tag);
        loop {
            let slot = self.slots[place];
            let handle = slot.handle?;
            if slot.tag == tag && is_meant(handle) {
                return Some(handle);
            }
            place = self.after(place);
        }
    }

    /// Puts in a handle that is not there.
    #[inline(always)]
    pub(crate) fn insert(&mut self, tag: Tag, handle: Handle) {
        if self.room == 0 {
            self.grow();
        }
        self.room -= 1;
        let handle = Some(handle);
        self.place(Slot { tag, handle });
    }

    /// Takes out a handle that is there.
    #[inline(always)]
    pub(crate) fn remove(&mut self, tag: Tag, handle: Handle) {
        let mut hole = self.home(tag);
        while self.slots[hole].handle != Some(handle) {
            assert!(
                self.slots[hole].handle.is_some(),
                "a handle is in the table until it is taken out"
            );
            hole = self.after(hole);
        }
        self.room += 1;
        // Whatever the hole now cuts off from its home moves into it.
        let mut place = hole;
        loop {
            place = self.after(place);
            let slot = self.slots[place];
            if slot.handle.is_none() {
                break;
            }
            if self.distance(self.home(slot.tag), place) >= self.distance(hole, place) {
                self.slots[hole] = slot;
                hole = place;
            }
        }
        self.slots[hole] = FREE;
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
        prefetch_at(&self.slots, self.home(tag));
    }

    #[inline(always)]
    fn place(&mut self, slot: Slot) {
        let mut place = self.home(slot.tag);
        while self.slots[place].handle.is_some() {
            place = self.after(place);
        }
        self.slots[place] = slot;
    }

    /// Where the search for a tag begins: a line by its high bits, a place in the line by its low ones.
    #[inline(always)]
    fn home(&self, tag: Tag) -> usize {
        let place = ((tag.0 >> self.shift) << LINE_BITS) | (tag.0 & PLACE);
        usize::try_from(place).expect("32 bits fit a usize")
    }

    /// The place after another. That after the last is the first.
    #[inline(always)]
    fn after(&self, place: usize) -> usize {
        place.wrapping_add(1) & self.mask
    }

    /// How many places a search goes from one to another.
    #[inline(always)]
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask
    }

    #[cold]
    fn grow(&mut self) {
        let larger = Self::with_lines(u32::BITS - self.shift + 1);
        for slot in std::mem::replace(self, larger).slots {
            if slot.handle.is_some() {
                self.place(slot);
                self.room -= 1;
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

    /// One of 40 tags, which belong around the end of a table and its beginning.
    fn tag_of(number: u64) -> Tag {
        Tag((low_half(number % 40).wrapping_sub(20) << 27) | low_half(number % 3))
    }

    /// Puts in and takes out at random and compares with a list; few different tags, so that places are fought for.
    #[test]
    fn it_finds_what_was_put_in_and_not_taken_out() {
        let (mut index, mut known) = (Index::default(), Vec::new());
        let mut random = 1u64;
        for _ in 0..4_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 33) % 300;
            let handle = Handle::at(usize::try_from(number).unwrap());
            let tag = tag_of(number);
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
                let tag = tag_of(number);
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
        let line = |number| index.home(Tag::of_sequence(number)) >> LINE_BITS;
        assert!((80..88).all(|number| line(number) == line(80)));
        assert!((0..100).step_by(8).any(|number| line(number) != line(80)));
    }
}
