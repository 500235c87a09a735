//! An order as the engine keeps it.

use arrayvec::ArrayVec;
use domain::{
    ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, IslandId, JobId, Jobs, LatencyValue,
    LeaseEpoch, OrderId, Price, RunningBill, SelfTradeMode, TimeInForce, Units,
};
use serde::{Deserialize, Serialize};

use crate::PostOnly;
use crate::book::arena::Handle;
use crate::book::queue::{Chain, Links};

/// Islands that one job can fail on before it may not be bid for again.
pub(crate) const FAILED_MAX: usize = 8;

/// An order from its acceptance to its end.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) account: Handle,
    pub(crate) client_order_id: ClientOrderId,
    /// Where its client order id is remembered; the bid of a failover has none of its own.
    pub(crate) record: Option<Handle>,
    pub(crate) instrument: InstrumentId,
    /// A bid's limit or an ask's price.
    pub(crate) price: Price,
    /// What was ordered.
    pub(crate) jobs: Jobs,
    /// What has traded: the index of the next job.
    pub(crate) filled: Jobs,
    /// What is left: ordered, less traded, less amended away.
    pub(crate) leaves: Jobs,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) self_trade: SelfTradeMode,
    /// When it took its place, counted over the whole engine: earlier is lower. Without meaning while it has none.
    pub(crate) priority: u64,
    pub(crate) standing: Standing,
    pub(crate) part: Part,
    level: Links,
    holder: Links,
    owned: Links,
}

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In no ladder: it arrives, or moves.
    Away,
    /// In its ladder, showing so many jobs, never none. A bid shows all that is left.
    Displayed(Jobs),
    /// An ask whose Island has no free slot.
    Busy,
}

/// What only one side has.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Bid(Bid),
    Ask(Ask),
}

/// What only a bid has.
#[derive(Clone, Debug)]
pub(crate) struct Bid {
    pub(crate) session: Handle,
    pub(crate) units_max: Units,
    pub(crate) eligibility: Eligibility,
    /// Meaningful while it rests.
    pub(crate) class: u16,
    pub(crate) latency_value: LatencyValue,
    pub(crate) reserved_per_job: Credits,
    pub(crate) special: Option<Box<Special>>,
}

/// What only an ask has.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) island: Handle,
    /// Its cell in its instrument's book.
    pub(crate) cell: Handle,
    pub(crate) post_only: PostOnly,
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
}

/// A job that goes on after a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resumed {
    pub(crate) job: JobId,
    pub(crate) epoch: LeaseEpoch,
    pub(crate) billed: RunningBill,
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
    pub(crate) client_order_id: ClientOrderId,
    pub(crate) record: Option<Handle>,
    pub(crate) instrument: InstrumentId,
    pub(crate) price: Price,
    pub(crate) jobs: Jobs,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) self_trade: SelfTradeMode,
    pub(crate) part: Part,
}

impl Order {
    pub(crate) fn new(entry: Entry) -> Self {
        Self {
            id: entry.id,
            account: entry.account,
            client_order_id: entry.client_order_id,
            record: entry.record,
            instrument: entry.instrument,
            price: entry.price,
            jobs: entry.jobs,
            filled: Jobs::ZERO,
            leaves: entry.jobs,
            time_in_force: entry.time_in_force,
            self_trade: entry.self_trade,
            priority: 0,
            standing: Standing::Away,
            part: entry.part,
            level: Links::default(),
            holder: Links::default(),
            owned: Links::default(),
        }
    }

    pub(crate) fn links(&self, chain: Chain) -> Links {
        match chain {
            Chain::Level => self.level,
            Chain::Holder => self.holder,
            Chain::Account => self.owned,
        }
    }

    pub(crate) fn links_mut(&mut self, chain: Chain) -> &mut Links {
        match chain {
            Chain::Level => &mut self.level,
            Chain::Holder => &mut self.holder,
            Chain::Account => &mut self.owned,
        }
    }

    /// The bid's part, or `None` for an ask.
    pub(crate) fn as_bid(&self) -> Option<&Bid> {
        match &self.part {
            Part::Bid(bid) => Some(bid),
            Part::Ask(_) => None,
        }
    }

    /// The ask's part, or `None` for a bid.
    pub(crate) fn as_ask(&self) -> Option<&Ask> {
        match &self.part {
            Part::Ask(ask) => Some(ask),
            Part::Bid(_) => None,
        }
    }

    /// The bid's part of what is known to be a bid.
    pub(crate) fn bid(&self) -> &Bid {
        self.as_bid().expect("classes hold only bids")
    }

    /// The ask's part of what is known to be an ask.
    pub(crate) fn ask(&self) -> &Ask {
        self.as_ask().expect("cells and Islands hold only asks")
    }

    /// The job that goes on, for the bid of a failover.
    pub(crate) fn resumed(&self) -> Option<Resumed> {
        self.as_bid()?.special.as_ref()?.resumes
    }

    /// Takes traded jobs off what is left.
    pub(crate) fn fill(&mut self, jobs: Jobs) {
        self.leaves = self
            .leaves
            .checked_sub(jobs)
            .expect("a fill is no more than what is left");
        self.filled = self
            .filled
            .checked_add(jobs)
            .expect("an order's jobs fit 32 bits");
    }
}
