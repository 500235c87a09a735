//! The engine from the outside: scripts with their expected events, a naive engine to compare with, replays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for the few events and commands that it is about"
)]

mod allocations;
mod bounds;
mod campaign;
mod depth;
mod explain;
mod halts;
mod idempotence;
mod implied;
mod journals;
mod leases;
mod money;
mod naive_book;
mod order_flow;
mod peers;
mod price_time;
mod properties;
mod refusals;
mod replay;
mod scenario;
mod self_trade;
mod sessions;
mod slots;
mod snapshots;
mod time_in_force;
