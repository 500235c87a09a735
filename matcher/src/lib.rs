//! The order book and the matching engine: commands in, events out.
//!
//! [`Engine::apply`] is the only way in. Given the same commands in the same order it makes the same events and the
//! same state, which [`Engine::state_hash`] shows.
//!
//! Deliberately absent: I/O, async, clocks, randomness, hash-map walks, and failure: a refused command is an event
//! with a reason that changes nothing else.

mod audit;
mod book;
mod client_ids;
mod command;
mod crossing;
mod depth;
mod ended_jobs;
mod engine;
mod event;
mod explain;
mod index;
mod leases;
mod limits;
mod order;
mod order_flow;
mod orders;
mod prefetch;
mod reject;
mod risk;
mod roster;
mod snapshot;
mod timers;
mod view;

pub use audit::AuditError;
pub use command::{
    Amend, BidLimit, Cancel, CancelAll, CancelScope, Checkpoint, CloseLease, Command, Defund, FailOver, Fund,
    JoinIsland, ListInstrument, LoseSessions, PlaceAsk, PlaceBid, PostOnly, ReleaseSlot, SetBand, SetDeadMan,
    SetPriceBand, SetSlots, SetTier, Stamped,
};
pub use engine::{Engine, Room};
pub use event::{
    Alternative, AskAccepted, AskDepth, BidAccepted, BidDepth, CellKey, ClassDefinition, EndReason, EndedJob,
    Event, LeaseEnd, LeaseEnded, OrderEnded, Rejected, Traded, Unmatched,
};
pub use explain::{
    AskStanding, AskSubject, BidStanding, BidSubject, Buyer, CellStanding, EXPLAINED_JOBS_MAX, Filter,
    IndicativeVolume,
};
pub use limits::{
    CLASSES_PER_INSTRUMENT_MAX, CLIENT_ID_KEPT, CLIENT_IDS_PER_ACCOUNT_MAX, ENDED_JOBS_PER_ORDER_MAX,
    FAILOVERS_PER_JOB_MAX, FREE_MESSAGES_PER_MINUTE, INSTRUMENTS_MAX, ISLANDS_MAX, Limits,
    MESSAGES_PER_TRADE, ORDERS_PER_ACCOUNT_MAX, TRANSFERS_PER_ACCOUNT_MAX,
};
pub use reject::RejectReason;
pub use snapshot::SnapshotError;
pub use view::{
    AskView, BidView, BuyingPower, Depth, EndedOrder, IslandView, LeaseView, OrderDetail, OrderView,
};
