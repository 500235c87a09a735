//! The exchange: gateway, sequencer, journal, dispatch, market data.

pub mod journal;
pub mod market_data;
pub mod names;
pub mod sequencer;
