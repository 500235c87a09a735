//! The statements that are this database's own, static, so that a test can prepare them all on a freshly migrated one.
//!
//! Lists go in as one JSON parameter: a batch of any size is one statement.

use crate::store::session::OwnStatements;

/// Those that a session is asked for.
pub(super) const OWN: OwnStatements = OwnStatements {
    accounts: ACCOUNTS,
    transfers: TRANSFERS,
    settlements: SETTLEMENTS,
    cursors: CURSORS,
    keys: KEYS,
    sign_ups: SIGN_UPS,
    key_requests: KEY_REQUESTS,
    key_counts: KEY_COUNTS,
    owners_by_request: OWNERS_BY_REQUEST,
    matured: MATURED,
    payouts: PAYOUTS_BY_ID,
    paid_out: PAID_OUT,
    refunds: REFUNDS_BY_ID,
    reset_owners: RESET_OWNERS,
    reserved_before: RESERVED_BEFORE,
    refunds_of_leases: REFUNDS_OF_LEASES,
    due: DUE,
    weekly_payable: WEEKLY_PAYABLE,
};

pub(super) const ACCOUNTS: &str = "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted
    FROM accounts WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const TRANSFERS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE id IN (SELECT unhex(value) FROM json_each(?1))
    UNION
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE pending_id IN (SELECT unhex(value) FROM json_each(?1))";

pub(super) const SETTLEMENTS: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at,
        EXISTS (SELECT 1 FROM mended_settlements AS m
            WHERE m.shard = settlements.shard AND m.lease = settlements.lease)
    FROM json_each(?1) AS wanted CROSS JOIN settlements
        ON settlements.shard = wanted.value ->> 0 AND settlements.lease = unhex(wanted.value ->> 1)";

pub(super) const CURSORS: &str =
    "SELECT shard, sequence FROM engine_cursor WHERE shard IN (SELECT value FROM json_each(?1))";

pub(super) const KEYS: &str =
    "SELECT k.id, k.owner, k.name, k.scope, coalesce(k.line, k.id), k.expires_at, k.revoked_at,
        s.id, s.request_id, s.request_sha256
    FROM api_keys AS k LEFT JOIN api_keys AS s ON s.rotated_from = k.id
    WHERE k.id IN (SELECT value FROM json_each(?1))";

pub(super) const SIGN_UPS: &str = "SELECT request_id, owner, key, day, granted FROM sign_ups WHERE request_id IN (SELECT value FROM json_each(?1))";

pub(super) const KEY_REQUESTS: &str = "SELECT owner, request_id, api_keys.id, request_sha256
    FROM json_each(?1) AS wanted CROSS JOIN api_keys
        ON owner = wanted.value ->> 0 AND request_id = wanted.value ->> 1
    WHERE request_id IS NOT NULL AND rotated_from IS NULL";

pub(super) const KEY_COUNTS: &str =
    "SELECT owner, count(*) FROM api_keys WHERE owner IN (SELECT value FROM json_each(?1)) GROUP BY owner";

pub(super) const OWNERS_BY_REQUEST: &str = "SELECT id, request_id, display_name FROM owners
    WHERE request_id IN (SELECT value FROM json_each(?1))";

pub(super) const MATURED: &str =
    "SELECT account, through FROM matured WHERE account IN (SELECT value FROM json_each(?1))";

pub(super) const INSERT_OWNER: &str =
    "INSERT INTO owners (id, request_id, display_name, created_at) VALUES (?1, ?2, ?3, ?4)";

pub(super) const INSERT_ACCOUNTS: &str = "INSERT INTO accounts (id, owner, shard, kind)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1)";

pub(super) const INSERT_TRANSFERS: &str =
    "INSERT INTO transfers (number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at)
    SELECT value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5,
        value ->> 6, value ->> 7, unhex(value ->> 8), value ->> 9, ?2
    FROM json_each(?1)";

