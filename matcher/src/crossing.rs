//! Whom an incoming order meets, in which order, and for how many jobs.
//!
//! A plan is made against the book as it stands and changes nothing, so fill-or-kill and post-only are decided by
//! the same walk that trades. The walk merges over cells or classes, and reads each order once.
//!
//! Invariants:
//! - asks rank by `10 × price + latency value × distance`, then nearer, then higher band, then earlier; bids by
//!   higher limit, then earlier;
//! - the limit is compared with the real price at every level;
//! - a capacity group's free slots are counted once over the whole plan;
//! - orders that are passed over keep their place.

mod plan;
mod walk;

pub(crate) use plan::{Action, Ending, Plan};
pub(crate) use walk::adjusted;

use domain::{Eligibility, InstrumentId, Jobs, LatencyValue, Price, RoundTrip, SelfTradeMode};

use crate::book::Trading;
use crate::book::arena::Handle;
use crate::book::class_set::ClassSet;
use crate::book::ticks::Ticks;
use crate::crossing::walk::Shelves;
use crate::engine::Engine;
use crate::order::{Order, Special};

/// What a bid asks of an ask's Island.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) instrument: InstrumentId,
    /// The buyer, or `None` for one that the engine does not know: he owns no ask.
    pub(crate) account: Option<Handle>,
    pub(crate) eligibility: &'a Eligibility,
    pub(crate) special: Option<&'a Special>,
    pub(crate) self_trade: SelfTradeMode,
}

/// A bid that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BidTaker<'a> {
    pub(crate) wish: Wish<'a>,
    pub(crate) limit: Price,
    pub(crate) jobs: Jobs,
    pub(crate) latency_value: LatencyValue,
}

/// An ask that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskTaker {
    pub(crate) instrument: InstrumentId,
    pub(crate) island: Handle,
    /// The classes whose bids may be filled from its cell.
    pub(crate) covered_by: ClassSet,
    pub(crate) price: Price,
    /// What is left of it, bounded by its Island's free slots.
    pub(crate) jobs: Jobs,
    pub(crate) self_trade: SelfTradeMode,
}

/// What happens when an incoming order meets a resting one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    Trade,
    Pass,
    CancelIncoming,
    CancelResting,
    CancelBoth,
}

impl Meeting {
    fn of_one_owner(mode: SelfTradeMode) -> Self {
        match mode {
            SelfTradeMode::Skip => Self::Pass,
            SelfTradeMode::CancelNewest => Self::CancelIncoming,
            SelfTradeMode::CancelOldest => Self::CancelResting,
            SelfTradeMode::CancelBoth => Self::CancelBoth,
            SelfTradeMode::Allow => Self::Trade,
        }
    }
}

impl Engine {
    /// Whether an incoming bid could meet an ask at all. Most cannot, and need no plan.
    #[inline]
    pub(crate) fn bid_reaches_an_ask(&self, taker: &BidTaker<'_>) -> bool {
        let book = self.book(taker.wish.instrument);
        let mut tops = book.cells.tops().covered(taker.wish.eligibility);
        book.trading == Trading::Open && tops.any(|top| top.price <= taker.limit)
    }

    /// Whether an incoming ask could meet a bid at all. Most cannot, and need no plan.
    #[inline]
    pub(crate) fn ask_reaches_a_bid(&self, taker: &AskTaker) -> bool {
        let book = self.book(taker.instrument);
        let lowest = Ticks::of(taker.price);
        let mut classes = taker.covered_by.iter();
        book.trading == Trading::Open
            && classes.any(|class| book.classes.best(class).is_some_and(|best| best >= lowest))
    }

