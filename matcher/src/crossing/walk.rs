//! Merges over the ladders of several cells or classes: one cursor a ladder, the best cursor next.
//!
//! Eligible ladders are few, so the best cursor is found by looking at each.

use std::cmp::Reverse;

use domain::{KarmaBand, Price, RoundTrip};

use crate::book::arena::Handle;
use crate::book::cells::{Cells, Top};
use crate::book::classes::{BestBid, Classes};
use crate::book::ladder::{Ladder, Levels};
use crate::book::queue::Chain;
use crate::order::Order;
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
}

impl Cursor {
    /// The first order of a level.
    fn at(level: Handle, shelves: Shelves<'_>) -> Self {
        let head = shelves.levels[level].queue.head();
        Self {
            level,
            order: head.expect("a level is never empty"),
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
            return Some(Self { order, ..self });
        }
        let level = ladder.worse_than(shelves.levels, self.level)?;
        Some(Self::at(level, shelves))
    }
}

/// Asks by adjusted price, then nearer, then higher band, then earlier.
type AskRank = (u64, RoundTrip, Reverse<KarmaBand>, u64);

#[derive(Clone, Copy, Debug)]
struct AskCursor {
    cell: u16,
    handicap: u64,
    cursor: Cursor,
    rank: AskRank,
}

/// Eligible asks in rank order.
#[derive(Clone, Debug, Default)]
pub(super) struct AskWalk {
    cursors: Vec<AskCursor>,
}

impl AskWalk {
    pub(super) fn clear(&mut self) {
        self.cursors.clear();
    }

    /// Adds a cell whose best ask is within the limit.
    pub(super) fn start(
        &mut self,
        shelves: Shelves<'_>,
        cells: &Cells,
        top: &Top,
        distance: RoundTrip,
        handicap: u64,
    ) {
        let cursor = Cursor::at_best(&cells.cell(top.cell).displayed, shelves);
        let order = &shelves.orders[cursor.order];
        self.cursors.push(AskCursor {
            cell: top.cell,
            handicap,
            cursor,
            rank: (
                adjusted(top.price, handicap),
                distance,
                Reverse(top.place.band),
                order.priority,
            ),
        });
    }

    /// The best ask not yet returned whose price is within the limit.
    pub(super) fn next(&mut self, shelves: Shelves<'_>, cells: &Cells, limit: Price) -> Option<Handle> {
        let (position, best) = self
            .cursors
            .iter()
            .enumerate()
            .min_by_key(|(_, cursor)| cursor.rank)?;
        let order = best.cursor.order;
        let ladder = &cells.cell(best.cell).displayed;
        let next = best
            .cursor
            .advance(shelves, ladder)
            .filter(|next| shelves.levels[next.level].ticks.price() <= limit);
        match next {
            Some(next) => {
                let cursor = &mut self.cursors[position];
                let following = &shelves.orders[next.order];
                cursor.cursor = next;
                cursor.rank.0 = adjusted(following.price(), cursor.handicap);
                cursor.rank.3 = following.priority;
            }
            None => {
                self.cursors.swap_remove(position);
            }
        }
        Some(order)
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

/// Bids by higher limit, then earlier.
type BidRank = (Reverse<Price>, u64);

#[derive(Clone, Copy, Debug)]
struct BidCursor {
    class: u16,
    cursor: Cursor,
    rank: BidRank,
}

/// Bids whose eligibility covers an ask's cell, in rank order.
#[derive(Clone, Debug, Default)]
pub(super) struct BidWalk {
    cursors: Vec<BidCursor>,
}

impl BidWalk {
    pub(super) fn clear(&mut self) {
        self.cursors.clear();
    }

    /// Adds a class whose best bid reaches the price.
    pub(super) fn start(&mut self, shelves: Shelves<'_>, classes: &Classes, top: &BestBid) {
        let cursor = Cursor::at_best(&classes.get(top.class).ladder, shelves);
        self.cursors.push(BidCursor {
            class: top.class,
            cursor,
            rank: rank_of_bid(&shelves.orders[cursor.order]),
        });
    }

    /// The best bid not yet returned whose limit reaches the price.
    pub(super) fn next(&mut self, shelves: Shelves<'_>, classes: &Classes, price: Price) -> Option<Handle> {
        let (position, best) = self
            .cursors
            .iter()
            .enumerate()
            .min_by_key(|(_, cursor)| cursor.rank)?;
        let order = best.cursor.order;
        let next = best
            .cursor
            .advance(shelves, &classes.get(best.class).ladder)
            .filter(|next| shelves.levels[next.level].ticks.price() >= price);
        match next {
            Some(next) => {
                self.cursors[position].cursor = next;
                self.cursors[position].rank = rank_of_bid(&shelves.orders[next.order]);
            }
            None => {
                self.cursors.swap_remove(position);
            }
        }
        Some(order)
    }
}

fn rank_of_bid(bid: &Order) -> BidRank {
    (Reverse(bid.price()), bid.priority)
}
