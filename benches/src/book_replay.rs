//! The order flow of `workload/` through the production engine.
//!
//! One book is one instrument with one cell; a `B` order is a bid of account `id mod accounts`, an `S` order an ask of
//! Island `id mod accounts`, whose owner is another account. Buying power and slots are ample but checked. An ask far
//! above every price keeps each book servable while it has no other; it never trades and is not counted.

mod flow;
mod market;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::book_replay::flow::Operation;
use crate::book_replay::market::Market;

/// What is replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The flow's file.
    pub file: PathBuf,
    /// How many books it has.
    pub books: u32,
    /// Over how many accounts and Islands its orders are spread.
    pub accounts: u64,
    /// How often it is replayed.
    pub runs: usize,
}

/// Replays a flow and reports one line of JSON: the time of a whole run, its median over the runs, and percentiles
/// from one run more in which each operation is timed by itself.
///
/// # Errors
/// When the file cannot be read, or the engine refuses what the flow asks.
pub fn run(replay: &Replay) -> anyhow::Result<String> {
    let flow = flow::read(&replay.file)?;
    let operations = flow.timed.len();
    anyhow::ensure!(operations > 0, "{} holds no operations", replay.file.display());
    let mut spans = Vec::new();
    for _ in 0..replay.runs {
        let mut market = prepared(replay, &flow.preloaded)?;
        let commands = market.commands(&flow.timed)?;
        let begun = Instant::now();
        for command in &commands {
            market.apply(command)?;
        }
        spans.push(begun.elapsed());
    }
    spans.sort_unstable();
    let (market, latencies) = timed_singly(replay, &flow.preloaded, &flow.timed)?;
    let at = |per_ten_thousand: usize| {
        let position = operations.saturating_mul(per_ten_thousand).div_euclid(10_000);
        latencies[position.min(operations - 1)]
    };
    let median = spans[spans.len().div_euclid(2)];
    Ok(format!(
        "{{\"operations\":{operations},\"trades\":{},\"trade_hash\":\"{:016x}\",\"resting_orders\":{},\
         \"ns_per_operation\":{},\"p50_ns\":{},\"p99_ns\":{},\"p99_9_ns\":{},\"max_ns\":{},\"timer_ns\":{},\
         \"peak_memory_bytes\":{}}}",
        market.trades(),
        market.hash(),
        market.resting(),
        per_operation(median, operations)?,
        at(5_000),
        at(9_900),
        at(9_990),
        at(10_000),
        timer_ns(),
        peak_memory_bytes()?,
    ))
}

fn prepared(replay: &Replay, preloaded: &[Operation]) -> anyhow::Result<Market> {
    let mut market = Market::new(replay.books, replay.accounts);
    for command in market.commands(preloaded)? {
        market.apply(&command)?;
    }
    Ok(market)
}

/// One run in which each operation is timed; returns the latencies sorted.
fn timed_singly(
    replay: &Replay,
    preloaded: &[Operation],
    timed: &[Operation],
) -> anyhow::Result<(Market, Vec<u128>)> {
    let mut market = prepared(replay, preloaded)?;
    let commands = market.commands(timed)?;
    let mut latencies = Vec::with_capacity(commands.len());
    for command in &commands {
        let begun = Instant::now();
        market.apply(command)?;
        latencies.push(begun.elapsed().as_nanos());
    }
    latencies.sort_unstable();
    Ok((market, latencies))
}

/// Nanoseconds an operation, with one decimal.
fn per_operation(span: Duration, operations: usize) -> anyhow::Result<String> {
    let tenths = span
        .as_nanos()
        .saturating_mul(10)
        .div_euclid(u128::try_from(operations)?);
    Ok(format!("{}.{}", tenths.div_euclid(10), tenths.rem_euclid(10)))
}

/// What reading the clock twice takes, at the median: included in every percentile.
fn timer_ns() -> u128 {
    let mut spans: Vec<u128> = (0..10_001)
        .map(|_| {
            let begun = Instant::now();
            begun.elapsed().as_nanos()
        })
        .collect();
    spans.sort_unstable();
    spans[5_000]
}

/// The most memory that the process has had, as the kernel counts it.
fn peak_memory_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("could not read the process status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("the process status states no peak")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes.saturating_mul(1_024))
}
