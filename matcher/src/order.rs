//! An order as the engine keeps it: what every command touches in one cache line, the rest beside it.

use arrayvec::ArrayVec;
use domain::{
    ClientOrderId, Credits, Excluded, InstrumentId, IslandId, JobEnd, JobId, Jobs, LatencyValue, LeaseEpoch,
    OrderId, Price, RunningBill, SelfTradeMode, Side, TimeInForce, UNITS_MAX, Units,
};
use serde::{Deserialize, Serialize};

use crate::PostOnly;
use crate::book::arena::Handle;
use crate::book::queue::{Chain, Links};
use crate::book::ticks::Ticks;
use crate::depth::LevelKey;

/// Islands that one job can fail on before it may not be bid for again.
pub(crate) const FAILED_MAX: usize = 8;

/// An order from its acceptance to its end: what matching reads.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    /// When it took its place, counted over the whole engine: earlier is lower. Without meaning while it has none.
    pub(crate) priority: u64,
    pub(crate) account: Handle,
    pub(crate) instrument: InstrumentId,
    /// A bid's limit or an ask's price.
    pub(crate) ticks: Ticks,
    /// What is left: ordered, less traded, less amended away.
    pub(crate) leaves: Jobs,
    /// What it displays in its level.
    shown: Jobs,
    level: Option<Handle>,
    /// A bid's session, or an ask's Island.
    holder: Handle,
    /// A bid's class, or an ask's cell.
    shelf: u16,
    side: Side,
    pub(crate) self_trade: SelfTradeMode,
    in_level: Links,
    owned: Links,
}

const _: () = assert!(size_of::<Order>() == 64, "matching reads one cache line an order");

/// What an order was placed with, which matching does not read: half a cache line.
///
/// What can be found again is not here: a deadline is its timer's, and what a job is set aside for follows from limit
/// and work ([`crate::orders::Orders::reserved_per_job`]).
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(crate) struct Terms {
    /// Where its client order id is remembered. The bid of a failover has none of its own: its name is inherited.
    pub(crate) record: Option<Handle>,
    /// What was ordered.
    pub(crate) jobs: Jobs,
    /// What has traded: the index of the next job.
    pub(crate) filled: Jobs,
    /// The timer of its deadline, if it has one.
    pub(crate) timer: Option<Handle>,
    /// Of a bid: what few have, among the [`Special`] of all orders.
    pub(crate) special: Option<Handle>,
    /// Of a bid.
    pub(crate) latency_value: LatencyValue,
    /// Of a bid: the most that one job may be, in two pieces of six bytes together.
    units_max_low: u32,
    units_max_high: u16,
    /// Of an ask.
    pub(crate) post_only: PostOnly,
}

const _: () = assert!(size_of::<Terms>() == 32, "two orders' terms are one cache line");

const _: () = assert!(UNITS_MAX < 1 << 48, "a job's work fits six bytes");

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In no ladder: it arrives, or moves.
    Away,
    /// In its level, showing so many jobs, never none. A bid shows all that is left.
    Displayed(Jobs),
    /// In the level of an ask whose Island has no free slot.
    Busy,
}

/// What only one side has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Bid(Bid),
    Ask(Ask),
}

/// What only a bid has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bid {
    pub(crate) session: Handle,
    /// Meaningful while it rests.
    pub(crate) class: u16,
}

/// What only an ask has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) island: Handle,
    /// Its cell in its instrument's book.
    pub(crate) cell: u16,
}

/// What few bids have, kept apart so that the others stay small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Special {
    /// Islands that the buyer named.
    pub(crate) excluded: Excluded,
    /// Islands that failed the job. Kept apart, so that a failover never pushes out what the buyer named.
    pub(crate) failed: ArrayVec<IslandId, FAILED_MAX>,
    /// The job that goes on.
    pub(crate) resumes: Option<Resumed>,
    /// The name of the first bid, where this is the bid of a failover.
    #[serde(skip)]
    pub(crate) inherited: Option<ClientOrderId>,
}

/// A job that goes on after a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resumed {
    pub(crate) job: JobId,
    pub(crate) epoch: LeaseEpoch,
    pub(crate) billed: RunningBill,
    /// What is left of the job's reservation.
    #[serde(skip)]
    pub(crate) reserved: Credits,
    /// How it ends if nobody takes the rest.
    pub(crate) otherwise: JobEnd,
}

impl Special {
    pub(crate) fn excludes(&self, island: IslandId) -> bool {
        self.excluded.contains(island) || self.failed.contains(&island)
    }

    /// Every Island that may not fill the bid: those that the buyer named, then those that failed.
    pub(crate) fn islands(&self) -> Vec<IslandId> {
        self.excluded.iter().chain(self.failed.iter().copied()).collect()
    }
}

/// What makes an order, before it is given its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: OrderId,
    pub(crate) account: Handle,
    pub(crate) instrument: InstrumentId,
    pub(crate) price: Price,
    pub(crate) self_trade: SelfTradeMode,
    pub(crate) part: Part,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) terms: Terms,
    pub(crate) special: Option<Box<Special>>,
}

