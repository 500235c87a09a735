//! The CSV of an order flow.
//!
//! Any text is read or refused. What was read is the same when it is written and read again, and the engine plays it
//! or refuses it.

use benches::book_replay::{Action, Flow, HEADER, Operation, play, read_lines};
use domain::{Side, TimeInForce};

const BOOKS: u32 = 3;
const ACCOUNTS: u64 = 5;
/// Bounds the time of one input.
const OPERATIONS_MAX: usize = 512;

/// How far an input got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// It is no order flow.
    Refused,
    /// It was read, and is too long to be played or breaks a rule of the market.
    Read,
    /// It was played, twice.
    ToItsEnd,
}

/// Reads the text, writes it again, and plays it.
///
/// # Panics
/// When something does not hold.
pub fn order_flow(text: &[u8]) -> Played {
    let Ok(flow) = read_lines(text) else {
        return Played::Refused;
    };
    let written = write(&flow);
    let again = read_lines(written.as_bytes()).expect("what was written can be read");
    assert_eq!(again, flow);
    if flow.preloaded.len() + flow.timed.len() <= OPERATIONS_MAX
        && let Ok((market, _)) = play(&flow, BOOKS, ACCOUNTS)
    {
        let (first, second) = (market.hash(), play(&flow, BOOKS, ACCOUNTS));
        let (market, _) = second.expect("it played before");
        assert_eq!(market.hash(), first);
        return Played::ToItsEnd;
    }
    Played::Read
}

fn write(flow: &Flow) -> String {
    let mut text = format!("{HEADER}\n");
    let preloaded = flow.preloaded.iter().map(|operation| ("P", operation));
    let timed = flow.timed.iter().map(|operation| ("N", operation));
    for ((new, operation), sequence) in preloaded.chain(timed).zip(1u64..) {
        let Operation {
            id,
            side,
            book,
            action,
        } = operation;
        let side = match side {
            Side::Bid => "B",
            Side::Ask => "S",
        };
        let (op, price, quantity, time_in_force) = match *action {
            Action::New {
                ticks,
                jobs,
                time_in_force,
            } => (new, ticks, jobs, time_in_force),
            Action::Cancel => ("C", 0, 0, TimeInForce::Gtc),
            Action::Amend { jobs } => ("A", 0, jobs, TimeInForce::Gtc),
        };
        let time_in_force = match time_in_force {
            TimeInForce::Ioc => "IOC",
            TimeInForce::Gtc | TimeInForce::Gtd(_) | TimeInForce::Fok => "GTC",
        };
        text.push_str(&format!(
            "{sequence},{op},{id},{side},{price},{quantity},{time_in_force},{book}\n"
        ));
    }
    text
}
