//! `cargo xtask measure ROW`: one figure of the "must show" tables, with what it is compared to.

mod beside;
mod book;
mod order_entry;

use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::{postgres, tools};

/// Which row.
#[derive(Args, Debug)]
pub(crate) struct Measure {
    /// Lists the rows.
    #[arg(long, conflicts_with = "row")]
    list: bool,
    /// The row.
    #[arg(required_unless_present = "list")]
    row: Option<String>,
}

struct Row {
    name: &'static str,
    what: &'static str,
    /// What `ratio` should be, as people read it.
    goal: &'static str,
    run: fn() -> Result<Figure>,
}

/// What was measured, and what it is compared with, in one unit.
struct Figure {
    ours: f64,
    reference: f64,
    unit: &'static str,
    detail: Value,
}

const ROWS: &[Row] = &[
    Row {
        name: "book-speed-one",
        what: "ns an operation through the engine, one book, beside a floor that checks nothing",
        goal: "<= 1.6",
        run: book::one,
    },
    Row {
        name: "book-speed-hundred",
        what: "the same over a hundred books",
        goal: "<= 1.8",
        run: book::hundred,
    },
    Row {
        name: "book-speed-deep",
        what: "the same in a book of a million orders",
        goal: "<= 1.6",
        run: book::deep,
    },
    Row {
        name: "orderbook-rs-one",
        what: "operations a second through the engine, one book, beside orderbook-rs on the same flow",
        goal: ">= 30",
        run: beside::one,
    },
    Row {
        name: "orderbook-rs-hundred",
        what: "the same over a hundred books",
        goal: ">= 30",
        run: beside::hundred,
    },
    Row {
        name: "orderbook-rs-deep",
        what: "the same in a book of a million orders",
        goal: ">= 30",
        run: beside::deep,
    },
    Row {
        name: "cold-accounts",
        what: "ns an operation with orders spread over a million accounts and Islands, beside a thousand",
        goal: "reported",
        run: book::cold_accounts,
    },
    Row {
        name: "cold-build",
        what: "seconds of a cold `cargo xtask up` build, beside five minutes",
        goal: "<= 1.0",
        run: cold_build,
    },
    Row {
        name: "test-suite",
        what: "seconds of the whole of `cargo xtask test`, builds included, beside 25 minutes",
        goal: "<= 1.0",
        run: test_suite,
    },
    Row {
        name: "failover-identical",
        what: "greedy answers equal to the uninterrupted run after the Island was killed mid-stream, of 50",
        goal: "= 1.0",
        run: failover_identical,
    },
    Row {
        name: "journal-append",
        what: "microseconds to make 64 commands durable, beside one write and one sync of as many bytes",
        goal: "<= 1.3",
        run: journal_append,
    },
    Row {
        name: "recovery",
        what: "commands that a start replays in a second, beside two million",
        goal: ">= 1.0",
        run: recovery,
    },
    Row {
        name: "order-entry-bidi",
        what: "durable commands a second over sessions, 256 in flight, beside as many messages through a bare stream",
        goal: ">= 0.15",
        run: order_entry::bidirectional,
    },
    Row {
        name: "order-entry-unary",
        what: "microseconds of one durable order at a time, beside a bare call and one sync of the same bytes",
        goal: "<= 2.0",
        run: order_entry::unary,
    },
    Row {
        name: "first-bid",
        what: "the 99th percentile of an account's first bid, key and credits from billing, beside that of its second",
        goal: "reported",
        run: order_entry::first_bid,
    },
    Row {
        name: "settlements-sqlite",
        what: "settlements a second through gRPC, beside raw batched inserts of the same rows into SQLite",
        goal: ">= 0.6",
        run: settlements_sqlite,
    },
    Row {
        name: "settlements-postgres",
        what: "the same in PostgreSQL",
        goal: ">= 0.6",
        run: settlements_postgres,
    },
];

/// Measures it.
pub(crate) fn run(measure: &Measure) -> Result<()> {
    if measure.list {
        for row in ROWS {
            println!("{:<20} {} (ratio {})", row.name, row.what, row.goal);
        }
        return Ok(());
    }
    let name = measure.row.as_deref().unwrap_or_default();
    let Some(row) = ROWS.iter().find(|row| row.name == name) else {
        bail!("no row is called `{name}`; `cargo xtask measure --list` names them")
    };
    let figure = (row.run)()?;
    println!("{}", line(row, &figure));
    Ok(())
}

fn line(row: &Row, figure: &Figure) -> Value {
    json!({
        "row": row.name,
        "ours": figure.ours,
        "reference": figure.reference,
        "ratio": ratio(figure),
        "goal": row.goal,
        "command": format!("cargo xtask measure {}", row.name),
        "unit": figure.unit,
        "detail": figure.detail,
    })
}

