//! The exchange: gateway, sequencer, journal, dispatch, market data.
//!
//! [`start`] wires the parts and serves them on one port; [`run`] does so until it is told to stop. Facts flow one way:
//! gateway → sequencer → engine → reports, market data and leasing → receipts → outbox → billing.

pub mod agent_sessions;
mod backoff;
pub mod billing_client;
pub mod buying_power;
mod canary;
pub mod config;
pub mod gateway;
pub mod halts;
pub mod identity;
pub mod journal;
pub mod journal_check;
pub mod leasing;
pub mod market_data;
pub mod names;
pub mod order_entry;
pub mod outbox;
pub mod receipts;
pub mod reconcile;
pub mod registry;
mod running;
pub mod sequencer;
pub mod spending;

pub use running::{Running, run, start, start_on};
