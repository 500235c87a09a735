//! Orders through a whole exchange over gRPC, beside a floor that keeps nothing.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::measure::Figure;
use crate::tools;

/// Commands a second over a session of either side, 256 in flight together, beside messages of the same sizes through a
/// bare stream.
pub(super) fn bidirectional() -> Result<Figure> {
    let outcome = run("bidi")?;
    Ok(Figure {
        ours: number(&outcome, "/commands_per_second")?,
        reference: number(&outcome, "/floor_per_second")?,
        unit: "commands/s",
        detail: outcome,
    })
}

/// The median of one order at a time, beside a bare call and one sync of the same bytes.
pub(super) fn unary() -> Result<Figure> {
    let outcome = run("unary")?;
    Ok(Figure {
        ours: number(&outcome, "/ours_us/p50")?,
        reference: number(&outcome, "/floor_us/p50")?,
        unit: "us",
        detail: outcome,
    })
}

/// The 99th percentile of the first bid of an account, which waits for billing twice, beside that of its second.
pub(super) fn first_bid() -> Result<Figure> {
    let outcome = run("first-bid")?;
    Ok(Figure {
        ours: number(&outcome, "/first_us/p99")?,
        reference: number(&outcome, "/second_us/p99")?,
        unit: "us",
        detail: outcome,
    })
}

fn number(outcome: &Value, pointer: &str) -> Result<f64> {
    let number = outcome.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("no `{pointer}` in the outcome"))
}

/// Runs the measurement and reads the line of JSON that it prints.
fn run(shape: &str) -> Result<Value> {
    let mut command = tools::cargo();
    command.args(["run", "--quiet", "--locked", "--release", "--package", "benches"]);
    command.args(["--features", "services", "--bin", "order-entry", "--", shape]);
    let printed = tools::output(&mut command)?;
    let line = printed.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.context("the measurement printed no outcome")?).context("no JSON was printed")
}
