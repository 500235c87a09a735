//! The billing service: accounts, keys, reserved accounts, settlement, over gRPC and one database.
//!
//! The rules of money are the `ledger` crate's; what is kept is the [`store`]'s; one [`writer`] commits in groups.
//! Invariants:
//! - every credit that moves is a transfer row, and the database moves the counters when the row arrives;
//! - every transfer's id derives from the fact that it records, so a repeated call changes nothing;
//! - an answer that says "booked" is durable.
//!
//! Deliberately absent: any call to another service but the provider of payouts. Billing answers; it asks nobody.

pub mod api;
pub mod auth;
pub mod backup;
pub mod closing;
pub mod config;
pub mod dates;
pub mod error;
pub mod figures;
pub mod keys;
pub mod limits;
pub mod maturing;
pub mod pages;
pub mod payouts;
pub mod report;
pub mod resetting;
mod server;
pub mod store;
pub mod writer;

pub use config::{Config, Maturity};
pub use server::{Running, run, start};
