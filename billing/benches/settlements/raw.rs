//! The same rows by plain SQL: one prepared insert of many rows a table and batch, one commit a batch.

use std::sync::Arc;

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

/// The statements of one batch: an insert of all its rows into each table.
pub(crate) struct BatchTexts {
    transfers: Arc<str>,
    settlements: Arc<str>,
}

impl Rows {
    /// The statements of every batch, made before the clock runs. Batches of one size share theirs.
    pub(crate) fn texts(&self) -> Vec<BatchTexts> {
        let batches = self.batches();
        let texts = batches.iter().map(|batch| BatchTexts {
            transfers: insert_of(
                "INSERT INTO transfers (number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at)",
                11,
                batch.transfers.len(),
            ),
            settlements: insert_of(
                "INSERT INTO settlements (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, \
                 price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, created_at)",
                19,
                batch.settlements.len(),
            ),
        });
        texts.collect()
    }
}

fn insert_of(into: &str, columns: usize, rows: usize) -> Arc<str> {
    let row = |row: usize| {
        let parameters: Vec<String> = (1..=columns)
            .map(|column| format!("${}", row * columns + column))
            .collect();
        format!("({})", parameters.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!("{into} VALUES {}", rows.join(", ")).into()
}

macro_rules! raw {
    ($module:ident, $connection:ty) => {
        pub(crate) mod $module {
            use std::sync::Arc;

            use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr};

            use super::{Batch, BatchTexts, Rows};

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

            /// Prepares the statement of every size of batch, so that no text is made and none is parsed while the clock runs.
            pub(crate) async fn prepare(db: &mut $connection, texts: &[BatchTexts]) {
                let mut prepared = std::collections::BTreeSet::new();
                for text in texts.iter().flat_map(|texts| [&texts.transfers, &texts.settlements]) {
                    if prepared.insert(Arc::clone(text)) {
                        let text = AssertSqlSafe(Arc::clone(text)).into_sql_str();
                        (&mut *db).prepare(text).await.unwrap();
                    }
                }
            }

            pub(crate) async fn insert(db: &mut $connection, rows: &Rows, texts: &[BatchTexts]) {
                for (batch, texts) in std::iter::zip(rows.batches(), texts) {
                    insert_batch(db, &batch, texts).await;
                }
            }

            async fn insert_batch(db: &mut $connection, batch: &Batch<'_>, texts: &BatchTexts) {
                let mut transaction = db.begin().await.unwrap();
                let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(&texts.transfers)));
                for transfer in batch.transfers {
                    insert = insert
                        .bind(transfer.0)
                        .bind(&transfer.1)
                        .bind(&transfer.2)
                        .bind(transfer.3)
                        .bind(&transfer.4)
                        .bind(transfer.5)
                        .bind(transfer.6)
                        .bind(transfer.7)
                        .bind(&transfer.8)
                        .bind(&transfer.9)
                        .bind(transfer.10);
                }
                insert.execute(&mut *transaction).await.unwrap();
                let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(&texts.settlements)));
                for (head, tail) in batch.settlements {
                    insert = insert
                        .bind(head.0)
                        .bind(&head.1)
                        .bind(head.2)
                        .bind(&head.3)
                        .bind(head.4)
                        .bind(&head.5)
                        .bind(&head.6)
                        .bind(&head.7)
                        .bind(&head.8)
                        .bind(head.9)
                        .bind(tail.0)
                        .bind(tail.1)
                        .bind(tail.2)
                        .bind(&tail.3)
                        .bind(tail.4)
                        .bind(tail.5)
                        .bind(&tail.6)
                        .bind(&tail.7)
                        .bind(tail.8);
                }
                insert.execute(&mut *transaction).await.unwrap();
                sqlx::query("INSERT INTO seals (first, through, hash) VALUES ($1, $2, $3)")
                    .bind(batch.seal.0)
                    .bind(batch.seal.1)
                    .bind(&batch.seal.2)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
        }
    };
}

raw!(sqlite, sqlx::SqliteConnection);
raw!(postgres, sqlx::PgConnection);
