//! What operators put right: refunds, corrections, settlements that were refused first.

use domain::{Credits, JobId, LeaseId};
use ledger::{AccountKey, Mode, Transfer, TransferKind, TransferSource};
use proto::billing::v1 as wire;
use proto::convert::billing::{
    DISPLAY_NAME_LENGTH_MAX, REASON_LENGTH_MAX, REQUEST_ID_LENGTH_MAX, amount_from_wire, shard_from_wire,
};
use proto::convert::{FieldError, id_from_wire, text_from_wire};

use super::money::owner;
use super::{Api, unexpected};
use crate::error::ApiError;
use crate::keys::sha256;
use crate::store::refund::{Mending, NewRefund, Refund};
use crate::store::{Change, LedgerStore, Outcome, Rejection};

/// Who decided something, and why.
pub(super) struct Decision {
    pub(super) author: String,
    pub(super) reason: String,
}

impl Decision {
    pub(super) fn from_wire(author: String, reason: String) -> Result<Self, FieldError> {
        Ok(Self {
            author: text_from_wire("author", author, DISPLAY_NAME_LENGTH_MAX)?,
            reason: text_from_wire("reason", reason, REASON_LENGTH_MAX)?,
        })
    }
}

/// The digest that a request's transfers are named by.
pub(super) fn digest_of(request_id: String) -> Result<[u8; 32], FieldError> {
    let request_id = text_from_wire("request_id", request_id, REQUEST_ID_LENGTH_MAX)?;
    Ok(sha256(request_id.as_bytes()))
}

impl<S: LedgerStore> Api<S> {
    pub(super) async fn make_refund(
        &self,
        request: wire::RefundJobRequest,
    ) -> Result<wire::RefundJobResponse, ApiError> {
        let request_digest = digest_of(request.request_id)?;
        let job: JobId = id_from_wire("job_id", &request.job_id)?;
        let lease: Option<LeaseId> = if request.lease_id.is_empty() {
            None
        } else {
            Some(id_from_wire("lease_id", &request.lease_id)?)
        };
        let amount = match request.amount_nano {
            0 => None,
            amount => Some(amount_from_wire("amount_nano", amount)?),
        };
        let Decision { author, reason } = Decision::from_wire(request.author, request.reason)?;
        let mut leases = self.store.leases_of_job(job).await?;
        leases.retain(|(_, of_job)| lease.is_none_or(|lease| lease == *of_job));
        let refund = NewRefund {
            id: TransferSource::Refund {
                request_digest,
                leg: 0,
            }
            .id(),
            job,
            leases,
            lease,
            amount,
            author,
            reason,
        };
        let author = refund.author.clone();
        let outcome = self.writer.write_one(Change::Refund(refund)).await?;
        let Outcome::Refunded(refunds) = outcome else {
            return Err(unexpected(outcome));
        };
        tracing::warn!(%job, author, "an operator refunded a job");
        Ok(wire::RefundJobResponse {
            refunds: refunds.iter().map(refund_to_wire).collect(),
        })
    }

    pub(super) async fn make_correction(
        &self,
        request: wire::CorrectBalanceRequest,
    ) -> Result<wire::CorrectBalanceResponse, ApiError> {
        let request_digest = digest_of(request.request_id)?;
        let account = id_from_wire("account_id", &request.account_id)?;
        let available = AccountKey::Available(owner(account)?);
        let size = request
            .amount_nano
            .checked_abs()
            .filter(|size| *size > 0)
            .ok_or_else(|| FieldError::new("amount_nano", "must be a number of nano-credits, and not 0"))?;
        let Decision { author, reason } = Decision::from_wire(request.author, request.reason)?;
        let (debit, credit) = if request.amount_nano > 0 {
            (AccountKey::Fees, available)
        } else {
            (available, AccountKey::Fees)
        };
        let correction = Transfer {
            id: TransferSource::Correction { request_digest }.id(),
            kind: TransferKind::Correction,
            mode: Mode::Plain,
            debit,
            credit,
            amount: Credits::from_nano(size),
            job: None,
            memo: format!("correction by {author}: {reason}"),
        };
        let transfer_id = correction.id.to_string();
        self.book(correction).await?;
        tracing::warn!(%account, author, "an operator corrected a balance");
        let balances = self.store.balances(account).await?;
        let balances = balances.ok_or(Rejection::UnknownAccount(account))?;
        Ok(wire::CorrectBalanceResponse {
            transfer_id,
            available_nano: balances.available.as_nano(),
        })
    }

    pub(super) async fn book_refused(
        &self,
        request: wire::BookRefusedSettlementRequest,
    ) -> Result<wire::BookRefusedSettlementResponse, ApiError> {
        let lease: LeaseId = id_from_wire("lease_id", &request.lease_id)?;
        let Decision { author, reason } = Decision::from_wire(request.author, request.reason)?;
        let mending = Mending {
            shard: shard_from_wire("shard", request.shard)?,
            lease,
            author,
            reason,
        };
        tracing::warn!(%lease, author = mending.author, "an operator has a refused settlement tried again");
        let outcome = self.writer.write_one(Change::BookRefused(mending)).await?;
        if outcome == Outcome::Settled {
            return Ok(wire::BookRefusedSettlementResponse { refusal: None });
        }
        let Outcome::SettlementRefused(refusal) = outcome else {
            return Err(unexpected(outcome));
        };
        let refusal = wire::SettlementRefusal {
            lease_id: lease.to_string(),
            code: refusal.code,
            message: refusal.message,
        };
        Ok(wire::BookRefusedSettlementResponse {
            refusal: Some(refusal),
        })
    }
}

fn refund_to_wire(refund: &Refund) -> wire::Refund {
    wire::Refund {
        lease_id: refund.lease.to_string(),
        consumer_account_id: refund.consumer.id().to_string(),
        amount_nano: refund.amount().as_nano(),
        from_island_nano: refund.borne_by_island().as_nano(),
        from_fees_nano: refund.from_fees.as_nano(),
        from_pool_nano: refund.from_pool.as_nano(),
    }
}
