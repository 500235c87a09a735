//! One order flow through the production engine and through orderbook-rs, in one run.
//!
//! `ATOLL_FLOW` names the flow's file, `ATOLL_FLOW_BOOKS` how many books it has. Each iteration plays the whole flow on
//! a market that holds what the flow preloads; only the timed operations are timed. The engine has everything on:
//! buying power, slots, self-trade prevention, duplicate check, events with depth deltas. orderbook-rs has a listener
//! for its trades and nothing else. Both must make the same trades, or nothing is reported.
//!
//! `cargo xtask measure orderbook-rs-one` makes the flow, runs this and reports the ratio.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::book_replay::{Action, Flow, Operation, play, read};
use benches::{HashedTrade, TradeHash};
use criterion::{Criterion, SamplingMode, Throughput};
use domain::{Side, TimeInForce};
use orderbook_rs::{DefaultOrderBook, Id, TradeResult};
use pricelevel::{OrderUpdate, Quantity};

const ACCOUNTS: u64 = 1_000;

fn main() -> anyhow::Result<()> {
    let (flow, books) = flow()?;
    let ours = play(&flow, books, ACCOUNTS)?.0.hash();
    let theirs = Theirs::play(&flow, books)?.0.hash();
    ensure!(
        ours == theirs,
        "the engine's trades hash to {ours:016x}, those of orderbook-rs to {theirs:016x}"
    );
    println!("trade_hash={ours:016x}");

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("order_flow");
    group
        .throughput(Throughput::Elements(u64::try_from(flow.timed.len())?))
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(1));
    group.bench_function("atoll", |bencher| {
        bencher.iter_custom(|iterations| {
            repeat(iterations, || Ok(play(&flow, books, ACCOUNTS)?.1)).expect("it played before")
        });
    });
    group.bench_function("orderbook-rs", |bencher| {
        bencher.iter_custom(|iterations| {
            repeat(iterations, || Ok(Theirs::play(&flow, books)?.1)).expect("it played before")
        });
    });
    group.finish();
    Ok(())
}

/// Criterion has the command line, so the flow comes through the environment.
fn flow() -> anyhow::Result<(Flow, u32)> {
    let file = std::env::var("ATOLL_FLOW").context("ATOLL_FLOW names no flow; see this bench's head")?;
    let books = std::env::var("ATOLL_FLOW_BOOKS").unwrap_or_else(|_| "1".to_owned());
    let books = books.parse().context("ATOLL_FLOW_BOOKS is no number")?;
    Ok((read(&PathBuf::from(file))?, books))
}

fn repeat(iterations: u64, mut once: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Duration> {
    let mut span = Duration::ZERO;
    for _ in 0..iterations {
        span = span.saturating_add(once()?);
    }
    Ok(span)
}

/// The market of orderbook-rs: a book for each of the flow's, and what was traded over all of them.
struct Theirs {
    books: Vec<DefaultOrderBook>,
    trades: Arc<Mutex<Vec<HashedTrade>>>,
}

impl Theirs {
    fn new(books: u32, trade_count: usize) -> Self {
        let trades = Arc::new(Mutex::new(Vec::with_capacity(trade_count)));
        let book = |number: u32| {
            let trades = Arc::clone(&trades);
            let listener = Arc::new(move |result: &TradeResult| note(&trades, result));
            DefaultOrderBook::with_trade_listener(&number.to_string(), listener)
        };
        Self {
            books: (0..books).map(book).collect(),
            trades,
        }
    }

    /// Plays a whole flow; returns the market and what the timed operations took.
    fn play(flow: &Flow, books: u32) -> anyhow::Result<(Self, Duration)> {
        let market = Self::new(books, flow.timed.len());
        for operation in &flow.preloaded {
            market.apply(operation)?;
        }
        let begun = Instant::now();
        for operation in &flow.timed {
            market.apply(operation)?;
        }
        let span = begun.elapsed();
        Ok((market, span))
    }

    fn apply(&self, operation: &Operation) -> anyhow::Result<()> {
        let book = &self.books[usize::try_from(operation.book)?];
        let order_id = Id::Sequential(operation.id);
        match operation.action {
            Action::New {
                ticks,
                jobs,
                time_in_force,
            } => {
                let (time_in_force, is_immediate) = match time_in_force {
                    TimeInForce::Ioc => (orderbook_rs::TimeInForce::Ioc, true),
                    TimeInForce::Fok => (orderbook_rs::TimeInForce::Fok, true),
                    TimeInForce::Gtc | TimeInForce::Gtd(_) => (orderbook_rs::TimeInForce::Gtc, false),
                };
                let side = match operation.side {
                    Side::Bid => orderbook_rs::Side::Buy,
                    Side::Ask => orderbook_rs::Side::Sell,
                };
                let placed =
                    book.add_limit_order(order_id, ticks.into(), jobs.into(), side, time_in_force, None);
                // What an immediate order could not fill is an error there, after its fills.
                ensure!(placed.is_ok() || is_immediate, "{operation:?}: {placed:?}");
            }
            Action::Cancel => {
                book.cancel_order(order_id)?
                    .with_context(|| format!("{operation:?}"))?;
            }
            Action::Amend { jobs } => {
                let new_quantity = Quantity::new(jobs.into());
                let update = OrderUpdate::UpdateQuantity {
                    order_id,
                    new_quantity,
                };
                book.update_order(update)?
                    .with_context(|| format!("{operation:?}"))?;
            }
        }
        Ok(())
    }

    fn hash(&self) -> u64 {
        let trades = self.trades.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = trades
            .iter()
            .fold(TradeHash::default(), |hash, trade| hash.with(*trade));
        hash.get()
    }
}

fn note(trades: &Mutex<Vec<HashedTrade>>, result: &TradeResult) {
    let mut trades = trades.lock().unwrap_or_else(PoisonError::into_inner);
    for trade in result.match_result.trades().as_vec() {
        trades.push(HashedTrade {
            maker: number(trade.maker_order_id()),
            taker: number(trade.taker_order_id()),
            price_ticks: u64::try_from(trade.price().as_u128()).expect("the flow's prices fit"),
            jobs: u32::try_from(trade.quantity().as_u64()).expect("the flow's quantities fit"),
        });
    }
}

fn number(id: Id) -> u64 {
    match id {
        Id::Sequential(number) => number,
        Id::Uuid(_) | Id::Ulid(_) => unreachable!("every order was given a number"),
    }
}
