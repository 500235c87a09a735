//! The books in PostgreSQL: READ COMMITTED, one batch at a time, accounts locked in the order of their numbers, every
//! commit synced.
//!
//! The service works under a role that can add to the books and change nothing in them. The database moves the counters
//! by a trigger, and refuses by itself an overdraft, a second transfer of one id, a second resolution, and every update
//! or deletion, whoever asks (`migrations/postgres/`).

mod audit;
mod commit;
mod days;
mod insert;
mod opening;
mod payouts;
mod spans;
mod statements;

use std::sync::Arc;

use domain::{AccountId, Credits, IslandId, Sequence, ShardId, Standing, Timestamp, TransferId};
use ledger::{AccountKey, Owner};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

use super::merkle::Day;
use super::payout::{Payable, Payout, PayoutFilter};
use super::{
    AuditReport, Balances, BookedTransfer, Change, ClosedDay, Durability, KeyRecord, LedgerStore, Maturing,
    OpenError, Outcome, ReservationRecord, Settled, Span, StoreError, rows,
};
use crate::limits::READERS;
use opening::{check_version, migrate, open_error, options, pool};

/// What a store may do to the schema when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Bring it to this version: the login owns the database.
    Migrate,
    /// Use it as it is, and refuse one of another version: somebody else runs `billing migrate`.
    AsItIs,
}

/// How often a batch is tried that the database gave up for the sake of another writer.
const ATTEMPTS_MAX: u32 = 5;

/// The books in one PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    /// One connection: the group committer writes one batch at a time.
    writer: PgPool,
    readers: PgPool,
}

impl PostgresStore {
    /// Connects to `address`, such as `postgres://billing@db.example/billing`.
    ///
    /// # Errors
    /// When the address is none, nobody answers, the login is refused, or the schema is of another version.
    pub async fn open(address: &str, schema: Schema, durability: Durability) -> Result<Self, OpenError> {
        let options = options(address)?;
        match schema {
            Schema::Migrate => migrate(&options).await?,
            Schema::AsItIs => check_version(&options).await?,
        }
        let failed = |source| open_error(&options, source);
        let session = match durability {
            Durability::Synced => statements::SESSION_SYNCED,
            Durability::Lost => statements::SESSION_LOST,
        };
        let writer = pool(1, vec![session]).connect_with(options.clone());
        let writer = writer.await.map_err(failed)?;
        let readers = pool(READERS, vec![session, statements::READ_ONLY]).connect_with(options.clone());
        let readers = readers.await.map_err(failed)?;
        Ok(Self { writer, readers })
    }

    /// Brings the schema to this version, and opens nothing.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(address: &str) -> Result<(), OpenError> {
        migrate(&options(address)?).await
    }

    async fn owner_exists(&self, owner: Owner) -> Result<bool, StoreError> {
        let row = sqlx::query(statements::OWNER_EXISTS)
            .bind(rows::stored(owner.id().get()))
            .fetch_one(&self.readers)
            .await
            .map_err(failed("look for an account"))?;
        Ok(rows::int(&row, 0)? > 0)
    }
}

/// Begins a transaction that nobody else writes beside.
async fn begin_writing(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, StoreError> {
    let mut transaction = connection
        .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await
        .map_err(failed("begin a transaction"))?;
    sqlx::query(statements::TAKE_THE_PEN)
        .execute(&mut *transaction)
        .await
        .map_err(failed("wait for other writers"))?;
    Ok(transaction)
}

/// What the database's word begins with: data that does not fit, a constraint, a privilege.
const REFUSALS: [&str; 2] = ["22", "23"];
const RAISED: &str = "P0001";
const NO_PRIVILEGE: &str = "42501";
/// Damaged pages and indexes.
const DAMAGED: [&str; 2] = ["XX001", "XX002"];
/// Given up for the sake of another transaction: a deadlock, or a conflict.
const GIVEN_UP: [&str; 2] = ["40P01", "40001"];

fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Sorts what the database said into refused, damaged and unavailable.
fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| {
        let code = code_of(&source).unwrap_or_default();
        let refused = REFUSALS.iter().any(|class| code.starts_with(class));
        if refused || code == RAISED || code == NO_PRIVILEGE {
            return StoreError::Refused {
                doing,
                source: Arc::new(source),
            };
        }
        if DAMAGED.contains(&code.as_str()) {
            return StoreError::Damaged {
                what: format!("could not {doing}: {source}"),
            };
        }
        StoreError::Unavailable {
            doing,
            source: Arc::new(source),
        }
    }
}

/// Whether the same again may well go through.
fn gave_up(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable { source, .. } => {
            code_of(source).is_some_and(|code| GIVEN_UP.contains(&code.as_str()))
        }
        StoreError::Refused { .. } | StoreError::Damaged { .. } => false,
    }
}

impl LedgerStore for PostgresStore {
    async fn commit(&self, changes: &[Change], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut attempts = 1;
        loop {
            let mut writer = self
                .writer
                .acquire()
                .await
                .map_err(failed("reach the database"))?;
            match commit::commit(&mut writer, changes, now).await {
                Err(error) if gave_up(&error) && attempts < ATTEMPTS_MAX => attempts += 1,
                outcome => return outcome,
            }
        }
    }

