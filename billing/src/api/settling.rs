//! Settlement, cursors and the audit.

use domain::Sequence;
use proto::billing::v1 as wire;
use proto::convert::billing::{settle_from_wire, shard_from_wire};

use super::{Api, unexpected};
use crate::error::ApiError;
use crate::store::{AuditReport, Change, LedgerStore, Outcome, ShardSettlement};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn settle_batch(
        &self,
        request: wire::SettleRequest,
    ) -> Result<wire::SettleResponse, ApiError> {
        let batch = settle_from_wire(request)?;
        let shard = batch.shard;
        let leases: Vec<_> = batch
            .settlements
            .iter()
            .map(|settlement| settlement.lease)
            .collect();
        let settle = |settlement| Change::Settle(ShardSettlement { shard, settlement });
        let mut changes: Vec<Change> = batch.settlements.into_iter().map(settle).collect();
        changes.push(Change::MoveCursor(shard, batch.through));

        let mut outcomes = self.writer.write(changes).await?;
        let Some(Outcome::Cursor(cursor)) = outcomes.pop() else {
            return Err(ApiError::WrongOutcome);
        };
        let mut refusals = Vec::new();
        for (lease, outcome) in leases.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Settled => {}
                Outcome::SettlementRefused(refusal) => {
                    tracing::warn!(%shard, %lease, code = refusal.code, "a settlement was refused and is kept");
                    refusals.push(wire::SettlementRefusal {
                        lease_id: lease.to_string(),
                        code: refusal.code,
                        message: refusal.message,
                    });
                }
                Outcome::Owner(_)
                | Outcome::Booked(_)
                | Outcome::Reserved(_)
                | Outcome::Key(_)
                | Outcome::Rotated { .. }
                | Outcome::SignedUp { .. }
                | Outcome::Revoked
                | Outcome::SpendingLimited
                | Outcome::SpendingNoted
                | Outcome::Cursor(_)
                | Outcome::Payout(_)
                | Outcome::DestinationSet
                | Outcome::Refunded(_)
                | Outcome::ResetAnnounced(_)
                | Outcome::OwnerReset
                | Outcome::ResetEnded
                | Outcome::Rejected(_) => return Err(unexpected(outcome)),
            }
        }
        Ok(wire::SettleResponse {
            through_sequence: cursor.get(),
            refusals,
        })
    }

    pub(super) async fn cursor(
        &self,
        request: &wire::GetSettlementCursorRequest,
    ) -> Result<wire::GetSettlementCursorResponse, ApiError> {
        let shard = shard_from_wire("shard", request.shard)?;
        let cursor: Sequence = self.store.cursor(shard).await?;
        Ok(wire::GetSettlementCursorResponse {
            through_sequence: cursor.get(),
        })
    }

    pub(super) async fn check_books(&self) -> Result<wire::AuditResponse, ApiError> {
        let report = self.store.audit().await?;
        if !report.is_clean() {
            tracing::error!(findings = report.findings.len(), "the books are not clean");
            tracing::debug!(findings = ?report.findings, "this was found");
        }
        Ok(report_to_wire(report))
    }
}

fn report_to_wire(report: AuditReport) -> wire::AuditResponse {
    wire::AuditResponse {
        clean: report.is_clean(),
        accounts: report.accounts,
        transfers: report.transfers,
        // A sum that is not zero is a finding; one that does not even fit is shown as the nearest that does.
        sum_nano: i64::try_from(report.sum).unwrap_or(if report.sum < 0 { i64::MIN } else { i64::MAX }),
        pool_nano: report.pool.as_nano(),
        fees_nano: report.fees.as_nano(),
        reserved_nano: report.reserved.as_nano(),
        held: report.held,
        settlements: report.settlements,
        days: report.days,
        chain_head: report.chain_head.map(Vec::from).unwrap_or_default(),
        findings: report.findings,
    }
}
