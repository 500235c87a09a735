//! The gRPC service: reads a request, has it written or read, and answers.

mod corrections;
mod filter;
mod money;
mod payouts;
mod people;
mod resets;
mod settling;
mod spending;
mod statements;
mod usage;

use std::sync::Arc;

use domain::Timestamp;
use proto::billing::v1 as wire;
use proto::billing::v1::billing_service_server::BillingService;
use tonic::{Request, Response, Status};

use crate::config::{Payouts, SignUps};
use crate::error::ApiError;
use crate::store::{LedgerStore, Outcome};
use crate::writer::WriterHandle;

/// Answers calls out of a store, and writes through its one writer.
#[derive(Debug)]
pub struct Api<S> {
    store: Arc<S>,
    writer: WriterHandle,
    payouts: Payouts,
    sign_ups: SignUps,
}

impl<S: LedgerStore> Api<S> {
    /// Answers out of `store`, writing through `writer`.
    #[must_use]
    pub const fn new(store: Arc<S>, writer: WriterHandle, payouts: Payouts, sign_ups: SignUps) -> Self {
        Self {
            store,
            writer,
            payouts,
            sign_ups,
        }
    }
}

/// What an outcome is that does not fit its change: refused, or a fault of ours.
fn unexpected(outcome: Outcome) -> ApiError {
    match outcome {
        Outcome::Rejected(rejection) => rejection.into(),
        Outcome::Owner(_)
        | Outcome::Booked(_)
        | Outcome::Reserved(_)
        | Outcome::Key(_)
        | Outcome::Rotated { .. }
        | Outcome::SignedUp { .. }
        | Outcome::Revoked
        | Outcome::SpendingLimited
        | Outcome::SpendingNoted
        | Outcome::Settled
        | Outcome::SettlementRefused(_)
        | Outcome::Cursor(_)
        | Outcome::Payout(_)
        | Outcome::DestinationSet
        | Outcome::Refunded(_)
        | Outcome::ResetAnnounced(_)
        | Outcome::OwnerReset
        | Outcome::ResetEnded => ApiError::WrongOutcome,
    }
}

/// What time it is.
fn now() -> Timestamp {
    Timestamp::from_micros(service::clock::unix_micros())
}

