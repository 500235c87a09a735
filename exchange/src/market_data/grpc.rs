//! `MarketDataService`: snapshots, streams of deltas, trades.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::InstrumentId;
use futures::{Stream, stream};
use proto::market_data::v1::market_data_service_server::MarketDataService;
use proto::market_data::v1::{
    DepthDelta, DepthHeartbeat, GetDepthRequest, GetDepthResponse, ListTradesRequest, ListTradesResponse,
    StreamDepthRequest, StreamDepthResponse, StreamTradesRequest, StreamTradesResponse, Trade,
    stream_depth_response::Message,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tonic::{Code, Request, Response, Status};

use super::trades::TRADES_KEPT;
use super::{Model, Shared};

/// What stands for "nothing changed".
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Trades in a page when the request does not say, and before a stream's first live one.
const PAGE_SIZE: usize = 50;

const DOMAIN: &str = "atoll.exchange";

/// Answers for the books and trades that it shares with the feed.
#[derive(Debug)]
pub struct MarketDataApi {
    shared: Arc<Shared>,
}

impl MarketDataApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn instrument(&self, model: &str) -> Result<InstrumentId, Status> {
        self.shared.names.instrument(model).ok_or_else(|| {
            let shown: String = model.chars().take(80).collect();
            let message = format!("no model is called `{shown}`; ListModels names those that there are");
            service::errors::status(Code::NotFound, "UNKNOWN_MODEL", DOMAIN, message)
        })
    }

    /// The model that a filter names; `None` for all.
    fn filter(&self, model: &str) -> Result<Option<InstrumentId>, Status> {
        if model.is_empty() {
            return Ok(None);
        }
        self.instrument(model).map(Some)
    }

    fn model(&self, instrument: InstrumentId) -> Result<&Model, Status> {
        self.shared
            .models
            .get(&instrument)
            .ok_or_else(|| Status::internal("a model with a name has a book"))
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.shared.streams).try_acquire_owned().map_err(|_| {
            service::errors::status(
                Code::ResourceExhausted,
                "TOO_MANY_STREAMS",
                DOMAIN,
                "as many market-data streams are open as may be; try again later",
            )
        })
    }
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl MarketDataService for MarketDataApi {
    async fn get_depth(
        &self,
        request: Request<GetDepthRequest>,
    ) -> Result<Response<GetDepthResponse>, Status> {
        let model = request.into_inner().model;
        let snapshot = self.model(self.instrument(&model)?)?.book().snapshot(&model);
        Ok(Response::new(GetDepthResponse {
            snapshot: Some(snapshot),
        }))
    }

    type StreamDepthStream = BoxStream<StreamDepthResponse>;

    async fn stream_depth(
        &self,
        request: Request<StreamDepthRequest>,
    ) -> Result<Response<Self::StreamDepthStream>, Status> {
        let model = request.into_inner().model;
        let reader = DepthReader {
            instrument: self.instrument(&model)?,
            _permit: self.permit()?,
            shared: Arc::clone(&self.shared),
            model,
            deltas: None,
            sequence: 0,
        };
        let messages = stream::unfold(Some(reader), async |reader| {
            let mut reader = reader?;
            let message = reader.next().await;
            let rest = message.is_ok().then_some(reader);
            let response = message.map(|message| StreamDepthResponse {
                message: Some(message),
            });
            Some((response, rest))
        });
        Ok(Response::new(Box::pin(messages)))
    }

    type StreamTradesStream = BoxStream<StreamTradesResponse>;

    async fn stream_trades(
        &self,
        request: Request<StreamTradesRequest>,
    ) -> Result<Response<Self::StreamTradesStream>, Status> {
        let model = request.into_inner().model;
        let instrument = self.filter(&model)?;
        let mut reader = TradeReader {
            instrument,
            model,
            _permit: self.permit()?,
            live: self.shared.traded.subscribe(),
            shared: Arc::clone(&self.shared),
            waiting: VecDeque::new(),
            last: None,
        };
        reader.refill(PAGE_SIZE);
        let trades = stream::unfold(Some(reader), async |reader| {
            let mut reader = reader?;
            let trade = reader.next().await;
            let rest = trade.is_ok().then_some(reader);
            let response = trade.map(|trade| StreamTradesResponse {
                trade: Some(Trade::clone(&trade)),
            });
            Some((response, rest))
        });
        Ok(Response::new(Box::pin(trades)))
    }

    async fn list_trades(
        &self,
        request: Request<ListTradesRequest>,
    ) -> Result<Response<ListTradesResponse>, Status> {
        let request = request.into_inner();
        let instrument = self.filter(&request.model)?;
        let count = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
            0 => PAGE_SIZE,
            size if size <= TRADES_KEPT => size,
            _ => {
                let problem = format!("must be at most {TRADES_KEPT}");
                return Err(service::errors::bad_field(DOMAIN, "page_size", &problem));
            }
        };
        let trades = self.shared.trades().latest(instrument, count);
        Ok(Response::new(ListTradesResponse {
            trades: trades.iter().map(|trade| Trade::clone(trade)).collect(),
        }))
    }
}

