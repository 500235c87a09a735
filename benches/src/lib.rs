//! Measurements: the engine, the journal, the services beside their floors.

pub mod book_replay;
#[cfg(feature = "services")]
pub mod order_entry;
mod trade_hash;
pub mod workloads;

pub use trade_hash::{HashedTrade, TradeHash};
