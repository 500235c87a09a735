//! The latest trades.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use domain::InstrumentId;
use proto::market_data::v1::Trade;

/// Trades kept per model, and as many over all models: the largest page.
pub(super) const TRADES_KEPT: usize = 1_000;

/// The latest trades, per model and over all models.
#[derive(Debug, Default)]
pub(super) struct Trades {
    all: VecDeque<Arc<Trade>>,
    by_instrument: BTreeMap<InstrumentId, VecDeque<Arc<Trade>>>,
}

impl Trades {
    pub(super) fn push(&mut self, instrument: InstrumentId, trade: Arc<Trade>) {
        push(
            self.by_instrument.entry(instrument).or_default(),
            Arc::clone(&trade),
        );
        push(&mut self.all, trade);
    }

    /// The latest trades, newest first; of all models if none is named.
    pub(super) fn latest(&self, instrument: Option<InstrumentId>, count: usize) -> Vec<Arc<Trade>> {
        let ring = match instrument {
            Some(instrument) => self.by_instrument.get(&instrument),
            None => Some(&self.all),
        };
        ring.into_iter().flatten().rev().take(count).cloned().collect()
    }
}

fn push(ring: &mut VecDeque<Arc<Trade>>, trade: Arc<Trade>) {
    if ring.len() == TRADES_KEPT {
        ring.pop_front();
    }
    ring.push_back(trade);
}
