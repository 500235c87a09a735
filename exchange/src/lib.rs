//! The exchange: gateway, sequencer, journal, dispatch, market data.

mod backoff;
pub mod billing_client;
pub mod buying_power;
pub mod config;
pub mod gateway;
pub mod identity;
pub mod journal;
pub mod leasing;
pub mod market_data;
pub mod names;
pub mod registry;
pub mod sequencer;
