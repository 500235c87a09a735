//! Behaviour of the exchange's parts and of the whole.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod registry;
