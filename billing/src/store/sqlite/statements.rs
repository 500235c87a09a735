//! Every statement, static, so that a test can prepare them all on a freshly migrated database.
//!
//! Lists go in as one JSON parameter: a batch of any size is one statement.

pub(super) const COUNTS: &str = "SELECT
    (SELECT coalesce(max(id), 0) FROM owners),
    (SELECT coalesce(max(id), 0) FROM api_keys),
    coalesce((SELECT max(number) FROM transfers), 0),
    coalesce((SELECT created_at FROM transfers ORDER BY number DESC LIMIT 1), 0),
    coalesce((SELECT (max(day) + 1) * 86400000000 FROM closed_days), 0),
    (SELECT hash FROM seals ORDER BY first DESC LIMIT 1)";

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
        standing, refusal, refusal_message, created_at
    FROM json_each(?1) AS wanted CROSS JOIN settlements
        ON settlements.shard = wanted.value ->> 0 AND settlements.lease = unhex(wanted.value ->> 1)";

pub(super) const CURSORS: &str =
    "SELECT shard, sequence FROM engine_cursor WHERE shard IN (SELECT value FROM json_each(?1))";

pub(super) const KEYS: &str =
    "SELECT id, revoked_at FROM api_keys WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const OWNERS_BY_REQUEST: &str = "SELECT id, request_id, display_name FROM owners
    WHERE request_id IN (SELECT value FROM json_each(?1))";

pub(super) const MATURED: &str =
    "SELECT account, through FROM matured WHERE account IN (SELECT value FROM json_each(?1))";

pub(super) const INSERT_OWNER: &str =
    "INSERT INTO owners (id, request_id, display_name, created_at) VALUES (?1, ?2, ?3, ?4)";

pub(super) const INSERT_ACCOUNT: &str =
    "INSERT INTO accounts (id, owner, shard, kind) VALUES (?1, ?2, ?3, ?4)";

pub(super) const INSERT_TRANSFERS: &str =
    "INSERT INTO transfers (number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at)
    SELECT value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5,
        value ->> 6, value ->> 7, unhex(value ->> 8), value ->> 9, ?2
    FROM json_each(?1)";

pub(super) const INSERT_SEAL: &str = "INSERT INTO seals (first, through, hash) VALUES (?1, ?2, ?3)";

pub(super) const INSERT_SETTLEMENTS: &str =
    "INSERT INTO settlements (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price,
        units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, refusal,
        refusal_message, created_at)
    SELECT value ->> 0, unhex(value ->> 1), value ->> 2, unhex(value ->> 3), value ->> 4, unhex(value ->> 5),
        unhex(value ->> 6), unhex(value ->> 7), value ->> 8, value ->> 9, value ->> 10, value ->> 11,
        value ->> 12, value ->> 13, value ->> 14, value ->> 15, unhex(value ->> 16), value ->> 17,
        value ->> 18, value ->> 19, ?2
    FROM json_each(?1)";

pub(super) const MOVE_CURSOR: &str = "INSERT INTO engine_cursor (shard, sequence) VALUES (?1, ?2)
    ON CONFLICT (shard) DO UPDATE SET sequence = excluded.sequence";

pub(super) const INSERT_KEY: &str =
    "INSERT INTO api_keys (id, owner, name, scope, prefix, secret_sha256, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

pub(super) const REVOKE_KEY: &str =
    "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";

pub(super) const MOVE_MATURED: &str = "INSERT INTO matured (account, through) VALUES (?1, ?2)
    ON CONFLICT (account) DO UPDATE SET through = excluded.through";

pub(super) const KEY_BY_HASH: &str = "SELECT id, owner, name, scope, created_at, revoked_at FROM api_keys
    WHERE secret_sha256 = ?1";

pub(super) const OWNER_EXISTS: &str = "SELECT count(*) FROM owners WHERE id = ?1";

pub(super) const KEYS_OF_OWNER: &str = "SELECT id, owner, name, scope, created_at, revoked_at FROM api_keys
    WHERE owner = ?1 ORDER BY id";

pub(super) const ACCOUNTS_OF_OWNER: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted
    FROM accounts WHERE id BETWEEN ?1 AND ?2";

pub(super) const HISTORY: &str = "SELECT * FROM (
        SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
        WHERE debit > 1048575 AND debit >> 20 = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3)
    UNION
    SELECT * FROM (
        SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
        WHERE credit > 1048575 AND credit >> 20 = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3)
    ORDER BY number DESC LIMIT ?3";

pub(super) const RESERVATIONS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE kind IN ('reserve', 'return')
        AND (CASE kind WHEN 'reserve' THEN credit ELSE debit END >> 4) & 65535 = ?1 AND number > ?2
    ORDER BY number LIMIT ?3";

pub(super) const RESERVED_BALANCES: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted FROM accounts
    WHERE kind = 2 AND shard = ?1 AND id > ?2 AND credits_posted <> debits_posted ORDER BY id LIMIT ?3";

