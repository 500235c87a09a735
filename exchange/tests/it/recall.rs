//! The trades of before a start, from what the journal still has.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{InstrumentId, Timestamp};
use exchange::journal::{FileJournal, FileJournalOptions, Storage};
use exchange::market_data::MarketData;
use exchange::names::Names;
use exchange::sequencer::{Clock, Retention, Sequencer, Started, Upkeep};
use matcher::Event;
use proto::market_data::v1::ListTradesRequest;
use proto::market_data::v1::market_data_service_server::MarketDataService;
use tonic::Request;

use crate::faulty_disk::FaultyDisk;
use crate::load::{Load, MODELS, opening, table};

const FOLDER: &str = "/journal";

fn start(storage: Arc<dyn Storage>, clock: Clock) -> Started {
    let options = FileJournalOptions {
        segment_bytes: 16_384,
        ..FileJournalOptions::default()
    };
    let upkeep = Upkeep {
        commands_per_snapshot: 37,
        retention: Retention::For(Duration::from_secs(1)),
    };
    let journal = FileJournal::open(storage, Path::new(FOLDER), options).unwrap();
    Sequencer::start_on(Box::new(journal), clock, upkeep, Vec::new()).unwrap()
}

/// Runs a market until the journal has given up its beginning; returns the latest trade.
async fn run_until_cut(disk: &FaultyDisk, clock: Clock, time: &AtomicU64) -> String {
    let started = start(disk.boot(), clock);
    for command in opening() {
        started.handle.apply(command).await.unwrap();
    }
    let folder = disk.boot();
    let first = format!("{:020}.segment", 1);
    let mut load = Load::new(7);
    let mut last = None;
    for step in 0_u64.. {
        time.fetch_add(1_000, Ordering::SeqCst);
        let command = load.next();
        let applied = started.handle.apply(command).await.unwrap();
        load.saw(&applied.events);
        started.replay.release(applied.sequence);
        for event in applied.events.iter() {
            if let Event::Traded(traded) = event {
                last = Some(traded.trade.to_string());
            }
        }
        if last.is_some() && !folder.list(Path::new(FOLDER)).unwrap().contains(&first) {
            break;
        }
        assert!(step < 50_000, "the past stays for ever");
    }
    started.sequencer.stop().await.unwrap();
    last.unwrap()
}

async fn listed(data: &MarketData) -> Vec<String> {
    let request = Request::new(ListTradesRequest::default());
    let trades = data.api().list_trades(request).await.unwrap().into_inner().trades;
    trades.into_iter().map(|trade| trade.trade_id).collect()
}

fn market_data() -> MarketData {
    let models = (0..).map(InstrumentId::new).zip(MODELS.map(str::to_owned));
    MarketData::new(Arc::new(Names::new(models, table()).unwrap()))
}

#[tokio::test]
async fn what_a_cut_journal_still_has_is_recalled_unless_the_exchange_stops_meanwhile() {
    let disk = FaultyDisk::default();
    let time = Arc::new(AtomicU64::new(1_000_000));
    let clock = {
        let time = Arc::clone(&time);
        Clock::new(move || Timestamp::from_micros(time.load(Ordering::SeqCst)))
    };
    let last = run_until_cut(&disk, clock.clone(), &time).await;

    let started = start(disk.boot(), clock);
    let recovered = started.recovery.sequence;
    let data = market_data();
    data.recall(&started.replay, recovered).unwrap();
    assert_eq!(listed(&data).await.first(), Some(&last));

    let stopping = market_data();
    stopping.end_streams();
    stopping.recall(&started.replay, recovered).unwrap();
    assert!(
        listed(&stopping).await.is_empty(),
        "the stop waited for the recall"
    );
    started.sequencer.stop().await.unwrap();
}
