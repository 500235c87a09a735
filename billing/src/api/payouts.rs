//! Payouts: asked for by their owners, approved or refused by operators.

use domain::{AccountId, TransferId};
use ledger::TransferSource;
use proto::billing::v1 as wire;
use proto::convert::billing::amount_from_wire;
use proto::convert::billing::{DISPLAY_NAME_LENGTH_MAX, REASON_LENGTH_MAX, REQUEST_ID_LENGTH_MAX};
use proto::convert::{FieldError, id_from_wire, text_from_wire};

use super::money::{is_full, page_size};
use super::{Api, now, unexpected};
use crate::dates::date;
use crate::error::ApiError;
use crate::keys::sha256;
use crate::limits::{DESTINATION_LENGTH_MAX, PAYOUTS_PAGE, PAYOUTS_PAGE_MAX};
use crate::pages::{self, Listing};
use crate::store::merkle::Day;
use crate::store::payout::{NewPayout, Payout, PayoutCause, PayoutFilter, PayoutState, PayoutStep};
use crate::store::{Change, LedgerStore, Outcome};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn ask_payout(
        &self,
        request: wire::RequestPayoutRequest,
    ) -> Result<wire::RequestPayoutResponse, ApiError> {
        let request_id = text_from_wire("request_id", request.request_id, REQUEST_ID_LENGTH_MAX)?;
        let request_digest = sha256(request_id.as_bytes());
        let amount = amount_from_wire("amount_nano", request.amount_nano)?;
        let payout = NewPayout {
            transfer: TransferSource::Payout { request_digest }.id(),
            owner: id_from_wire("account_id", &request.account_id)?,
            destination: text_from_wire("destination", request.destination, DESTINATION_LENGTH_MAX)?,
            amount,
            cause: PayoutCause::OnDemand,
            day: Day::of(now()),
            state: self.payouts.state_of(amount),
        };
        let payout = self.payout_after(Change::RequestPayout(payout)).await?;
        Ok(wire::RequestPayoutResponse {
            payout: Some(payout_to_wire(payout)),
        })
    }

    pub(super) async fn set_destination(
        &self,
        request: wire::SetPayoutDestinationRequest,
    ) -> Result<wire::SetPayoutDestinationResponse, ApiError> {
        let account: AccountId = id_from_wire("account_id", &request.account_id)?;
        let destination = if request.destination.is_empty() {
            String::new()
        } else {
            text_from_wire("destination", request.destination, DESTINATION_LENGTH_MAX)?
        };
        let change = Change::SetPayoutDestination(account, destination);
        let outcome = self.writer.write_one(change).await?;
        let Outcome::DestinationSet = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::SetPayoutDestinationResponse {})
    }

    pub(super) async fn payouts_page(
        &self,
        request: wire::ListPayoutsRequest,
    ) -> Result<wire::ListPayoutsResponse, ApiError> {
        let filter = PayoutFilter {
            owner: if request.account_id.is_empty() {
                None
            } else {
                Some(id_from_wire("account_id", &request.account_id)?)
            },
            state: state_from_wire(request.state)?,
        };
        let listing = Listing::Payouts(pages::digest(&format!("{filter:?}")));
        let before = pages::number(listing, &request.page_token)?;
        let size = page_size(request.page_size, PAYOUTS_PAGE, PAYOUTS_PAGE_MAX);
        let payouts = self.store.payouts(filter, before, size).await?;
        let next_page_token = match payouts.last() {
            Some((last, _)) if is_full(payouts.len(), size) => pages::token(listing, *last),
            Some(_) | None => String::new(),
        };
        Ok(wire::ListPayoutsResponse {
            payouts: payouts
                .into_iter()
                .map(|(_, payout)| payout_to_wire(payout))
                .collect(),
            next_page_token,
        })
    }

    pub(super) async fn approve(
        &self,
        request: wire::ApprovePayoutRequest,
    ) -> Result<wire::ApprovePayoutResponse, ApiError> {
        let id: TransferId = id_from_wire("payout_id", &request.payout_id)?;
        let author = text_from_wire("author", request.author, DISPLAY_NAME_LENGTH_MAX)?;
        let step = PayoutStep::Approve { author };
        let payout = self.payout_after(Change::StepPayout(id, step)).await?;
        Ok(wire::ApprovePayoutResponse {
            payout: Some(payout_to_wire(payout)),
        })
    }

    pub(super) async fn reject(
        &self,
        request: wire::RejectPayoutRequest,
    ) -> Result<wire::RejectPayoutResponse, ApiError> {
        let id: TransferId = id_from_wire("payout_id", &request.payout_id)?;
        let step = PayoutStep::Reject {
            author: text_from_wire("author", request.author, DISPLAY_NAME_LENGTH_MAX)?,
            reason: text_from_wire("reason", request.reason, REASON_LENGTH_MAX)?,
        };
        let payout = self.payout_after(Change::StepPayout(id, step)).await?;
        Ok(wire::RejectPayoutResponse {
            payout: Some(payout_to_wire(payout)),
        })
    }

    async fn payout_after(&self, change: Change) -> Result<Payout, ApiError> {
        let outcome = self.writer.write_one(change).await?;
        let Outcome::Payout(payout) = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(payout)
    }
}

fn state_from_wire(number: i32) -> Result<Option<PayoutState>, FieldError> {
    let state = wire::PayoutState::try_from(number)
        .map_err(|_| FieldError::new("state", format!("{number} is not a known value")))?;
    Ok(match state {
        wire::PayoutState::Unspecified => None,
        wire::PayoutState::Held => Some(PayoutState::Held),
        wire::PayoutState::Approved => Some(PayoutState::Approved),
        wire::PayoutState::Paid => Some(PayoutState::Paid),
        wire::PayoutState::Failed => Some(PayoutState::Failed),
    })
}

const fn state_to_wire(state: PayoutState) -> wire::PayoutState {
    match state {
        PayoutState::Held => wire::PayoutState::Held,
        PayoutState::Approved => wire::PayoutState::Approved,
        PayoutState::Paid => wire::PayoutState::Paid,
        PayoutState::Failed => wire::PayoutState::Failed,
    }
}

fn payout_to_wire(payout: Payout) -> wire::Payout {
    wire::Payout {
        payout_id: payout.transfer.to_string(),
        account_id: payout.owner.id().to_string(),
        destination: payout.destination,
        amount_nano: payout.amount.as_nano(),
        weekly: payout.cause == PayoutCause::Weekly,
        date: date(payout.day),
        state: state_to_wire(payout.state).into(),
        approved_by: payout.approved_by,
        attempts: payout.attempts,
        retry_at_us: payout.retry_at.as_micros(),
        note: payout.note,
    }
}
