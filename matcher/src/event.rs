//! What the engine did. Events say everything that a projection downstream needs, so that none has to ask back.
//!
//! An order that was accepted ends exactly once: by the trade that leaves nothing of it, or by [`OrderEnded`]. A job
//! that was traded ends exactly once, and its reservation goes back then: by [`LeaseEnded`] as closed or lost, or by
//! the [`OrderEnded`] of a failover's bid, whose `resumes` names the job. [`LeaseEnd::FailedOver`] is no end of the
//! job: the bid that follows it in the same command has inherited all that is left of the reservation.

use domain::{
    AccountId, Bill, ClientOrderId, Credits, Eligibility, InstrumentId, IslandId, JobEnd, JobId, JobOutcome,
    Jobs, KarmaBand, LeaseEpoch, LeaseId, Liquidity, OrderId, Price, PriceBand, Region, RunningBill,
    SessionId, Side, Slots, Tier, TimeInForce, Timestamp, TradeId, TransferId, Units,
};
use serde::{Deserialize, Serialize};

use crate::RejectReason;

/// What the engine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The region table is in force.
    RegionsSet,
    /// An instrument is tradable.
    InstrumentListed {
        /// Which.
        instrument: InstrumentId,
    },
    /// A session is open.
    SessionOpened {
        /// Its id.
        session: SessionId,
    },
    /// A session has ended; what ended with it was reported before this.
    SessionEnded {
        /// Its id.
        session: SessionId,
    },
    /// Buying power grew. Not repeated when the transfer is.
    Funded {
        /// The transfer.
        transfer: TransferId,
        /// Whose.
        account: AccountId,
        /// By how much.
        amount: Credits,
        /// What is free to spend now.
        available: Credits,
    },
    /// Buying power shrank, on its way back to billing.
    Defunded {
        /// The transfer that returns it.
        transfer: TransferId,
        /// Whose.
        account: AccountId,
        /// By how much.
        amount: Credits,
        /// What is free to spend now.
        available: Credits,
    },
    /// An Island's profile is in force.
    IslandJoined {
        /// The Island.
        island: IslandId,
        /// Its session.
        session: SessionId,
    },
    /// An Island's tier in an instrument changed.
    TierSet {
        /// The Island.
        island: IslandId,
        /// The instrument.
        instrument: InstrumentId,
        /// The tier, or none.
        tier: Option<Tier>,
    },
    /// An Island's band changed.
    BandSet {
        /// The Island.
        island: IslandId,
        /// The band.
        band: KarmaBand,
    },
    /// An Island's slots changed, or one came back.
    SlotsSet {
        /// The Island.
        island: IslandId,
        /// How many it has.
        slots: Slots,
        /// How many of them are free.
        free: Slots,
    },
    /// A bid was accepted.
    BidAccepted(BidAccepted),
    /// An ask was accepted.
    AskAccepted(AskAccepted),
    /// A command was refused and changed nothing.
    Rejected(Rejected),
    /// A bid or ask repeats one that was accepted: nothing was done, this is the first one. What became of those jobs
    /// of a bid that have ended follows.
    Repeated {
        /// The owner.
        account: AccountId,
        /// The name that was given twice.
        client_order_id: ClientOrderId,
        /// The order that already has it.
        order: OrderId,
        /// Jobs of a bid that ended before anybody took them.
        unmatched: Option<Unmatched>,
    },
    /// How a job of a repeated order ended.
    JobRecalled(EndedJob),
    /// A maker met a taker.
    Traded(Traded),
    /// What was left of an order ended without trading.
    OrderEnded(OrderEnded),
    /// An order has less left than before, and its place.
    Amended {
        /// The order.
        order: OrderId,
        /// Its owner.
        account: AccountId,
        /// What is left of it.
        leaves: Jobs,
    },
    /// A session's dead-man switch was set, or fired and is off again.
    DeadManSet {
        /// The session.
        session: SessionId,
        /// When it fires, or never.
        deadline: Option<Timestamp>,
    },
    /// A lease ended, with what is to be settled.
    LeaseEnded(LeaseEnded),
    /// A checkpoint was recorded.
    Checkpointed {
        /// The lease.
        lease: LeaseId,
        /// Work signed for so far.
        units: Units,
    },
    /// Displayed asks at a price in a cell: absolute, 0 jobs when the level is gone.
    AskDepth(AskDepth),
    /// Resting bids at a price in an eligibility class: absolute, 0 jobs when the level is gone.
    BidDepth(BidDepth),
    /// A class of bids appeared; its number means this from now on. A number is given anew only while nothing rests
    /// under it, after its last level was published as gone.
    ClassCreated(ClassDefinition),
    /// Matching stopped.
    Halted {
        /// Where.
        instrument: InstrumentId,
    },
    /// Matching resumed.
    Resumed {
        /// Where.
        instrument: InstrumentId,
    },
    /// An instrument's price band was set or lifted.
    PriceBandSet {
        /// Where.
        instrument: InstrumentId,
        /// The band, or none.
        band: Option<PriceBand>,
    },
}

