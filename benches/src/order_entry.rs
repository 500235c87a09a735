//! Order entry over gRPC into a journal that syncs, beside a floor of the same messages that keeps nothing.
//!
//! Billing and the exchange are the production services, with their books and journal on disk; client, services and
//! floor share the machine, and take turns.

mod echo;
mod first_bid;
mod island;
mod session;
mod stage;
mod unary;

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use echo::Echo;
use session::{Driver, IN_FLIGHT, Round, Side, floor_round};
use stage::Stage;

/// How often orders and floor take turns.
const TURNS: usize = 5;

/// Commands of a turn. All placements of a run fit into the names that an account is remembered by.
const COMMANDS_PER_TURN: usize = 20_000;

/// Commands before the first turn: they fill the book and bring the account's buying power.
const COMMANDS_TO_WARM_UP: usize = 4_000;

/// Commands a second with [`IN_FLIGHT`] in flight.
///
/// # Errors
/// When a service cannot be started, or an order fails.
pub async fn bidirectional(folder: &Path) -> Result<Value> {
    let stage = Stage::build(folder).await?;
    let mut seller = Driver::open(&stage, Side::Asks).await?;
    // Its asks first: a bid that nobody could ever take is refused.
    seller.round(IN_FLIGHT, COMMANDS_TO_WARM_UP).await?;
    let mut buyer = Driver::open(&stage, Side::Bids).await?;
    buyer.round(IN_FLIGHT, COMMANDS_TO_WARM_UP).await?;
    let sizes = both(&mut buyer, &mut seller, COMMANDS_TO_WARM_UP).await?;
    let per_command = |bytes: usize| bytes.div_euclid(sizes.commands);
    let (size_up, size_down) = (per_command(sizes.bytes_up), per_command(sizes.bytes_down));
    let echo = Echo::serve(size_down).await?;
    let mut floor = echo.client().await?;
    floor_round(&mut floor, size_up, COMMANDS_TO_WARM_UP).await?;
    let (mut floors, mut all, mut bids, mut asks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        floors.push(floor_round(&mut floor, size_up, 5 * COMMANDS_PER_TURN).await?);
        all.push(both(&mut buyer, &mut seller, COMMANDS_PER_TURN).await?);
        bids.push(buyer.round(IN_FLIGHT, COMMANDS_PER_TURN).await?);
        asks.push(seller.round(IN_FLIGHT, COMMANDS_PER_TURN).await?);
    }
    drop((buyer, seller));
    stage.strike().await?;
    Ok(json!({
        "in_flight": IN_FLIGHT,
        "commands_per_second": median(&all),
        "bids_per_second": median(&bids),
        "asks_per_second": median(&asks),
        "floor_per_second": median(&floors),
        "bytes_up": size_up,
        "bytes_down": size_down,
    }))
}

/// Half of the commands from either side, which has half of what is in flight.
async fn both(buyer: &mut Driver, seller: &mut Driver, commands: usize) -> Result<Round> {
    let (in_flight, commands) = (IN_FLIGHT.div_euclid(2), commands.div_euclid(2));
    let (bids, asks) = tokio::try_join!(
        buyer.round(in_flight, commands),
        seller.round(in_flight, commands)
    )?;
    Ok(bids.beside(asks))
}

/// Microseconds for one order at a time.
///
/// # Errors
/// When a service cannot be started, or an order fails.
pub async fn unary(folder: &Path) -> Result<Value> {
    let stage = Stage::build(folder).await?;
    let measured = unary::measure(&stage, folder).await?;
    stage.strike().await?;
    Ok(measured)
}

/// Microseconds for the first bid of an account, and for its second.
///
/// # Errors
/// When a service cannot be started, or a bid fails.
pub async fn first_bid(folder: &Path) -> Result<Value> {
    let stage = Stage::build(folder).await?;
    let measured = first_bid::measure(&stage).await?;
    stage.strike().await?;
    Ok(measured)
}

fn median(rounds: &[Round]) -> u64 {
    let mut rates: Vec<u64> = rounds.iter().map(Round::rate).collect();
    rates.sort_unstable();
    rates.get(rates.len().div_euclid(2)).copied().unwrap_or_default()
}
