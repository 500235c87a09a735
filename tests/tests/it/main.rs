//! Tests of the house as a whole.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the tree should stop there"
)]

mod bans;
mod edges;
mod protos;
