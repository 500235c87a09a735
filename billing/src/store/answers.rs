//! What every store with a database answers, and how it commits.

use domain::{
    AccountId, Credits, IslandId, JobId, KeyId, LeaseId, Sequence, ShardId, Standing, Timestamp, TransferId,
};
use ledger::{AccountKey, Owner};
use proto::convert::billing::SpendingTotal;

use super::key::KeyRecord;
use super::merkle::Day;
use super::payout::{Payable, Payout, PayoutFilter};
use super::refund::Refund;
use super::reset::{Participation, Reset};
use super::rows::{self, stored};
use super::session::{self, Backend, Session, Value, Wanted};
use super::usage::{UsageQuestion, UsageSum};
use super::{
    AuditReport, Balances, BookedTransfer, Change, ClosedDay, LedgerStore, Maturing, Outcome,
    ReservationRecord, Settled, Span, StoreError, Written, audit, batch, days, statements,
};
use crate::limits::{LEASES_OF_JOB_MAX, PAYOUT_MIN};

/// How often a batch is tried that the database gave up for the sake of another writer.
const ATTEMPTS_MAX: u32 = 5;

/// Asks for rows, on a connection of its own.
async fn ask<B: Backend>(
    store: &B,
    statement: &'static str,
    values: Vec<Value>,
    doing: &'static str,
) -> Result<Vec<<B::Session as Session>::Row>, StoreError> {
    store.reader().await?.rows(statement, values, doing).await
}

/// The owner with that id, if there is one.
async fn known<B: Backend>(store: &B, owner: AccountId) -> Result<Option<Owner>, StoreError> {
    let Some(owner) = Owner::new(owner) else {
        return Ok(None);
    };
    let doing = "look for an account";
    let counted = ask(store, statements::OWNER_EXISTS, vec![of(owner)], doing).await?;
    let exists = counted.first().map(|row| rows::int(row, 0)).transpose()? > Some(0);
    Ok(exists.then_some(owner))
}

fn of(owner: Owner) -> Value {
    stored(owner.id().get()).into()
}

fn moment(at: Timestamp) -> Value {
    stored(at.as_micros()).into()
}

fn count(limit: u32) -> Value {
    i64::from(limit).into()
}

/// An id in the eight bytes that settlements keep.
fn bytes(id: u64) -> Value {
    id.to_be_bytes().as_slice().into()
}

impl<B: Backend> LedgerStore for B {
    async fn commit(&self, changes: &[Change], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut attempts = 1;
        loop {
            let mut writer = self.writer().await?;
            match batch::commit(&mut *writer, changes, now).await {
                Err(error) if Self::gave_up(&error) && attempts < ATTEMPTS_MAX => attempts += 1,
                Err(error) => return Err(error),
                Ok((outcomes, written)) => {
                    self.counters().add(written);
                    return Ok(outcomes);
                }
            }
        }
    }

    async fn key_by_hash(&self, secret_sha256: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        let hash = vec![secret_sha256.as_slice().into()];
        let found = ask(self, statements::KEY_BY_HASH, hash, "look for a key").await?;
        found.first().map(rows::key).transpose()
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let id = vec![stored(id.get()).into()];
        let found = ask(self, statements::KEY_BY_ID, id, "look for a key").await?;
        found.first().map(rows::key).transpose()
    }

    async fn spending(
        &self,
        line: KeyId,
        day: u32,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, SpendingTotal)>, StoreError> {
        let page = vec![
            stored(line.get()).into(),
            i64::from(day).into(),
            stored(after).into(),
            count(limit),
        ];
        let totals = ask(self, statements::SPENDING, page, "read what was spent").await?;
        totals.iter().map(rows::spending).collect()
    }

    async fn keys_of(&self, owner: AccountId) -> Result<Option<Vec<KeyRecord>>, StoreError> {
        let Some(owner) = known(self, owner).await? else {
            return Ok(None);
        };
        let keys = ask(self, statements::KEYS_OF_OWNER, vec![of(owner)], "list keys").await?;
        keys.iter().map(rows::key).collect::<Result<_, _>>().map(Some)
    }

