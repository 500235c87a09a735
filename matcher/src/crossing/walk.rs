//! Merges over the ladders of several cells or classes: one cursor a ladder, the best cursor next.
//!
//! Eligible ladders are few, so the best cursor is found by looking at each. What ranks a ladder is known without
//! reading it, but for the priority of its first order; so a ladder is opened only when it is the best, or when two are
//! equal in all else. A cursor moves on only when another order is asked for: most orders are filled by the first.

use std::cmp::{Ordering, Reverse};

use domain::{KarmaBand, Price, RoundTrip};

use crate::book::arena::Handle;
use crate::book::cells::Cells;
use crate::book::classes::Classes;
use crate::book::ladder::{Ladder, Levels};
use crate::book::queue::Chain;
use crate::book::ticks::Ticks;
use crate::book::tops::Top;
use crate::orders::Orders;

/// What a walk reads: the orders, and the levels that they stand in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shelves<'a> {
    pub(super) orders: &'a Orders,
    pub(super) levels: &'a Levels,
}

/// A place in one ladder.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    level: Handle,
    order: Handle,
    /// The order's.
    priority: u64,
}

impl Cursor {
    /// The first order of a level.
    fn at(level: Handle, shelves: Shelves<'_>) -> Self {
        let head = shelves.levels[level].queue.head();
        Self::on(level, head.expect("a level is never empty"), shelves)
    }

    fn on(level: Handle, order: Handle, shelves: Shelves<'_>) -> Self {
        Self {
            level,
            order,
            priority: shelves.orders[order].priority,
        }
    }

    /// The first order of a ladder's best level.
    fn at_best(ladder: &Ladder, shelves: Shelves<'_>) -> Self {
        let best = ladder.best().expect("an occupied ladder has a best level");
        Self::at(best.level, shelves)
    }

    /// The order after this one, if there is one.
    fn advance(self, shelves: Shelves<'_>, ladder: &Ladder) -> Option<Self> {
        if let Some(order) = shelves.orders[self.order].links(Chain::Level).next {
            return Some(Self::on(self.level, order, shelves));
        }
        let level = ladder.worse_than(shelves.levels, self.level)?;
        Some(Self::at(level, shelves))
    }
}

/// A ladder in a walk.
#[derive(Clone, Copy, Debug)]
struct Strand<R> {
    /// Its cell's or its class's number.
    shelf: u16,
    /// What ranks its next order before its priority does.
    rank: R,
    /// Where its next order stands, once that was looked up.
    cursor: Option<Cursor>,
}

/// Ladders whose next orders are taken by rank.
#[derive(Clone, Debug)]
struct Merge<R> {
    strands: Vec<Strand<R>>,
    /// The strand whose order was taken last, from which it has not moved on yet.
    taken: Option<usize>,
}

impl<R> Default for Merge<R> {
    fn default() -> Self {
        Self {
            strands: Vec::new(),
            taken: None,
        }
    }
}

impl<R: Ord + Copy> Merge<R> {
    fn clear(&mut self) {
        self.strands.clear();
        self.taken = None;
    }

    fn start(&mut self, shelf: u16, rank: R) {
        self.strands.push(Strand {
            shelf,
            rank,
            cursor: None,
        });
    }

