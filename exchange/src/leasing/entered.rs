//! Asks that an Island's owner entered himself: his order-entry session hears of them, the Island's agent does not, for
//! it would not know them.

use std::collections::{HashMap, HashSet};

use domain::{ClientOrderId, IslandId, OrderId};
use matcher::PlaceAsk;

/// The owners' asks that are on their way or on the book. Bounded by what may be on its way to the engine, and by what
/// the engine lets an account have resting.
#[derive(Debug, Default)]
pub(super) struct EnteredAsks {
    /// How many of each are on their way: the same may be sent twice.
    placing: HashMap<(IslandId, ClientOrderId), u32>,
    resting: HashSet<OrderId>,
}

impl EnteredAsks {
    /// An owner's ask is on its way to the engine.
    pub(super) fn placing(&mut self, ask: &PlaceAsk) {
        let count = self.placing.entry((ask.island, ask.client_order_id)).or_default();
        *count = count.saturating_add(1);
    }

    /// The engine has answered an ask; returns whether it was an owner's.
    pub(super) fn answered(&mut self, island: IslandId, client_order_id: ClientOrderId) -> bool {
        let key = (island, client_order_id);
        let Some(count) = self.placing.get_mut(&key) else {
            return false;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.placing.remove(&key);
        }
        true
    }

    /// An owner's ask is on the book.
    pub(super) fn rests(&mut self, order: OrderId) {
        self.resting.insert(order);
    }

    /// Whether it is an owner's ask that is on the book.
    pub(super) fn contains(&self, order: OrderId) -> bool {
        self.resting.contains(&order)
    }

    /// Nothing is left of an ask; returns whether it was an owner's.
    pub(super) fn ended(&mut self, order: OrderId) -> bool {
        self.resting.remove(&order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_that_was_sent_twice_is_answered_twice_and_then_forgotten() {
        let ask = PlaceAsk {
            island: IslandId::new(1),
            session: domain::SessionId::new(2),
            client_order_id: ClientOrderId::new(3),
            instrument: domain::InstrumentId::new(0),
            price: domain::Price::MIN,
            jobs: domain::Jobs::ONE,
            time_in_force: domain::TimeInForce::Gtc,
            post_only: matcher::PostOnly::No,
            self_trade: domain::SelfTradeMode::Skip,
        };
        let mut asks = EnteredAsks::default();
        assert!(!asks.answered(ask.island, ask.client_order_id));
        asks.placing(&ask);
        asks.placing(&ask);
        assert!(asks.answered(ask.island, ask.client_order_id));
        assert!(asks.answered(ask.island, ask.client_order_id));
        assert!(!asks.answered(ask.island, ask.client_order_id));
        assert!(asks.placing.is_empty());

        asks.rests(OrderId::new(9));
        assert!(asks.contains(OrderId::new(9)));
        assert!(asks.ended(OrderId::new(9)));
        assert!(!asks.ended(OrderId::new(9)));
    }
}