    /// Plans what an incoming bid does. In a halted instrument that is nothing.
    pub(crate) fn plan_bid(&self, taker: &BidTaker<'_>, plan: &mut Plan) {
        plan.clear(self.roster.islands.place_count());
        plan.eligibility = Some(*taker.wish.eligibility);
        let book = self.book(taker.wish.instrument);
        if book.trading == Trading::Halted {
            return;
        }
        let home = taker.wish.eligibility.home;
        let covered = book.cells.tops().covered(taker.wish.eligibility);
        for top in covered.filter(|top| top.price <= taker.limit) {
            let distance = self.distance(home, top.place.region);
            let handicap = taker.latency_value.handicap(distance);
            plan.asks.start(top, distance, handicap);
        }
        let mut left = taker.jobs;
        while !left.is_zero()
            && let Some(handle) = plan.asks.next(self.shelves(), &book.cells, taker.limit)
        {
            let ask = &self.orders[handle];
            let ending = match self.meet_ask(&taker.wish, ask) {
                Meeting::Pass => Ending::Open,
                Meeting::Trade => {
                    let island = ask.ask().island;
                    let free = plan.free_of(island, self.roster.islands[island].free());
                    left = plan.fill(handle, island, ask.leaves.min(free), left);
                    Ending::Open
                }
                Meeting::CancelResting => plan.cancel(handle, Ending::Open),
                Meeting::CancelBoth => plan.cancel(handle, Ending::CancelIncoming),
                Meeting::CancelIncoming => Ending::CancelIncoming,
            };
            if ending == Ending::CancelIncoming {
                plan.ending = ending;
                return;
            }
        }
    }

    /// Plans what an incoming ask does. In a halted instrument that is nothing.
    pub(crate) fn plan_ask(&self, taker: &AskTaker, plan: &mut Plan) {
        plan.clear(self.roster.islands.place_count());
        let book = self.book(taker.instrument);
        if book.trading == Trading::Halted || taker.jobs.is_zero() {
            return;
        }
        let lowest = Ticks::of(taker.price);
        for class in taker.covered_by.iter() {
            if let Some(best) = book.classes.best(class).filter(|best| *best >= lowest) {
                plan.bids.start(class, best);
            }
        }
        let mut left = taker.jobs;
        while !left.is_zero()
            && let Some(handle) = plan.bids.next(self.shelves(), &book.classes, lowest)
        {
            let bid = &self.orders[handle];
            let ending = match self.meet_bid(taker, handle) {
                Meeting::Pass => Ending::Open,
                Meeting::Trade => {
                    left = plan.fill(handle, taker.island, bid.leaves, left);
                    Ending::Open
                }
                Meeting::CancelResting => plan.cancel(handle, Ending::Open),
                Meeting::CancelBoth => plan.cancel(handle, Ending::CancelIncoming),
                Meeting::CancelIncoming => Ending::CancelIncoming,
            };
            if ending == Ending::CancelIncoming {
                plan.ending = ending;
                return;
            }
        }
    }

    fn shelves(&self) -> Shelves<'_> {
        Shelves {
            orders: &self.orders,
            levels: &self.levels,
        }
    }

    /// Whether the buyer would take this ask, were it cheap enough and free.
    pub(crate) fn admits(&self, wish: &Wish<'_>, ask: &Order) -> bool {
        self.meet_ask(wish, ask) != Meeting::Pass
    }

    /// The distance between two regions of the table in force.
    pub(crate) fn distance(&self, home: domain::Region, region: domain::Region) -> RoundTrip {
        self.regions
            .as_ref()
            .and_then(|table| table.round_trip(home, region))
            .expect("orders and Islands name only regions of the table")
    }

    fn meet_ask(&self, wish: &Wish<'_>, ask: &Order) -> Meeting {
        let island = &self.roster.islands[ask.ask().island];
        if wish.special.is_some_and(|special| special.excludes(island.id)) {
            return Meeting::Pass;
        }
        if wish.account == Some(island.owner) {
            return Meeting::of_one_owner(wish.self_trade);
        }
        Meeting::Trade
    }

    fn meet_bid(&self, taker: &AskTaker, bid: Handle) -> Meeting {
        let island = &self.roster.islands[taker.island];
        let special = self.orders.special(bid);
        if special.is_some_and(|special| special.excludes(island.id)) {
            return Meeting::Pass;
        }
        if self.orders[bid].account == island.owner {
            return Meeting::of_one_owner(taker.self_trade);
        }
        Meeting::Trade
    }
}
