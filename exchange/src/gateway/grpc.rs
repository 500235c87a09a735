//! The exchange's gRPC service.

mod explain;
mod operator;
mod queries;
pub(crate) mod to_wire;
mod wallet;

use std::pin::Pin;

use domain::OrderId;
use futures::Stream;
use matcher::{Amend, CancelAll, CancelScope, Command, Event};
use proto::convert::{id_from_wire, job_request_from_wire};
use proto::exchange::v1 as wire;
use proto::exchange::v1::exchange_service_server::ExchangeService;
use tonic::{Request, Response, Status};

use super::Gateway;
use super::errors::{AT_CAPACITY, INTERNAL, INVALID_ARGUMENT, Refusal, STOPPING, UNKNOWN_ORDER};
use super::order::Submitted;
use super::stream::ReportStream;
use crate::leasing::CancelRefused;
use crate::sequencer::SequencerClosed;

pub(super) use to_wire::outcome_name;

type Responses = Pin<Box<dyn Stream<Item = Result<wire::SubmitJobResponse, Status>> + Send>>;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.into_status()
    }
}

impl From<SequencerClosed> for Refusal {
    fn from(closed: SequencerClosed) -> Self {
        STOPPING.because(closed.to_string())
    }
}

fn field<T>(converted: proto::convert::FieldResult<T>) -> Result<T, Refusal> {
    converted.map_err(Refusal::from)
}

#[tonic::async_trait]
impl ExchangeService for Gateway {
    type SubmitJobStream = Responses;

    async fn submit_job(
        &self,
        request: Request<wire::SubmitJobRequest>,
    ) -> Result<Response<Responses>, Status> {
        let caller = self.consumer(request.metadata().as_ref()).await?;
        let order = field(job_request_from_wire(request.into_inner(), self.market()))?;
        let jobs = domain::Jobs::new(u32::try_from(order.inputs.len()).unwrap_or(u32::MAX));
        let (accepted, reports) = match self.submit(caller, order).await? {
            Submitted::Placed(placed) => (to_wire::accepted(self, &placed), self.carry(placed.reports, jobs)),
            Submitted::Repeated {
                order,
                client_order_id,
                reports,
            } => (
                to_wire::repeated(order, client_order_id),
                // Jobs that are no longer remembered are not told of again, so none is waited for.
                self.carry(reports, domain::Jobs::ZERO),
            ),
        };
        let first = wire::SubmitJobResponse {
            event: Some(wire::submit_job_response::Event::Accepted(accepted)),
        };
        let rest = Rest {
            gateway: self.clone(),
            reports,
        };
        let rest = futures::stream::unfold(rest, |mut rest| async {
            let report = rest.reports.next().await?;
            let response = report
                .map(|report| to_wire::report(&rest.gateway, report))
                .map_err(Refusal::into_status);
            Some((response, rest))
        });
        let first = futures::stream::once(std::future::ready(Ok(first)));
        Ok(Response::new(Box::pin(futures::StreamExt::chain(first, rest))))
    }

    async fn cancel_order(
        &self,
        request: Request<wire::CancelOrderRequest>,
    ) -> Result<Response<wire::CancelOrderResponse>, Status> {
        let caller = self.caller(request.metadata().as_ref()).await?;
        let order: OrderId = field(id_from_wire("order_id", &request.get_ref().order_id))?;
        self.check_scope(caller, order).await?;
        let cancelled = self
            .leasing
            .cancel_order(caller.account, order)
            .await
            .map_err(|refused| {
                match refused {
                    CancelRefused::UnknownOrder => UNKNOWN_ORDER.because(refused.to_string()).at("order_id"),
                    CancelRefused::Busy => AT_CAPACITY.because(refused.to_string()),
                    CancelRefused::Closed(closed) => STOPPING.because(closed.to_string()),
                }
                .into_status()
            })?;
        Ok(Response::new(wire::CancelOrderResponse {
            cancelled_jobs: cancelled.cancelled_jobs.get(),
            stopping_jobs: cancelled.stopping_jobs.get(),
        }))
    }

    async fn cancel_all_orders(
        &self,
        request: Request<wire::CancelAllOrdersRequest>,
    ) -> Result<Response<wire::CancelAllOrdersResponse>, Status> {
        // Bids are among them.
        let caller = self.consumer(request.metadata().as_ref()).await?;
        let scope = match request.get_ref().model.as_str() {
            "" => CancelScope::Everything,
            model => CancelScope::Instrument(self.instrument(model)?.0),
        };
        let command = Command::CancelAll(CancelAll {
            account: caller.account,
            scope,
        });
        let applied = self.sequencer.apply(command).await.map_err(Refusal::from)?;
        self.refused(&applied.events)?;
        let ended = applied
            .events
            .iter()
            .filter(|event| matches!(event, Event::OrderEnded(_)))
            .count();
        Ok(Response::new(wire::CancelAllOrdersResponse {
            orders: u32::try_from(ended).unwrap_or(u32::MAX),
        }))
    }

    async fn amend_order(
        &self,
        request: Request<wire::AmendOrderRequest>,
    ) -> Result<Response<wire::AmendOrderResponse>, Status> {
        let caller = self.caller(request.metadata().as_ref()).await?;
        let request = request.into_inner();
        let order: OrderId = field(id_from_wire("order_id", &request.order_id))?;
        self.check_scope(caller, order).await?;
        if request.leaves == 0 {
            return Err(INVALID_ARGUMENT
                .because("is at least 1; cancel it instead")
                .at("leaves")
                .into_status());
        }
        let leaves = domain::Jobs::new(request.leaves);
        let command = Command::Amend(Amend {
            account: caller.account,
            order,
            leaves,
        });
        let applied = self.sequencer.apply(command).await.map_err(Refusal::from)?;
        self.refused(&applied.events)?;
        let amended = applied.events.iter().find_map(|event| {
            let Event::Amended { leaves, .. } = event else {
                return None;
            };
            Some(leaves.get())
        });
        let leaves = amended.ok_or_else(|| INTERNAL.because("the amend was not answered").into_status())?;
        Ok(Response::new(wire::AmendOrderResponse { leaves }))
    }

    async fn list_orders(
        &self,
        request: Request<wire::ListOrdersRequest>,
    ) -> Result<Response<wire::ListOrdersResponse>, Status> {
        let caller = self.caller(request.metadata().as_ref()).await?;
        Ok(Response::new(self.orders_of(caller).await?))
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<wire::ListJobsResponse>, Status> {
        let caller = self.consumer(request.metadata().as_ref()).await?;
        let jobs = self.jobs_of(caller.account, request.get_ref().page_size).await;
        Ok(Response::new(wire::ListJobsResponse { jobs }))
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        self.consumer(request.metadata().as_ref()).await?;
        Ok(Response::new(wire::ListModelsResponse {
            models: self.models().await?,
        }))
    }

    async fn get_balance(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        let caller = self.consumer(request.metadata().as_ref()).await?;
        Ok(Response::new(self.balance_of(caller.account).await?))
    }

    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        self.operator(request.metadata().as_ref())?;
        Ok(Response::new(self.status().await?))
    }
}

struct Rest {
    gateway: Gateway,
    reports: ReportStream,
}

impl Gateway {
    /// Succeeds unless the engine refused.
    fn refused(&self, events: &[Event]) -> Result<(), Refusal> {
        for event in events {
            if let Event::Rejected(rejected) = event {
                return Err(self.rejection(rejected));
            }
        }
        Ok(())
    }
}
