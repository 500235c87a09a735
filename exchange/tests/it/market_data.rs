//! Readers of market data see what the engine has, however slowly they read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{InstrumentId, Timestamp};
use exchange::journal::{FileJournal, FileJournalOptions};
use exchange::market_data::{DepthBook, DepthError, MarketData};
use exchange::names::Names;
use exchange::sequencer::{Clock, Sequencer, Started, Upkeep, subscription};
use futures::{Stream, StreamExt};
use matcher::{Command, Engine, Event};
use proto::market_data::v1::market_data_service_client::MarketDataServiceClient;
use proto::market_data::v1::market_data_service_server::MarketDataService;
use proto::market_data::v1::stream_depth_response::Message;
use proto::market_data::v1::{
    GetDepthRequest, ListTradesRequest, StreamDepthRequest, StreamDepthResponse, StreamTradesRequest,
};
use tonic::{Code, Request, Status};

use crate::faulty_disk::FaultyDisk;
use crate::load::{Load, MODELS, opening, table};

struct Market {
    started: Started,
    data: MarketData,
    load: Load,
    feed: tokio::task::JoinHandle<()>,
    /// Every trade so far: id, price, jobs.
    trades: Vec<(String, u64, u32)>,
}

impl Market {
    async fn step(&mut self) {
        let events = step(&self.started, &mut self.load).await;
        self.trades.extend(trades(&events));
    }
}

fn trades(events: &[Event]) -> impl Iterator<Item = (String, u64, u32)> {
    events.iter().filter_map(|event| {
        let Event::Traded(traded) = event else {
            return None;
        };
        Some((traded.trade.to_string(), traded.price.get(), traded.jobs.get()))
    })
}

/// A market that is open, with a feed that follows it.
async fn market(seed: u64) -> Market {
    let (sender, subscription) = subscription();
    let disk = FaultyDisk::default();
    let journal = FileJournal::open(disk.boot(), "/journal".as_ref(), FileJournalOptions::default()).unwrap();
    let clock = Clock::new(|| Timestamp::from_micros(1_000_000));
    let started = Sequencer::start_on(Box::new(journal), clock, Upkeep::default(), vec![sender]).unwrap();
    let mut load = Load::new(seed);
    // Part of what happens is there before the feed begins.
    for command in opening() {
        started.handle.apply(command).await.unwrap();
    }
    let mut traded = Vec::new();
    for _ in 0..30 {
        traded.extend(trades(&step(&started, &mut load).await));
    }
    let models = (0..).map(InstrumentId::new).zip(MODELS.map(str::to_owned));
    let names = Arc::new(Names::new(models, table()).unwrap());
    let data = MarketData::new(names);
    let feed = data.clone().run(started.handle.clone(), subscription);
    let feed = tokio::spawn(async move { feed.await.unwrap() });
    Market {
        started,
        data,
        load,
        feed,
        trades: traded,
    }
}

async fn step(started: &Started, load: &mut Load) -> Vec<Event> {
    let command = load.next();
    let applied = started.handle.apply(command).await.unwrap();
    load.saw(&applied.events);
    applied.events.to_vec()
}

type Levels = (BTreeMap<String, u64>, BTreeMap<String, u64>);

/// The engine's depth, put together without the feed.
async fn engine_levels(started: &Started, instrument: u32) -> Levels {
    let table = table();
    let levels = move |engine: &Engine| {
        let depth = engine.depth(InstrumentId::new(instrument)).unwrap();
        let mut levels = Levels::default();
        for ask in &depth.asks {
            let region = table.code(ask.cell.region).unwrap();
            let key = format!("{region} {} {}", ask.cell.tier, ask.price.get());
            *levels.0.entry(key).or_default() += ask.jobs;
        }
        for bid in &depth.bids {
            let class = depth
                .classes
                .iter()
                .find(|class| class.class == bid.class)
                .unwrap();
            let mut regions: Vec<&str> = class
                .eligibility
                .regions
                .iter()
                .map(|region| table.code(region).unwrap())
                .collect();
            regions.sort_unstable();
            let key = format!(
                "{} {regions:?} {} {:?} {}",
                table.code(class.eligibility.home).unwrap(),
                class.eligibility.min_tier,
                class.eligibility.min_band,
                bid.price.get()
            );
            *levels.1.entry(key).or_default() += bid.jobs;
        }
        levels
    };
    started.handle.read(levels).await.unwrap()
}

/// A reader's depth, in the same words.
fn reader_levels(book: &DepthBook) -> Levels {
    let tier = |number: i32| {
        let tier = proto::convert::tier_from_wire("tier", number).unwrap();
        tier.unwrap().to_string()
    };
    let asks = book.asks().map(|ask| {
        (
            format!("{} {} {}", ask.region, tier(ask.tier), ask.price),
            ask.jobs,
        )
    });
    let bids = book.bids().map(|bid| {
        let band = proto::convert::band_from_wire("band", bid.min_band)
            .unwrap()
            .unwrap();
        let key = format!(
            "{} {:?} {} {band:?} {}",
            bid.home_region,
            bid.regions,
            tier(bid.min_tier),
            bid.price
        );
        (key, bid.jobs)
    });
    (asks.collect(), bids.collect())
}

