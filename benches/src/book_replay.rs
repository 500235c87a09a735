//! The order flow of `workload/` through the production engine.
//!
//! One book is one instrument with one cell; a `B` order is a bid of account `id mod accounts`, an `S` order an ask of
//! Island `id mod accounts`, whose owner is another account. Buying power and slots are ample but checked. An ask far
//! above every price keeps each book servable while it has no other; it never trades and is not counted.
//!
//! Commands reach the engine as the sequencer hands them over, in batches that were made just before; making them is
//! not timed. What traded is noted within the time, and hashed after it.

mod flow;
mod market;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

pub use flow::{Action, Flow, HEADER, Operation, read, read_lines};
pub use market::Market;
pub(crate) use market::specification;

/// Commands in one batch: what the sequencer puts into one envelope.
const BATCH: usize = 64;

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
        let (_, span) = play(&flow, replay.books, replay.accounts)?;
        spans.push(span);
    }
    spans.sort_unstable();
    let (market, latencies) = timed_singly(replay, &flow)?;
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

/// Plays a whole flow on a new market; returns the market and what the timed operations took.
///
/// # Errors
/// When the engine refuses what the flow asks.
pub fn play(flow: &Flow, books: u32, accounts: u64) -> anyhow::Result<(Market, Duration)> {
    let mut market = prepared(flow, books, accounts)?;
    let mut span = Duration::ZERO;
    for batch in flow.timed.chunks(BATCH) {
        let commands = market.commands(batch)?;
        let begun = Instant::now();
        market.anticipate(&commands);
        for command in &commands {
            market.apply(command);
        }
        span = span.saturating_add(begun.elapsed());
    }
    market.check()?;
    Ok((market, span))
}

fn prepared(flow: &Flow, books: u32, accounts: u64) -> anyhow::Result<Market> {
    let mut market = Market::new(books, accounts);
    for batch in flow.preloaded.chunks(BATCH) {
        for command in market.commands(batch)? {
            market.apply(&command);
        }
    }
    market.make_room(flow.timed.len());
    Ok(market)
}

/// One run in which each operation is timed; returns the latencies sorted. Each carries its share of the time that its
/// batch was read ahead in.
fn timed_singly(replay: &Replay, flow: &Flow) -> anyhow::Result<(Market, Vec<u128>)> {
    let mut market = prepared(flow, replay.books, replay.accounts)?;
    // Written once before, so that no page of it is first touched within a time.
    let mut latencies = vec![u128::MAX; flow.timed.len()];
    let batches = flow.timed.chunks(BATCH).zip(latencies.chunks_mut(BATCH));
    for (batch, latencies) in batches {
        let commands = market.commands(batch)?;
        let begun = Instant::now();
        market.anticipate(&commands);
        let share = begun
            .elapsed()
            .as_nanos()
            .div_euclid(u128::try_from(commands.len())?);
        for (command, latency) in commands.iter().zip(latencies) {
            let begun = Instant::now();
            market.apply(command);
            *latency = begun.elapsed().as_nanos().saturating_add(share);
        }
    }
    market.check()?;
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
