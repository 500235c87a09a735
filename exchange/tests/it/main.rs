//! Behaviour of the exchange's parts and of the whole.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::integer_division,
    reason = "a test panics on whatever it did not expect, and its own sums are small"
)]

mod agent_sessions;
mod damage;
mod faulty_disk;
mod grpc;
mod http;
mod journal;
mod journal_check;
mod killed;
mod leasing;
mod link;
mod load;
mod market_data;
mod money;
mod order_entry;
mod recall;
mod registry;
mod sequencer;
mod sign_ups;
mod spending;
mod support;
