//! What a batch decided, as rows: one array a column, one statement a table.

use domain::{LeaseId, TransferId};
use ledger::AccountKey;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::statements;
use crate::store::plan::OwnerRow;
use crate::store::rows::{liquidity_name, stored};
use crate::store::{BookedTransfer, KeptRefusal, ShardSettlement};

/// A statement with its parameters.
type Insert<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// Owners.
pub(super) fn owners<'q>(owners: &[OwnerRow], at: i64) -> Insert<'q> {
    let texts = |text: fn(&OwnerRow) -> &String| -> Vec<String> {
        owners.iter().map(|owner| text(owner).clone()).collect()
    };
    sqlx::query(statements::INSERT_OWNERS)
        .bind(
            owners
                .iter()
                .map(|owner| stored(owner.id.get()))
                .collect::<Vec<_>>(),
        )
        .bind(texts(|owner| &owner.request_id))
        .bind(texts(|owner| &owner.display_name))
        .bind(at)
}

/// Accounts.
pub(super) fn accounts<'q>(accounts: &[AccountKey]) -> Insert<'q> {
    let accounts = accounts.iter();
    let numbers = accounts.clone().map(|account| account.number());
    let owners = accounts
        .clone()
        .map(|account| account.owner().map(|owner| stored(owner.id().get())));
    let shards = accounts
        .clone()
        .map(|account| account.shard().map_or(0, |shard| i64::from(shard.get())));
    let kinds = accounts.map(|account| i64::from(account.kind().code()));
    sqlx::query(statements::INSERT_ACCOUNTS)
        .bind(numbers.collect::<Vec<_>>())
        .bind(owners.collect::<Vec<_>>())
        .bind(shards.collect::<Vec<_>>())
        .bind(kinds.collect::<Vec<_>>())
}

/// Transfers.
pub(super) fn transfers<'q>(booked: &[BookedTransfer], at: i64) -> Insert<'q> {
    let transfers = booked.iter().map(|booked| &booked.transfer);
    let numbers = booked.iter().map(|booked| stored(booked.number));
    let kinds = transfers.clone().map(|transfer| transfer.kind.name());
    let modes = transfers.clone().map(|transfer| i64::from(transfer.mode.code()));
    let pending = transfers
        .clone()
        .map(|transfer| transfer.mode.resolves().map(id_bytes));
    let jobs = transfers
        .clone()
        .map(|transfer| transfer.job.map(|job| job.get().to_be_bytes()));
    sqlx::query(statements::INSERT_TRANSFERS)
        .bind(numbers.collect::<Vec<_>>())
        .bind(
            transfers
                .clone()
                .map(|transfer| id_bytes(transfer.id))
                .collect::<Vec<_>>(),
        )
        .bind(kinds.collect::<Vec<_>>())
        .bind(modes.collect::<Vec<_>>())
        .bind(pending.collect::<Vec<_>>())
        .bind(
            transfers
                .clone()
                .map(|transfer| transfer.debit.number())
                .collect::<Vec<_>>(),
        )
        .bind(
            transfers
                .clone()
                .map(|transfer| transfer.credit.number())
                .collect::<Vec<_>>(),
        )
        .bind(
            transfers
                .clone()
                .map(|transfer| transfer.amount.as_nano())
                .collect::<Vec<_>>(),
        )
        .bind(jobs.collect::<Vec<_>>())
        .bind(
            transfers
                .map(|transfer| transfer.memo.clone())
                .collect::<Vec<_>>(),
        )
        .bind(at)
}

/// Settlements.
pub(super) fn settlements<'q>(kept: &[(ShardSettlement, Option<KeptRefusal>)], at: i64) -> Insert<'q> {
    let claims = kept.iter().map(|(kept, _)| &kept.settlement);
    let numbers = |number: fn(&ShardSettlement) -> i64| -> Vec<i64> {
        kept.iter().map(|(settlement, _)| number(settlement)).collect()
    };
    let ids = |id: fn(&ShardSettlement) -> u64| -> Vec<[u8; 8]> {
        kept.iter()
            .map(|(settlement, _)| id(settlement).to_be_bytes())
            .collect()
    };
    let refusals = |text: fn(&KeptRefusal) -> &String| -> Vec<Option<String>> {
        kept.iter()
            .map(|(_, refusal)| refusal.as_ref().map(|refusal| text(refusal).clone()))
            .collect()
    };
    let leases = claims.clone().map(|claim| lease_bytes(claim.lease));
    let jobs = claims.clone().map(|claim| claim.job.get().to_be_bytes());
    let models = claims.clone().map(|claim| claim.model.clone());
    let liquidities = claims
        .clone()
        .map(|claim| liquidity_name(claim.bill.bid_liquidity));
    let billed = claims
        .clone()
        .map(|claim| claim.billed_before_thousandths.to_be_bytes());
    let standings = claims.map(|claim| claim.standing.name());
    sqlx::query(statements::INSERT_SETTLEMENTS)
        .bind(numbers(|kept| i64::from(kept.shard.get())))
        .bind(leases.collect::<Vec<_>>())
        .bind(numbers(|kept| stored(kept.settlement.sequence.get())))
        .bind(jobs.collect::<Vec<_>>())
        .bind(numbers(|kept| i64::from(kept.settlement.epoch.get())))
        .bind(ids(|kept| kept.settlement.consumer.get()))
        .bind(ids(|kept| kept.settlement.island_owner.get()))
        .bind(ids(|kept| kept.settlement.island.get()))
        .bind(models.collect::<Vec<_>>())
        .bind(numbers(|kept| stored(kept.settlement.price.get())))
        .bind(numbers(|kept| stored(kept.settlement.bill.units.get())))
        .bind(numbers(|kept| kept.settlement.bill.charge.as_nano()))
        .bind(numbers(|kept| kept.settlement.bill.fee.as_nano()))
        .bind(liquidities.collect::<Vec<_>>())
        .bind(numbers(|kept| kept.settlement.bill.pool_subsidy.as_nano()))
        .bind(numbers(|kept| kept.settlement.compensation.as_nano()))
        .bind(billed.collect::<Vec<_>>())
        .bind(standings.collect::<Vec<_>>())
        .bind(refusals(|refusal| &refusal.code))
        .bind(refusals(|refusal| &refusal.message))
        .bind(at)
}

/// An id as the database keeps it.
pub(super) const fn id_bytes(id: TransferId) -> [u8; 16] {
    id.get().to_be_bytes()
}

/// A lease as the database keeps it.
pub(super) const fn lease_bytes(lease: LeaseId) -> [u8; 8] {
    lease.get().to_be_bytes()
}
