//! Reading the flow's CSV.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use domain::{Side, TimeInForce};

/// The first line of a file.
pub const HEADER: &str = "seq,op,order_id,side,price,qty,tif,book";

/// One line of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The flow's name for the order.
    pub id: u64,
    /// Its side.
    pub side: Side,
    /// Its book, counted from 0.
    pub book: u32,
    /// What is done.
    pub action: Action,
}

/// What a line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Enters an order.
    New {
        /// Its price.
        ticks: u64,
        /// Its quantity.
        jobs: u32,
        /// Whether what is left of it rests.
        time_in_force: TimeInForce,
    },
    /// Ends an order.
    Cancel,
    /// Lowers what is left of an order, which keeps its place.
    Amend {
        /// What is to be left.
        jobs: u32,
    },
}

/// A flow: what is there before, and what is timed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// What enters before anything is timed.
    pub preloaded: Vec<Operation>,
    /// What is timed.
    pub timed: Vec<Operation>,
}

/// Reads a flow from a file.
///
/// # Errors
/// When the file cannot be read, or a line of it is no operation.
pub fn read(path: &Path) -> anyhow::Result<Flow> {
    let file = std::fs::File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    read_lines(BufReader::new(file)).with_context(|| format!("could not read {}", path.display()))
}

/// Reads a flow from its lines, of which the first is the header.
///
/// # Errors
/// When a line cannot be read, or is no operation.
pub fn read_lines(lines: impl BufRead) -> anyhow::Result<Flow> {
    let mut flow = Flow::default();
    for (line, number) in lines.lines().zip(1u64..) {
        let line = line.with_context(|| format!("could not read line {number}"))?;
        if number == 1 {
            anyhow::ensure!(line == HEADER, "line 1 is not `{HEADER}`: {line}");
            continue;
        }
        if line.is_empty() {
            continue;
        }
        parse(&line, &mut flow).with_context(|| format!("line {number} is no operation: {line}"))?;
    }
    Ok(flow)
}

/// Parses what [`HEADER`] names.
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
