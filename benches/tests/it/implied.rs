//! The implied workload: the engine's trades are those of the books that look at every order.

use benches::TradeHash;
use benches::workloads::{ImpliedMarket, ImpliedScale, hashed};
use domain::{Sequence, Timestamp};
use matcher::{Command, Engine, Event, Limits, Stamped};

use crate::naive_book::NaiveBook;
use crate::plain_book::PlainBook;

/// As many cells and classes as the whole, and few enough orders for a book that publishes, copies and searches.
const SMALL: ImpliedScale = ImpliedScale {
    accounts: 50,
    islands_per_cell: 1,
    resting_asks: 600,
    resting_bids: 200,
    timed: 600,
};

/// What the engine and the plain book make of the whole workload, timed part and what comes before it.
/// `benches/workload/README.md` publishes it.
const FULL_TRADES: u64 = 45_509;
const FULL_HASH: u64 = 0x857b_64df_34bf_dfe7;

struct Market {
    market: ImpliedMarket,
    engine: Engine,
    trades: u64,
    hash: TradeHash,
}

impl Market {
    fn new(scale: ImpliedScale) -> Self {
        Self {
            market: ImpliedMarket::new(scale),
            engine: Engine::new(Limits::default()),
            trades: 0,
            hash: TradeHash::default(),
        }
    }

    fn commands(&self) -> impl Iterator<Item = Stamped> + use<> {
        let commands = self.market.set_up().chain(self.market.orders());
        commands.zip(1..).map(|(command, sequence)| Stamped {
            sequence: Sequence::new(sequence),
            at: Timestamp::from_micros(1),
            command,
        })
    }

    fn apply(&mut self, stamped: &Stamped) -> Vec<Event> {
        let mut events = Vec::new();
        self.engine.apply(stamped, &mut events);
        for event in &events {
            match event {
                Event::Traded(trade) => {
                    self.trades += 1;
                    self.hash = self.hash.with(hashed(&self.market, trade));
                }
                Event::Rejected(rejected) => panic!("{}: {rejected:?}", stamped.sequence),
                _ => {}
            }
        }
        events
    }
}

#[test]
fn the_naive_book_makes_the_trades_of_a_small_implied_workload() {
    let mut market = Market::new(SMALL);
    let mut naive = NaiveBook::new(Limits::default());
    let mut plain = PlainBook::default();
    let mut plain_hash = TradeHash::default();
    for stamped in market.commands() {
        let events = market.apply(&stamped);
        assert_eq!(events, naive.apply(&stamped), "{stamped:?}");
        if let Some(trade) = plain.apply(&stamped.command) {
            plain_hash = plain_hash.with(trade);
        }
        if matches!(stamped.command, Command::PlaceBid(_) | Command::PlaceAsk(_)) {
            assert_eq!(market.hash, plain_hash, "{stamped:?}");
        }
    }
    assert!(market.trades > 100, "{} trades show little", market.trades);
    let depth = market.engine.depth(domain::InstrumentId::new(0)).unwrap();
    assert!(depth.classes.len() > 100, "{} classes", depth.classes.len());
}

/// A twentieth of it in the normal tests; `cargo xtask test --long implied` runs the whole, whose hash is published.
#[test]
fn the_plain_book_makes_the_trades_of_the_implied_workload() {
    let percent = asked("ATOLL_LONG_COUNT", 5);
    let full = ImpliedScale::FULL;
    let part = |whole: u64| (whole * percent).div_euclid(100);
    let mut market = Market::new(ImpliedScale {
        accounts: part(full.accounts),
        resting_asks: part(full.resting_asks),
        resting_bids: part(full.resting_bids),
        timed: part(full.timed),
        ..full
    });
    let mut plain = PlainBook::default();
    let mut plain_hash = TradeHash::default();
    for stamped in market.commands() {
        market.apply(&stamped);
        if let Some(trade) = plain.apply(&stamped.command) {
            plain_hash = plain_hash.with(trade);
        }
        assert_eq!(market.hash, plain_hash, "{stamped:?}");
    }
    println!(
        "{{\"implied\":{{\"percent\":{percent},\"trades\":{},\"trade_hash\":\"{:016x}\"}}}}",
        market.trades,
        market.hash.get()
    );
    assert!(market.trades > 1_000, "{} trades show little", market.trades);
    if percent == 100 {
        assert_eq!((market.trades, market.hash.get()), (FULL_TRADES, FULL_HASH));
    }
}

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}
