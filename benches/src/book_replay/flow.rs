//! Reading the flow's CSV.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use domain::{Side, TimeInForce};

/// One line of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) id: u64,
    pub(super) side: Side,
    pub(super) book: u32,
    pub(super) action: Action,
}

/// What a line does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    New {
        ticks: u64,
        jobs: u32,
        time_in_force: TimeInForce,
    },
    Cancel,
    Amend {
        jobs: u32,
    },
}

/// A flow: what is there before, and what is timed.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) preloaded: Vec<Operation>,
    pub(super) timed: Vec<Operation>,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Flow> {
    let file = std::fs::File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let mut flow = Flow::default();
    for (line, number) in BufReader::new(file).lines().zip(1u64..) {
        let line = line.with_context(|| format!("could not read line {number}"))?;
        if number == 1 || line.is_empty() {
            continue;
        }
        parse(&line, &mut flow).with_context(|| format!("line {number} is no operation: {line}"))?;
    }
    Ok(flow)
}

/// Parses `seq,op,order_id,side,price,qty,tif,book`.
fn parse(line: &str, flow: &mut Flow) -> anyhow::Result<()> {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, op, id, side, price, quantity, time_in_force, book] = fields[..] else {
        anyhow::bail!("{} fields instead of 8", fields.len());
    };
    let jobs = quantity.parse()?;
    let action = match op {
        "P" | "N" => Action::New {
            ticks: price.parse()?,
            jobs,
            time_in_force: match time_in_force {
                "GTC" => TimeInForce::Gtc,
                "IOC" => TimeInForce::Ioc,
                other => anyhow::bail!("time in force `{other}`"),
            },
        },
        "C" => Action::Cancel,
        "A" => Action::Amend { jobs },
        other => anyhow::bail!("operation `{other}`"),
    };
    let operation = Operation {
        id: id.parse()?,
        side: match side {
            "B" => Side::Bid,
            "S" => Side::Ask,
            other => anyhow::bail!("side `{other}`"),
        },
        book: book.parse()?,
        action,
    };
    if op == "P" {
        flow.preloaded.push(operation);
    } else {
        flow.timed.push(operation);
    }
    Ok(())
}
