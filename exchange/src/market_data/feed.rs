//! Follows the sequencer: the engine's depth per cell and class becomes depth per book, trades lose their owners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{Eligibility, InstrumentId, KarmaBand, Price, Region, Sequence, Tier, Timestamp};
use matcher::{AskDepth, BidDepth, ClassDefinition, Depth, Engine, Event, Traded};
use proto::convert::{band_to_wire, cell_to_wire, liquidity_to_wire, tier_to_wire};
use proto::market_data::v1::{AskLevel, BidLevel, DepthDelta, DepthSnapshot, Trade};

use super::depth::DepthBook;
use super::{Model, Shared};
use crate::names::Names;
use crate::sequencer::{Applied, SequencerClosed, SequencerHandle, Subscription};

/// A model's books: what the engine reported, and what readers see of it.
#[derive(Debug, Default)]
pub(super) struct ModelBook {
    /// Displayed jobs by band, for every ask level of every book.
    asks: BTreeMap<(Region, Tier, Price), BTreeMap<KarmaBand, u64>>,
    /// What the numbers of the bids' classes stand for now.
    classes: BTreeMap<u16, Eligibility>,
    depth: DepthBook,
}

/// What one command changed in one model.
#[derive(Debug, Default)]
struct Changes {
    asks: BTreeSet<(Region, Tier, Price)>,
    /// By class at the time, because its number may be used again.
    bids: BTreeMap<(Eligibility, Price), u64>,
}

impl ModelBook {
    pub(super) fn snapshot(&self, model: &str) -> DepthSnapshot {
        self.depth.snapshot(model)
    }

    fn note_class(&mut self, class: &ClassDefinition) {
        self.classes.insert(class.class, class.eligibility);
    }

    fn note_ask(&mut self, changes: &mut Changes, ask: &AskDepth) {
        let key = (ask.cell.region, ask.cell.tier, ask.price);
        let bands = self.asks.entry(key).or_default();
        if ask.jobs == 0 {
            bands.remove(&ask.cell.band);
        } else {
            bands.insert(ask.cell.band, ask.jobs);
        }
        changes.asks.insert(key);
    }

    fn note_bid(&self, changes: &mut Changes, bid: &BidDepth) {
        let Some(eligibility) = self.classes.get(&bid.class) else {
            tracing::error!(class = bid.class, "a bid level of a class that was never defined");
            return;
        };
        changes.bids.insert((*eligibility, bid.price), bid.jobs);
    }

    /// Takes the changes over into what readers see.
    fn publish(&mut self, names: &Names, at: Timestamp, changes: Changes) -> Option<DepthDelta> {
        let mut asks = Vec::with_capacity(changes.asks.len());
        for key in changes.asks {
            let jobs = self.asks.get(&key).map_or(0, |bands| bands.values().sum());
            if jobs == 0 {
                self.asks.remove(&key);
            }
            let (region, tier, price) = key;
            asks.push(AskLevel {
                region: region_code(names, region),
                tier: tier_to_wire(tier).into(),
                price: price.get(),
                jobs,
            });
        }
        let bids = changes
            .bids
            .into_iter()
            .map(|((eligibility, price), jobs)| bid_level(names, &eligibility, price, jobs));
        self.depth.change(at.as_micros(), asks, bids.collect())
    }
}

fn region_code(names: &Names, region: Region) -> String {
    names.region(region).unwrap_or("unknown").to_owned()
}

fn bid_level(names: &Names, eligibility: &Eligibility, price: Price, jobs: u64) -> BidLevel {
    let mut regions: Vec<String> = eligibility
        .regions
        .iter()
        .map(|region| region_code(names, region))
        .collect();
    regions.sort_unstable();
    BidLevel {
        home_region: region_code(names, eligibility.home),
        regions,
        min_tier: tier_to_wire(eligibility.min_tier).into(),
        min_band: band_to_wire(eligibility.min_band).into(),
        price: price.get(),
        jobs,
    }
}

/// The engine's depth at one moment.
struct Start {
    sequence: Sequence,
    at: Timestamp,
    depths: Vec<(InstrumentId, Depth)>,
}

fn read_start(engine: &Engine) -> Start {
    let depths = engine
        .instruments()
        .filter_map(|(instrument, _)| Some((instrument, engine.depth(instrument)?)));
    Start {
        sequence: engine.sequence(),
        at: engine.now(),
        depths: depths.collect(),
    }
}

