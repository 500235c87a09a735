//! The engine's speed beside orderbook-rs, on the published order flows.
//!
//! `benches/benches/orderbook_rs.rs` plays a flow through both in one run and refuses to go on if their trades differ;
//! criterion keeps the times, of which the medians are compared.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::measure::Figure;
use crate::measure::book::{self, Flow};
use crate::tools;

pub(super) fn one() -> Result<Figure> {
    measure(&book::ONE)
}

pub(super) fn hundred() -> Result<Figure> {
    measure(&book::HUNDRED)
}

pub(super) fn deep() -> Result<Figure> {
    measure(&book::DEEP)
}

#[expect(
    clippy::float_arithmetic,
    reason = "a rate of a measurement is for reading, not for deciding"
)]
fn measure(flow: &Flow) -> Result<Figure> {
    let criterion = tools::target().join("native/criterion");
    let printed = run(flow, &criterion)?;
    let hash = printed.lines().find_map(|line| line.strip_prefix("trade_hash="));
    ensure!(
        hash == Some(flow.trade_hash),
        "the trades are not the published ones: {printed}"
    );
    let ours = median_ns(&criterion, "atoll")?;
    let theirs = median_ns(&criterion, "orderbook-rs")?;
    // The published flows have a million operations each.
    let per_second = |ns: f64| 1e6 * 1e9 / ns;
    Ok(Figure {
        ours: per_second(ours),
        reference: per_second(theirs),
        unit: "operations/s",
        detail: json!({
            "trade_hash": hash,
            "atoll_ns_per_operation": ours / 1e6,
            "orderbook_rs_ns_per_operation": theirs / 1e6,
        }),
    })
}

fn run(flow: &Flow, criterion: &Path) -> Result<String> {
    let mut command = tools::cargo();
    command
        .env("RUSTFLAGS", "-C target-cpu=native")
        .env("CRITERION_HOME", criterion)
        .env("ATOLL_FLOW", book::file_of(flow)?)
        .env("ATOLL_FLOW_BOOKS", flow.books)
        .args(["bench", "--quiet", "--locked", "--package", "benches"])
        .args(["--no-default-features", "--features", "orderbook-rs"])
        .args(["--bench", "orderbook_rs"])
        .arg("--target-dir")
        .arg(tools::target().join("native"));
    tools::output(&mut command)
}

/// The median time of an iteration, which is the whole flow.
fn median_ns(criterion: &Path, name: &str) -> Result<f64> {
    let file = criterion.join(format!("order_flow/{name}/new/estimates.json"));
    let text = fs::read(&file).with_context(|| format!("criterion left no {}", file.display()))?;
    let estimates: Value = serde_json::from_slice(&text).context("criterion left no JSON")?;
    let median = estimates["median"]["point_estimate"].as_f64();
    median.context("criterion estimated no median")
}
