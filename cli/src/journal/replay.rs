//! `atoll journal replay`: the market as it was.

use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::Args;
use domain::{InstrumentId, RegionTable};
use exchange::sequencer::{Moment, engine_at};
use matcher::{Depth, Engine};
use serde_json::{Value, json};

use super::{Place, moment};
use crate::show;
use crate::show::time;

/// Which moment, and what of it.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    #[command(flatten)]
    place: Place,
    /// The last command, or a time: what came after it is left out.
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = moment)]
    until: Option<Moment>,
    /// The model whose book to show.
    #[arg(long)]
    model: Option<String>,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

/// Rebuilds and shows it.
pub(crate) fn run(replay: &Replay, out: &mut impl Write) -> Result<()> {
    let (_, archive) = replay.place.open()?;
    let engine = engine_at(&archive, replay.until.unwrap_or(Moment::End))?;
    let book = match &replay.model {
        Some(model) => Some((model.as_str(), book(&engine, model)?)),
        None => None,
    };
    if replay.json {
        writeln!(out, "{}", as_json(&engine, book.as_ref().map(|(_, depth)| depth)))?;
        return Ok(());
    }
    writeln!(
        out,
        "after command {} of {}",
        engine.sequence(),
        time(engine.now())
    )?;
    writeln!(out, "state {}", engine.state_hash())?;
    writeln!(out, "resting orders {}", engine.orders().count())?;
    for (_, instrument) in engine.instruments() {
        writeln!(out, "model {}", instrument.model)?;
    }
    if let Some((model, depth)) = book {
        write!(
            out,
            "\n{model} (credits per 1,000 work units)\n{}",
            table(&engine, &depth)
        )?;
    }
    Ok(())
}

fn book(engine: &Engine, model: &str) -> Result<Depth> {
    let found = engine.instruments().find(|(_, listed)| listed.model == model);
    let Some((id, _)) = found else {
        let models: Vec<&str> = engine
            .instruments()
            .map(|(_, instrument)| instrument.model.as_str())
            .collect();
        bail!(
            "no model `{model}` was listed then; there were: {}",
            models.join(", ")
        );
    };
    depth(engine, id)
}

fn depth(engine: &Engine, id: InstrumentId) -> Result<Depth> {
    engine.depth(id).context("a listed instrument has a book")
}

/// The code of a region, by the table of that moment.
fn code(regions: Option<&RegionTable>, region: domain::Region) -> String {
    regions
        .and_then(|table| table.code(region))
        .map_or_else(|| region.index().to_string(), str::to_owned)
}

/// Asks from the cheapest, bids from the dearest.
fn table(engine: &Engine, depth: &Depth) -> String {
    let regions = engine.regions();
    let mut asks = depth.asks.clone();
    asks.sort_by_key(|level| level.price);
    let mut bids = depth.bids.clone();
    bids.sort_by_key(|level| std::cmp::Reverse(level.price));
    let head = |words: [&str; 5]| words.map(str::to_owned).to_vec();
    let mut rows = vec![head(["asks", "region", "tier", "karma", "jobs"])];
    rows.extend(asks.iter().map(|level| {
        vec![
            level.price.to_string(),
            code(regions, level.cell.region),
            level.cell.tier.to_string(),
            level.cell.band.to_string(),
            level.jobs.to_string(),
        ]
    }));
    rows.push(head(["bids", "home", "at least", "karma", "jobs"]));
    rows.extend(bids.iter().map(|level| {
        let class = depth.classes.iter().find(|class| class.class == level.class);
        let who = class.map_or_else(
            || vec!["?".to_owned(); 3],
            |class| {
                vec![
                    code(regions, class.eligibility.home),
                    class.eligibility.min_tier.to_string(),
                    class.eligibility.min_band.to_string(),
                ]
            },
        );
        [vec![level.price.to_string()], who, vec![level.jobs.to_string()]].concat()
    }));
    show::table(&rows)
}

fn as_json(engine: &Engine, book: Option<&Depth>) -> Value {
    let regions = engine.regions();
    let book = book.map(|depth| {
        let asks: Vec<Value> = depth
            .asks
            .iter()
            .map(|level| {
                json!({
                    "price": level.price.get(),
                    "region": code(regions, level.cell.region),
                    "tier": level.cell.tier.to_string(),
                    "band": level.cell.band.to_string(),
                    "jobs": level.jobs,
                })
            })
            .collect();
        let bids: Vec<Value> = depth
            .bids
            .iter()
            .map(|level| json!({"price": level.price.get(), "class": level.class, "jobs": level.jobs}))
            .collect();
        json!({"asks": asks, "bids": bids})
    });
    let models: Vec<&str> = engine
        .instruments()
        .map(|(_, instrument)| instrument.model.as_str())
        .collect();
    json!({
        "sequence": engine.sequence().get(),
        "at": time(engine.now()),
        "state_hash": engine.state_hash().to_string(),
        "resting_orders": engine.orders().count(),
        "models": models,
        "book": book,
    })
}
