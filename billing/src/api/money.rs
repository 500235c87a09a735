//! Grants, reservations, balances and history.

use domain::{AccountId, Credits, ShardId};
use ledger::{AccountKey, Mode, Owner, Transfer, TransferKind, TransferSource};
use proto::billing::v1 as wire;
use proto::convert::billing::{grant_from_wire, reserve_from_wire, return_from_wire, shard_from_wire};
use proto::convert::id_from_wire;

use super::filter::Filter;
use super::{Api, unexpected};
use crate::error::ApiError;
use crate::keys::sha256;
use crate::limits::{HISTORY_PAGE, HISTORY_PAGE_MAX, RESERVATIONS_PAGE_MAX};
use crate::pages::{self, Listing};
use crate::store::{BookedTransfer, Change, LedgerStore, Outcome, Rejection};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn grant(
        &self,
        request: wire::GrantCreditsRequest,
    ) -> Result<wire::GrantCreditsResponse, ApiError> {
        let request = grant_from_wire(request)?;
        let owner = owner(request.account)?;
        let request_digest = sha256(request.request_id.as_bytes());
        let grant = Transfer {
            id: TransferSource::Grant { request_digest }.id(),
            kind: TransferKind::Grant,
            mode: Mode::Plain,
            debit: AccountKey::Grants,
            credit: AccountKey::Available(owner),
            amount: request.amount,
            job: None,
            memo: request.reason,
        };
        let transfer_id = grant.id.to_string();
        self.book(grant).await?;
        let balances = self.store.balances(request.account).await?;
        let balances = balances.ok_or(Rejection::UnknownAccount(request.account))?;
        Ok(wire::GrantCreditsResponse {
            transfer_id,
            available_nano: balances.available.as_nano(),
        })
    }

    pub(super) async fn make_reservation(
        &self,
        request: &wire::ReserveRequest,
    ) -> Result<wire::ReserveResponse, ApiError> {
        let request = reserve_from_wire(request)?;
        let owner = owner(request.account)?;
        let reserve = Change::Reserve {
            order: Transfer {
                id: request.transfer,
                kind: TransferKind::Reserve,
                mode: Mode::Plain,
                debit: AccountKey::Available(owner),
                credit: AccountKey::Reserved(owner, request.shard),
                amount: Credits::ZERO,
                job: None,
                memo: String::new(),
            },
            minimum: request.minimum,
            wanted: request.wanted,
        };
        let outcome = self.writer.write_one(reserve).await?;
        let Outcome::Reserved(amount) = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::ReserveResponse {
            amount_nano: amount.as_nano(),
        })
    }

    pub(super) async fn give_back(
        &self,
        request: &wire::ReturnReservedRequest,
    ) -> Result<wire::ReturnReservedResponse, ApiError> {
        let request = return_from_wire(request)?;
        let owner = owner(request.account)?;
        let back = Transfer {
            id: request.transfer,
            kind: TransferKind::Return,
            mode: Mode::Plain,
            debit: AccountKey::Reserved(owner, request.shard),
            credit: AccountKey::Available(owner),
            amount: request.amount,
            job: None,
            memo: String::new(),
        };
        self.book(back).await?;
        Ok(wire::ReturnReservedResponse {})
    }

    pub(super) async fn reservations(
        &self,
        request: &wire::ListReservationsRequest,
    ) -> Result<wire::ListReservationsResponse, ApiError> {
        let shard: ShardId = shard_from_wire("shard", request.shard)?;
        let listing = Listing::Reservations(shard.get());
        let after = pages::number(listing, &request.page_token)?.unwrap_or(0);
        let size = page_size(request.page_size, RESERVATIONS_PAGE_MAX, RESERVATIONS_PAGE_MAX);
        let records = self.store.reservations(shard, after, size).await?;
        let next_page_token = match records.last() {
            Some(last) if is_full(records.len(), size) => pages::token(listing, last.number),
            Some(_) | None => String::new(),
        };
        let reservations = records.into_iter().map(|record| wire::Reservation {
            transfer_id: record.transfer.to_string(),
            account_id: record.owner.to_string(),
            amount_nano: record.amount.as_nano(),
        });
        Ok(wire::ListReservationsResponse {
            reservations: reservations.collect(),
            next_page_token,
        })
    }

    pub(super) async fn reserved_balances(
        &self,
        request: &wire::ListReservedBalancesRequest,
    ) -> Result<wire::ListReservedBalancesResponse, ApiError> {
        let shard: ShardId = shard_from_wire("shard", request.shard)?;
        let listing = Listing::ReservedBalances(shard.get());
        let after = pages::number(listing, &request.page_token)?.map(AccountId::new);
        let size = page_size(request.page_size, RESERVATIONS_PAGE_MAX, RESERVATIONS_PAGE_MAX);
        let held = self.store.reserved_balances(shard, after, size).await?;
        let next_page_token = match held.last() {
            Some((last, _)) if is_full(held.len(), size) => pages::token(listing, last.get()),
            Some(_) | None => String::new(),
        };
        let balances = held.into_iter().map(|(account, amount)| wire::ReservedBalance {
            account_id: account.to_string(),
            shard: u32::from(shard.get()),
            amount_nano: amount.as_nano(),
        });
        Ok(wire::ListReservedBalancesResponse {
            balances: balances.collect(),
            next_page_token,
        })
    }

    pub(super) async fn balance(
        &self,
        request: &wire::GetBalanceRequest,
    ) -> Result<wire::GetBalanceResponse, ApiError> {
        let account: AccountId = id_from_wire("account_id", &request.account_id)?;
        let balances = self.store.balances(account).await?;
        let balances = balances.ok_or(Rejection::UnknownAccount(account))?;
        Ok(wire::GetBalanceResponse {
            available_nano: balances.available.as_nano(),
            reserved_nano: balances.reserved.as_nano(),
            pending_nano: balances.pending.as_nano(),
            announced_reset: self.announced_reset().await?,
        })
    }

    pub(super) async fn history(
        &self,
        request: &wire::ListTransfersRequest,
    ) -> Result<wire::ListTransfersResponse, ApiError> {
        let account: AccountId = id_from_wire("account_id", &request.account_id)?;
        let owner = owner(account)?;
        let filter = Filter::parse(&request.filter)?;
        let size = page_size(request.page_size, HISTORY_PAGE, HISTORY_PAGE_MAX);
        let (listing, read) = if filter.is_empty() {
            (Listing::History(account.get()), size)
        } else {
            // What does not fit is read too: a full page of it, so that a rare kind takes few calls.
            let question = format!("{account} {filter:?}");
            let listing = Listing::FilteredHistory(pages::digest(&question));
            (listing, HISTORY_PAGE_MAX)
        };
        let before = pages::number(listing, &request.page_token)?;
        let records = self.store.history(account, before, read).await?;
        let records = records.ok_or(Rejection::UnknownAccount(account))?;
        let mut next_page_token = match records.last() {
            Some(last) if is_full(records.len(), read) => pages::token(listing, last.number),
            Some(_) | None => String::new(),
        };
        let oldest = records.last().map(|record| record.number);
        let mut transfers = Vec::new();
        for record in records {
            let number = record.number;
            let transfer = transfer_to_wire(record, owner);
            if filter.fits(&transfer) {
                transfers.push(transfer);
            }
            if is_full(transfers.len(), size) && Some(number) != oldest {
                next_page_token = pages::token(listing, number);
                break;
            }
        }
        Ok(wire::ListTransfersResponse {
            transfers,
            next_page_token,
        })
    }

    pub(super) async fn book(&self, transfer: Transfer) -> Result<(), ApiError> {
        let outcome = self.writer.write_one(Change::Book(vec![transfer])).await?;
        let Outcome::Booked(_) = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(())
    }
}

