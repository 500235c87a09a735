//! The price levels of one side of one cell or class.
//!
//! A level is a value of its own, which its orders name, so that taking an order out looks for no price. A ladder
//! finds levels by price: pages of 32 neighbouring prices, each with a bitmap of those that are there, and a sorted
//! list of the pages that hold any. A thin ladder has a page or two, a deep one as many as its prices need; nothing
//! is set aside for prices that nobody quotes. Levels and pages of all ladders live in two arenas, so a ladder that
//! changes shape takes no memory that another has not left.
//!
//! Invariants: between commands no level and no page is empty; the best level is the one that the ladder remembers.

use std::ops;

use domain::Side;

use crate::book::arena::{Arena, Handle};
use crate::book::queue::Queue;
use crate::book::ticks::Ticks;
use crate::orders::Orders;
use crate::prefetch::prefetch;

/// The orders at one price.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) ticks: Ticks,
    /// The sum of what its orders display.
    pub(crate) jobs: u64,
    pub(crate) queue: Queue,
}

/// Prices in a page.
const PAGE_BITS: u32 = 5;

/// Neighbouring prices and their levels.
#[derive(Clone, Debug)]
struct Page {
    /// Which prices have a level.
    taken: u32,
    levels: [Option<Handle>; 1 << PAGE_BITS],
}

/// The levels of every ladder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    levels: Arena<Level>,
    pages: Arena<Page>,
}

impl Levels {
    #[inline]
    pub(crate) fn prefetch(&self, level: Handle) {
        self.levels.prefetch(level);
    }

    /// Sets aside what so many orders at different prices may need.
    pub(crate) fn make_room(&mut self, order_count: usize) {
        // Orders share levels, and levels share pages: beyond this the arenas grow as others do.
        self.levels.make_room(order_count.div_ceil(8));
        self.pages.make_room(order_count.div_ceil(64));
    }
}

impl ops::Index<Handle> for Levels {
    type Output = Level;

    #[inline]
    fn index(&self, level: Handle) -> &Level {
        &self.levels[level]
    }
}

impl ops::IndexMut<Handle> for Levels {
    #[inline]
    fn index_mut(&mut self, level: Handle) -> &mut Level {
        &mut self.levels[level]
    }
}

/// A price's rank in its ladder: the lower, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u32);

impl Rank {
    #[inline]
    fn page(self) -> u32 {
        self.0 >> PAGE_BITS
    }

    #[inline]
    fn bit(self) -> u32 {
        self.0 & ((1 << PAGE_BITS) - 1)
    }

    #[inline]
    fn place(self) -> usize {
        usize::try_from(self.bit()).expect("32 bits fit a usize")
    }
}

/// A page of a ladder, by the number that its ranks have in common.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u32,
    page: Handle,
}

/// A level as a ladder's best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Best {
    pub(crate) ticks: Ticks,
    pub(crate) level: Handle,
}

/// Whether a change moved the best price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BestPrice {
    Kept,
    Moved,
}

/// Levels, by price.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    side: Side,
    best: Option<Best>,
    /// The better, the earlier.
    pages: Vec<Entry>,
}