fn answer<T>(result: Result<T, ApiError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl<S: LedgerStore> BillingService for Api<S> {
    async fn create_account(
        &self,
        request: Request<wire::CreateAccountRequest>,
    ) -> Result<Response<wire::CreateAccountResponse>, Status> {
        answer(self.make_account(request.into_inner()).await)
    }

    async fn grant_credits(
        &self,
        request: Request<wire::GrantCreditsRequest>,
    ) -> Result<Response<wire::GrantCreditsResponse>, Status> {
        answer(self.grant(request.into_inner()).await)
    }

    async fn sign_up(
        &self,
        request: Request<wire::SignUpRequest>,
    ) -> Result<Response<wire::SignUpResponse>, Status> {
        answer(self.make_sign_up(request.into_inner()).await)
    }

    async fn create_api_key(
        &self,
        request: Request<wire::CreateApiKeyRequest>,
    ) -> Result<Response<wire::CreateApiKeyResponse>, Status> {
        answer(self.make_key(request.into_inner()).await)
    }

    async fn rotate_api_key(
        &self,
        request: Request<wire::RotateApiKeyRequest>,
    ) -> Result<Response<wire::RotateApiKeyResponse>, Status> {
        answer(self.rotate_key(request.into_inner()).await)
    }

    async fn revoke_api_key(
        &self,
        request: Request<wire::RevokeApiKeyRequest>,
    ) -> Result<Response<wire::RevokeApiKeyResponse>, Status> {
        answer(self.revoke_key(&request.into_inner()).await)
    }

    async fn list_api_keys(
        &self,
        request: Request<wire::ListApiKeysRequest>,
    ) -> Result<Response<wire::ListApiKeysResponse>, Status> {
        answer(self.list_keys(&request.into_inner()).await)
    }

    async fn set_spending_limit(
        &self,
        request: Request<wire::SetSpendingLimitRequest>,
    ) -> Result<Response<wire::SetSpendingLimitResponse>, Status> {
        answer(self.limit_spending(&request.into_inner()).await)
    }

    async fn report_spending(
        &self,
        request: Request<wire::ReportSpendingRequest>,
    ) -> Result<Response<wire::ReportSpendingResponse>, Status> {
        answer(self.note_spending(&request.into_inner()).await)
    }

    async fn list_spending(
        &self,
        request: Request<wire::ListSpendingRequest>,
    ) -> Result<Response<wire::ListSpendingResponse>, Status> {
        answer(self.spending(&request.into_inner()).await)
    }

    async fn authenticate_api_key(
        &self,
        request: Request<wire::AuthenticateApiKeyRequest>,
    ) -> Result<Response<wire::AuthenticateApiKeyResponse>, Status> {
        answer(self.authenticate(&request.into_inner()).await)
    }

    async fn reserve(
        &self,
        request: Request<wire::ReserveRequest>,
    ) -> Result<Response<wire::ReserveResponse>, Status> {
        answer(self.make_reservation(&request.into_inner()).await)
    }

    async fn return_reserved(
        &self,
        request: Request<wire::ReturnReservedRequest>,
    ) -> Result<Response<wire::ReturnReservedResponse>, Status> {
        answer(self.give_back(&request.into_inner()).await)
    }

    async fn list_reservations(
        &self,
        request: Request<wire::ListReservationsRequest>,
    ) -> Result<Response<wire::ListReservationsResponse>, Status> {
        answer(self.reservations(&request.into_inner()).await)
    }

    async fn list_reserved_balances(
        &self,
        request: Request<wire::ListReservedBalancesRequest>,
    ) -> Result<Response<wire::ListReservedBalancesResponse>, Status> {
        answer(self.reserved_balances(&request.into_inner()).await)
    }

    async fn settle(
        &self,
        request: Request<wire::SettleRequest>,
    ) -> Result<Response<wire::SettleResponse>, Status> {
        answer(self.settle_batch(request.into_inner()).await)
    }

    async fn get_settlement_cursor(
        &self,
        request: Request<wire::GetSettlementCursorRequest>,
    ) -> Result<Response<wire::GetSettlementCursorResponse>, Status> {
        answer(self.cursor(&request.into_inner()).await)
    }

    async fn get_balance(
        &self,
        request: Request<wire::GetBalanceRequest>,
    ) -> Result<Response<wire::GetBalanceResponse>, Status> {
        answer(self.balance(&request.into_inner()).await)
    }

    async fn list_transfers(
        &self,
        request: Request<wire::ListTransfersRequest>,
    ) -> Result<Response<wire::ListTransfersResponse>, Status> {
        answer(self.history(&request.into_inner()).await)
    }

    async fn get_statement(
        &self,
        request: Request<wire::GetStatementRequest>,
    ) -> Result<Response<wire::GetStatementResponse>, Status> {
        answer(self.statement(request.into_inner()).await)
    }

    async fn list_usage(
        &self,
        request: Request<wire::ListUsageRequest>,
    ) -> Result<Response<wire::ListUsageResponse>, Status> {
        answer(self.usage(request.into_inner()).await)
    }

    async fn request_payout(
        &self,
        request: Request<wire::RequestPayoutRequest>,
    ) -> Result<Response<wire::RequestPayoutResponse>, Status> {
        answer(self.ask_payout(request.into_inner()).await)
    }

    async fn set_payout_destination(
        &self,
        request: Request<wire::SetPayoutDestinationRequest>,
    ) -> Result<Response<wire::SetPayoutDestinationResponse>, Status> {
        answer(self.set_destination(request.into_inner()).await)
    }

    async fn list_payouts(
        &self,
        request: Request<wire::ListPayoutsRequest>,
    ) -> Result<Response<wire::ListPayoutsResponse>, Status> {
        answer(self.payouts_page(request.into_inner()).await)
    }

    async fn approve_payout(
        &self,
        request: Request<wire::ApprovePayoutRequest>,
    ) -> Result<Response<wire::ApprovePayoutResponse>, Status> {
        answer(self.approve(request.into_inner()).await)
    }

    async fn reject_payout(
        &self,
        request: Request<wire::RejectPayoutRequest>,
    ) -> Result<Response<wire::RejectPayoutResponse>, Status> {
        answer(self.reject(request.into_inner()).await)
    }

    async fn refund_job(
        &self,
        request: Request<wire::RefundJobRequest>,
    ) -> Result<Response<wire::RefundJobResponse>, Status> {
        answer(self.make_refund(request.into_inner()).await)
    }

    async fn correct_balance(
        &self,
        request: Request<wire::CorrectBalanceRequest>,
    ) -> Result<Response<wire::CorrectBalanceResponse>, Status> {
        answer(self.make_correction(request.into_inner()).await)
    }

    async fn book_refused_settlement(
        &self,
        request: Request<wire::BookRefusedSettlementRequest>,
    ) -> Result<Response<wire::BookRefusedSettlementResponse>, Status> {
        answer(self.book_refused(request.into_inner()).await)
    }

    async fn announce_reset(
        &self,
        request: Request<wire::AnnounceResetRequest>,
    ) -> Result<Response<wire::AnnounceResetResponse>, Status> {
        answer(self.announce(request.into_inner()).await)
    }

    async fn audit(
        &self,
        _request: Request<wire::AuditRequest>,
    ) -> Result<Response<wire::AuditResponse>, Status> {
        answer(self.check_books().await)
    }
}
