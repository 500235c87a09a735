//! What a shell may ask of the engine between commands. Views are copies; nothing is changed through them.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, InstrumentId, IslandId, JobId, Jobs, KarmaBand,
    LatencyValue, LeaseEpoch, LeaseId, Liquidity, OrderId, Price, Region, RunningBill, SessionId, Side,
    Slots, Tier, TimeInForce, TradeId, Units,
};

use crate::{AskDepth, BidDepth, CellKey, ClassDefinition, EndedJob, PostOnly, Unmatched};

/// An account's buying power: what billing has reserved for it and no lease has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuyingPower {
    /// Free to spend.
    pub available: Credits,
    /// Set aside for bids and open leases.
    pub reserved: Credits,
}

/// A book as it stands: what a market-data snapshot starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Displayed asks, by cell, then price.
    pub asks: Vec<AskDepth>,
    /// Resting bids, by class, then price.
    pub bids: Vec<BidDepth>,
    /// What the classes' numbers mean, in order.
    pub classes: Vec<ClassDefinition>,
}

/// What became of a bid or ask that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedOrder {
    /// Its id.
    pub order: OrderId,
    /// Its owner.
    pub account: AccountId,
    /// The client's name for it.
    pub client_order_id: ClientOrderId,
    /// Jobs of a bid that ended before anybody took them.
    pub unmatched: Option<Unmatched>,
    /// Jobs of a bid that ended after an Island had taken them.
    pub jobs: Vec<EndedJob>,
}

/// A resting order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderView {
    /// Its id.
    pub order: OrderId,
    /// Its owner.
    pub account: AccountId,
    /// Its session.
    pub session: SessionId,
    /// The client's name for it; a failed-over bid carries that of the bid before.
    pub client_order_id: ClientOrderId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// A bid's limit or an ask's price.
    pub price: Price,
    /// How many jobs were ordered.
    pub jobs: Jobs,
    /// How many have traded.
    pub filled: Jobs,
    /// How many are left.
    pub leaves: Jobs,
    /// How long it stays.
    pub time_in_force: TimeInForce,
    /// What only its side has.
    pub detail: OrderDetail,
}

impl OrderView {
    /// Which side it is on.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self.detail {
            OrderDetail::Bid(_) => Side::Bid,
            OrderDetail::Ask(_) => Side::Ask,
        }
    }
}

/// What only one side has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderDetail {
    /// Of a bid.
    Bid(BidView),
    /// Of an ask.
    Ask(AskView),
}

impl OrderDetail {
    /// The order's side.
    #[must_use]
    pub const fn side(&self) -> domain::Side {
        match self {
            Self::Bid(_) => domain::Side::Bid,
            Self::Ask(_) => domain::Side::Ask,
        }
    }
}

/// What only a bid has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BidView {
    /// The most work that one job may be.
    pub units_max: Units,
    /// Which cells may fill it.
    pub eligibility: Eligibility,
    /// What distance is worth to the buyer.
    pub latency_value: LatencyValue,
    /// Islands that may not fill it: those that the buyer named, then those that failed.
    pub excluded: Vec<IslandId>,
    /// Buying power set aside for what is left.
    pub reserved: Credits,
    /// For the bid of a failover, the job that goes on.
    pub resumes: Option<JobId>,
}

/// What only an ask has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskView {
    /// The Island.
    pub island: IslandId,
    /// Where it stands.
    pub cell: CellKey,
    /// What is left of it, bounded by the Island's free slots: nothing while it is busy.
    pub displayed: Jobs,
    /// Whether it might take on arrival.
    pub post_only: PostOnly,
}

/// An open lease, with all that a restarted shell needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Its id.
    pub lease: LeaseId,
    /// Its job.
    pub job: JobId,
    /// Its trade.
    pub trade: TradeId,
    /// Which attempt at the job it is.
    pub epoch: LeaseEpoch,
    /// The bid that it came from.
    pub bid: OrderId,
    /// The consumer.
    pub account: AccountId,
    /// The gateway that holds the payload.
    pub session: SessionId,
    /// The client's name for the bid.
    pub client_order_id: ClientOrderId,
    /// The Island.
    pub island: IslandId,
    /// The Island's session when it took the slot.
    pub island_session: SessionId,
    /// The Island's owner.
    pub owner: AccountId,
    /// The instrument.
    pub instrument: InstrumentId,
    /// Where the ask stood.
    pub cell: CellKey,
    /// The execution price.
    pub price: Price,
    /// The bid's limit: what a failover bids again.
    pub limit: Price,
    /// The most work that it may bill.
    pub units_max: Units,
    /// What the bid was.
    pub bid_liquidity: Liquidity,
    /// Buying power set aside for it.
    pub reserved: Credits,
    /// What the job was billed before.
    pub billed_before: RunningBill,
    /// Work that the Island has signed for.
    pub checkpointed: Units,
    /// Which cells may fill a failover.
    pub eligibility: Eligibility,
    /// What distance is worth to the buyer.
    pub latency_value: LatencyValue,
    /// Islands that may not fill a failover: those that the buyer named, then those that failed.
    pub excluded: Vec<IslandId>,
}

/// An Island with a live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IslandView {
    /// Its id.
    pub island: IslandId,
    /// The account that earns.
    pub owner: AccountId,
    /// The agent's session.
    pub session: SessionId,
    /// Where it is.
    pub region: Region,
    /// Its karma.
    pub band: KarmaBand,
    /// Jobs that it runs at once.
    pub slots: Slots,
    /// Slots that no lease has taken.
    pub free: Slots,
    /// Its tiers, by instrument.
    pub tiers: Vec<(InstrumentId, Tier)>,
}
