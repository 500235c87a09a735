//! Behaviour of the exchange's parts and of the whole.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod faulty_disk;
mod journal;
mod load;
mod market_data;
mod registry;
mod sequencer;
