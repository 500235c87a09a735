//! What happens to a trade until its outcome: leases, deadlines, claims, cancels and failover.
//!
//! [`Dispatcher::handle`] takes what happened, [`Dispatcher::next_effect`] says what to do about it, and
//! [`Dispatcher::poll_timeout`] when to look again. Invariants:
//! - a job that was granted ends exactly once, in one [`Effect::JobEnded`];
//! - tokens are delivered in order, none twice, none left out, over all the Islands that worked on the job;
//! - nothing is billed that an Island has not signed for and the exchange has not received;
//! - a message of an earlier attempt, another session or a lease that is over changes nothing.
//!
//! Deliberately absent: I/O, clocks, prompts (only their size matters here), prices (the engine bills), signatures
//! (the shell checks them), and karma, which will live beside the roster.

mod deadline;
mod dispatcher;
mod effect;
mod input;
mod lease;
mod limits;
mod roster;
mod timers;

pub use deadline::{Deadlines, Speeds};
pub use dispatcher::Dispatcher;
pub use effect::{Effect, Finding, ReceiptRefusal, RevokeReason, Settlement};
pub use input::{Claim, FinishReason, Grant, Input, JobFacts, Reply, SignedClaim};
pub use limits::{
    ACKNOWLEDGE_WITHIN, FAILOVER_PATIENCE, FAILOVERS_MAX, FINISH_WITHIN, FIRST_TOKEN_AT_LEAST, HEARD_WITHIN,
    SLOT_FREE_WITHIN, STALL_AT_LEAST, STALL_TOKENS, TOTAL_ALLOWANCE,
};