/// Applies what a stream says; every delta is checked against its checksum.
#[derive(Default)]
struct Reader {
    book: Option<DepthBook>,
    snapshots: u32,
    deltas: u32,
}

impl Reader {
    fn take(&mut self, message: Message) {
        match message {
            Message::Snapshot(snapshot) => {
                self.snapshots += 1;
                self.book = Some(DepthBook::of_snapshot(&snapshot).unwrap());
            }
            Message::Delta(delta) => {
                self.deltas += 1;
                self.book.as_mut().unwrap().apply(&delta).unwrap();
            }
            Message::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.sequence, self.book.as_ref().unwrap().sequence());
            }
        }
    }

    /// Reads until the book is the engine's.
    async fn read_until(
        &mut self,
        stream: &mut (impl Stream<Item = Result<StreamDepthResponse, Status>> + Unpin),
        expected: &Levels,
    ) {
        let read = async {
            while self
                .book
                .as_ref()
                .is_none_or(|book| reader_levels(book) != *expected)
            {
                let response = stream.next().await.unwrap().unwrap();
                self.take(response.message.unwrap());
            }
        };
        let is_same = tokio::time::timeout(Duration::from_secs(30), read).await.is_ok();
        assert!(
            is_same,
            "{expected:#?}\n{:#?}",
            self.book.as_ref().map(reader_levels)
        );
    }
}

fn depth_of(model: &str) -> Request<StreamDepthRequest> {
    Request::new(StreamDepthRequest {
        model: model.to_owned(),
    })
}

#[tokio::test]
async fn a_reader_who_applies_every_delta_has_the_engines_depth() {
    let mut market = market(11).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(market.data.service())
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let mut client = MarketDataServiceClient::connect(address).await.unwrap();
    let mut streams = Vec::new();
    for (number, model) in (0..).zip(MODELS) {
        let stream = client.stream_depth(depth_of(model)).await.unwrap().into_inner();
        streams.push((number, stream, Reader::default()));
    }
    for _ in 0..40 {
        for _ in 0..15 {
            market.step().await;
        }
        for (number, stream, reader) in &mut streams {
            let expected = engine_levels(&market.started, *number).await;
            reader.read_until(stream, &expected).await;
        }
    }
    for (number, _, reader) in &streams {
        assert_eq!(reader.snapshots, 1, "who keeps up needs no second snapshot");
        assert!(reader.deltas > 50, "{}", reader.deltas);
        let request = GetDepthRequest {
            model: MODELS[usize::try_from(*number).unwrap()].to_owned(),
        };
        let snapshot = client
            .get_depth(request)
            .await
            .unwrap()
            .into_inner()
            .snapshot
            .unwrap();
        assert_eq!(
            &DepthBook::of_snapshot(&snapshot).unwrap(),
            reader.book.as_ref().unwrap()
        );
    }
    server.abort();
}

#[tokio::test]
async fn a_reader_who_falls_behind_gets_a_fresh_snapshot() {
    let mut market = market(12).await;
    let api = market.data.api();
    let mut stream = api.stream_depth(depth_of(MODELS[0])).await.unwrap().into_inner();
    let mut reader = Reader::default();
    let expected = engine_levels(&market.started, 0).await;
    reader.read_until(&mut stream, &expected).await;
    let before = reader.book.as_ref().unwrap().sequence();
    // Nobody reads while far more happens than is kept.
    let mut now = before;
    while now < before + 1_100 {
        for _ in 0..100 {
            market.step().await;
        }
        let request = GetDepthRequest {
            model: MODELS[0].to_owned(),
        };
        let depth = api.get_depth(Request::new(request)).await.unwrap().into_inner();
        now = depth.snapshot.unwrap().sequence;
    }
    let expected = engine_levels(&market.started, 0).await;
    let behind = reader.snapshots;
    reader.read_until(&mut stream, &expected).await;
    assert_eq!(reader.snapshots, behind + 1);
}

#[tokio::test]
async fn a_reader_of_a_quiet_market_hears_a_heartbeat_every_second() {
    let market = market(13).await;
    let api = market.data.api();
    let mut stream = api.stream_depth(depth_of(MODELS[1])).await.unwrap().into_inner();
    let mut reader = Reader::default();
    let expected = engine_levels(&market.started, 1).await;
    reader.read_until(&mut stream, &expected).await;
    // Only now, for the feed waits for a thread that no paused clock knows of.
    tokio::time::pause();
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let message = stream.next().await.unwrap().unwrap().message.unwrap();
        assert!(matches!(message, Message::Heartbeat(_)), "{message:?}");
        assert_eq!(began.elapsed().as_secs(), 1);
        reader.take(message);
    }
}

