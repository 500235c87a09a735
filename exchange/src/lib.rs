//! The exchange: gateway, sequencer, journal, dispatch, market data.
