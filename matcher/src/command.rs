//! What may be asked of the engine. Every command is journaled before it is applied, so each carries all that its
//! effect depends on, and names mean the same for ever: variants and fields are only added, at the end.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, Instrument, InstrumentId, IslandId, JobEnd,
    Jobs, KarmaBand, LatencyValue, LeaseId, OrderId, PayloadDigest, Price, PriceBand, Region, RegionTable,
    SelfTradeMode, Sequence, SessionId, Slots, Tier, TimeInForce, Timestamp, TransferId, Units,
};
use serde::{Deserialize, Serialize};

/// A command with its place in the journal and its time, given once by the sequencer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Its place: one more than the command before.
    pub sequence: Sequence,
    /// The larger of the wall clock and the stamp before.
    pub at: Timestamp,
    /// What is asked.
    pub command: Command,
}

/// What may be asked of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Replaces the region table. A region once named keeps its index.
    SetRegions(RegionTable),
    /// Makes an instrument tradable.
    ListInstrument(ListInstrument),
    /// Opens a session; its id is this command's sequence.
    OpenSession,
    /// Ends sessions: their bids and asks, and the leases of the bids, end with a report to the owner.
    ///
    /// A lease whose Island's session ends while its bid's session lives stays open: dispatch decides by `FailOver`
    /// or `CloseLease`.
    LoseSessions(LoseSessions),
    /// Adds buying power that billing has reserved. Repeating the transfer changes nothing.
    Fund(Fund),
    /// Takes back buying power that no order has reserved, before billing returns it.
    Defund(Defund),
    /// Puts an Island's profile in force under a session. Nothing of an earlier session remains: all slots are free,
    /// and no tier is set until `SetTier`.
    JoinIsland(JoinIsland),
    /// Gives an Island its tier for an instrument, or takes it away. Its asks move cell and keep their sequence.
    SetTier(SetTier),
    /// Moves an Island to another karma band. Its asks move cell and keep their sequence.
    SetBand(SetBand),
    /// Changes how many jobs an Island runs at once.
    SetSlots(SetSlots),
    /// Enters a bid.
    PlaceBid(PlaceBid),
    /// Enters an ask.
    PlaceAsk(PlaceAsk),
    /// Cancels what is left of one order.
    Cancel(Cancel),
    /// Cancels all orders in a scope.
    CancelAll(CancelAll),
    /// Lowers what is left of an order; it keeps its place.
    Amend(Amend),
    /// Arms, renews or disarms a session's dead-man switch.
    SetDeadMan(SetDeadMan),
    /// Gives a slot back after a lease, when the machine is free again.
    ReleaseSlot(ReleaseSlot),
    /// Records how much of a lease an Island has signed for, should the exchange crash.
    Checkpoint(Checkpoint),
    /// Ends a lease and its job: bills what was done and returns the rest of the reservation.
    CloseLease(CloseLease),
    /// Ends a lease, bills what was done, and bids again for the rest with the inherited reservation.
    FailOver(FailOver),
    /// Stops matching in an instrument: orders rest, nothing trades.
    Halt(InstrumentId),
    /// Resumes matching, uncrossing what has come to overlap.
    Resume(InstrumentId),
    /// Fires due timers and nothing else.
    Tick,
    /// Sets or lifts the prices that an instrument holds for plausible. Orders that rest are not touched.
    SetPriceBand(SetPriceBand),
}

impl Command {
    /// Its name, as people and tools write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetRegions(_) => "SetRegions",
            Self::ListInstrument(_) => "ListInstrument",
            Self::OpenSession => "OpenSession",
            Self::LoseSessions(_) => "LoseSessions",
            Self::Fund(_) => "Fund",
            Self::Defund(_) => "Defund",
            Self::JoinIsland(_) => "JoinIsland",
            Self::SetTier(_) => "SetTier",
            Self::SetBand(_) => "SetBand",
            Self::SetSlots(_) => "SetSlots",
            Self::PlaceBid(_) => "PlaceBid",
            Self::PlaceAsk(_) => "PlaceAsk",
            Self::Cancel(_) => "Cancel",
            Self::CancelAll(_) => "CancelAll",
            Self::Amend(_) => "Amend",
            Self::SetDeadMan(_) => "SetDeadMan",
            Self::ReleaseSlot(_) => "ReleaseSlot",
            Self::Checkpoint(_) => "Checkpoint",
            Self::CloseLease(_) => "CloseLease",
            Self::FailOver(_) => "FailOver",
            Self::Halt(_) => "Halt",
            Self::Resume(_) => "Resume",
            Self::Tick => "Tick",
            Self::SetPriceBand(_) => "SetPriceBand",
        }
    }
}

/// See [`Command::ListInstrument`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListInstrument {
    /// The id it is to have: one more than the last, from 0.
    pub instrument: InstrumentId,
    /// What it is.
    pub specification: Instrument,
}

/// See [`Command::LoseSessions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoseSessions {
    /// Every session that is open: what a restart does.
    All,
    /// One session.
    One(SessionId),
}

/// See [`Command::Fund`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fund {
    /// Billing's transfer into the reserved account: the key of idempotence.
    pub transfer: TransferId,
    /// Whose buying power grows.
    pub account: AccountId,
    /// By how much; never negative.
    pub amount: Credits,
}

/// See [`Command::Defund`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defund {
    /// The transfer that will return it: the key of idempotence.
    pub transfer: TransferId,
    /// Whose buying power shrinks.
    pub account: AccountId,
    /// By how much.
    pub amount: Credits,
}

