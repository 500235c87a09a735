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

    /// Puts older trades before those that are there, as far as there is room: `older` in order, oldest first.
    pub(super) fn recall(&mut self, older: Vec<(InstrumentId, Arc<Trade>)>) {
        for (instrument, trade) in older.into_iter().rev() {
            recall(
                self.by_instrument.entry(instrument).or_default(),
                Arc::clone(&trade),
            );
            recall(&mut self.all, trade);
        }
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

fn recall(ring: &mut VecDeque<Arc<Trade>>, trade: Arc<Trade>) {
    if ring.len() < TRADES_KEPT {
        ring.push_front(trade);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(sequence: u64) -> Arc<Trade> {
        Arc::new(Trade {
            sequence,
            ..Trade::default()
        })
    }

    #[test]
    fn what_is_recalled_stands_before_what_came_meanwhile_and_drops_none_of_it() {
        let (one, two) = (InstrumentId::new(1), InstrumentId::new(2));
        let mut trades = Trades::default();
        let now = u64::try_from(TRADES_KEPT).unwrap();
        trades.push(one, trade(now + 1));
        trades.push(two, trade(now + 2));
        trades.recall((1..=now).map(|sequence| (one, trade(sequence))).collect());
        let sequences = |instrument, count| -> Vec<u64> {
            let latest = trades.latest(instrument, count);
            latest.iter().map(|trade| trade.sequence).collect()
        };
        assert_eq!(sequences(None, 3), [now + 2, now + 1, now]);
        assert_eq!(sequences(None, usize::MAX).len(), TRADES_KEPT);
        assert_eq!(sequences(Some(one), usize::MAX).last(), Some(&2));
        assert_eq!(sequences(Some(two), 3), [now + 2]);
    }
}