pub(super) const CURSOR: &str = "SELECT sequence FROM engine_cursor WHERE shard = ?1";

pub(super) const DUE: &str = "SELECT a.owner, coalesce(m.through, 0), max(t.number), sum(t.amount)
    FROM accounts AS a INDEXED BY accounts_earning
    LEFT JOIN matured AS m ON m.account = a.id
    CROSS JOIN transfers AS t INDEXED BY transfers_of_creditor
        ON t.credit > 1048575 AND t.credit >> 20 = a.owner AND t.number > coalesce(m.through, 0)
    WHERE a.kind IN (3, 4) AND a.kind = ?1 AND a.credits_posted > a.debits_posted
        AND +t.credit = a.id AND t.mode IN (0, 2) AND t.created_at <= ?2
    GROUP BY a.owner ORDER BY a.owner LIMIT ?3";

pub(super) const FIRST_OPEN_DAY: &str = "SELECT min(created_at) FROM settlements
    WHERE created_at >= coalesce((SELECT (max(day) + 1) * 86400000000 FROM closed_days), 0)";

pub(super) const CLOSED_DAY: &str = "SELECT day, settlements, root FROM closed_days WHERE day = ?1";

pub(super) const CLOSED_DAYS: &str =
    "SELECT day, settlements, root FROM closed_days WHERE day > ?1 ORDER BY day LIMIT ?2";

pub(super) const SETTLEMENTS_OF_DAY: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements WHERE created_at >= ?1 AND created_at < ?2 ORDER BY shard, lease";

pub(super) const CLOSE_DAY: &str =
    "INSERT INTO closed_days (day, settlements, root, closed_at) VALUES (?1, ?2, ?3, ?4)";

pub(super) const QUICK_CHECK: &str = "PRAGMA quick_check(20)";

pub(super) const FOREIGN_KEY_CHECK: &str =
    "SELECT \"table\", count(*) FROM pragma_foreign_key_check GROUP BY 1";

pub(super) const ALL_ACCOUNTS: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted FROM accounts ORDER BY id";

pub(super) const ALL_TRANSFERS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at, through, hash
    FROM transfers LEFT JOIN seals ON seals.first = transfers.number ORDER BY number";

pub(super) const UNSEALED: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE NOT EXISTS (SELECT 1 FROM seals) ORDER BY number";

pub(super) const SEAL_COUNT: &str = "SELECT count(*) FROM seals";

pub(super) const ALL_SETTLEMENTS: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements ORDER BY shard, lease";

pub(super) const ALL_MATURED: &str = "SELECT account, through FROM matured";

pub(super) const ALL_CURSORS: &str = "SELECT shard, sequence FROM engine_cursor";

pub(super) const WORTH_BEFORE: &str = "SELECT
    coalesce((SELECT sum(amount) FROM transfers
        WHERE credit > 1048575 AND credit >> 20 = ?1 AND mode IN (0, 2) AND created_at < ?2), 0)
    - coalesce((SELECT sum(amount) FROM transfers
        WHERE debit > 1048575 AND debit >> 20 = ?1 AND mode IN (0, 2) AND created_at < ?2), 0)";

pub(super) const BOOKED_BETWEEN: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE debit > 1048575 AND debit >> 20 = ?1 AND created_at >= ?2 AND created_at < ?3
    UNION
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE credit > 1048575 AND credit >> 20 = ?1 AND created_at >= ?2 AND created_at < ?3
    ORDER BY number LIMIT ?4";

pub(super) const SETTLED_BETWEEN: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements WHERE created_at >= ?1 AND created_at < ?2 AND refusal IS NULL
        AND (consumer = ?3 OR island_owner = ?3) ORDER BY created_at, shard, lease LIMIT ?4";

pub(super) const EARNED_BEFORE: &str =
    "SELECT coalesce(sum(charge + pool_subsidy + compensation), 0) FROM settlements
    WHERE island = ?1 AND island_owner = ?2 AND refusal IS NULL AND created_at < ?3";

pub(super) const PAYOUTS_BY_ID: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE id IN (SELECT unhex(value) FROM json_each(?1))";

pub(super) const PAID_OUT: &str = "SELECT owner, sum(amount), max(CASE cause WHEN 'on_demand' THEN day END)
    FROM payouts WHERE state <> 'failed' AND owner IN (SELECT value FROM json_each(?1)) GROUP BY owner";

pub(super) const SAVE_PAYOUT: &str =
    "INSERT INTO payouts (id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, approved_by = excluded.approved_by,
        attempts = excluded.attempts, retry_at = excluded.retry_at, note = excluded.note";

pub(super) const SAVE_DESTINATION: &str =
    "INSERT INTO payout_destinations (owner, destination) VALUES (?1, ?2)
    ON CONFLICT (owner) DO UPDATE SET destination = excluded.destination";

pub(super) const PAYOUTS: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE number < ?1 ORDER BY number DESC LIMIT ?2";

