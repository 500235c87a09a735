//! The order book and the matching engine: commands in, events out.
//!
//! [`Engine::apply`] is the only way in. Given the same commands in the same order it makes the same events and the
//! same state, which [`Engine::state_hash`] shows.
//!
//! Deliberately absent: I/O, async, clocks, randomness, hash-map walks, and failure: a refused command is an event
//! with a reason that changes nothing else.

mod command;
mod event;
mod reject;

pub use command::{
    Amend, BidLimit, Cancel, CancelAll, CancelScope, Checkpoint, CloseLease, Command, Defund, FailOver, Fund,
    JoinIsland, ListInstrument, LoseSessions, PlaceAsk, PlaceBid, PostOnly, ReleaseSlot, SetBand, SetDeadMan,
    SetSlots, SetTier, Stamped,
};
pub use event::{
    Alternative, AskAccepted, AskDepth, BidAccepted, BidDepth, CellKey, ClassDefinition, EndReason, Event,
    LeaseEnd, LeaseEnded, OrderEnded, Rejected, Traded,
};
pub use reject::RejectReason;