/// A bid entered. Its trades follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidAccepted {
    /// Its id.
    pub order: OrderId,
    /// Its owner.
    pub account: AccountId,
    /// The gateway that holds its payloads.
    pub session: SessionId,
    /// The client's name for it.
    pub client_order_id: ClientOrderId,
    /// What it buys.
    pub instrument: InstrumentId,
    /// The highest price, worked out if it was a protection price.
    pub limit: Price,
    /// How many jobs.
    pub jobs: Jobs,
    /// The most work that one job may be.
    pub units_max: Units,
    /// Buying power set aside.
    pub reserved: Credits,
    /// How long it stays.
    pub time_in_force: TimeInForce,
    /// For the bid of a failover, the job that goes on.
    pub resumes: Option<JobId>,
}

/// Jobs of a bid that ended before anybody took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// How many, those included that an amend took away.
    pub jobs: Jobs,
    /// Why.
    pub reason: EndReason,
}

/// How a job ended and what it cost, in all its segments: what is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedJob {
    /// The job.
    pub job: JobId,
    /// The consumer.
    pub account: AccountId,
    /// The client's name for its order.
    pub client_order_id: ClientOrderId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// How it ended.
    pub end: JobEnd,
    /// The last execution price.
    pub price: Price,
    /// The last attempt.
    pub epoch: LeaseEpoch,
    /// Work billed.
    pub units: Units,
    /// What was charged for it.
    pub charge: Credits,
    /// What the consumer paid on top.
    pub fee: Credits,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// An ask entered. Its trades follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskAccepted {
    /// Its id.
    pub order: OrderId,
    /// The Island.
    pub island: IslandId,
    /// Its owner.
    pub account: AccountId,
    /// The agent's session.
    pub session: SessionId,
    /// The agent's name for it.
    pub client_order_id: ClientOrderId,
    /// Where it stands.
    pub cell: CellKey,
    /// Its price.
    pub price: Price,
    /// How many jobs.
    pub jobs: Jobs,
    /// How long it stays.
    pub time_in_force: TimeInForce,
}

/// Asks in one cell are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellKey {
    /// The instrument.
    pub instrument: InstrumentId,
    /// Where its Islands are.
    pub region: Region,
    /// How fast they are.
    pub tier: Tier,
    /// How they are reputed.
    pub band: KarmaBand,
}

/// A command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Who asked, where the command says so.
    pub account: Option<AccountId>,
    /// The client's name for the order, where there is one.
    pub client_order_id: Option<ClientOrderId>,
    /// The order that the command was about, where it names one.
    pub order: Option<OrderId>,
    /// Why.
    pub reason: RejectReason,
    /// For `Unservable`: the nearest cell that quotes, if the bid asked for less.
    pub alternative: Option<Alternative>,
    /// For `InsufficientBuyingPower`: how much is missing.
    pub shortfall: Credits,
}

/// What could have been had instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// The cell that quotes.
    pub cell: CellKey,
    /// Its best price.
    pub price: Price,
}

