//! Merges over the ladders of several cells or classes: one cursor a ladder, the best cursor next.
//!
//! Eligible ladders are few, so the best cursor is found by looking at each.

use std::cmp::Reverse;

use domain::{KarmaBand, Price, RoundTrip};

use crate::book::arena::Handle;
use crate::book::cells::{Cells, Top};
use crate::book::classes::{BestBid, Classes};
use crate::book::ladder::Ladder;
use crate::book::queue::Chain;
use crate::order::Order;
use crate::orders::Orders;

/// A place in one ladder.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The level's position, counted from the worst.
    level: usize,
    order: Handle,
}

impl Cursor {
    /// The first order of a ladder's best level.
    fn at_best(ladder: &Ladder) -> Self {
        let best = ladder.best().expect("an occupied ladder has a best level");
        Self {
            level: ladder.levels().len() - 1,
            order: best.queue.head().expect("a level is never empty"),
        }
    }

    /// The order after this one, if there is one.
    fn advance(self, orders: &Orders, ladder: &Ladder) -> Option<Self> {
        if let Some(order) = orders[self.order].links(Chain::Level).next {
            return Some(Self { order, ..self });
        }
        let level = self.level.checked_sub(1)?;
        let order = ladder.levels()[level]
            .queue
            .head()
            .expect("a level is never empty");
        Some(Self { level, order })
    }
}

/// Asks by adjusted price, then nearer, then higher band, then earlier.
type AskRank = (u64, RoundTrip, Reverse<KarmaBand>, u64);

#[derive(Clone, Copy, Debug)]
struct AskCursor {
    cell: Handle,
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
        orders: &Orders,
        cells: &Cells,
        top: &Top,
        distance: RoundTrip,
        handicap: u64,
    ) {
        let cursor = Cursor::at_best(&cells.cell(top.cell).displayed);
        let order = &orders[cursor.order];
        self.cursors.push(AskCursor {
            cell: top.cell,
            handicap,
            cursor,
            rank: (
                adjusted(order.price, handicap),
                distance,
                Reverse(top.place.band),
                order.priority,
            ),
        });
    }

    /// The best ask not yet returned whose price is within the limit.
    pub(super) fn next(&mut self, orders: &Orders, cells: &Cells, limit: Price) -> Option<Handle> {
        let (position, best) = self
            .cursors
            .iter()
            .enumerate()
            .min_by_key(|(_, cursor)| cursor.rank)?;
        let order = best.cursor.order;
        let ladder = &cells.cell(best.cell).displayed;
        let next = best
            .cursor
            .advance(orders, ladder)
            .filter(|next| orders[next.order].price <= limit);
        match next {
            Some(next) => {
                let cursor = &mut self.cursors[position];
                let following = &orders[next.order];
                cursor.cursor = next;
                cursor.rank.0 = adjusted(following.price, cursor.handicap);
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
    pub(super) fn start(&mut self, orders: &Orders, classes: &Classes, top: &BestBid) {
        let cursor = Cursor::at_best(&classes.get(top.class).ladder);
        self.cursors.push(BidCursor {
            class: top.class,
            cursor,
            rank: rank_of_bid(&orders[cursor.order]),
        });
    }

    /// The best bid not yet returned whose limit reaches the price.
    pub(super) fn next(&mut self, orders: &Orders, classes: &Classes, price: Price) -> Option<Handle> {
        let (position, best) = self
            .cursors
            .iter()
            .enumerate()
            .min_by_key(|(_, cursor)| cursor.rank)?;
        let order = best.cursor.order;
        let next = best
            .cursor
            .advance(orders, &classes.get(best.class).ladder)
            .filter(|next| orders[next.order].price >= price);
        match next {
            Some(next) => {
                self.cursors[position].cursor = next;
                self.cursors[position].rank = rank_of_bid(&orders[next.order]);
            }
            None => {
                self.cursors.swap_remove(position);
            }
        }
        Some(order)
    }
}

fn rank_of_bid(bid: &Order) -> BidRank {
    (Reverse(bid.price), bid.priority)
}