#[expect(
    clippy::float_arithmetic,
    reason = "a ratio of two measurements is for reading, not for deciding"
)]
fn ratio(figure: &Figure) -> f64 {
    (figure.ours / figure.reference * 1_000.0).round() / 1_000.0
}

/// Builds into an empty folder, dependencies downloaded before.
fn cold_build() -> Result<Figure> {
    tools::run(tools::cargo().args(["fetch", "--locked"]))?;
    let folder = env::temp_dir().join(format!("atoll-cold-build-{}", std::process::id()));
    let started = Instant::now();
    let built = tools::run(
        tools::cargo()
            .env("CARGO_TARGET_DIR", &folder)
            .env("RUSTFLAGS", "-C target-cpu=native")
            .args(["build", "--locked", "--profile", "up", "--bin", "atoll"]),
    );
    let seconds = started.elapsed().as_secs_f64();
    fs::remove_dir_all(&folder).context("could not remove the folder of the cold build")?;
    built?;
    Ok(Figure {
        ours: seconds,
        reference: 300.0,
        unit: "s",
        detail: json!({ "cores": cores() }),
    })
}

fn test_suite() -> Result<Figure> {
    let started = Instant::now();
    let mut command = std::process::Command::new(env::current_exe().context("could not find this program")?);
    // The runner's report goes to standard error, so that the row stays alone on standard output.
    command.arg("test").stdout(std::io::stderr());
    tools::run(&mut command)?;
    Ok(Figure {
        ours: started.elapsed().as_secs_f64(),
        reference: 1_500.0,
        unit: "s",
        detail: json!({ "cores": cores() }),
    })
}

/// Runs the campaign of the same name and reads the line of JSON that it prints.
fn failover_identical() -> Result<Figure> {
    let mut command = std::process::Command::new(env::current_exe().context("could not find this program")?);
    let printed = tools::output(command.args(["test", "--long", "failover", "--count", "50"]))?;
    let line = printed.lines().find(|line| line.starts_with(r#"{"failover""#));
    let outcome: Value = serde_json::from_str(line.context("the campaign printed no outcome")?)?;
    let number = |key: &str| {
        outcome["failover"][key]
            .as_f64()
            .with_context(|| format!("no `{key}` in the outcome"))
    };
    let (identical, prompts) = (number("identical")?, number("prompts")?);
    ensure!(prompts > 0.0, "no prompt was run");
    Ok(Figure {
        ours: identical,
        reference: prompts,
        unit: "answers",
        detail: outcome,
    })
}

/// The median over the batches of 64; the others, and the tails, are in the detail.
fn journal_append() -> Result<Figure> {
    let outcome = journal_bench("append")?;
    let sizes = outcome["append"].as_array().context("no sizes in the outcome")?;
    let size = sizes
        .iter()
        .find(|size| size["commands"] == 64)
        .context("no batch of 64 was measured")?;
    let median = |whose: &str| size[whose]["p50"].as_f64().context("no median in the outcome");
    Ok(Figure {
        ours: median("ours_us")?,
        reference: median("floor_us")?,
        unit: "us",
        detail: outcome.clone(),
    })
}

fn recovery() -> Result<Figure> {
    let outcome = journal_bench("recovery")?;
    let rate = outcome["recovery"]["replay_per_second"].as_f64();
    Ok(Figure {
        ours: rate.context("no rate in the outcome")?,
        reference: 2_000_000.0,
        unit: "commands/s",
        detail: outcome,
    })
}

/// Runs a measurement of the journal and reads the line of JSON that it prints.
fn journal_bench(what: &str) -> Result<Value> {
    let mut command = tools::cargo();
    command.args([
        "bench",
        "--locked",
        "--package",
        "exchange",
        "--bench",
        "journal",
        "--",
        what,
    ]);
    let printed = tools::output(&mut command)?;
    let line = printed.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.context("the measurement printed no outcome")?).context("no JSON was printed")
}

fn settlements_sqlite() -> Result<Figure> {
    settlements("sqlite")
}

fn settlements_postgres() -> Result<Figure> {
    settlements("postgres")
}

/// The medians of both sides.
fn settlements(database: &str) -> Result<Figure> {
    let server = postgres::server()?;
    let mut command = tools::cargo();
    command
        .args([
            "bench",
            "--locked",
            "--package",
            "billing",
            "--bench",
            "settlements",
            "--",
            database,
        ])
        .env(postgres::ADDRESS, &server.address);
    let printed = tools::output(&mut command)?;
    let line = printed.lines().find(|line| line.starts_with('{'));
    let outcome: Value = serde_json::from_str(line.context("the measurement printed no outcome")?)?;
    let rate = |key: &str| {
        outcome["settlements"][key]
            .as_f64()
            .with_context(|| format!("no `{key}` in the outcome"))
    };
    Ok(Figure {
        ours: rate("ours_per_second")?,
        reference: rate("raw_per_second")?,
        unit: "settlements/s",
        detail: outcome,
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
