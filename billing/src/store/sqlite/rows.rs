//! Values → what SQLite takes: lists of rows as JSON, bytes in it as hexadecimal.

use domain::{LeaseId, TransferId};
use ledger::AccountKey;
use proto::convert::billing::Settlement;
use serde_json::{Value, json};

use crate::store::rows::liquidity_name;
use crate::store::{BookedTransfer, KeptRefusal, ShardSettlement};

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

/// A transfer id as the hexadecimal that `unhex` reads.
pub(super) fn transfer_id_hex(id: TransferId) -> String {
    hex(&id.get().to_be_bytes())
}

/// A lease as the hexadecimal that `unhex` reads.
pub(super) fn lease_hex(lease: LeaseId) -> String {
    hex(&lease.get().to_be_bytes())
}

/// An account as the array that the insert takes apart.
pub(super) fn account_json(account: AccountKey) -> Value {
    json!([
        account.number(),
        account.owner().map(|owner| owner.id().get()),
        account.shard().map_or(0, |shard| shard.get()),
        account.kind().code(),
    ])
}

/// A transfer as the array that the insert takes apart.
pub(super) fn transfer_json(booked: &BookedTransfer) -> Value {
    let transfer = &booked.transfer;
    json!([
        booked.number,
        transfer_id_hex(transfer.id),
        transfer.kind.name(),
        transfer.mode.code(),
        transfer.mode.resolves().map(transfer_id_hex),
        transfer.debit.number(),
        transfer.credit.number(),
        transfer.amount.as_nano(),
        transfer.job.map(|job| hex(&job.get().to_be_bytes())),
        transfer.memo,
    ])
}

/// A settlement as the array that the insert takes apart.
pub(super) fn settlement_json(
    ShardSettlement { shard, settlement }: &ShardSettlement,
    refusal: Option<&KeptRefusal>,
) -> Value {
    let Settlement {
        bill, compensation, ..
    } = settlement;
    json!([
        shard.get(),
        lease_hex(settlement.lease),
        settlement.sequence.get(),
        hex(&settlement.job.get().to_be_bytes()),
        settlement.epoch.get(),
        hex(&settlement.consumer.get().to_be_bytes()),
        hex(&settlement.island_owner.get().to_be_bytes()),
        hex(&settlement.island.get().to_be_bytes()),
        settlement.model,
        settlement.price.get(),
        bill.units.get(),
        bill.charge.as_nano(),
        bill.fee.as_nano(),
        liquidity_name(bill.bid_liquidity),
        bill.pool_subsidy.as_nano(),
        compensation.as_nano(),
        hex(&settlement.billed_before_thousandths.to_be_bytes()),
        settlement.standing.name(),
        refusal.map(|refusal| &refusal.code),
        refusal.map(|refusal| &refusal.message),
    ])
}
