//! Settlements a second through gRPC, beside raw batched SQL inserts of the same rows into the same schema, each batch
//! synced, in the same run: `settlements sqlite` or `settlements postgres`. Prints a line of JSON.
//!
//! The raw side is given everything for nothing: the rows are ready, no rule is checked, and nobody answers.
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should stop there"
)]
#![expect(clippy::float_arithmetic, reason = "rates are for reading, not for deciding")]

mod books;
mod load;
mod raw;

use std::time::Duration;

use serde_json::json;

use books::Books;

/// Settlements in one run; each moves three transfers.
const SETTLEMENTS: u64 = 20_000;
/// Runs of each side, in turn, so that what else the machine does meets both.
const RUNS: usize = 5;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    service::tls::install_provider();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let runs = runtime.block_on(async {
        match wanted.as_str() {
            "sqlite" => measure(Books::sqlite).await,
            "postgres" => measure(Books::postgres).await,
            other => panic!("`{other}` is no database: `sqlite` or `postgres`"),
        }
    });
    let rate = |pick: fn(&Run) -> Duration| {
        let mut rates: Vec<f64> = runs
            .iter()
            .map(|run| f64::from(u32::try_from(SETTLEMENTS).unwrap()) / pick(run).as_secs_f64())
            .collect();
        rates.sort_by(f64::total_cmp);
        rates
    };
    let (ours, raw) = (rate(|run| run.ours), rate(|run| run.raw));
    let outcome = json!({
        "settlements": {
            "database": wanted,
            "settlements": SETTLEMENTS,
            "transfers": runs[0].transfers,
            "batches": runs[0].batches,
            "ours_per_second": ours[RUNS >> 1],
            "raw_per_second": raw[RUNS >> 1],
            "ours_all": ours,
            "raw_all": raw,
        }
    });
    println!("{outcome}");
}

/// One run of each side.
struct Run {
    ours: Duration,
    raw: Duration,
    transfers: usize,
    batches: usize,
}

async fn measure<F: Future<Output = Books>>(make: fn() -> F) -> Vec<Run> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let booked = make().await;
        let ours = load::settle_all(&booked, SETTLEMENTS).await;
        let rows = booked.read_rows().await;
        let empty = make().await;
        empty.prepare().await;
        let raw = empty.insert_raw(&rows).await;
        assert_eq!(
            empty.counts().await,
            booked.counts().await,
            "both sides keep the same rows"
        );
        runs.push(Run {
            ours,
            raw,
            transfers: rows.transfers.len(),
            batches: rows.seals.len(),
        });
        booked.close().await;
        empty.close().await;
    }
    runs
}
