//! Orders of one owner: the incoming one's mode governs.

use domain::{Liquidity, SelfTradeMode};
use matcher::{EndReason, Event, OrderEnded, Traded};
use proptest::prelude::*;

use crate::properties::projection::Projection;
use crate::properties::script::{config, play, script};

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn an_owner_trades_with_himself_only_when_the_taker_allows_it(script in script()) {
        let mut market = Projection::default();
        play(&script, |step| {
            market.follow(step.stamped, step.events, |market, event| match event {
                Event::Traded(trade) if trade.account == trade.owner => {
                    assert_eq!(mode_of_taker(market, trade), SelfTradeMode::Allow, "{trade:?}");
                }
                Event::OrderEnded(ended) if ended.reason == EndReason::SelfTrade => {
                    assert!(is_asked_for(market, ended), "{ended:?}");
                }
                _ => {}
            });
        });
    }
}

fn mode_of_taker(market: &Projection, trade: &Traded) -> SelfTradeMode {
    match trade.bid_liquidity {
        Liquidity::Taker => market.bids[&trade.bid].self_trade,
        Liquidity::Maker => market.asks[&trade.ask].self_trade,
    }
}

/// Whether its own mode, or that of one of its owner's orders on the other side, may end it.
fn is_asked_for(market: &Projection, ended: &OrderEnded) -> bool {
    let ends_incoming =
        |mode: SelfTradeMode| matches!(mode, SelfTradeMode::CancelNewest | SelfTradeMode::CancelBoth);
    let ends_resting =
        |mode: SelfTradeMode| matches!(mode, SelfTradeMode::CancelOldest | SelfTradeMode::CancelBoth);
    if let Some(bid) = market.bids.get(&ended.order) {
        let mut asks = market.asks.values();
        let is_met = asks.any(|ask| ask.owner == bid.account && ends_resting(ask.self_trade));
        return ends_incoming(bid.self_trade) || is_met;
    }
    let ask = &market.asks[&ended.order];
    let mut bids = market.bids.values();
    let is_met = bids.any(|bid| bid.account == ask.owner && ends_resting(bid.self_trade));
    ends_incoming(ask.self_trade) || is_met
}