pub(super) const INSERT_SETTLEMENTS: &str = "INSERT INTO settlements (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price,
        units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, refusal,
        refusal_message, created_at)
    SELECT value ->> 0, unhex(value ->> 1), value ->> 2, unhex(value ->> 3), value ->> 4, unhex(value ->> 5),
        unhex(value ->> 6), unhex(value ->> 7), value ->> 8, value ->> 9, value ->> 10, value ->> 11,
        value ->> 12, value ->> 13, value ->> 14, value ->> 15, unhex(value ->> 16), value ->> 17,
        value ->> 18, value ->> 19, ?2
    FROM json_each(?1)";

/// What an account has, less what it earned too late: so what was refunded out of it matures no more.
pub(super) const DUE: &str = "SELECT owner, after, through, amount, gone FROM (
        SELECT a.owner AS owner, coalesce(m.through, 0) AS after,
            max(CASE WHEN t.created_at <= ?2 THEN t.number END) AS through,
            a.credits_posted - a.debits_posted
                - coalesce(sum(CASE WHEN t.created_at > ?2 THEN t.amount END), 0) AS amount,
            a.debits_posted AS gone
        FROM accounts AS a INDEXED BY accounts_earning
        LEFT JOIN matured AS m ON m.account = a.id
        CROSS JOIN transfers AS t INDEXED BY transfers_of_creditor
            ON t.credit > 1048575 AND t.credit >> 20 = a.owner AND t.number > coalesce(m.through, 0)
        WHERE a.kind IN (3, 4) AND a.kind = ?1 AND a.owner > ?4 AND a.credits_posted > a.debits_posted
            AND +t.credit = a.id AND t.mode IN (0, 2)
        GROUP BY a.owner) AS earned
    WHERE through IS NOT NULL AND amount > 0 ORDER BY owner LIMIT ?3";

pub(super) const QUICK_CHECK: &str = "PRAGMA quick_check(20)";

pub(super) const FOREIGN_KEY_CHECK: &str =
    "SELECT \"table\", count(*) FROM pragma_foreign_key_check GROUP BY 1";

/// Whether what was booked before there were seals has been looked for.
pub(super) const SEALED: &str = "PRAGMA user_version";

pub(super) const MARK_SEALED: &str = "PRAGMA user_version = 1";

pub(super) const UNSEALED: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE NOT EXISTS (SELECT 1 FROM seals) ORDER BY number";

pub(super) const PAYOUTS_BY_ID: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE id IN (SELECT unhex(value) FROM json_each(?1))";

pub(super) const PAID_OUT: &str = "SELECT value,
        (SELECT coalesce(sum(amount), 0) FROM payouts WHERE owner = value AND state <> 'failed'),
        (SELECT max(day) FROM payouts WHERE owner = value AND state <> 'failed' AND cause = 'on_demand'),
        (SELECT coalesce(sum(amount), 0) FROM earnings_taken WHERE owner = value)
    FROM json_each(?1)";

pub(super) const RESET_OWNERS: &str =
    "SELECT reset, owner FROM reset_owners WHERE owner IN (SELECT value FROM json_each(?1))";

pub(super) const RESERVED_BEFORE: &str = "SELECT account, max(ever) FROM reserved_before_resets
    WHERE account IN (SELECT value FROM json_each(?1)) GROUP BY account";

pub(super) const REFUNDS_BY_ID: &str =
    "SELECT id, place, shard, lease, job, consumer, island_owner, asked, from_earnings, from_available,
        from_fees, from_pool, standing, author, reason, asked_lease
    FROM refunds WHERE id IN (SELECT unhex(value) FROM json_each(?1))";

pub(super) const REFUNDS_OF_LEASES: &str = "SELECT refunds.id, refunds.place, refunds.shard, refunds.lease, refunds.job, refunds.consumer, refunds.island_owner, refunds.asked, refunds.from_earnings, refunds.from_available,
        refunds.from_fees, refunds.from_pool, refunds.standing, refunds.author, refunds.reason, refunds.asked_lease
    FROM json_each(?1) AS wanted CROSS JOIN refunds
        ON refunds.shard = wanted.value ->> 0 AND refunds.lease = unhex(wanted.value ->> 1)";

