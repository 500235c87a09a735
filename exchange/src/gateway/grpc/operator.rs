//! `OperatorService`: what stops and bounds trading.

use domain::{AccountId, InstrumentId, PriceBand};
use matcher::{Command, Event, SetPriceBand};
use proto::convert::billing::{DISPLAY_NAME_LENGTH_MAX, REASON_LENGTH_MAX};
use proto::convert::{FieldError, id_from_wire, price_from_wire, text_from_wire};
use proto::exchange::v1 as wire;
use proto::exchange::v1::operator_service_server::OperatorService;
use tonic::{Request, Response, Status};

use super::queries::of_billing;
use crate::gateway::Gateway;
use crate::gateway::errors::{Refusal, STOPPING};
use crate::reconcile::{Mismatch, ReconcileError};
use crate::sequencer::Applied;

#[tonic::async_trait]
impl OperatorService for Gateway {
    async fn halt_model(
        &self,
        request: Request<wire::HaltModelRequest>,
    ) -> Result<Response<wire::HaltModelResponse>, Status> {
        self.operator(request.metadata().as_ref())?;
        let model = self.instrument(&request.get_ref().model)?.0;
        let applied = self.operate(Command::Halt(model)).await?;
        tracing::warn!(model = request.get_ref().model, "an operator halted a model");
        Ok(Response::new(wire::HaltModelResponse {
            sequence: applied.sequence.get(),
        }))
    }

    async fn resume_model(
        &self,
        request: Request<wire::ResumeModelRequest>,
    ) -> Result<Response<wire::ResumeModelResponse>, Status> {
        self.operator(request.metadata().as_ref())?;
        let model = self.instrument(&request.get_ref().model)?.0;
        let applied = self.operate(Command::Resume(model)).await?;
        tracing::warn!(model = request.get_ref().model, "an operator resumed a model");
        let traded = applied.events.iter().filter_map(|event| {
            let Event::Traded(trade) = event else {
                return None;
            };
            Some(u64::from(trade.jobs.get()))
        });
        Ok(Response::new(wire::ResumeModelResponse {
            sequence: applied.sequence.get(),
            jobs: traded.sum(),
        }))
    }

    async fn set_price_band(
        &self,
        request: Request<wire::SetPriceBandRequest>,
    ) -> Result<Response<wire::SetPriceBandResponse>, Status> {
        self.operator(request.metadata().as_ref())?;
        let wire::SetPriceBandRequest { model, band } = request.into_inner();
        let instrument = self.instrument(&model)?.0;
        let band = band
            .map(band_from_wire)
            .transpose()
            .map_err(|error| Refusal::from(error.within("band")))?;
        let applied = self.operate(set(instrument, band)).await?;
        tracing::warn!(model, ?band, "an operator set a price band");
        Ok(Response::new(wire::SetPriceBandResponse {
            sequence: applied.sequence.get(),
        }))
    }

    async fn lift_suspension(
        &self,
        request: Request<wire::LiftSuspensionRequest>,
    ) -> Result<Response<wire::LiftSuspensionResponse>, Status> {
        self.operator(request.metadata().as_ref())?;
        let wire::LiftSuspensionRequest {
            account_id,
            author,
            reason,
        } = request.into_inner();
        let account: AccountId = id_from_wire("account_id", &account_id).map_err(Refusal::from)?;
        let author = text_from_wire("author", author, DISPLAY_NAME_LENGTH_MAX).map_err(Refusal::from)?;
        let reason = text_from_wire("reason", reason, REASON_LENGTH_MAX).map_err(Refusal::from)?;
        let was_suspended = self.buying_power.lift(account);
        tracing::warn!(%account, author, reason, was_suspended, "an operator lifted a suspension");
        Ok(Response::new(wire::LiftSuspensionResponse { was_suspended }))
    }

    async fn audit_books(
        &self,
        request: Request<wire::AuditBooksRequest>,
    ) -> Result<Response<wire::AuditBooksResponse>, Status> {
        self.operator(request.metadata().as_ref())?;
        let audit = self.billing.audit().await.map_err(of_billing)?;
        let compared = self.books.compare().await.map_err(|error| match error {
            ReconcileError::Billing(error) => of_billing(error),
            ReconcileError::Sequencer(_) | ReconcileError::Outbox(_) => {
                STOPPING.because("the exchange is stopping")
            }
        })?;
        let mut findings = audit.findings.clone();
        findings.extend(compared.differing.iter().map(|(account, Mismatch { engine, billing })| {
            format!("{account}: the engine may spend {engine} credits, billing holds {billing} in reserve for it")
        }));
        let count = |accounts: usize| u64::try_from(accounts).unwrap_or(u64::MAX);
        Ok(Response::new(wire::AuditBooksResponse {
            clean: audit.clean && compared.differing.is_empty(),
            findings,
            billing: Some(audit),
            accounts_compared: count(compared.at_rest),
            accounts_moving: count(compared.moving),
        }))
    }
}

impl Gateway {
    async fn operate(&self, command: Command) -> Result<Applied, Refusal> {
        let applied = self.sequencer.apply(command).await?;
        self.refused(&applied.events)?;
        Ok(applied)
    }
}

fn set(instrument: InstrumentId, band: Option<PriceBand>) -> Command {
    Command::SetPriceBand(SetPriceBand { instrument, band })
}

fn band_from_wire(band: wire::PriceBand) -> Result<PriceBand, FieldError> {
    let lowest = price_from_wire("lowest", band.lowest)?;
    let highest = price_from_wire("highest", band.highest)?;
    PriceBand::new(lowest, highest).map_err(|error| FieldError::new("lowest", error))
}
