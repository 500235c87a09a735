//! Whole exchanges with real Islands, driven from outside as their users drive them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should stop there and say why"
)]

mod alone;
mod answers;
mod check;
mod crash;
mod failover;
mod journal;
mod life;
mod orders;
mod refusals;
mod sign_up;
mod support;
mod third_party;
mod wallet;
