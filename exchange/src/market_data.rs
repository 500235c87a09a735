//! Market data: depth and trades, public to read.
//!
//! Owns what readers see of the books: aggregated over karma bands, without owners. One task follows the sequencer
//! and changes it; any number of readers stream it. Invariants:
//! - a reader who applies every delta after his snapshot has the engine's depth, and the checksum shows it;
//! - a reader who falls behind gets a fresh snapshot, and costs no memory meanwhile;
//! - the feed never waits for a reader.
//!
//! Deliberately absent: anything that says who stands behind a level or a trade.

mod depth;
mod feed;
mod grpc;
mod recall;
mod trades;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{InstrumentId, Sequence};
use proto::market_data::v1::market_data_service_server::MarketDataServiceServer;
use proto::market_data::v1::{DepthDelta, DepthSnapshot, Trade};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use depth::{DepthBook, DepthError};
pub use grpc::MarketDataApi;

use crate::names::Names;
use crate::sequencer::{Replay, ReplayError, SequencerClosed, SequencerHandle, Subscription};
use feed::ModelBook;
use trades::Trades;

/// Deltas that a reader may be behind before he gets a snapshot instead. A delta is a hundred bytes or so, held once
/// for all readers.
const DELTAS_KEPT: usize = 1_024;

/// Trades that a reader may be behind before he is served from the latest trades instead.
const TRADES_STREAMED: usize = 1_024;

/// Streams that are open at once. Each costs a task of the server and a place in the ring.
const STREAMS_MAX: usize = 4_096;

/// Depth and trades as they stand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MarketData {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Arc<Names>,
    models: BTreeMap<InstrumentId, Model>,
    trades: Mutex<Trades>,
    traded: broadcast::Sender<Arc<Trade>>,
    streams: Arc<Semaphore>,
    ended: CancellationToken,
}

#[derive(Debug)]
struct Model {
    book: Mutex<ModelBook>,
    changed: broadcast::Sender<Arc<DepthDelta>>,
}

impl MarketData {
    /// Empty books for every instrument that has a name.
    #[must_use]
    pub fn new(names: Arc<Names>) -> Self {
        let models = names
            .instruments()
            .map(|(instrument, _)| {
                let model = Model {
                    book: Mutex::default(),
                    changed: broadcast::Sender::new(DELTAS_KEPT),
                };
                (instrument, model)
            })
            .collect();
        Self {
            shared: Arc::new(Shared {
                names,
                models,
                trades: Mutex::default(),
                traded: broadcast::Sender::new(TRADES_STREAMED),
                streams: Arc::new(Semaphore::new(STREAMS_MAX)),
                ended: CancellationToken::new(),
            }),
        }
    }

    /// Follows the sequencer until it ends; then, or when this is dropped, every stream ends.
    ///
    /// # Errors
    /// When the sequencer has ended before the books could be read.
    pub async fn run(
        self,
        sequencer: SequencerHandle,
        subscription: Subscription,
    ) -> Result<(), SequencerClosed> {
        let _guard: DropGuard = self.shared.ended.clone().drop_guard();
        feed::run(&self.shared, sequencer, subscription).await
    }

    /// Works out the latest trades up to `recovered`, the last command before this start, once more from the journal's
    /// last part, as far as it is kept. Blocks for a part of a second, or until [`Self::end_streams`]; those of after the
    /// start may come in meanwhile. To be called once.
    ///
    /// # Errors
    /// When the journal cannot be read, or is damaged; then no trade of before is shown.
    pub fn recall(&self, replay: &Replay, recovered: Sequence) -> Result<(), ReplayError> {
        recall::recall(&self.shared, replay, recovered)
    }

    /// The gRPC service.
    #[must_use]
    pub fn service(&self) -> MarketDataServiceServer<MarketDataApi> {
        MarketDataServiceServer::new(self.api())
    }

    /// The service without its server.
    #[must_use]
    pub fn api(&self) -> MarketDataApi {
        MarketDataApi::new(Arc::clone(&self.shared))
    }

    /// Ends every stream, so that a server can drain.
    pub fn end_streams(&self) {
        self.shared.ended.cancel();
    }
}

impl Shared {
    fn trades(&self) -> MutexGuard<'_, Trades> {
        self.trades.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model {
    fn book(&self) -> MutexGuard<'_, ModelBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The depth, and a receiver of every delta after it.
    fn follow(&self, name: &str) -> (DepthSnapshot, broadcast::Receiver<Arc<DepthDelta>>) {
        // Deltas are sent under this lock, so none falls between.
        let book = self.book();
        (book.snapshot(name), self.changed.subscribe())
    }
}