pub(super) const PAYOUTS_OF_OWNER: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE owner = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2";

pub(super) const PAYOUTS_IN_STATE: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE state = ?3 AND number < ?1 ORDER BY number DESC LIMIT ?2";

pub(super) const PAYOUTS_OF_OWNER_IN_STATE: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE owner = ?3 AND state = ?4 AND number < ?1 ORDER BY number DESC LIMIT ?2";

pub(super) const PAYOUTS_TO_SEND: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE state = 'approved' AND retry_at <= ?1 ORDER BY retry_at, number LIMIT ?2";

/// An owner's available credits are kind 1, and what left kinds 3 and 4 are his earnings.
pub(super) const WEEKLY_PAYABLE: &str = "SELECT owner, destination, payable FROM (
        SELECT d.owner, d.destination, min(
            (SELECT a.credits_posted - a.debits_posted - a.debits_pending FROM accounts AS a
            WHERE a.id = ((d.owner << 20) | 1)),
            (SELECT coalesce(sum(a.debits_posted), 0) FROM accounts AS a
            WHERE a.id IN ((d.owner << 20) | 3, (d.owner << 20) | 4))
            - (SELECT coalesce(sum(p.amount), 0) FROM payouts AS p
            WHERE p.owner = d.owner AND p.state <> 'failed')
        ) AS payable
        FROM payout_destinations AS d
        WHERE d.destination <> '' AND d.owner > ?1 AND NOT EXISTS (
            SELECT 1 FROM payouts AS p WHERE p.owner = d.owner AND p.cause = 'weekly' AND p.day >= ?2)
    ) AS candidates WHERE payable >= ?3 ORDER BY owner LIMIT ?4";

pub(super) const SCHEMA_VERSION: &str =
    "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";

/// A whole and compact copy, as of one moment.
pub(super) const COPY: &str = "VACUUM INTO ?1";

pub(super) const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;
    use crate::store::sqlite::SqliteStore;
    use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};

    const ALL: [&str; 56] = [
        COUNTS,
        ACCOUNTS,
        TRANSFERS,
        SETTLEMENTS,
        CURSORS,
        KEYS,
        OWNERS_BY_REQUEST,
        MATURED,
        INSERT_OWNER,
        INSERT_ACCOUNT,
        INSERT_TRANSFERS,
        INSERT_SEAL,
        INSERT_SETTLEMENTS,
        MOVE_CURSOR,
        INSERT_KEY,
        REVOKE_KEY,
        MOVE_MATURED,
        KEY_BY_HASH,
        OWNER_EXISTS,
        KEYS_OF_OWNER,
        ACCOUNTS_OF_OWNER,
        HISTORY,
        RESERVATIONS,
        RESERVED_BALANCES,
        CURSOR,
        DUE,
        FIRST_OPEN_DAY,
        CLOSED_DAY,
        CLOSED_DAYS,
        SETTLEMENTS_OF_DAY,
        CLOSE_DAY,
        QUICK_CHECK,
        FOREIGN_KEY_CHECK,
        ALL_ACCOUNTS,
        ALL_TRANSFERS,
        UNSEALED,
        SEAL_COUNT,
        ALL_SETTLEMENTS,
        ALL_MATURED,
        ALL_CURSORS,
        SCHEMA_VERSION,
        WORTH_BEFORE,
        BOOKED_BETWEEN,
        SETTLED_BETWEEN,
        EARNED_BEFORE,
        PAYOUTS_BY_ID,
        PAID_OUT,
        SAVE_PAYOUT,
        SAVE_DESTINATION,
        PAYOUTS,
        PAYOUTS_OF_OWNER,
        PAYOUTS_IN_STATE,
        PAYOUTS_OF_OWNER_IN_STATE,
        PAYOUTS_TO_SEND,
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
        let mut writer = store.writer.lock().await;
        for statement in ALL {
            if let Err(error) = (&mut *writer).prepare(statement.into_sql_str()).await {
                panic!("{statement}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn no_question_that_is_asked_often_reads_a_whole_table() {
        let (_folder, store) = store().await;
        let mut writer = store.writer.lock().await;
        let indexed = [
            (COUNTS, ""),
            (ACCOUNTS, ""),
            (TRANSFERS, ""),
            (SETTLEMENTS, "PRIMARY KEY"),
            (KEY_BY_HASH, "secret_sha256"),
            (KEYS_OF_OWNER, "api_keys_of_owner"),
            (ACCOUNTS_OF_OWNER, ""),
            (HISTORY, "transfers_of_debtor"),
            (HISTORY, "transfers_of_creditor"),
            (RESERVATIONS, "transfers_of_shard"),
            (RESERVED_BALANCES, "accounts_of_shard"),
            (DUE, "accounts_earning"),
            (DUE, "transfers_of_creditor"),
            (FIRST_OPEN_DAY, "settlements_of_day"),
            (SETTLEMENTS_OF_DAY, "settlements_of_day"),
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
}