fn ended() -> Status {
    service::errors::status(
        Code::Unavailable,
        "SHUTTING_DOWN",
        DOMAIN,
        "the exchange is shutting down; connect again for a fresh snapshot",
    )
}

/// One reader of a model's depth.
struct DepthReader {
    shared: Arc<Shared>,
    instrument: InstrumentId,
    model: String,
    /// None before the first snapshot and after falling behind.
    deltas: Option<broadcast::Receiver<Arc<DepthDelta>>>,
    sequence: u64,
    _permit: OwnedSemaphorePermit,
}

impl DepthReader {
    async fn next(&mut self) -> Result<Message, Status> {
        let shared = Arc::clone(&self.shared);
        let Some(deltas) = &mut self.deltas else {
            return self.snapshot();
        };
        let received = tokio::select! {
            biased;
            () = shared.ended.cancelled() => return Err(ended()),
            received = tokio::time::timeout(HEARTBEAT, deltas.recv()) => received,
        };
        match received {
            Ok(Ok(delta)) => {
                self.sequence = delta.sequence;
                Ok(Message::Delta(DepthDelta::clone(&delta)))
            }
            Ok(Err(RecvError::Lagged(_))) => self.snapshot(),
            Ok(Err(RecvError::Closed)) => Err(ended()),
            Err(_) => Ok(Message::Heartbeat(DepthHeartbeat {
                sequence: self.sequence,
                at_us: service::clock::unix_micros(),
            })),
        }
    }

    fn snapshot(&mut self) -> Result<Message, Status> {
        let model = self.shared.models.get(&self.instrument).ok_or_else(ended)?;
        let (snapshot, deltas) = model.follow(&self.model);
        self.deltas = Some(deltas);
        self.sequence = snapshot.sequence;
        Ok(Message::Snapshot(snapshot))
    }
}

/// One reader of trades.
struct TradeReader {
    shared: Arc<Shared>,
    instrument: Option<InstrumentId>,
    model: String,
    live: broadcast::Receiver<Arc<Trade>>,
    /// Latest trades that come before the live ones.
    waiting: VecDeque<Arc<Trade>>,
    /// The last trade that was sent, so that none is sent twice.
    last: Option<Arc<Trade>>,
    _permit: OwnedSemaphorePermit,
}

impl TradeReader {
    async fn next(&mut self) -> Result<Arc<Trade>, Status> {
        loop {
            if let Some(trade) = self.waiting.pop_front() {
                self.last = Some(Arc::clone(&trade));
                return Ok(trade);
            }
            let received = tokio::select! {
                biased;
                () = self.shared.ended.cancelled() => return Err(ended()),
                received = self.live.recv() => received,
            };
            match received {
                Ok(trade) if self.wants(&trade) => self.waiting.push_back(trade),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.refill(TRADES_KEPT),
                Err(RecvError::Closed) => return Err(ended()),
            }
        }
    }

    fn wants(&self, trade: &Trade) -> bool {
        self.instrument.is_none() || trade.cell.as_ref().is_some_and(|cell| cell.model == self.model)
    }

    /// Takes the latest trades that were not sent, and goes on live after them.
    fn refill(&mut self, count: usize) {
        let trades = self.shared.trades();
        self.live = self.shared.traded.subscribe();
        let latest = trades.latest(self.instrument, count);
        drop(trades);
        let unsent = latest
            .into_iter()
            .take_while(|trade| self.last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, trade)));
        self.waiting = unsent.collect();
        self.waiting.make_contiguous().reverse();
    }
}
