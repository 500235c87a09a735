//! The same rows by plain SQL: one insert of many rows a table and batch, one commit a batch.

/// A transfer's columns.
pub(crate) type TransferRow = (
    i64,
    Vec<u8>,
    String,
    i64,
    Option<Vec<u8>>,
    i64,
    i64,
    i64,
    Option<Vec<u8>>,
    String,
    i64,
);

/// The half of a settlement's columns that comes first, and the other.
pub(crate) type SettlementHead = (
    i64,
    Vec<u8>,
    i64,
    Vec<u8>,
    i64,
    Vec<u8>,
    Vec<u8>,
    Vec<u8>,
    String,
    i64,
);
pub(crate) type SettlementTail = (i64, i64, i64, String, i64, i64, Vec<u8>, String, i64);

/// A seal's columns.
pub(crate) type SealRow = (i64, i64, Vec<u8>);

/// What settlements wrote.
pub(crate) struct Rows {
    pub(crate) transfers: Vec<TransferRow>,
    pub(crate) settlements: Vec<(SettlementHead, SettlementTail)>,
    pub(crate) seals: Vec<SealRow>,
}

impl Rows {
    /// The rows of each batch: a seal, its transfers, and as many settlements as these settle, three each.
    pub(crate) fn batches(&self) -> Vec<Batch<'_>> {
        let mut settlements = self.settlements.as_slice();
        let mut transfers = self.transfers.as_slice();
        let mut batches = Vec::new();
        for seal in &self.seals {
            let count = usize::try_from(seal.1 - seal.0 + 1).unwrap();
            let (sealed, rest) = transfers.split_at(count);
            let (kept, left) = settlements.split_at(count.div_euclid(3));
            (transfers, settlements) = (rest, left);
            batches.push(Batch {
                transfers: sealed,
                settlements: kept,
                seal,
            });
        }
        assert!(
            transfers.is_empty() && settlements.is_empty(),
            "every row is in a batch"
        );
        batches
    }
}

/// What one commit writes.
pub(crate) struct Batch<'r> {
    transfers: &'r [TransferRow],
    settlements: &'r [(SettlementHead, SettlementTail)],
    seal: &'r SealRow,
}

macro_rules! raw {
    ($module:ident, $database:ty, $connection:ty) => {
        pub(crate) mod $module {
            use sqlx::{Connection, QueryBuilder};

            use super::{Batch, Rows};

            pub(crate) async fn read(db: &mut $connection) -> Rows {
                let first = "SELECT max(through) FROM seals WHERE first = 1";
                let opened: i64 = sqlx::query_scalar(first).fetch_one(&mut *db).await.unwrap();
                let transfers = sqlx::query_as(
                    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
                    FROM transfers WHERE number > $1 ORDER BY number",
                );
                let transfers = transfers.bind(opened).fetch_all(&mut *db).await.unwrap();
                let heads = sqlx::query_as(
                    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price
                    FROM settlements ORDER BY shard, lease",
                );
                let heads = heads.fetch_all(&mut *db).await.unwrap();
                let tails = sqlx::query_as(
                    "SELECT units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, created_at
                    FROM settlements ORDER BY shard, lease",
                );
                let tails = tails.fetch_all(&mut *db).await.unwrap();
                let seals = sqlx::query_as("SELECT first, through, hash FROM seals WHERE first > 1 ORDER BY first");
                Rows {
                    transfers,
                    settlements: std::iter::zip(heads, tails).collect(),
                    seals: seals.fetch_all(db).await.unwrap(),
                }
            }

            pub(crate) async fn insert(db: &mut $connection, rows: &Rows) {
                for batch in rows.batches() {
                    insert_batch(db, &batch).await;
                }
            }

            async fn insert_batch(db: &mut $connection, batch: &Batch<'_>) {
                let mut transaction = db.begin().await.unwrap();
                let mut insert: QueryBuilder<$database> = QueryBuilder::new(
                    "INSERT INTO transfers (number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at) ",
                );
                insert.push_values(batch.transfers, |mut row, transfer| {
                    row.push_bind(transfer.0)
                        .push_bind(transfer.1.clone())
                        .push_bind(transfer.2.clone())
                        .push_bind(transfer.3)
                        .push_bind(transfer.4.clone())
                        .push_bind(transfer.5)
                        .push_bind(transfer.6)
                        .push_bind(transfer.7)
                        .push_bind(transfer.8.clone())
                        .push_bind(transfer.9.clone())
                        .push_bind(transfer.10);
                });
                insert.build().execute(&mut *transaction).await.unwrap();
                let mut insert: QueryBuilder<$database> = QueryBuilder::new(
                    "INSERT INTO settlements (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, \
                     price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, created_at) ",
                );
                insert.push_values(batch.settlements, |mut row, (head, tail)| {
                    row.push_bind(head.0)
                        .push_bind(head.1.clone())
                        .push_bind(head.2)
                        .push_bind(head.3.clone())
                        .push_bind(head.4)
                        .push_bind(head.5.clone())
                        .push_bind(head.6.clone())
                        .push_bind(head.7.clone())
                        .push_bind(head.8.clone())
                        .push_bind(head.9)
                        .push_bind(tail.0)
                        .push_bind(tail.1)
                        .push_bind(tail.2)
                        .push_bind(tail.3.clone())
                        .push_bind(tail.4)
                        .push_bind(tail.5)
                        .push_bind(tail.6.clone())
                        .push_bind(tail.7.clone())
                        .push_bind(tail.8);
                });
                insert.build().execute(&mut *transaction).await.unwrap();
                sqlx::query("INSERT INTO seals (first, through, hash) VALUES ($1, $2, $3)")
                    .bind(batch.seal.0)
                    .bind(batch.seal.1)
                    .bind(batch.seal.2.clone())
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
        }
    };
}

raw!(sqlite, sqlx::Sqlite, sqlx::SqliteConnection);
raw!(postgres, sqlx::Postgres, sqlx::PgConnection);