impl Order {
    #[inline(always)]
    pub(crate) fn new(entry: &Entry) -> Self {
        let (side, holder, shelf) = match entry.part {
            Part::Bid(Bid { session, class }) => (Side::Bid, session, class),
            Part::Ask(Ask { island, cell }) => (Side::Ask, island, cell),
        };
        Self {
            id: entry.id,
            priority: 0,
            account: entry.account,
            instrument: entry.instrument,
            ticks: Ticks::of(entry.price),
            leaves: entry.terms.jobs,
            shown: Jobs::ZERO,
            level: None,
            holder,
            shelf,
            side,
            self_trade: entry.self_trade,
            in_level: Links::default(),
            owned: Links::default(),
        }
    }

    #[inline(always)]
    pub(crate) fn price(&self) -> Price {
        self.ticks.price()
    }

    #[inline(always)]
    pub(crate) fn part(&self) -> Part {
        let (holder, shelf) = (self.holder, self.shelf);
        match self.side {
            Side::Bid => Part::Bid(Bid {
                session: holder,
                class: shelf,
            }),
            Side::Ask => Part::Ask(Ask {
                island: holder,
                cell: shelf,
            }),
        }
    }

    /// Changes a bid's class or an ask's cell, while it stands nowhere.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, shelf: u16) {
        self.shelf = shelf;
    }

    #[inline(always)]
    pub(crate) fn standing(&self) -> Standing {
        match self.level {
            None => Standing::Away,
            Some(_) if self.shown.is_zero() => Standing::Busy,
            Some(_) => Standing::Displayed(self.shown),
        }
    }

    /// The level that it belongs in.
    #[inline(always)]
    pub(crate) fn level_key(&self) -> LevelKey {
        LevelKey {
            instrument: self.instrument,
            ticks: self.ticks,
            shelf: self.shelf,
            side: self.side,
        }
    }

    /// The level that it is in.
    #[inline(always)]
    pub(crate) fn level(&self) -> Option<Handle> {
        self.level
    }

    /// What it displays.
    #[inline(always)]
    pub(crate) fn shown(&self) -> Jobs {
        self.shown
    }

    /// Puts it in a level, showing so many jobs, or changes what it shows there.
    #[inline(always)]
    pub(crate) fn stand(&mut self, level: Handle, shown: Jobs) {
        self.level = Some(level);
        self.shown = shown;
    }

    /// It is in no level now.
    #[inline(always)]
    pub(crate) fn leave(&mut self) {
        self.level = None;
        self.shown = Jobs::ZERO;
    }

    #[inline(always)]
    pub(crate) fn links(&self, chain: Chain) -> Links {
        match chain {
            Chain::Level => self.in_level,
            Chain::Owner => self.owned,
        }
    }

    #[inline(always)]
    pub(crate) fn links_mut(&mut self, chain: Chain) -> &mut Links {
        match chain {
            Chain::Level => &mut self.in_level,
            Chain::Owner => &mut self.owned,
        }
    }

    /// The bid's part, or `None` for an ask.
    #[inline(always)]
    pub(crate) fn as_bid(&self) -> Option<Bid> {
        match self.part() {
            Part::Bid(bid) => Some(bid),
            Part::Ask(_) => None,
        }
    }

    /// The ask's part, or `None` for a bid.
    #[inline(always)]
    pub(crate) fn as_ask(&self) -> Option<Ask> {
        match self.part() {
            Part::Ask(ask) => Some(ask),
            Part::Bid(_) => None,
        }
    }

    /// The bid's part of what is known to be a bid.
    #[inline(always)]
    pub(crate) fn bid(&self) -> Bid {
        self.as_bid().expect("classes hold only bids")
    }

    /// The ask's part of what is known to be an ask.
    #[inline(always)]
    pub(crate) fn ask(&self) -> Ask {
        self.as_ask().expect("cells and Islands hold only asks")
    }
}

impl Terms {
    /// Of a new ask.
    #[inline(always)]
    pub(crate) fn of_ask(record: Option<Handle>, jobs: Jobs, post_only: PostOnly) -> Self {
        Self {
            record,
            jobs,
            filled: Jobs::ZERO,
            timer: None,
            special: None,
            latency_value: LatencyValue::ZERO,
            units_max_low: 0,
            units_max_high: 0,
            post_only,
        }
    }

    /// Of a new bid.
    ///
    /// # Panics
    /// When a job is more work than [`UNITS_MAX`], which is checked before.
    #[inline(always)]
    pub(crate) fn of_bid(
        record: Option<Handle>,
        jobs: Jobs,
        units_max: Units,
        latency_value: LatencyValue,
    ) -> Self {
        let low = units_max.get() & u64::from(u32::MAX);
        Self {
            latency_value,
            units_max_low: u32::try_from(low).expect("masked to 32 bits"),
            units_max_high: u16::try_from(units_max.get() >> 32).expect("a job's work fits six bytes"),
            ..Self::of_ask(record, jobs, PostOnly::No)
        }
    }

    /// Of a bid: the most that one job may be.
    #[inline(always)]
    pub(crate) fn units_max(&self) -> Units {
        Units::new(u64::from(self.units_max_high) << 32 | u64::from(self.units_max_low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_work_of_a_job_comes_back_from_its_six_bytes() {
        for units in [1, u64::from(u32::MAX), 1 << 32, UNITS_MAX - 1, UNITS_MAX] {
            let terms = Terms::of_bid(None, Jobs::ONE, Units::new(units), LatencyValue::ZERO);
            assert_eq!(terms.units_max(), Units::new(units));
        }
    }
}