impl Ladder {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            best: None,
            pages: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.best.is_none()
    }

    #[inline]
    pub(crate) fn best(&self) -> Option<Best> {
        self.best
    }

    /// Asks for the best level, and for the list of pages.
    #[inline]
    pub(crate) fn prefetch(&self, levels: &Levels) {
        if let Some(best) = self.best {
            levels.prefetch(best.level);
        }
        if let Some(entry) = self.pages.first() {
            prefetch(entry);
        }
    }

    /// Asks for the first page, and for the first order of the best level.
    #[inline]
    pub(crate) fn prefetch_more(&self, levels: &Levels, orders: &Orders) {
        if let Some(head) = self.best.and_then(|best| levels[best.level].queue.head()) {
            orders.prefetch(head);
        }
        if let Some(entry) = self.pages.first() {
            levels.pages.prefetch(entry.page);
        }
    }

    /// The levels, the best one first.
    pub(crate) fn iter<'a>(&'a self, levels: &'a Levels) -> impl Iterator<Item = &'a Level> {
        let best = self.best.map(|best| best.level);
        std::iter::successors(best, |level| self.worse_than(levels, *level)).map(|level| &levels[level])
    }

    /// The level at a price, made if there is none.
    #[inline]
    pub(crate) fn level_or_new(&mut self, levels: &mut Levels, ticks: Ticks) -> (Handle, BestPrice) {
        if let Some(best) = self.best.filter(|best| best.ticks == ticks) {
            return (best.level, BestPrice::Kept);
        }
        let rank = self.rank(ticks);
        let page = match self.find(rank) {
            Ok(position) => self.pages[position].page,
            Err(position) => {
                let page = levels.pages.insert(Page {
                    taken: 0,
                    levels: [None; 1 << PAGE_BITS],
                });
                let number = rank.page();
                self.pages.insert(position, Entry { number, page });
                page
            }
        };
        if let Some(level) = levels.pages[page].levels[rank.place()] {
            return (level, BestPrice::Kept);
        }
        let level = levels.levels.insert(Level {
            ticks,
            jobs: 0,
            queue: Queue::default(),
        });
        let page = &mut levels.pages[page];
        page.taken |= 1 << rank.bit();
        page.levels[rank.place()] = Some(level);
        if self.best.is_none_or(|best| rank < self.rank(best.ticks)) {
            self.best = Some(Best { ticks, level });
            return (level, BestPrice::Moved);
        }
        (level, BestPrice::Kept)
    }

    /// Takes out a level in which no order is left.
    #[inline]
    pub(crate) fn remove(&mut self, levels: &mut Levels, level: Handle) -> BestPrice {
        let ticks = levels.levels.remove(level).ticks;
        let rank = self.rank(ticks);
        let position = self.find(rank).expect("a level is in its ladder");
        let handle = self.pages[position].page;
        let page = &mut levels.pages[handle];
        page.taken &= !(1 << rank.bit());
        page.levels[rank.place()] = None;
        if page.taken == 0 {
            levels.pages.remove(handle);
            self.pages.remove(position);
        }
        if self.best.is_some_and(|best| best.level != level) {
            return BestPrice::Kept;
        }
        self.best = self.pages.first().map(|entry| {
            let level = levels.pages[entry.page].first();
            Best {
                ticks: levels[level].ticks,
                level,
            }
        });
        BestPrice::Moved
    }

    /// The next level after one of the ladder's.
    pub(crate) fn worse_than(&self, levels: &Levels, level: Handle) -> Option<Handle> {
        let rank = self.rank(levels[level].ticks);
        let position = self.find(rank).expect("a level is in its ladder");
        let page = &levels.pages[self.pages[position].page];
        let worse = page.taken & !(u32::MAX >> (31 - rank.bit()));
        if worse != 0 {
            return Some(page.at(worse.trailing_zeros()));
        }
        let next = self.pages.get(position + 1)?;
        Some(levels.pages[next.page].first())
    }

    #[inline]
    fn rank(&self, ticks: Ticks) -> Rank {
        Rank(match self.side {
            Side::Ask => ticks.get(),
            Side::Bid => !ticks.get(),
        })
    }

    /// Where the page of a rank is, or belongs. Most that happens, happens at the best prices.
    #[inline]
    fn find(&self, rank: Rank) -> Result<usize, usize> {
        let number = rank.page();
        match self.pages.first() {
            Some(first) if first.number == number => Ok(0),
            Some(_) | None => self.pages.binary_search_by_key(&number, |entry| entry.number),
        }
    }
}

impl Page {
    /// The level of the best price.
    #[inline]
    fn first(&self) -> Handle {
        self.at(self.taken.trailing_zeros())
    }

    #[inline]
    fn at(&self, bit: u32) -> Handle {
        let place = usize::try_from(bit).expect("32 bits fit a usize");
        self.levels[place].expect("the bitmap says which levels are there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ticks: u32) -> Ticks {
        Ticks::of(domain::Price::from_ticks(u64::from(ticks)).unwrap())
    }

    fn prices(ladder: &Ladder, levels: &Levels) -> Vec<u32> {
        ladder.iter(levels).map(|level| level.ticks.get()).collect()
    }

    #[test]
    fn levels_come_best_first_wherever_the_prices_lie() {
        let ticks = [7, 8, 31, 32, 63, 64, 1_000, 1_001, 70_000, 1_000_000_000];
        for side in [Side::Ask, Side::Bid] {
            let (mut ladder, mut levels) = (Ladder::new(side), Levels::default());
            let mut expected = Vec::new();
            for place in [4, 9, 0, 7, 2, 5, 8, 1, 6, 3] {
                let (_, moved) = ladder.level_or_new(&mut levels, at(ticks[place]));
                expected.push(ticks[place]);
                expected.sort_unstable_by_key(|ticks| match side {
                    Side::Ask => *ticks,
                    Side::Bid => !*ticks,
                });
                assert_eq!(prices(&ladder, &levels), expected);
                assert_eq!(moved == BestPrice::Moved, expected[0] == ticks[place]);
            }
            for place in [0, 9, 5, 1, 2, 8, 3, 7, 6, 4] {
                let (level, _) = ladder.level_or_new(&mut levels, at(ticks[place]));
                let was_best = expected[0] == ticks[place];
                let moved = ladder.remove(&mut levels, level);
                assert_eq!(moved == BestPrice::Moved, was_best);
                expected.retain(|other| *other != ticks[place]);
                assert_eq!(prices(&ladder, &levels), expected);
            }
            assert!(ladder.is_empty());
            assert_eq!((levels.levels.len(), levels.pages.len()), (0, 0));
        }
    }
}