/// See [`Command::JoinIsland`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinIsland {
    /// The Island.
    pub island: IslandId,
    /// The account that owns it and earns.
    pub owner: AccountId,
    /// The agent's session; an earlier session of the same Island must have ended.
    pub session: SessionId,
    /// Where it is.
    pub region: Region,
    /// Its karma.
    pub band: KarmaBand,
    /// Jobs that it runs at once.
    pub slots: Slots,
}

/// See [`Command::SetTier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetTier {
    /// The Island.
    pub island: IslandId,
    /// For this instrument.
    pub instrument: InstrumentId,
    /// Its tier, or `None` when it may no longer quote; its asks in the instrument are cancelled then.
    pub tier: Option<Tier>,
}

/// See [`Command::SetBand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBand {
    /// The Island.
    pub island: IslandId,
    /// Its new band.
    pub band: KarmaBand,
}

/// See [`Command::SetSlots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetSlots {
    /// The Island.
    pub island: IslandId,
    /// Jobs that it runs at once from now on; those that run are not disturbed.
    pub slots: Slots,
}

/// What a bid is willing to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BidLimit {
    /// No more than this.
    At(Price),
    /// Twice the best eligible ask at arrival, busy ones included.
    Protection,
}

/// See [`Command::PlaceBid`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceBid {
    /// Who buys.
    pub account: AccountId,
    /// The gateway that holds the payloads.
    pub session: SessionId,
    /// The client's name for it.
    pub client_order_id: ClientOrderId,
    /// What is bought.
    pub instrument: InstrumentId,
    /// The highest price.
    pub limit: BidLimit,
    /// How many jobs.
    pub jobs: Jobs,
    /// The most work that one of them may be.
    pub units_max: Units,
    /// Which cells may fill it.
    pub eligibility: Eligibility,
    /// What distance is worth to the buyer.
    pub latency_value: LatencyValue,
    /// Islands that may not fill it.
    pub excluded: Excluded,
    /// How long it stays.
    pub time_in_force: TimeInForce,
    /// What happens when it would meet an ask of the same owner.
    pub self_trade: SelfTradeMode,
    /// The fewest jobs that must trade on arrival, or the bid is refused; more than none only for `Ioc`, for what is
    /// left of another would rest and could be filled in smaller pieces.
    pub jobs_min: Jobs,
    /// What its jobs are to do, which is never journaled itself.
    pub payload: PayloadDigest,
}

/// See [`Command::PlaceAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceAsk {
    /// The Island that quotes; owner, region, tier and band come from its profile.
    pub island: IslandId,
    /// The agent's session.
    pub session: SessionId,
    /// The agent's name for it.
    pub client_order_id: ClientOrderId,
    /// What is sold.
    pub instrument: InstrumentId,
    /// At this price.
    pub price: Price,
    /// How many jobs.
    pub jobs: Jobs,
    /// How long it stays: `Gtc`, `Gtd` or `Ioc`.
    pub time_in_force: TimeInForce,
    /// Whether it may only rest.
    pub post_only: PostOnly,
    /// What happens when it would meet a bid of the same owner.
    pub self_trade: SelfTradeMode,
}

/// Whether an ask may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostOnly {
    /// It trades on arrival if it can.
    #[default]
    No,
    /// It is refused if it would trade on arrival.
    Yes,
}

/// See [`Command::Cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Who asks: the order's owner.
    pub account: AccountId,
    /// The order.
    pub order: OrderId,
}

/// See [`Command::CancelAll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAll {
    /// Who asks.
    pub account: AccountId,
    /// Which of his orders.
    pub scope: CancelScope,
}

/// Which orders a mass cancel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelScope {
    /// All of them.
    Everything,
    /// Those in one instrument.
    Instrument(InstrumentId),
    /// Those of one session.
    Session(SessionId),
    /// The asks of one Island: how a drain begins.
    Island(IslandId),
}

/// See [`Command::Amend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amend {
    /// Who asks: the order's owner.
    pub account: AccountId,
    /// The order.
    pub order: OrderId,
    /// What is to be left of it: less than is left now, and not nothing.
    pub leaves: Jobs,
}

/// See [`Command::SetDeadMan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDeadMan {
    /// The session whose orders are cancelled when the time comes.
    pub session: SessionId,
    /// When, or never.
    pub deadline: Option<Timestamp>,
}

/// See [`Command::ReleaseSlot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSlot {
    /// The lease that took the slot.
    pub lease: LeaseId,
    /// The Island's session when it took it; one that has ended since makes the release void.
    pub session: SessionId,
}

/// See [`Command::Checkpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The lease.
    pub lease: LeaseId,
    /// Work done under it that the Island has signed for, prompt not counted.
    pub units: Units,
}

/// See [`Command::CloseLease`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseLease {
    /// The lease.
    pub lease: LeaseId,
    /// Work billed to the consumer in this segment.
    pub units: Units,
    /// Work that the failover pool pays: reading what another Island had already written.
    pub reread_units: Units,
    /// How the job ended.
    pub end: JobEnd,
}

/// See [`Command::FailOver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailOver {
    /// The lease that failed. Its Island is excluded from the new bid, beside those that the buyer named.
    pub lease: LeaseId,
    /// Work billed to the consumer in the segment that failed.
    pub units: Units,
    /// The most work that is left to do: no more than the lease's units less those billed.
    pub units_max: Units,
    /// How long the new bid stays.
    pub time_in_force: TimeInForce,
    /// How the job ends if nobody takes the rest.
    pub otherwise: JobEnd,
}

/// See [`Command::SetPriceBand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPriceBand {
    /// Where.
    pub instrument: InstrumentId,
    /// The band, or none.
    pub band: Option<PriceBand>,
}
