//! The gRPC service.

use std::pin::Pin;

use domain::Side;
use futures::{Stream, StreamExt};
use matcher::{Command, Event, PlaceAsk};
use proto::convert::cell_to_wire;
use proto::convert::order_entry::ask_request_from_wire;
use proto::exchange::v1 as wire;
use proto::exchange::v1::order_entry_service_server::OrderEntryService;
use service::secret::Secret;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::connection::{Connection, MESSAGES_QUEUED_MAX};
use super::orders::{Orders, Placing};
use super::{OrderEntry, connection};
use crate::gateway::auth::bearer;
use crate::gateway::errors::{INTERNAL, Refusal, STOPPING};
use crate::halts::Halts;
use crate::identity::Identity;
use crate::sequencer::Applied;

type Responses = Pin<Box<dyn Stream<Item = connection::Response> + Send>>;

#[tonic::async_trait]
impl OrderEntryService for OrderEntry {
    type SessionStream = Responses;

    async fn session(
        &self,
        request: Request<Streaming<wire::SessionRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (caller, key) = self.caller(request.metadata()).await?;
        let (responses, sent) = mpsc::channel(MESSAGES_QUEUED_MAX);
        let (last, end) = oneshot::channel();
        let connection = Connection {
            entry: self.clone(),
            caller,
            key,
            requests: request.into_inner(),
            responses,
            last,
        };
        self.desk.tasks.spawn(connection.run());
        // A connection that ended without a word was closed by the client.
        let end = futures::stream::once(end).filter_map(|end| std::future::ready(end.ok()));
        Ok(Response::new(Box::pin(ReceiverStream::new(sent).chain(end))))
    }

    async fn place_ask(
        &self,
        request: Request<wire::PlaceAskRequest>,
    ) -> Result<Response<wire::PlaceAskResponse>, Status> {
        let (caller, _) = self.caller(request.metadata()).await?;
        let ask =
            ask_request_from_wire(request.into_inner(), self.gateway.market()).map_err(Refusal::from)?;
        if self.desk.is_stopping() {
            return Err(STOPPING
                .because("the exchange is stopping and takes no new orders")
                .into_status());
        }
        let (ask, placing) = self.ask(caller, 0, ask).await?;
        let execution = self.place_one(ask, placing).await?;
        Ok(Response::new(wire::PlaceAskResponse {
            execution: Some(execution),
        }))
    }
}

impl OrderEntry {
    /// Whose key came with the request. What it may be used for is asked command by command.
    async fn caller(&self, metadata: &MetadataMap) -> Result<(Identity, Secret), Refusal> {
        let key = bearer(metadata.as_ref())?;
        let caller = self.gateway.keys.identify(key).await?;
        Ok((caller, Secret::new(key)))
    }

    /// Has the engine place an ask of which the Island's agent is not to hear. In a task of its own: what leasing took note
    /// of is sent or forgotten, even if the caller goes away meanwhile.
    async fn apply_ask(&self, ask: PlaceAsk) -> Result<Applied, Refusal> {
        let (leasing, sequencer) = (self.desk.leasing.clone(), self.gateway.sequencer.clone());
        let applying = self.desk.tasks.spawn(async move {
            leasing
                .expect_ask(ask)
                .await
                .map_err(|_| STOPPING.because("the exchange is stopping and takes no new orders"))?;
            match sequencer.apply(Command::PlaceAsk(ask)).await {
                Ok(applied) => Ok(applied),
                Err(error) => {
                    leasing.forget_ask(ask).await;
                    Err(Refusal::from(error))
                }
            }
        });
        let applied = applying.await;
        applied.map_err(|_| INTERNAL.because("the ask was not answered"))?
    }

    /// Places one ask; how it stands after its arrival.
    async fn place_one(&self, ask: PlaceAsk, placing: Placing) -> Result<wire::ExecutionReport, Refusal> {
        let applied = self.apply_ask(ask).await?;
        let mut orders = Orders::default();
        orders.place(placing);
        let mut told: Option<wire::ExecutionReport> = None;
        for event in applied.events.iter() {
            let report = if let Event::AskAccepted(accepted) = event {
                let names = &self.desk.names;
                let model = names.model(accepted.cell.instrument).unwrap_or_default();
                let region = names.region(accepted.cell.region).unwrap_or_default();
                let cell = cell_to_wire(model, region, accepted.cell.tier, Some(accepted.cell.band));
                orders
                    .ask_accepted(accepted, &ask, cell)
                    .map(|answer| answer.report)
            } else if let Event::Repeated { order, .. } = event {
                orders.ask_repeated(&ask, *order).map(|answer| answer.report)
            } else if let Event::Traded(traded) = event {
                orders.traded(traded, Side::Ask)
            } else if let Event::OrderEnded(ended) = event {
                orders.ended(ended, &Halts::default()).map(|(_, report)| report)
            } else if let Event::Rejected(rejected) = event {
                return Err(self.gateway.rejection(rejected));
            } else {
                None
            };
            if let Some(report) = report {
                // The terms are told once, with the acceptance.
                let terms = told.and_then(|told| told.terms);
                told = Some(wire::ExecutionReport {
                    terms: report.terms.or(terms),
                    ..report
                });
            }
        }
        told.ok_or_else(|| INTERNAL.because("the ask was not answered"))
    }
}