    async fn key_by_hash(&self, secret_sha256: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        let row = sqlx::query(statements::KEY_BY_HASH)
            .bind(secret_sha256)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("look for a key"))?;
        row.as_ref().map(rows::key).transpose()
    }

    async fn keys_of(&self, owner: AccountId) -> Result<Option<Vec<KeyRecord>>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        if !self.owner_exists(owner).await? {
            return Ok(None);
        }
        let keys = sqlx::query(statements::KEYS_OF_OWNER)
            .bind(rows::stored(owner.id().get()))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list keys"))?;
        keys.iter().map(rows::key).collect::<Result<_, _>>().map(Some)
    }

    async fn balances(&self, owner: AccountId) -> Result<Option<Balances>, StoreError> {
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        let (first, last) = AccountKey::range_of(owner);
        let accounts: Vec<PgRow> = sqlx::query(statements::ACCOUNTS_OF_OWNER)
            .bind(first)
            .bind(last)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read balances"))?;
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
        let Some(owner) = Owner::new(owner) else {
            return Ok(None);
        };
        if !self.owner_exists(owner).await? {
            return Ok(None);
        }
        let transfers = sqlx::query(statements::HISTORY)
            .bind(rows::stored(owner.id().get()))
            .bind(before.map_or(i64::MAX, rows::stored))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list transfers"))?;
        transfers
            .iter()
            .map(rows::transfer)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    async fn reservations(
        &self,
        shard: ShardId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<ReservationRecord>, StoreError> {
        let transfers = sqlx::query(statements::RESERVATIONS)
            .bind(i64::from(shard.get()))
            .bind(rows::stored(after))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list reservations"))?;
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
        let accounts = sqlx::query(statements::RESERVED_BALANCES)
            .bind(i64::from(shard.get()))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list what is reserved"))?;
        accounts.iter().map(rows::reserved_balance).collect()
    }

    async fn cursor(&self, shard: ShardId) -> Result<Sequence, StoreError> {
        let row = sqlx::query(statements::CURSOR)
            .bind(i64::from(shard.get()))
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a cursor"))?;
        let Some(row) = row else { return Ok(Sequence::ZERO) };
        rows::unsigned(&row, 0).map(Sequence::new)
    }

    async fn due(
        &self,
        standing: Standing,
        cutoff: Timestamp,
        limit: u32,
    ) -> Result<Vec<Maturing>, StoreError> {
        let due = sqlx::query(statements::DUE)
            .bind(i64::from(rows::earning_kind(standing).code()))
            .bind(rows::stored(cutoff.as_micros()))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("look for earnings that matured"))?;
        due.iter().map(|row| rows::maturing(row, standing)).collect()
    }

    async fn first_open_day(&self) -> Result<Option<Day>, StoreError> {
        let row = sqlx::query(statements::FIRST_OPEN_DAY)
            .fetch_one(&self.readers)
            .await
            .map_err(failed("look for a day to close"))?;
        Ok(rows::optional_time(&row, 0)?.map(Day::of))
    }

    async fn close_day(&self, day: Day, now: Timestamp) -> Result<ClosedDay, StoreError> {
        let mut writer = self
            .writer
            .acquire()
            .await
            .map_err(failed("reach the database"))?;
        days::close(&mut writer, day, now).await
    }

    async fn closed_days(&self, after: Option<Day>, limit: u32) -> Result<Vec<ClosedDay>, StoreError> {
        let days = sqlx::query(statements::CLOSED_DAYS)
            .bind(after.map_or(-1, |day| i64::from(day.get())))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list closed days"))?;
        days.iter().map(rows::closed_day).collect()
    }

    async fn booked_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Option<(Credits, Vec<BookedTransfer>)>, StoreError> {
        self.find_booked(owner, span, limit).await
    }

    async fn settled_between(
        &self,
        owner: AccountId,
        span: Span,
        limit: u32,
    ) -> Result<Vec<Settled>, StoreError> {
        self.find_settled(owner, span, limit).await
    }

    async fn earned_before(
        &self,
        owner: AccountId,
        island: IslandId,
        until: Timestamp,
    ) -> Result<Credits, StoreError> {
        self.sum_earned(owner, island, until).await
    }

    async fn payout(&self, id: TransferId) -> Result<Option<Payout>, StoreError> {
        self.find_payout(id).await
    }

    async fn payouts(
        &self,
        filter: PayoutFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, Payout)>, StoreError> {
        self.list_payouts(filter, before, limit).await
    }

    async fn payouts_to_send(&self, now: Timestamp, limit: u32) -> Result<Vec<Payout>, StoreError> {
        self.find_payouts_to_send(now, limit).await
    }

    async fn weekly_payable(
        &self,
        since: Day,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Payable>, StoreError> {
        self.find_weekly_payable(since, after, limit).await
    }

    async fn audit(&self) -> Result<AuditReport, StoreError> {
        let mut reader = self
            .readers
            .acquire()
            .await
            .map_err(failed("reach the database"))?;
        audit::audit(&mut reader).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.close().await;
        Ok(())
    }
}