/// An owner's available credits are kind 1, and what left kinds 3 and 4 are his earnings.
pub(super) const WEEKLY_PAYABLE: &str = "SELECT owner, destination, payable FROM (
        SELECT d.owner, d.destination, min(
            (SELECT a.credits_posted - a.debits_posted - a.debits_pending FROM accounts AS a
            WHERE a.id = ((d.owner << 20) | 1)),
            (SELECT coalesce(sum(a.debits_posted), 0) FROM accounts AS a
            WHERE a.id IN ((d.owner << 20) | 3, (d.owner << 20) | 4))
            - (SELECT coalesce(sum(p.amount), 0) FROM payouts AS p
            WHERE p.owner = d.owner AND p.state <> 'failed')
            - (SELECT coalesce(sum(e.amount), 0) FROM earnings_taken AS e WHERE e.owner = d.owner)
        ) AS payable
        FROM payout_destinations AS d
        WHERE d.destination <> '' AND d.owner > ?1 AND NOT EXISTS (
            SELECT 1 FROM payouts AS p WHERE p.owner = d.owner AND p.cause = 'weekly' AND p.day >= ?2)
    ) AS candidates WHERE payable >= ?3 ORDER BY owner LIMIT ?4";

/// A whole and compact copy, as of one moment.
pub(super) const COPY: &str = "VACUUM INTO ?1";

