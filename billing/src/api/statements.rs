//! Statements: what an account had, what was booked, what it had then, and what was bought and sold of which model.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, Credits, IslandId, Timestamp, TransferId};
use ledger::{Leg, TransferKind, TransferSource};
use proto::billing::v1 as wire;
use proto::convert::{FieldError, id_from_wire};

use super::money::{owner, transfer_to_wire};
use super::{Api, now};
use crate::dates::date;
use crate::error::ApiError;
use crate::limits::STATEMENT_LINES_MAX;
use crate::store::merkle::Day;
use crate::store::refund::Refund;
use crate::store::{BookedTransfer, LedgerStore, Rejection, Settled, ShardSettlement, Span};

/// What every statement says.
const NOTICE: &str = "All credits are virtual and have no cash value.";

/// What an Island is paid by.
const EARNING_LEGS: [Leg; 3] = [Leg::Charge, Leg::Subsidy, Leg::Compensation];

impl<S: LedgerStore> Api<S> {
    pub(super) async fn statement(
        &self,
        request: wire::GetStatementRequest,
    ) -> Result<wire::GetStatementResponse, ApiError> {
        let account: AccountId = id_from_wire("account_id", &request.account_id)?;
        let island: Option<IslandId> = if request.island_id.is_empty() {
            None
        } else {
            Some(id_from_wire("island_id", &request.island_id)?)
        };
        let span = span(request.from_us, request.until_us)?;
        let (mut opening, mut booked) = self
            .store
            .booked_between(account, span, STATEMENT_LINES_MAX)
            .await?
            .ok_or(Rejection::UnknownAccount(account))?;
        let mut settled = self
            .store
            .settled_between(account, span, STATEMENT_LINES_MAX)
            .await?;
        if is_cut_off(booked.len()) || is_cut_off(settled.len()) {
            return Err(ApiError::StatementTooLong);
        }
        if let Some(island) = island {
            opening = self.store.earned_before(account, island, span.from).await?;
            settled.retain(|settled| is_of(settled, account, island));
            let refunds = self
                .store
                .refunds_of_island(account, island, span, STATEMENT_LINES_MAX)
                .await?;
            if is_cut_off(refunds.len()) {
                return Err(ApiError::StatementTooLong);
            }
            let mut its: BTreeSet<TransferId> = settled.iter().flat_map(earning_ids).collect();
            its.extend(refunds.iter().flat_map(taken_back));
            booked.retain(|booked| its.contains(&booked.transfer.id));
        }
        let side = if island.is_some() {
            Side::Island
        } else {
            Side::Account
        };
        let (lines, closing) = lines(booked, account, opening, side)?;
        Ok(wire::GetStatementResponse {
            account_id: account.to_string(),
            from_us: span.from.as_micros(),
            until_us: span.until.as_micros(),
            opening_nano: opening.as_nano(),
            closing_nano: closing.as_nano(),
            lines,
            usage: usage(&settled, account),
            notice: NOTICE.to_owned(),
            announced_reset: self.announced_reset().await?,
        })
    }
}

/// A span of time that was asked for; until now if it has no end.
pub(super) fn span(from_us: u64, until_us: u64) -> Result<Span, FieldError> {
    let now = now().as_micros();
    let until = match until_us {
        0 => now,
        until if until <= now => until,
        _ => return Err(FieldError::new("until_us", "must not be in the future")),
    };
    if from_us > until {
        return Err(FieldError::new("from_us", "must not be after until_us"));
    }
    Ok(Span {
        from: Timestamp::from_micros(from_us),
        until: Timestamp::from_micros(until),
    })
}

/// Whether there may be more than the store gave.
fn is_cut_off(count: usize) -> bool {
    u32::try_from(count).is_ok_and(|count| count >= STATEMENT_LINES_MAX)
}

fn is_of(settled: &Settled, account: AccountId, island: IslandId) -> bool {
    let settlement = &settled.settlement.settlement;
    settlement.island == island && settlement.island_owner == account
}

fn earning_ids(settled: &Settled) -> impl Iterator<Item = TransferId> {
    let ShardSettlement { shard, settlement } = &settled.settlement;
    let (shard, lease) = (*shard, settlement.lease);
    EARNING_LEGS
        .into_iter()
        .map(move |leg| TransferSource::Settlement { shard, lease, leg }.id())
}

/// The transfers by which a refund took back what an Island had earned.
fn taken_back(refund: &Refund) -> impl Iterator<Item = TransferId> {
    let legs = refund.legs().into_iter();
    legs.filter(|leg| leg.debit.owner().is_some()).map(|leg| leg.id)
}

/// Whose statement it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// An account's: everything that it has.
    Account,
    /// An Island's: what it earned.
    Island,
}

/// The lines with their running balance, and where it ends.
fn lines(
    booked: Vec<BookedTransfer>,
    account: AccountId,
    opening: Credits,
    side: Side,
) -> Result<(Vec<wire::StatementLine>, Credits), ApiError> {
    let owner = owner(account)?;
    let mut balance = opening;
    let mut lines = Vec::with_capacity(booked.len());
    for booked in booked {
        let mut transfer = transfer_to_wire(booked, owner);
        if side == Side::Island {
            // Its owner may have paid it himself: that leaves his worth as it was, and the Island has earned.
            let taken_back = transfer.kind == TransferKind::Refund.name();
            transfer.net_nano = if taken_back {
                -transfer.amount_nano
            } else {
                transfer.amount_nano
            };
        }
        balance = balance
            .checked_add(Credits::from_nano(transfer.net_nano))
            .ok_or(ApiError::WrongOutcome)?;
        lines.push(wire::StatementLine {
            transfer: Some(transfer),
            balance_nano: balance.as_nano(),
        });
    }
    Ok((lines, balance))
}

#[derive(Default)]
struct Use {
    segments: u64,
    units: u64,
    paid_nano: i64,
    earned_nano: i64,
}

fn usage(settled: &[Settled], account: AccountId) -> Vec<wire::UsageLine> {
    let mut uses: BTreeMap<(Day, &str), Use> = BTreeMap::new();
    for Settled { at, settlement } in settled {
        let claim = &settlement.settlement;
        let used = uses.entry((Day::of(*at), &claim.model)).or_default();
        used.segments = used.segments.saturating_add(1);
        used.units = used.units.saturating_add(claim.bill.units.get());
        if claim.consumer == account {
            let paid = claim.bill.consumer_pays();
            used.paid_nano = used.paid_nano.saturating_add(paid.as_nano());
        }
        if claim.island_owner == account {
            used.earned_nano = used
                .earned_nano
                .saturating_add(claim.bill.island_earns().as_nano())
                .saturating_add(claim.bill.pool_subsidy.as_nano())
                .saturating_add(claim.compensation.as_nano());
        }
    }
    let line = |((day, model), used): ((Day, &str), Use)| wire::UsageLine {
        date: date(day),
        model: model.to_owned(),
        segments: used.segments,
        units: used.units,
        paid_nano: used.paid_nano,
        earned_nano: used.earned_nano,
    };
    uses.into_iter().map(line).collect()
}
