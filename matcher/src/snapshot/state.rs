//! The state as it is written: ids instead of handles, and nothing that follows from the rest.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Instrument, InstrumentId, IslandId, JobId, Jobs,
    KarmaBand, LatencyValue, LeaseEpoch, LeaseId, Liquidity, OrderId, Price, PriceBand, Region, RegionTable,
    RunningBill, SelfTradeMode, Sequence, SessionId, Slots, Tier, TimeInForce, Timestamp, TradeId,
    TransferId, Units,
};
use serde::{Deserialize, Serialize};

use crate::client_ids::Fingerprint;
use crate::ended_jobs::Tally;
use crate::order::Special;
use crate::order_flow::OrderFlow;
use crate::{CellKey, Limits, PostOnly, SnapshotError, Unmatched};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) sequence: Sequence,
    pub(super) now: Timestamp,
    pub(super) next_priority: u64,
    pub(super) next_trade: TradeId,
    pub(super) next_lease: LeaseId,
    pub(super) regions: Option<RegionTable>,
    pub(super) books: Vec<BookState>,
    pub(super) accounts: Vec<AccountState>,
    pub(super) sessions: Vec<SessionState>,
    pub(super) islands: Vec<IslandState>,
    pub(super) orders: Vec<OrderState>,
    pub(super) leases: Vec<LeaseState>,
    pub(super) ended_ids: Vec<EndedIdState>,
    pub(super) ended_jobs: Vec<(JobId, Tally)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BookState {
    pub(super) specification: Instrument,
    pub(super) is_halted: bool,
    pub(super) price_band: Option<PriceBand>,
    pub(super) classes: Vec<Eligibility>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AccountState {
    pub(super) id: AccountId,
    pub(super) available: Credits,
    pub(super) reserved: Credits,
    pub(super) flow: OrderFlow,
    pub(super) transfers: Vec<TransferId>,
    pub(super) client_ids: Vec<ClientIdState>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClientIdState {
    pub(super) client_order_id: ClientOrderId,
    pub(super) order: OrderId,
    pub(super) fingerprint: Fingerprint,
    pub(super) unmatched: Option<Unmatched>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndedIdState {
    pub(super) forget_at: Timestamp,
    pub(super) account: AccountId,
    pub(super) client_order_id: ClientOrderId,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionState {
    pub(super) id: SessionId,
    pub(super) dead_man: Option<(Timestamp, Sequence)>,
    /// In the order in which they joined.
    pub(super) islands: Vec<IslandId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IslandState {
    pub(super) id: IslandId,
    pub(super) owner: AccountId,
    pub(super) region: Region,
    pub(super) band: KarmaBand,
    pub(super) slots: Slots,
    pub(super) held: Vec<(LeaseId, u32)>,
    pub(super) tiers: Vec<(InstrumentId, Tier)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OrderState {
    pub(super) id: OrderId,
    pub(super) account: AccountId,
    pub(super) client_order_id: ClientOrderId,
    pub(super) instrument: InstrumentId,
    pub(super) price: Price,
    pub(super) jobs: Jobs,
    pub(super) filled: Jobs,
    pub(super) leaves: Jobs,
    pub(super) time_in_force: TimeInForce,
    pub(super) self_trade: SelfTradeMode,
    pub(super) priority: u64,
    pub(super) part: PartState,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PartState {
    Bid(BidState),
    Ask(AskState),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BidState {
    pub(super) session: SessionId,
    pub(super) units_max: Units,
    pub(super) class: u16,
    pub(super) latency_value: LatencyValue,
    pub(super) reserved_per_job: Credits,
    pub(super) special: Option<Box<Special>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskState {
    pub(super) island: IslandId,
    pub(super) post_only: PostOnly,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseState {
    pub(super) first: LeaseId,
    pub(super) count: u32,
    pub(super) job: JobId,
    pub(super) trade: TradeId,
    pub(super) epoch: LeaseEpoch,
    pub(super) bid: OrderId,
    pub(super) account: AccountId,
    pub(super) session: SessionId,
    pub(super) client_order_id: ClientOrderId,
    pub(super) island: IslandId,
    pub(super) island_session: SessionId,
    pub(super) owner: AccountId,
    pub(super) cell: CellKey,
    pub(super) price: Price,
    pub(super) limit: Price,
    pub(super) units_max: Units,
    pub(super) bid_liquidity: Liquidity,
    pub(super) reserved: Credits,
    pub(super) billed: RunningBill,
    pub(super) checkpointed: Units,
    pub(super) eligibility: Eligibility,
    pub(super) latency_value: LatencyValue,
    pub(super) self_trade: SelfTradeMode,
    pub(super) special: Option<Box<Special>>,
}

impl State {
    /// Decodes the state, all of the bytes and nothing after them.
    pub(super) fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (state, rest) = postcard::take_from_bytes(bytes).map_err(|_| SnapshotError::Malformed)?;
        if !rest.is_empty() {
            return Err(SnapshotError::Malformed);
        }
        Ok(state)
    }
}
