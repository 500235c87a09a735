//! Who trades with whom, and at what price.

use std::cmp::Reverse;

use domain::{Liquidity, OrderId, SelfTradeMode, Side};
use matcher::{Event, OrderDetail, Traded};
use proptest::prelude::*;

use crate::properties::projection::{Ask, Bid, Projection};
use crate::properties::script::{Script, config, play, script};

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn no_trade_is_worse_than_a_limit(script in script()) {
        each_trade(&script, |market, trade| {
            let (bid, ask) = (&market.bids[&trade.bid], &market.asks[&trade.ask]);
            assert!(trade.price <= bid.limit, "dearer than the bid's limit: {trade:?}");
            assert!(trade.price >= ask.price, "cheaper than the ask's price: {trade:?}");
            let makers = match trade.bid_liquidity {
                Liquidity::Taker => ask.price,
                Liquidity::Maker => bid.limit,
            };
            assert_eq!(trade.price, makers, "the price is the maker's");
        });
    }

    #[test]
    fn no_trade_is_outside_of_what_the_bid_admits(script in script()) {
        each_trade(&script, |market, trade| {
            let (bid, ask) = (&market.bids[&trade.bid], &market.asks[&trade.ask]);
            assert!(bid.admits(ask), "{trade:?}");
            assert_eq!(trade.cell, ask.cell);
        });
    }

    /// An amend to less keeps the place, a slot that comes back after none was free gives a new one.
    #[test]
    fn in_a_cell_the_earlier_of_equal_asks_trades_first(script in script()) {
        each_trade(&script, |market, trade| {
            if trade.bid_liquidity == Liquidity::Maker {
                return;
            }
            let (bid, taken) = (&market.bids[&trade.bid], &market.asks[&trade.ask]);
            for ask in market.asks.values() {
                let beside = ask.cell == taken.cell && ask.price == taken.price;
                if beside && is_free_to_take(bid, ask) {
                    assert!(ask.arrival >= taken.arrival, "{ask:?} was passed over for {taken:?}");
                }
            }
        });
    }

    #[test]
    fn over_all_cells_the_best_ranked_ask_trades_first(script in script()) {
        each_trade(&script, |market, trade| {
            if trade.bid_liquidity == Liquidity::Maker {
                return;
            }
            let bid = &market.bids[&trade.bid];
            let best = market
                .asks
                .iter()
                .filter(|(_, ask)| ask.price <= bid.limit && is_free_to_take(bid, ask))
                .min_by_key(|(_, ask)| rank(market, bid, ask))
                .map(|(order, _)| *order);
            assert_eq!(best, Some(trade.ask), "{trade:?}");
        });
    }

    #[test]
    fn over_all_classes_the_highest_then_earliest_bid_trades_first(script in script()) {
        each_trade(&script, |market, trade| {
            if trade.bid_liquidity == Liquidity::Taker {
                return;
            }
            let ask = &market.asks[&trade.ask];
            let best = market
                .bids
                .iter()
                .filter(|(_, bid)| bid.leaves > 0 && bid.limit >= ask.price && bid.admits(ask))
                .filter(|(_, bid)| ask.owner != bid.account || ask.self_trade != SelfTradeMode::Skip)
                // A bid's id is its place: it rests from the command that gave it its id.
                .min_by_key(|(order, bid)| (Reverse(bid.limit), **order))
                .map(|(order, _)| *order);
            assert_eq!(best, Some(trade.bid), "{trade:?}");
        });
    }

    /// Only orders of one owner of which one passes its own over may stand crossed, and all of a halted instrument.
    #[test]
    fn no_command_leaves_a_book_crossed(script in script()) {
        let mut market = Projection::default();
        play(&script, |step| {
            market.follow(step.stamped, step.events, |_, _| {});
            let (bids, asks): (Vec<_>, Vec<_>) = step
                .after
                .orders()
                .filter(|order| !step.after.is_halted(order.instrument))
                .partition(|order| order.side() == Side::Bid);
            for ask in asks {
                let OrderDetail::Ask(detail) = ask.detail else { unreachable!("it was told apart") };
                for bid in &bids {
                    if bid.price >= ask.price && !detail.displayed.is_zero() {
                        assert!(may_cross(&market, bid.order, ask.order), "{bid:?} crosses {ask:?}");
                    }
                }
            }
        });
    }
}

/// Shows each trade of a script and the market just before it.
fn each_trade(script: &Script, look: impl Fn(&Projection, &Traded)) {
    let mut market = Projection::default();
    play(script, |step| {
        market.follow(step.stamped, step.events, |market, event| {
            if let Event::Traded(trade) = event {
                look(market, trade);
            }
        });
    });
}

fn is_free_to_take(bid: &Bid, ask: &Ask) -> bool {
    ask.arrival.is_some()
        && bid.admits(ask)
        && (bid.account != ask.owner || bid.self_trade != SelfTradeMode::Skip)
}

/// Lower is better.
fn rank(market: &Projection, bid: &Bid, ask: &Ask) -> impl Ord + use<> {
    let table = market.regions.as_ref().unwrap();
    let distance = table.round_trip(bid.eligibility.home, ask.cell.region).unwrap();
    let handicap = u64::from(bid.latency_value.get()) * u64::from(distance.as_millis());
    let adjusted = 10 * ask.price.get() + handicap;
    (adjusted, distance, Reverse(ask.cell.band), ask.arrival)
}

fn may_cross(market: &Projection, bid: OrderId, ask: OrderId) -> bool {
    let (bid, ask) = (&market.bids[&bid], &market.asks[&ask]);
    let skips = [bid.self_trade, ask.self_trade].contains(&SelfTradeMode::Skip);
    !bid.admits(ask) || (bid.account == ask.owner && skips)
}
