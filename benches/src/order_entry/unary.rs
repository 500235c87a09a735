//! One ask at a time by the unary call, beside the floor's unary call and one write and one sync of the same bytes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prost::Message as _;
use proto::exchange::v1 as wire;
use proto::exchange::v1::exchange_service_client::ExchangeServiceClient;
use proto::exchange::v1::order_entry_service_client::OrderEntryServiceClient;
use serde_json::{Value, json};
use tonic::Request;
use tonic::transport::Channel;

use super::echo::{Echo, Payload};
use super::session::ask;
use super::stage::{Stage, bearer};

/// Orders that are timed, after as many tenths to warm up.
const ORDERS: u32 = 4_000;

/// What the journal makes of an ask of the measurement: 76 bytes of framing round some 60 of command, in multiples of
/// eight.
const RECORD_SIZE: usize = 144;

/// The file that is written over and over: as large as a segment of the journal.
const FILE_SIZE: usize = exchange::journal::SEGMENT_BYTES;

/// Times orders, calls of the floor and syncs in turns, so that all meet the same neighbours.
pub(super) async fn measure(stage: &Stage, folder: &Path) -> Result<Value> {
    let mut client = Client::connect(stage).await?;
    let (first, size_up, size_down) = client.place(0).await?;
    client.cancel(first).await?;
    let echo = Echo::serve(size_down).await?;
    let mut floor = echo.client().await?;
    let mut disk = Disk::create(&folder.join("sync"))?;
    let (mut ours, mut echoes, mut syncs, mut floors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 1..=ORDERS + ORDERS.div_euclid(10) {
        let begun = Instant::now();
        let (order_id, ..) = client.place(number).await?;
        let placed = begun.elapsed();
        client.cancel(order_id).await?;
        let begun = Instant::now();
        floor.once(Payload::of_size(size_up)).await?;
        let echoed = begun.elapsed();
        let begun = Instant::now();
        disk = tokio::task::spawn_blocking(move || disk.append()).await??;
        let synced = begun.elapsed().min(disk.took);
        if number > ORDERS.div_euclid(10) {
            ours.push(placed);
            echoes.push(echoed);
            syncs.push(synced);
            floors.push(echoed + synced);
        }
    }
    Ok(json!({
        "orders": ORDERS,
        "bytes_up": size_up,
        "bytes_down": size_down,
        "bytes_synced": RECORD_SIZE,
        "ours_us": spread(ours),
        "floor_us": spread(floors),
        "echo_us": spread(echoes),
        "sync_us": spread(syncs),
    }))
}

struct Client {
    orders: OrderEntryServiceClient<Channel>,
    cancels: ExchangeServiceClient<Channel>,
    key: String,
    island: String,
}

impl Client {
    async fn connect(stage: &Stage) -> Result<Self> {
        let channel = stage.connect().await?;
        Ok(Self {
            orders: OrderEntryServiceClient::new(channel.clone()),
            cancels: ExchangeServiceClient::new(channel),
            key: stage.owner.clone(),
            island: stage.island.id.clone(),
        })
    }

    /// Places an ask; its id, and the sizes of what went either way.
    async fn place(&mut self, number: u32) -> Result<(String, usize, usize)> {
        let ask = ask(format!("u{number}"), self.island.clone());
        let size_up = ask.encoded_len();
        let placed = self.orders.place_ask(self.request(ask)?).await;
        let placed = placed.context("an ask was refused")?.into_inner();
        let size_down = placed.encoded_len();
        let execution = placed.execution.context("an ask was not answered")?;
        Ok((execution.order_id, size_up, size_down))
    }

    async fn cancel(&mut self, order_id: String) -> Result<()> {
        let request = self.request(wire::CancelOrderRequest { order_id })?;
        self.cancels
            .cancel_order(request)
            .await
            .context("a cancel was refused")?;
        Ok(())
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", bearer(&self.key)?);
        Ok(request)
    }
}

/// A file of zeros that is written over from its beginning again when it is full.
struct Disk {
    file: File,
    offset: usize,
    /// How long the last write and sync took, without the way to another thread.
    took: Duration,
}

impl Disk {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path)?;
        file.write_all_at(&vec![0; FILE_SIZE], 0)?;
        file.sync_all()?;
        Ok(Self {
            file,
            offset: 0,
            took: Duration::MAX,
        })
    }

    fn append(mut self) -> Result<Self> {
        if self.offset + RECORD_SIZE > FILE_SIZE {
            self.offset = 0;
        }
        let begun = Instant::now();
        self.file
            .write_all_at(&[0x5A; RECORD_SIZE], u64::try_from(self.offset)?)?;
        self.file.sync_data()?;
        self.took = begun.elapsed();
        self.offset += RECORD_SIZE;
        Ok(self)
    }
}

/// The median, the 99th percentile and the longest, in microseconds.
pub(super) fn spread(mut spans: Vec<Duration>) -> Value {
    spans.sort_unstable();
    let last = spans.len().saturating_sub(1);
    let at = |permille: usize| {
        let span = spans.get(last.saturating_mul(permille).div_euclid(1_000));
        span.map_or(0, Duration::as_micros)
    };
    json!({"p50": at(500), "p99": at(990), "max": at(1_000)})
}