/// Reads the books once, then follows every command.
pub(super) async fn run(
    shared: &Shared,
    sequencer: SequencerHandle,
    mut subscription: Subscription,
) -> Result<(), SequencerClosed> {
    let start = sequencer.read(read_start).await?;
    // A handle that is kept would keep the sequencer alive.
    drop(sequencer);
    for (instrument, depth) in &start.depths {
        if let Some(model) = shared.models.get(instrument) {
            begin(shared, model, start.at, depth);
        }
    }
    while let Some(applied) = subscription.recv().await {
        // Commands that were applied before the books were read are in them already; their trades are nowhere yet.
        report_trades(shared, &applied);
        if applied.sequence > start.sequence {
            follow(shared, &applied);
        }
    }
    Ok(())
}

fn begin(shared: &Shared, model: &Model, at: Timestamp, depth: &Depth) {
    let mut book = model.book();
    let mut changes = Changes::default();
    for class in &depth.classes {
        book.note_class(class);
    }
    for ask in &depth.asks {
        book.note_ask(&mut changes, ask);
    }
    for bid in &depth.bids {
        book.note_bid(&mut changes, bid);
    }
    send(shared, model, &mut book, at, changes);
}

fn follow(shared: &Shared, applied: &Applied) {
    let mut changed: BTreeMap<InstrumentId, Changes> = BTreeMap::new();
    for event in applied.events.iter() {
        let instrument = match event {
            Event::AskDepth(ask) => ask.cell.instrument,
            Event::BidDepth(bid) => bid.instrument,
            Event::ClassCreated(class) => class.instrument,
            Event::Traded(_)
            | Event::RegionsSet
            | Event::InstrumentListed { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::Funded { .. }
            | Event::Defunded { .. }
            | Event::IslandJoined { .. }
            | Event::TierSet { .. }
            | Event::BandSet { .. }
            | Event::SlotsSet { .. }
            | Event::BidAccepted(_)
            | Event::AskAccepted(_)
            | Event::Rejected(_)
            | Event::Repeated { .. }
            | Event::JobRecalled(_)
            | Event::OrderEnded(_)
            | Event::Amended { .. }
            | Event::DeadManSet { .. }
            | Event::LeaseEnded(_)
            | Event::Checkpointed { .. }
            | Event::Halted { .. }
            | Event::Resumed { .. }
            | Event::PriceBandSet { .. } => continue,
        };
        let Some(model) = shared.models.get(&instrument) else {
            continue;
        };
        let changes = changed.entry(instrument).or_default();
        let mut book = model.book();
        if let Event::AskDepth(ask) = event {
            book.note_ask(changes, ask);
        } else if let Event::BidDepth(bid) = event {
            book.note_bid(changes, bid);
        } else if let Event::ClassCreated(class) = event {
            book.note_class(class);
        }
    }
    for (instrument, changes) in changed {
        if let Some(model) = shared.models.get(&instrument) {
            send(shared, model, &mut model.book(), applied.at, changes);
        }
    }
}

/// Changes what readers see and tells them, under the book's lock.
fn send(shared: &Shared, model: &Model, book: &mut ModelBook, at: Timestamp, changes: Changes) {
    if let Some(delta) = book.publish(&shared.names, at, changes) {
        // Nobody may be reading.
        drop(model.changed.send(Arc::new(delta)));
    }
}

fn report_trades(shared: &Shared, applied: &Applied) {
    for event in applied.events.iter() {
        if let Event::Traded(traded) = event {
            report_trade(shared, applied, traded);
        }
    }
}

fn report_trade(shared: &Shared, applied: &Applied, traded: &Traded) {
    let Some(trade) = trade_to_wire(&shared.names, applied, traded) else {
        return;
    };
    // Under the lock of the latest trades, so that none falls between them and the stream.
    let mut trades = shared.trades();
    trades.push(traded.cell.instrument, Arc::clone(&trade));
    drop(shared.traded.send(trade));
}

/// The trade without its owners; `None` in a model that has no name any more.
pub(super) fn trade_to_wire(names: &Names, applied: &Applied, traded: &Traded) -> Option<Arc<Trade>> {
    let model = names.model(traded.cell.instrument)?;
    let region = region_code(names, traded.cell.region);
    Some(Arc::new(Trade {
        trade_id: traded.trade.to_string(),
        sequence: applied.sequence.get(),
        at_us: applied.at.as_micros(),
        cell: Some(cell_to_wire(model, &region, traded.cell.tier, None)),
        price: traded.price.get(),
        jobs: traded.jobs.get(),
        bid_liquidity: liquidity_to_wire(traded.bid_liquidity).into(),
    }))
}
