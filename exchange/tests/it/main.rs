//! Behaviour of the exchange's parts and of the whole.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agent_sessions;
mod faulty_disk;
mod grpc;
mod http;
mod journal;
mod leasing;
mod link;
mod load;
mod market_data;
mod money;
mod registry;
mod sequencer;
mod support;
