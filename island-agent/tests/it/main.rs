//! Runners, models, the benchmark and the agent, from the outside.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

mod benchmark;
mod candle;
mod checkpoint;
mod core;
mod hub;
mod install;
mod scripted;
mod session;
mod stream;