/// A maker met a taker. A trade of n jobs makes n leases and takes n of the Island's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traded {
    /// Its id.
    pub trade: TradeId,
    /// The bid.
    pub bid: OrderId,
    /// Its owner.
    pub account: AccountId,
    /// The gateway that holds its payloads.
    pub bid_session: SessionId,
    /// The ask.
    pub ask: OrderId,
    /// Its Island.
    pub island: IslandId,
    /// The Island's owner.
    pub owner: AccountId,
    /// The agent's session.
    pub ask_session: SessionId,
    /// Where the ask stood.
    pub cell: CellKey,
    /// The execution price: the maker's.
    pub price: Price,
    /// How many jobs.
    pub jobs: Jobs,
    /// What the bid was.
    pub bid_liquidity: Liquidity,
    /// What is left of the bid.
    pub bid_leaves: Jobs,
    /// What is left of the ask.
    pub ask_leaves: Jobs,
    /// The first of the leases; the others count up from it.
    pub first_lease: LeaseId,
    /// The job of the first lease; the others' indexes count up from it.
    pub first_job: JobId,
    /// Which attempt at the jobs this is.
    pub epoch: LeaseEpoch,
    /// The most work that one job may be.
    pub units_max: Units,
}

/// What was left of an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEnded {
    /// The order.
    pub order: OrderId,
    /// Its owner.
    pub account: AccountId,
    /// Its session.
    pub session: SessionId,
    /// Its side.
    pub side: Side,
    /// How many jobs were left.
    pub leaves: Jobs,
    /// Why.
    pub reason: EndReason,
    /// For the bid of a failover, the job that does not go on.
    pub resumes: Option<JobId>,
}

/// Why an order ended without trading to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// Its owner cancelled it.
    Cancelled,
    /// It was immediate-or-cancel, and this was left. So ends a failover's bid, too, that finds no free class to rest
    /// in: a job under way is never refused.
    Immediate,
    /// Its time ran out.
    Expired,
    /// Its session ended.
    SessionLost,
    /// Its session's dead-man switch fired.
    DeadMan,
    /// Self-trade prevention.
    SelfTrade,
    /// Its Island may no longer quote there. For a failover's bid: nobody who quotes could ever fill it.
    NotQuotable,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseEnd {
    /// With its job.
    Closed(JobOutcome),
    /// The rest of the job was bid for again under this order.
    FailedOver(OrderId),
    /// The exchange lost the consumer's session: he pays nothing, the exchange pays what was checkpointed.
    Lost,
}

/// A lease ended. One that moves credits is settled from this event alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEnded {
    /// The lease.
    pub lease: LeaseId,
    /// Its job.
    pub job: JobId,
    /// Its trade.
    pub trade: TradeId,
    /// Which attempt at the job it was.
    pub epoch: LeaseEpoch,
    /// The consumer.
    pub account: AccountId,
    /// The Island.
    pub island: IslandId,
    /// The Island's owner.
    pub owner: AccountId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// The execution price.
    pub price: Price,
    /// How it ended.
    pub end: LeaseEnd,
    /// What the segment moves between consumer, Island, exchange and pool.
    pub bill: Bill,
    /// What the job was billed before this segment.
    pub billed_before: RunningBill,
    /// For [`LeaseEnd::Lost`]: what the exchange owes the Island.
    pub compensation: Credits,
    /// What went back from the reservation to buying power. Nothing when it failed over: the new bid inherits it.
    pub released: Credits,
}

/// Displayed asks at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskDepth {
    /// Where.
    pub cell: CellKey,
    /// At which price.
    pub price: Price,
    /// How many jobs are displayed: what is left, bounded by free slots.
    pub jobs: u64,
}

/// Resting bids at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BidDepth {
    /// The instrument.
    pub instrument: InstrumentId,
    /// The class, counted from 0 per instrument.
    pub class: u16,
    /// At which price.
    pub price: Price,
    /// How many jobs are wanted.
    pub jobs: u64,
}

/// What the bids of a class have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassDefinition {
    /// The instrument.
    pub instrument: InstrumentId,
    /// The class, counted from 0 per instrument.
    pub class: u16,
    /// Which cells may fill them.
    pub eligibility: Eligibility,
}