    /// The order with the best rank that was not taken yet. `rank_at` ranks the order of a strand at a new price, or
    /// ends the strand when the price is beyond the limit.
    fn next<'a>(
        &mut self,
        shelves: Shelves<'_>,
        ladder_of: impl Fn(u16) -> &'a Ladder,
        rank_at: impl Fn(R, Ticks) -> Option<R>,
    ) -> Option<Handle> {
        if let Some(position) = self.taken.take() {
            self.move_on(position, shelves, &ladder_of, rank_at);
        }
        let mut best = 0;
        for position in 1..self.strands.len() {
            let is_better = match self.strands[position].rank.cmp(&self.strands[best].rank) {
                Ordering::Less => true,
                Ordering::Greater => false,
                Ordering::Equal => {
                    let priority = self.open(position, shelves, &ladder_of).priority;
                    priority < self.open(best, shelves, &ladder_of).priority
                }
            };
            if is_better {
                best = position;
            }
        }
        if self.strands.is_empty() {
            return None;
        }
        self.taken = Some(best);
        Some(self.open(best, shelves, &ladder_of).order)
    }

    /// Where a strand's next order stands.
    fn open<'a>(
        &mut self,
        position: usize,
        shelves: Shelves<'_>,
        ladder_of: impl Fn(u16) -> &'a Ladder,
    ) -> Cursor {
        let strand = &mut self.strands[position];
        *strand
            .cursor
            .get_or_insert_with(|| Cursor::at_best(ladder_of(strand.shelf), shelves))
    }

    /// Moves a strand from the order that was taken to the one after it.
    fn move_on<'a>(
        &mut self,
        position: usize,
        shelves: Shelves<'_>,
        ladder_of: impl Fn(u16) -> &'a Ladder,
        rank_at: impl Fn(R, Ticks) -> Option<R>,
    ) {
        let taken = self.open(position, shelves, &ladder_of);
        let strand = &mut self.strands[position];
        let next = taken.advance(shelves, ladder_of(strand.shelf));
        let ranked = next.and_then(|next| {
            let ticks = shelves.levels[next.level].ticks;
            Some((next, rank_at(strand.rank, ticks)?))
        });
        match ranked {
            Some((next, rank)) => {
                strand.cursor = Some(next);
                strand.rank = rank;
            }
            None => {
                self.strands.swap_remove(position);
            }
        }
    }
}

/// Asks by adjusted price, then nearer, then higher band. The handicap is part of the adjusted price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AskRank {
    adjusted: u64,
    distance: RoundTrip,
    band: Reverse<KarmaBand>,
    handicap: u64,
}

/// Eligible asks in rank order.
#[derive(Clone, Debug, Default)]
pub(super) struct AskWalk(Merge<AskRank>);

impl AskWalk {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a cell whose best ask is within the limit.
    pub(super) fn start(&mut self, top: &Top, distance: RoundTrip, handicap: u64) {
        let rank = AskRank {
            adjusted: adjusted(top.price, handicap),
            distance,
            band: Reverse(top.place.band),
            handicap,
        };
        self.0.start(top.cell, rank);
    }

    /// The best ask not yet returned whose price is within the limit.
    pub(super) fn next(&mut self, shelves: Shelves<'_>, cells: &Cells, limit: Price) -> Option<Handle> {
        let ladder_of = |cell| &cells.cell(cell).displayed;
        self.0.next(shelves, ladder_of, |rank, ticks| {
            let price = Some(ticks.price()).filter(|price| *price <= limit)?;
            let adjusted = adjusted(price, rank.handicap);
            Some(AskRank { adjusted, ..rank })
        })
    }
}

/// What ranks an ask: ten times its price, so that the latency value per 10 ms needs no division.
pub(crate) fn adjusted(price: Price, handicap: u64) -> u64 {
    price
        .get()
        .checked_mul(10)
        .and_then(|tenfold| tenfold.checked_add(handicap))
        .expect("ten times 41 bits and 48 bits fit 64")
}

/// Bids whose eligibility covers an ask's cell, by higher limit.
#[derive(Clone, Debug, Default)]
pub(super) struct BidWalk(Merge<Reverse<Ticks>>);

impl BidWalk {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a class whose best bid reaches the price.
    pub(super) fn start(&mut self, class: u16, best: Ticks) {
        self.0.start(class, Reverse(best));
    }

    /// The best bid not yet returned whose limit reaches the price.
    pub(super) fn next(&mut self, shelves: Shelves<'_>, classes: &Classes, lowest: Ticks) -> Option<Handle> {
        let ladder_of = |class| &classes.get(class).ladder;
        self.0.next(shelves, ladder_of, |_, ticks| {
            (ticks >= lowest).then_some(Reverse(ticks))
        })
    }
}