pub(super) fn owner(account: AccountId) -> Result<Owner, Rejection> {
    Owner::new(account).ok_or(Rejection::UnknownAccount(account))
}

pub(super) fn page_size(asked: u32, default: u32, most: u32) -> u32 {
    if asked == 0 { default } else { asked.min(most) }
}

pub(super) fn is_full(count: usize, size: u32) -> bool {
    u32::try_from(count).is_ok_and(|count| count >= size)
}

/// A transfer as its owner sees it.
pub(super) fn transfer_to_wire(booked: BookedTransfer, owner: Owner) -> wire::Transfer {
    let BookedTransfer { at, transfer, .. } = booked;
    let (pays, earns) = (
        transfer.debit.owner() == Some(owner),
        transfer.credit.owner() == Some(owner),
    );
    let amount = transfer.amount.as_nano();
    let moved = match transfer.mode {
        Mode::Plain | Mode::Post(_) => amount,
        Mode::Pending | Mode::Void(_) => 0,
    };
    let net_nano = match (pays, earns) {
        (true, true) | (false, false) => 0,
        (true, false) => -moved,
        (false, true) => moved,
    };
    // A charge is the same fact from both sides, and each has its own word for it.
    let kind = if transfer.kind == TransferKind::Charge && !pays {
        "earning"
    } else {
        transfer.kind.name()
    };
    let other = if pays { transfer.credit } else { transfer.debit };
    wire::Transfer {
        transfer_id: transfer.id.to_string(),
        kind: kind.to_owned(),
        counterparty: other
            .owner()
            .map_or_else(|| other.to_string(), |owner| owner.id().to_string()),
        net_nano,
        amount_nano: amount,
        at_us: at.as_micros(),
        job_id: transfer.job.map(|job| job.to_string()).unwrap_or_default(),
        memo: transfer.memo,
    }
}
