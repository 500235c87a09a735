//! Order entry over real sockets: one long session for both sides of the market.

mod asks;
mod batches;
mod client;
mod disconnects;
mod hostile;
mod resuming;
mod stopping;