    async fn balances(&self, owner: AccountId) -> Result<Option<Balances>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        let (first, last) = AccountKey::range_of(owner);
        let range = vec![first.into(), last.into()];
        let accounts = ask(self, statements::ACCOUNTS_OF_OWNER, range, "read balances").await?;
        if accounts.is_empty() {
            return Ok(None);
        }
        rows::balances(&accounts).map(Some)
    }

    async fn history(
        &self,
        owner: AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Option<Vec<BookedTransfer>>, StoreError> {
        let Some(owner) = known(self, owner).await? else {
            return Ok(None);
        };
        let before = before.map_or(i64::MAX, stored);
        let page = vec![of(owner), before.into(), count(limit)];
        let transfers = ask(self, statements::HISTORY, page, "list transfers").await?;
        let transfers = transfers.iter().map(rows::transfer);
        transfers.collect::<Result<_, _>>().map(Some)
    }

    async fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ReservationRecord>, StoreError> {
        let page = vec![i64::from(shard.get()).into(), stored(after).into(), count(limit)];
        let transfers = ask(self, statements::RESERVATIONS, page, "list reservations").await?;
        transfers.iter().map(rows::reservation).collect()
    }

    async fn reserved_balances(
        &self,
        shard: ShardId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(AccountId, Credits)>, StoreError> {
        let after = after
            .and_then(Owner::new)
            .map_or(0, |owner| AccountKey::Reserved(owner, shard).number());
        let page = vec![i64::from(shard.get()).into(), after.into(), count(limit)];
        let accounts = ask(self, statements::RESERVED_BALANCES, page, "list what is reserved").await?;
        accounts.iter().map(rows::reserved_balance).collect()
    }

    async fn cursor(&self, shard: ShardId) -> Result<Sequence, StoreError> {
        let shard = vec![i64::from(shard.get()).into()];
        let found = ask(self, statements::CURSOR, shard, "read a cursor").await?;
        let sequence = found.first().map(|row| rows::unsigned(row, 0)).transpose()?;
        Ok(sequence.map_or(Sequence::ZERO, Sequence::new))
    }

    async fn due(
        &self,
        standing: Standing,
        cutoff: Timestamp,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Maturing>, StoreError> {
        let kind = i64::from(rows::earning_kind(standing).code());
        let after = after.map_or(0, |after| stored(after.get()));
        let page = vec![kind.into(), moment(cutoff), count(limit), after.into()];
        let doing = "look for earnings that matured";
        let due = ask(self, B::Session::OWN.due, page, doing).await?;
        due.iter().map(|row| rows::maturing(row, standing)).collect()
    }

    async fn first_open_day(&self) -> Result<Option<Day>, StoreError> {
        let mut reader = self.reader().await?;
        let doing = "look for a day to close";
        let row = session::row(&mut *reader, statements::FIRST_OPEN_DAY, vec![], doing).await?;
        Ok(rows::optional_time(&row, 0)?.map(Day::of))
    }

    async fn close_day(&self, day: Day, now: Timestamp) -> Result<ClosedDay, StoreError> {
        days::close(self, day, now).await
    }

    async fn closed_days(&self, after: Option<Day>, limit: u32) -> Result<Vec<ClosedDay>, StoreError> {
        let after = after.map_or(-1, |day| i64::from(day.get()));
        let page = vec![after.into(), count(limit)];
        let days = ask(self, statements::CLOSED_DAYS, page, "list closed days").await?;
        days.iter().map(rows::closed_day).collect()
    }

    async fn booked_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError> {
        let Some(owner) = known(self, owner).await? else {
            return Ok(None);
        };
        let mut reader = self.reader().await?;
        let before = vec![of(owner), moment(span.from)];
        let doing = "add up transfers";
        let worth = session::row(&mut *reader, statements::WORTH_BEFORE, before, doing).await?;
        let within = vec![of(owner), moment(span.from), moment(span.until), count(limit)];
        let transfers = reader
            .rows(statements::BOOKED_BETWEEN, within, "list transfers")
            .await?;
        let transfers = transfers.iter().map(rows::transfer).collect::<Result<_, _>>()?;
        Ok(Some((Credits::from_nano(rows::int(&worth, 0)?), transfers)))
    }

    async fn settled_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Settled>, StoreError> {
        let within = vec![
            moment(span.from),
            moment(span.until),
            bytes(owner.get()),
            count(limit),
        ];
        let settled = ask(self, statements::SETTLED_BETWEEN, within, "list settlements").await?;
        settled.iter().map(rows::settled).collect()
    }

    async fn usage(
        &self,
        owner: AccountId,
        question: &UsageQuestion,
        offset: u64,
        limit: u32,
    ) -> Result<Option<Vec<UsageSum>>, StoreError> {
        let Some(owner) = known(self, owner).await? else {
            return Ok(None);
        };
        let values = vec![
            bytes(owner.id().get()),
            moment(question.span.from),
            moment(question.span.until),
            question.model.as_deref().unwrap_or_default().into(),
            question.side.map_or(0, |side| i64::from(side.code())).into(),
            count(limit),
            stored(offset).into(),
        ];
        let sums = ask(self, statements::USAGE, values, "sum up usage").await?;
        let sums = sums.iter().map(rows::usage);
        sums.collect::<Result<_, _>>().map(Some)
    }

    async fn earned_before(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> Result<Credits, StoreError> {
        let mut reader = self.reader().await?;
        let which = vec![bytes(island.get()), bytes(owner.get()), moment(until)];
        let doing = "add up earnings";
        let earned = session::row(&mut *reader, statements::EARNED_BEFORE, which, doing).await?;
        Ok(Credits::from_nano(rows::int(&earned, 0)?))
    }

    async fn refunds_of_island(
        &self,
        owner: AccountId,
        island: IslandId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Refund>, StoreError> {
        let page = vec![
            bytes(island.get()),
            bytes(owner.get()),
            moment(span.from),
            moment(span.until),
            count(limit),
        ];
        let refunds = ask(self, statements::REFUNDS_OF_ISLAND, page, "list refunds").await?;
        refunds.iter().map(rows::refund).collect()
    }

    async fn leases_of_job(&self, job: JobId) -> Result<Vec<(ShardId, LeaseId)>, StoreError> {
        let job = job.get().to_be_bytes();
        let page = vec![job.as_slice().into(), count(LEASES_OF_JOB_MAX)];
        let leases = ask(self, statements::LEASES_OF_JOB, page, "look for a job").await?;
        leases.iter().map(rows::lease).collect()
    }

    async fn payout(&self, id: TransferId) -> Result<Option<Payout>, StoreError> {
        let mut reader = self.reader().await?;
        let found = reader
            .find(B::Session::OWN.payouts, Wanted::Ids(vec![id]))
            .await?;
        let payout = found.first().map(rows::payout).transpose()?;
        Ok(payout.map(|(_, payout)| payout))
    }

    async fn payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Payout)>, StoreError> {
        let mut values = vec![before.map_or(i64::MAX, stored).into(), count(limit)];
        let owner = filter.owner.map(|owner| stored(owner.get()).into());
        let state = filter.state.map(|state| state.name().into());
        let statement = match (&owner, &state) {
            (None, None) => statements::PAYOUTS,
            (Some(_), None) => statements::PAYOUTS_OF_OWNER,
            (None, Some(_)) => statements::PAYOUTS_IN_STATE,
            (Some(_), Some(_)) => statements::PAYOUTS_OF_OWNER_IN_STATE,
        };
        values.extend(owner);
        values.extend(state);
        let payouts = ask(self, statement, values, "list payouts").await?;
        payouts.iter().map(rows::payout).collect()
    }

    async fn payouts_to_send(&self, now: Timestamp, limit: u32) -> Result<Vec<Payout>, StoreError> {
        let page = vec![moment(now), count(limit)];
        let doing = "look for payouts to send";
        let payouts = ask(self, statements::PAYOUTS_TO_SEND, page, doing).await?;
        let payouts = payouts.iter().map(rows::payout);
        payouts.map(|row| row.map(|(_, payout)| payout)).collect()
    }

    async fn weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Payable>, StoreError> {
        let page = vec![
            after.map_or(0, |after| stored(after.get())).into(),
            i64::from(since.get()).into(),
            PAYOUT_MIN.as_nano().into(),
            count(limit),
        ];
        let doing = "look for earnings to pay out";
        let payable = ask(self, B::Session::OWN.weekly_payable, page, doing).await?;
        payable.iter().map(rows::payable).collect()
    }

    async fn open_reset(&self) -> Result<Option<Reset>, StoreError> {
        let found = ask(self, statements::OPEN_RESET, vec![], "look for a reset").await?;
        found.first().map(rows::reset).transpose()
    }

    async fn owners_to_reset(
        &self,
        reset: u32,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<(Owner, Participation)>, StoreError> {
        let after = after.map_or(0, |after| stored(after.get()));
        let page = vec![i64::from(reset).into(), after.into(), count(limit)];
        let doing = "look for owners to reset";
        let owners = ask(self, statements::OWNERS_TO_RESET, page, doing).await?;
        owners.iter().map(rows::participant).collect()
    }

    fn written(&self) -> Written {
        self.counters().read()
    }

    async fn audit(&self) -> Result<AuditReport, StoreError> {
        audit::audit(&mut *self.reader().await?).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shut().await
    }
}
