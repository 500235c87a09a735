//! Substitution over 320 cells, timed.

mod market;

use domain::{InstrumentId, Liquidity};
use matcher::{Command, Room, Traded};

use crate::workloads::{Bench, Kind, at};
use crate::{HashedTrade, TradeHash};

pub use market::{ImpliedMarket, ImpliedScale};

/// Runs it with so many accounts that bid, and reports one line of JSON.
///
/// # Errors
/// When the engine refuses what sets it up.
pub fn implied(accounts: u64) -> anyhow::Result<String> {
    let scale = ImpliedScale {
        accounts,
        ..ImpliedScale::FULL
    };
    let market = ImpliedMarket::new(scale);
    let mut bench = Bench::new(&Room {
        orders: 400_000,
        client_order_ids: 400_000,
        trades: 200_000,
    });
    for command in market.set_up() {
        bench.set_up(command)?;
    }
    let mut orders = market.orders();
    for command in orders.by_ref().take(market.resting_count()) {
        bench.set_up(command)?;
    }
    let timed: Vec<(Kind, Command)> = orders.map(|command| (kind_of(&command), command)).collect();
    let operations = timed.len();
    let mut hash = TradeHash::default();
    let mut trades = 0u64;
    let (bids, asks) = bench.time(timed, |trade| {
        trades += 1;
        hash = hash.with(hashed(&market, trade));
    });
    let depth = bench.engine.depth(InstrumentId::new(0)).unwrap_or_default();
    Ok(format!(
        "{{\"workload\":\"implied\",\"accounts\":{accounts},\"operations\":{operations},\"trades\":{trades},\
         \"trade_hash\":\"{:016x}\",\"classes\":{},\
         \"bid_p50_ns\":{},\"bid_p99_ns\":{},\"ask_p50_ns\":{},\"ask_p99_ns\":{}}}",
        hash.get(),
        depth.classes.len(),
        at(&bids, 5_000),
        at(&bids, 9_900),
        at(&asks, 5_000),
        at(&asks, 9_900),
    ))
}

/// What a trade adds to the workload's hash.
#[must_use]
pub fn hashed(market: &ImpliedMarket, trade: &Traded) -> HashedTrade {
    let (maker, taker) = match trade.bid_liquidity {
        Liquidity::Taker => (trade.ask, trade.bid),
        Liquidity::Maker => (trade.bid, trade.ask),
    };
    HashedTrade {
        maker: market.number_of(maker),
        taker: market.number_of(taker),
        price_ticks: trade.price.ticks(),
        jobs: trade.jobs.get(),
    }
}

fn kind_of(command: &Command) -> Kind {
    if matches!(command, Command::PlaceAsk(_)) {
        Kind::Ask
    } else {
        Kind::Bid
    }
}