pub(super) const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;
    use crate::store::session::Backend;
    use crate::store::sqlite::SqliteStore;
    use crate::store::statements::{self as shared, *};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use sqlx::SqliteConnection;
    use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};

    const TEXTS: [&str; 28] = [
        RESET_OWNERS,
        RESERVED_BEFORE,
        REFUNDS_BY_ID,
        REFUNDS_OF_LEASES,
        SEALED,
        MARK_SEALED,
        ACCOUNTS,
        TRANSFERS,
        SETTLEMENTS,
        CURSORS,
        KEYS,
        SIGN_UPS,
        KEY_REQUESTS,
        KEY_COUNTS,
        OWNERS_BY_REQUEST,
        MATURED,
        INSERT_OWNER,
        INSERT_ACCOUNTS,
        INSERT_TRANSFERS,
        INSERT_SETTLEMENTS,
        DUE,
        QUICK_CHECK,
        FOREIGN_KEY_CHECK,
        UNSEALED,
        PAYOUTS_BY_ID,
        PAID_OUT,
        WEEKLY_PAYABLE,
        CHECKPOINT,
    ];

    async fn store() -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("billing.sqlite"), Durability::Synced)
            .await
            .unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn every_statement_fits_the_schema() {
        let (_folder, store) = store().await;
        let mut writer = store.writer().await.unwrap();
        for statement in TEXTS.into_iter().chain(shared::ALL) {
            if let Err(error) = (&mut *writer).prepare(statement.into_sql_str()).await {
                panic!("{statement}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn no_question_that_is_asked_often_reads_a_whole_table() {
        let (_folder, store) = store().await;
        let mut writer = store.writer().await.unwrap();
        let indexed = [
            (COUNTS, ""),
            (ACCOUNTS, ""),
            (TRANSFERS, ""),
            (SETTLEMENTS, "PRIMARY KEY"),
            (KEY_BY_HASH, "secret_sha256"),
            (KEYS_OF_OWNER, "api_keys_of_owner"),
            (SPENDING, "spending_of_day"),
            (KEY_REQUESTS, "api_keys_of_request"),
            (KEY_COUNTS, "api_keys_of_owner"),
            (SIGN_UPS_OF_DAY, "sign_ups_of_day"),
            (ACCOUNTS_OF_OWNER, ""),
            (HISTORY, "transfers_of_debtor"),
            (HISTORY, "transfers_of_creditor"),
            (RESERVATIONS, "transfers_of_shard"),
            (RESERVED_BALANCES, "accounts_of_shard"),
            (DUE, "accounts_earning"),
            (DUE, "transfers_of_creditor"),
            (FIRST_OPEN_DAY, "settlements_of_day"),
            (SETTLEMENTS_OF_DAY, "settlements_of_day"),
            (USAGE, "settlements_of_consumer"),
            (USAGE, "settlements_of_island_owner"),
        ];
        for (statement, index) in indexed {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let rows = sqlx::query(explain).fetch_all(&mut *writer).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get::<String, _>("detail")).collect();
            assert!(
                plan.iter().any(|step| step.contains(index)),
                "{statement}: {plan:?}"
            );
            assert!(
                !plan.iter().any(|step| step.contains("AUTOMATIC")),
                "{statement}: {plan:?}"
            );
            // Scanning an index from its end, and the values that came in, is no reading of a table.
            let scans = plan.iter().filter(|step| {
                step.starts_with("SCAN")
                    && ["transfers", "settlements", "api_keys"]
                        .iter()
                        .any(|table| step.ends_with(table))
            });
            let scans: Vec<&String> = scans.collect();
            let allowed = usize::from(statement == COUNTS);
            assert!(scans.len() <= allowed, "{statement}: {plan:?}");
        }
    }

    /// Transfers to and fro between two owners' accounts, up to that number.
    const FILL: &str =
        "INSERT INTO transfers (number, id, kind, mode, debit, credit, amount, memo, created_at)
        WITH RECURSIVE numbers (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?2)
        SELECT n, unhex(format('%032X', n)), CASE n % 2 WHEN 0 THEN 'reserve' ELSE 'return' END, 0,
            ((1 + n % 10) << 20) | (1 + n % 2), ((1 + n % 10) << 20) | (2 - n % 2), 1, '', n FROM numbers";

    /// How many steps of SQLite's machine it takes to answer.
    async fn work(connection: &mut SqliteConnection, statement: &'static str, values: [i64; 3]) -> u64 {
        let steps = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&steps);
        let mut handle = connection.lock_handle().await.unwrap();
        handle.set_progress_handler(1, move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        });
        drop(handle);
        let query = sqlx::query(statement)
            .bind(values[0])
            .bind(values[1])
            .bind(values[2]);
        assert!(!query.fetch_all(&mut *connection).await.unwrap().is_empty());
        connection.lock_handle().await.unwrap().remove_progress_handler();
        steps.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn an_answer_takes_no_more_work_for_what_lies_below_it() {
        let (_folder, store) = store().await;
        let mut writer = store.writer().await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO owners WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10)
                SELECT n, n, '', 0 FROM n;
            INSERT INTO accounts (id, owner, kind) SELECT (id << 20) | 1, id, 1 FROM owners;
            INSERT INTO accounts (id, owner, kind) SELECT (id << 20) | 2, id, 2 FROM owners;
            DROP TRIGGER transfers_move",
        )
        .execute(&mut *writer)
        .await
        .unwrap();
        let asked = [
            (HISTORY, [3, i64::MAX, 50]),
            (RESERVATIONS, [0, 100, 50]),
            (ACCOUNTS_OF_OWNER, [3 << 20, (4 << 20) - 1, 0]),
        ];
        let mut works = Vec::new();
        for (from, through) in [(1_i64, 1_000_i64), (1_001, 20_000)] {
            let fill = sqlx::query(FILL).bind(from).bind(through);
            fill.execute(&mut *writer).await.unwrap();
            let mut all = Vec::new();
            for (statement, values) in asked {
                all.push(work(&mut writer, statement, values).await);
            }
            works.push(all);
        }
        for ((small, large), (statement, _)) in works[0].iter().zip(&works[1]).zip(asked) {
            assert!(
                *small > 0 && *large < 2 * small,
                "{small}, then {large}: {statement}"
            );
        }
    }
}
