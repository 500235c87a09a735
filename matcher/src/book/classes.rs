//! The resting bids of one instrument, by eligibility class.
//!
//! A class is what its bids have in common: home, regions, tier floor and band floor. Its number stays its own while
//! a bid rests in it, and as long as it can afterwards: a new class takes an unused number first, and only then the
//! lowest one in which nothing rests. So 256 numbers bound what is resting, not what was ever asked for.

use domain::{Eligibility, Side};

use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::book::class_set::ClassSet;
use crate::book::ladder::Ladder;
use crate::book::ticks::Ticks;
use crate::index::{Index, Tag};
use crate::limits::CLASSES_PER_INSTRUMENT_MAX;
use crate::prefetch::prefetch;

/// The bids of one class.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) eligibility: Eligibility,
    pub(crate) ladder: Ladder,
}

/// Where a class of bids finds its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It has one already.
    Known(u16),
    /// A number never used.
    Unused(u16),
    /// The number of a class in which nothing rests.
    Reused(u16),
}

/// The classes of one instrument.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    classes: Vec<Class>,
    numbers: Index,
    /// By the class's number: the highest limit at which something rests.
    best: Vec<Option<Ticks>>,
}

impl Classes {
    /// The highest limit of a class, if something rests in it.
    #[inline]
    pub(crate) fn best(&self, class: u16) -> Option<Ticks> {
        self.best[usize::from(class)]
    }

    /// The classes whose bids may be filled from a place.
    pub(crate) fn covering(&self, place: Place) -> ClassSet {
        let mut covering = ClassSet::default();
        for (number, class) in self.iter() {
            covering.set(number, place.is_covered_by(&class.eligibility));
        }
        covering
    }

    pub(crate) fn get(&self, class: u16) -> &Class {
        &self.classes[usize::from(class)]
    }

    pub(crate) fn get_mut(&mut self, class: u16) -> &mut Class {
        &mut self.classes[usize::from(class)]
    }

    /// Asks for what a search begins with. Most books are thin: the first class is the only one.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(class) = self.classes.first() {
            prefetch(&class.ladder);
        }
        if let Some(best) = self.best.first() {
            prefetch(best);
        }
    }

    /// The slot in which the number of a class is found.
    #[inline]
    pub(crate) fn prefetch_slot(&self, eligibility: &Eligibility) {
        self.numbers.prefetch(tag(eligibility));
    }

    /// The bids of the first class, if there is one.
    #[inline]
    pub(crate) fn first_ladder(&self) -> Option<&Ladder> {
        self.classes.first().map(|class| &class.ladder)
    }

    /// Every class with its number, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Class)> {
        (0u16..).zip(&self.classes)
    }

    /// Which number the bids of `eligibility` would rest under, or `None` when `count_max` classes are resting.
    pub(crate) fn room_for(&self, eligibility: &Eligibility, count_max: u16) -> Option<Room> {
        if let Some(class) = self.find(eligibility) {
            return Some(Room::Known(class));
        }
        let count = u16::try_from(self.classes.len()).expect("classes are bounded by a u16");
        if count < count_max.min(CLASSES_PER_INSTRUMENT_MAX) {
            return Some(Room::Unused(count));
        }
        self.iter()
            .find(|(_, class)| class.ladder.is_empty())
            .map(|(number, _)| Room::Reused(number))
    }

    /// Gives a number that [`Self::room_for`] found to `eligibility`.
    pub(crate) fn define(&mut self, class: u16, eligibility: Eligibility) {
        let definition = Class {
            eligibility,
            ladder: Ladder::new(Side::Bid),
        };
        let handle = Handle::at(usize::from(class));
        match self.classes.get_mut(usize::from(class)) {
            Some(former) => {
                self.numbers.remove(tag(&former.eligibility), handle);
                *former = definition;
            }
            None => {
                self.classes.push(definition);
                self.best.push(None);
            }
        }
        self.numbers.insert(tag(&eligibility), handle);
    }

    /// The number of a class. In a thin book most bids are of the first, and need no search.
    #[inline]
    fn find(&self, eligibility: &Eligibility) -> Option<u16> {
        let first = self.classes.first();
        if first.is_some_and(|first| first.eligibility == *eligibility) {
            return Some(0);
        }
        let is_meant = |handle: Handle| self.classes[handle.position()].eligibility == *eligibility;
        let handle = self.numbers.find(tag(eligibility), is_meant)?;
        Some(u16::try_from(handle.position()).expect("classes are bounded by a u16"))
    }

    /// Brings the best limit up to date after a level of the class came or went.
    pub(crate) fn refresh_top(&mut self, class: u16) {
        let position = usize::from(class);
        let best = self.classes[position].ladder.best();
        self.best[position] = best.map(|best| best.ticks);
    }
}

#[inline]
fn tag(eligibility: &Eligibility) -> Tag {
    let Eligibility {
        home,
        regions,
        min_tier,
        min_band,
    } = eligibility;
    let floor = min_tier.index() << 2 | min_band.index();
    let space = home.index() << 8 | floor;
    let space = u64::try_from(space).expect("an index fits 64 bits");
    Tag::of_pair(space, u128::from(regions.bits()))
}
