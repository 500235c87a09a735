//! How values look to a person.

use anyhow::{Context, Result};
use domain::{Credits, Price, Timestamp};
use proto::types::v1 as wire;

/// Nano-credits as credits.
pub(crate) fn credits(nano: i64) -> String {
    Credits::from_nano(nano).to_string()
}

/// A time as RFC 3339 writes it, with microseconds.
pub(crate) fn time(at: Timestamp) -> String {
    i64::try_from(at.as_micros())
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .map_or_else(|| at.to_string(), |time| format!("{time:.6}"))
}

/// The same of the wire's microseconds.
pub(crate) fn moment(at_us: u64) -> String {
    time(Timestamp::from_micros(at_us))
}

/// An id of a request that nobody has used: its subject and 128 random bits.
///
/// # Errors
/// When the machine has no randomness.
pub(crate) fn fresh_id(subject: &str) -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the machine gave no randomness")?;
    Ok(format!("{subject}-{}", data_encoding::HEXLOWER.encode(&bytes)))
}

/// A price in credits per 1,000 work units.
pub(crate) fn price(nano_per_thousand: u64) -> String {
    Price::new(nano_per_thousand)
        .map_or_else(|_| format!("{nano_per_thousand} nano"), |price| price.to_string())
}

/// A tier's name, `any` if there is none.
pub(crate) fn tier(number: i32) -> &'static str {
    match wire::Tier::try_from(number) {
        Ok(wire::Tier::Phone) => "phone",
        Ok(wire::Tier::Laptop) => "laptop",
        Ok(wire::Tier::Desktop) => "desktop",
        Ok(wire::Tier::Workstation) => "workstation",
        Ok(wire::Tier::Server) => "server",
        Ok(wire::Tier::Unspecified) | Err(_) => "any",
    }
}

/// A side's name.
pub(crate) fn side(number: i32) -> &'static str {
    match wire::Side::try_from(number) {
        Ok(wire::Side::Bid) => "bid",
        Ok(wire::Side::Ask) => "ask",
        Ok(wire::Side::Unspecified) | Err(_) => "?",
    }
}

/// How a job ended, in a word.
pub(crate) fn outcome(number: i32) -> &'static str {
    match wire::JobOutcome::try_from(number) {
        Ok(wire::JobOutcome::Stopped) => "stopped",
        Ok(wire::JobOutcome::Length) => "length",
        Ok(wire::JobOutcome::Cancelled) => "cancelled",
        Ok(wire::JobOutcome::Incomplete) => "incomplete",
        Ok(wire::JobOutcome::Failed) => "failed",
        Ok(wire::JobOutcome::Unspecified) | Err(_) => "unknown",
    }
}

/// Region and tier of a cell.
pub(crate) fn place(cell: Option<&wire::Cell>) -> String {
    cell.map_or_else(
        || "?".to_owned(),
        |cell| format!("{}, {}", cell.region, tier(cell.tier)),
    )
}

/// Columns padded to the widest entry; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows = [
            vec!["price".into(), "jobs".into()],
            vec!["0.02".into(), "1000".into()],
        ];
        assert_eq!(table(&rows), "price  jobs\n0.02   1000\n");
    }
}
