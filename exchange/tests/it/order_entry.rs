//! Order entry over real sockets: one long session for both sides of the market.

mod asks;
mod batches;
mod client;
mod disconnects;
mod full_disk;
mod hostile;
mod resuming;
mod spending;
mod stopping;