#[tokio::test]
async fn a_gap_and_a_wrong_book_are_noticed() {
    let mut market = market(14).await;
    let api = market.data.api();
    let mut stream = api.stream_depth(depth_of(MODELS[0])).await.unwrap().into_inner();
    let mut reader = Reader::default();
    let expected = engine_levels(&market.started, 0).await;
    reader.read_until(&mut stream, &expected).await;
    let mut deltas = Vec::new();
    while deltas.len() < 2 {
        market.step().await;
        let next = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
        if let Ok(Some(Ok(response))) = next
            && let Some(Message::Delta(delta)) = response.message
        {
            deltas.push(delta);
        }
    }
    let book = reader.book.unwrap();
    assert!(matches!(
        book.clone().apply(&deltas[1]),
        Err(DepthError::Gap { .. })
    ));
    let mut altered = deltas[0].clone();
    for level in &mut altered.asks {
        level.jobs += 1;
    }
    for level in &mut altered.bids {
        level.jobs += 1;
    }
    assert!(matches!(
        book.clone().apply(&altered),
        Err(DepthError::Checksum { .. })
    ));
    let mut book = book;
    assert_eq!(book.apply(&deltas[0]), Ok(()));
    assert!(
        matches!(book.apply(&deltas[0]), Err(DepthError::Gap { .. })),
        "twice"
    );
    assert_eq!(book.apply(&deltas[1]), Ok(()));
}

#[tokio::test]
async fn trades_are_streamed_once_each_and_say_nobodys_name() {
    let mut market = market(15).await;
    let api = market.data.api();
    let request = StreamTradesRequest::default();
    let mut stream = api
        .stream_trades(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    while market.trades.len() < 60 {
        market.step().await;
    }
    let expected = &market.trades;
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
        let trade = next.unwrap().unwrap().unwrap().trade.unwrap();
        let cell = trade.cell.clone().unwrap();
        assert_eq!(cell.band, 0, "a band would narrow down who sold");
        assert!(MODELS.contains(&cell.model.as_str()));
        seen.push((trade.trade_id, trade.price, trade.jobs));
    }
    assert_eq!(&seen, expected);

    let list = async |model: &str, page_size| {
        let model = model.to_owned();
        let request = Request::new(ListTradesRequest { model, page_size });
        api.list_trades(request)
            .await
            .map(|response| response.into_inner().trades)
    };
    let latest = list("", 0).await.unwrap();
    assert_eq!(latest.len(), 50);
    assert_eq!(latest[0].trade_id, expected.last().unwrap().0);
    let one = list(MODELS[0], 1_000).await.unwrap();
    let other = list(MODELS[1], 1_000).await.unwrap();
    assert_eq!(one.len() + other.len(), expected.len());
    assert!(
        one.iter()
            .all(|trade| trade.cell.as_ref().unwrap().model == MODELS[0])
    );
    assert!(one.is_sorted_by_key(|trade| std::cmp::Reverse(trade.sequence)));

    // A late reader begins with the latest.
    let request = StreamTradesRequest {
        model: MODELS[0].to_owned(),
    };
    let mut late = api
        .stream_trades(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let first = late.next().await.unwrap().unwrap().trade.unwrap();
    let oldest = one.iter().take(50).next_back().unwrap();
    assert_eq!(&first, oldest);

    let status = list("", 1_001).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("page_size"), "{}", status.message());
}

#[tokio::test]
async fn an_unknown_model_is_refused_by_name() {
    let market = market(16).await;
    let api = market.data.api();
    let huge = "x".repeat(1_000_000);
    for model in ["nothing", "", huge.as_str()] {
        let request = Request::new(GetDepthRequest {
            model: model.to_owned(),
        });
        let status = api.get_depth(request).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            service::errors::reason_of(&status).as_deref(),
            Some("UNKNOWN_MODEL")
        );
        assert!(status.message().len() < 200);
        assert_eq!(
            api.stream_depth(depth_of(model)).await.err().unwrap().code(),
            Code::NotFound
        );
    }
    let request = Request::new(ListTradesRequest {
        model: "nothing".to_owned(),
        page_size: 0,
    });
    assert_eq!(api.list_trades(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn too_many_streams_are_refused_until_one_ends() {
    let market = market(17).await;
    let api = market.data.api();
    let mut streams = Vec::new();
    let refusal = loop {
        match api.stream_depth(depth_of(MODELS[0])).await {
            Ok(stream) => streams.push(stream),
            Err(status) => break status,
        }
        assert!(streams.len() < 10_000, "there is no bound");
    };
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    streams.pop();
    assert!(api.stream_depth(depth_of(MODELS[0])).await.is_ok());
}

#[tokio::test]
async fn streams_end_when_the_exchange_does() {
    let market = market(18).await;
    let api = market.data.api();
    let mut depth = api.stream_depth(depth_of(MODELS[0])).await.unwrap().into_inner();
    // The feed has begun once a reader has the engine's depth.
    let expected = engine_levels(&market.started, 0).await;
    Reader::default().read_until(&mut depth, &expected).await;
    let request = Request::new(StreamTradesRequest::default());
    let mut trades = api.stream_trades(request).await.unwrap().into_inner();
    market.started.handle.apply(Command::Tick).await.unwrap();
    market.started.sequencer.stop().await.unwrap();
    market.feed.await.unwrap();
    let end = loop {
        match depth.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable);
    assert!(depth.next().await.is_none());
    let end = loop {
        match trades.next().await.unwrap() {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable);
}
