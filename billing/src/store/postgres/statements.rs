//! Every statement, static, so that a test can prepare them all on a freshly migrated database.
//!
//! Lists go in as one array a column: a batch of any size is one statement.

/// Whoever writes takes this first and keeps it to the end of the transaction: one batch at a time, whichever process
/// commits it, so that what a batch reads stays true, numbers have no gaps and the chain no forks.
pub(super) const TAKE_THE_PEN: &str = "SELECT pg_advisory_xact_lock(4705214310226321409)";

pub(super) const COUNTS: &str = "SELECT
    (SELECT coalesce(max(id), 0) FROM owners),
    (SELECT coalesce(max(id), 0) FROM api_keys),
    coalesce((SELECT max(number) FROM transfers), 0),
    coalesce((SELECT created_at FROM transfers ORDER BY number DESC LIMIT 1), 0),
    coalesce((SELECT (max(day) + 1) * 86400000000 FROM closed_days), 0),
    (SELECT hash FROM seals ORDER BY first DESC LIMIT 1)";

pub(super) const ACCOUNTS: &str = "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted
    FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

pub(super) const TRANSFERS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE id = ANY($1)
    UNION ALL
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE pending_id = ANY($1)";

pub(super) const SETTLEMENTS: &str =
    "SELECT s.shard, s.lease, s.sequence, s.job, s.epoch, s.consumer, s.island_owner, s.island,
        s.model, s.price, s.units, s.charge, s.fee, s.liquidity, s.pool_subsidy, s.compensation, s.billed_before,
        s.standing, s.refusal, s.refusal_message, s.created_at
    FROM unnest($1::BIGINT[], $2::BYTEA[]) AS wanted (shard, lease)
    JOIN settlements AS s ON s.shard = wanted.shard AND s.lease = wanted.lease";

pub(super) const CURSORS: &str = "SELECT shard, sequence FROM engine_cursor WHERE shard = ANY($1)";

pub(super) const KEYS: &str = "SELECT id, revoked_at FROM api_keys WHERE id = ANY($1)";

pub(super) const OWNERS_BY_REQUEST: &str =
    "SELECT id, request_id, display_name FROM owners WHERE request_id = ANY($1)";

pub(super) const MATURED: &str = "SELECT account, through FROM matured WHERE account = ANY($1)";

pub(super) const INSERT_OWNERS: &str = "INSERT INTO owners (id, request_id, display_name, created_at)
    SELECT id, request_id, display_name, $4
    FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[]) AS made (id, request_id, display_name)";

pub(super) const INSERT_ACCOUNTS: &str = "INSERT INTO accounts (id, owner, shard, kind)
    SELECT id, owner, shard, kind
    FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[]) AS opened (id, owner, shard, kind)";

pub(super) const INSERT_TRANSFERS: &str =
    "INSERT INTO transfers (number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at)
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, $11
    FROM unnest($1::BIGINT[], $2::BYTEA[], $3::TEXT[], $4::BIGINT[], $5::BYTEA[], $6::BIGINT[], $7::BIGINT[],
        $8::BIGINT[], $9::BYTEA[], $10::TEXT[])
        AS booked (number, id, kind, mode, pending_id, debit, credit, amount, job, memo)";

pub(super) const INSERT_SEAL: &str = "INSERT INTO seals (first, through, hash) VALUES ($1, $2, $3)";

pub(super) const INSERT_SETTLEMENTS: &str =
    "INSERT INTO settlements (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price,
        units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, refusal,
        refusal_message, created_at)
    SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price,
        units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, refusal,
        refusal_message, $21
    FROM unnest($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BYTEA[], $5::BIGINT[], $6::BYTEA[], $7::BYTEA[],
        $8::BYTEA[], $9::TEXT[], $10::BIGINT[], $11::BIGINT[], $12::BIGINT[], $13::BIGINT[], $14::TEXT[],
        $15::BIGINT[], $16::BIGINT[], $17::BYTEA[], $18::TEXT[], $19::TEXT[], $20::TEXT[])
        AS kept (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price,
            units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, standing, refusal,
            refusal_message)";

pub(super) const MOVE_CURSOR: &str = "INSERT INTO engine_cursor (shard, sequence) VALUES ($1, $2)
    ON CONFLICT (shard) DO UPDATE SET sequence = excluded.sequence";

pub(super) const INSERT_KEY: &str =
    "INSERT INTO api_keys (id, owner, name, scope, prefix, secret_sha256, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

pub(super) const REVOKE_KEY: &str =
    "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

pub(super) const MOVE_MATURED: &str = "INSERT INTO matured (account, through) VALUES ($1, $2)
    ON CONFLICT (account) DO UPDATE SET through = excluded.through";

pub(super) const KEY_BY_HASH: &str = "SELECT id, owner, name, scope, created_at, revoked_at FROM api_keys
    WHERE secret_sha256 = $1";

pub(super) const OWNER_EXISTS: &str = "SELECT count(*) FROM owners WHERE id = $1";

pub(super) const KEYS_OF_OWNER: &str = "SELECT id, owner, name, scope, created_at, revoked_at FROM api_keys
    WHERE owner = $1 ORDER BY id";

pub(super) const ACCOUNTS_OF_OWNER: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted
    FROM accounts WHERE id BETWEEN $1 AND $2";

pub(super) const HISTORY: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM (
        (SELECT * FROM transfers
        WHERE debit > 1048575 AND debit >> 20 = $1 AND number < $2 ORDER BY number DESC LIMIT $3)
        UNION
        (SELECT * FROM transfers
        WHERE credit > 1048575 AND credit >> 20 = $1 AND number < $2 ORDER BY number DESC LIMIT $3)
    ) AS touched ORDER BY number DESC LIMIT $3";

pub(super) const RESERVATIONS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE kind IN ('reserve', 'return')
        AND (CASE kind WHEN 'reserve' THEN credit ELSE debit END >> 4) & 65535 = $1 AND number > $2
    ORDER BY number LIMIT $3";

pub(super) const RESERVED_BALANCES: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted FROM accounts
    WHERE kind = 2 AND shard = $1 AND id > $2 AND credits_posted <> debits_posted ORDER BY id LIMIT $3";

pub(super) const CURSOR: &str = "SELECT sequence FROM engine_cursor WHERE shard = $1";

pub(super) const DUE: &str = "SELECT a.owner, coalesce(m.through, 0), earned.through, earned.amount
    FROM accounts AS a
    LEFT JOIN matured AS m ON m.account = a.id
    CROSS JOIN LATERAL (
        SELECT max(t.number) AS through, sum(t.amount)::BIGINT AS amount FROM transfers AS t
        WHERE t.credit > 1048575 AND t.credit >> 20 = a.owner AND t.number > coalesce(m.through, 0)
            AND t.credit = a.id AND t.mode IN (0, 2) AND t.created_at <= $2
    ) AS earned
    WHERE a.kind IN (3, 4) AND a.kind = $1 AND a.credits_posted > a.debits_posted AND earned.through IS NOT NULL
    ORDER BY a.owner LIMIT $3";

pub(super) const FIRST_OPEN_DAY: &str = "SELECT min(created_at) FROM settlements
    WHERE created_at >= coalesce((SELECT (max(day) + 1) * 86400000000 FROM closed_days), 0)";

pub(super) const CLOSED_DAY: &str = "SELECT day, settlements, root FROM closed_days WHERE day = $1";

pub(super) const CLOSED_DAYS: &str =
    "SELECT day, settlements, root FROM closed_days WHERE day > $1 ORDER BY day LIMIT $2";

pub(super) const SETTLEMENTS_OF_DAY: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements WHERE created_at >= $1 AND created_at < $2 ORDER BY shard, lease";

pub(super) const CLOSE_DAY: &str =
    "INSERT INTO closed_days (day, settlements, root, closed_at) VALUES ($1, $2, $3, $4)";

pub(super) const ALL_ACCOUNTS: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted FROM accounts ORDER BY id";

pub(super) const ALL_TRANSFERS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at, through, hash
    FROM transfers LEFT JOIN seals ON seals.first = transfers.number ORDER BY number";

pub(super) const SEAL_COUNT: &str = "SELECT count(*) FROM seals";

pub(super) const ALL_SETTLEMENTS: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements ORDER BY shard, lease";

pub(super) const ALL_MATURED: &str = "SELECT account, through FROM matured";

pub(super) const ALL_CURSORS: &str = "SELECT shard, sequence FROM engine_cursor";

pub(super) const WORTH_BEFORE: &str = "SELECT
    coalesce((SELECT sum(amount)::BIGINT FROM transfers
        WHERE credit > 1048575 AND credit >> 20 = $1 AND mode IN (0, 2) AND created_at < $2), 0)
    - coalesce((SELECT sum(amount)::BIGINT FROM transfers
        WHERE debit > 1048575 AND debit >> 20 = $1 AND mode IN (0, 2) AND created_at < $2), 0)";

pub(super) const BOOKED_BETWEEN: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE debit > 1048575 AND debit >> 20 = $1 AND created_at >= $2 AND created_at < $3
    UNION
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE credit > 1048575 AND credit >> 20 = $1 AND created_at >= $2 AND created_at < $3
    ORDER BY number LIMIT $4";

pub(super) const SETTLED_BETWEEN: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements WHERE created_at >= $1 AND created_at < $2 AND refusal IS NULL
        AND (consumer = $3 OR island_owner = $3) ORDER BY created_at, shard, lease LIMIT $4";

pub(super) const EARNED_BEFORE: &str =
    "SELECT coalesce(sum(charge + pool_subsidy + compensation), 0)::BIGINT FROM settlements
    WHERE island = $1 AND island_owner = $2 AND refusal IS NULL AND created_at < $3";

pub(super) const PAYOUTS_BY_ID: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE id = ANY($1)";

pub(super) const PAID_OUT: &str =
    "SELECT owner, sum(amount)::BIGINT, max(CASE cause WHEN 'on_demand' THEN day END)
    FROM payouts WHERE state <> 'failed' AND owner = ANY($1) GROUP BY owner";

pub(super) const SAVE_PAYOUT: &str =
    "INSERT INTO payouts (id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, approved_by = excluded.approved_by,
        attempts = excluded.attempts, retry_at = excluded.retry_at, note = excluded.note";

pub(super) const SAVE_DESTINATION: &str =
    "INSERT INTO payout_destinations (owner, destination) VALUES ($1, $2)
    ON CONFLICT (owner) DO UPDATE SET destination = excluded.destination";

pub(super) const PAYOUTS: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE number < $1 ORDER BY number DESC LIMIT $2";

pub(super) const PAYOUTS_OF_OWNER: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE owner = $3 AND number < $1 ORDER BY number DESC LIMIT $2";

pub(super) const PAYOUTS_IN_STATE: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE state = $3 AND number < $1 ORDER BY number DESC LIMIT $2";

pub(super) const PAYOUTS_OF_OWNER_IN_STATE: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE owner = $3 AND state = $4 AND number < $1 ORDER BY number DESC LIMIT $2";

pub(super) const PAYOUTS_TO_SEND: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE state = 'approved' AND retry_at <= $1 ORDER BY retry_at, number LIMIT $2";

/// An owner's available credits are kind 1, and what left kinds 3 and 4 are his earnings.
pub(super) const WEEKLY_PAYABLE: &str = "SELECT owner, destination, payable FROM (
        SELECT d.owner, d.destination, least(
            (SELECT a.credits_posted - a.debits_posted - a.debits_pending FROM accounts AS a
            WHERE a.id = ((d.owner << 20) | 1)),
            (SELECT coalesce(sum(a.debits_posted), 0)::BIGINT FROM accounts AS a
            WHERE a.id IN ((d.owner << 20) | 3, (d.owner << 20) | 4))
            - (SELECT coalesce(sum(p.amount), 0)::BIGINT FROM payouts AS p
            WHERE p.owner = d.owner AND p.state <> 'failed')
        ) AS payable
        FROM payout_destinations AS d
        WHERE d.destination <> '' AND d.owner > $1 AND NOT EXISTS (
            SELECT 1 FROM payouts AS p WHERE p.owner = d.owner AND p.cause = 'weekly' AND p.day >= $2)
    ) AS candidates WHERE payable >= $3 ORDER BY owner LIMIT $4";

pub(super) const SCHEMA_VERSION: &str =
    "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";

/// What every connection works under: the role that cannot change the books, commits that are synced whatever the
/// database's default is, and no wait for a lock without an end.
pub(super) const SESSION_SYNCED: &str =
    "SET ROLE atoll_billing; SET synchronous_commit = on; SET lock_timeout = '5s'";

/// The same for books that nobody needs.
pub(super) const SESSION_LOST: &str =
    "SET ROLE atoll_billing; SET synchronous_commit = off; SET lock_timeout = '5s'";

/// For connections that only answer questions.
pub(super) const READ_ONLY: &str = "SET default_transaction_read_only = on";

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqlSafeStr};

    const ALL: [&str; 53] = [
        TAKE_THE_PEN,
        COUNTS,
        ACCOUNTS,
        TRANSFERS,
        SETTLEMENTS,
        CURSORS,
        KEYS,
        OWNERS_BY_REQUEST,
        MATURED,
        INSERT_OWNERS,
        INSERT_ACCOUNTS,
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
        ALL_ACCOUNTS,
        ALL_TRANSFERS,
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
    ];

    /// A database of its own, dropped when `f` is through.
    async fn on_a_fresh_database(f: impl AsyncFnOnce(&mut PgConnection)) {
        let server = std::env::var("ATOLL_TEST_POSTGRES")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432".to_owned());
        let name = format!(
            "atoll_statements_{}_{}",
            std::process::id(),
            service::clock::unix_micros()
        );
        let mut operator = PgConnection::connect(&format!("{server}/postgres"))
            .await
            .unwrap_or_else(|error| {
                panic!("no PostgreSQL for this test at {server}: {error}. `cargo xtask test` starts one")
            });
        let run = |sql: String| AssertSqlSafe(sql);
        operator
            .execute(run(format!("CREATE DATABASE {name}")))
            .await
            .unwrap();
        let address = format!("{server}/{name}");
        super::super::PostgresStore::migrate(&address).await.unwrap();
        let mut connection = PgConnection::connect(&address).await.unwrap();
        connection.execute(sqlx::raw_sql(SESSION_SYNCED)).await.unwrap();
        f(&mut connection).await;
        connection.close().await.unwrap();
        operator
            .execute(run(format!("DROP DATABASE {name}")))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn every_statement_fits_the_schema_and_the_role() {
        on_a_fresh_database(async |connection| {
            for statement in ALL {
                if let Err(error) = (&mut *connection).prepare(statement.into_sql_str()).await {
                    panic!("{statement}: {error}");
                }
                // Planning checks the rights, preparing does not.
                let values = statement.replace("BETWEEN $1 AND $2", "BETWEEN 1 AND 2");
                if !values.contains('$') {
                    let explain = AssertSqlSafe(format!("EXPLAIN {values}"));
                    sqlx::query(explain).fetch_all(&mut *connection).await.unwrap();
                }
            }
        })
        .await;
    }

    #[tokio::test]
    async fn no_question_that_is_asked_often_reads_a_whole_table() {
        let indexed = [
            (KEY_BY_HASH, "api_keys_secret_sha256_key"),
            (KEYS_OF_OWNER, "api_keys_of_owner"),
            (ACCOUNTS_OF_OWNER, "accounts_pkey"),
            (HISTORY, "transfers_of_debtor"),
            (HISTORY, "transfers_of_creditor"),
            (RESERVATIONS, "transfers_of_shard"),
            (RESERVED_BALANCES, "accounts_of_shard"),
            (DUE, "accounts_earning"),
            (DUE, "transfers_of_creditor"),
            (FIRST_OPEN_DAY, "settlements_of_day"),
            (SETTLEMENTS_OF_DAY, "settlements_of_day"),
            (COUNTS, "transfers_pkey"),
        ];
        on_a_fresh_database(async |connection| {
            // An empty table is read whole whatever indexes it has, unless that is made to look dear.
            connection.execute("SET enable_seqscan = off").await.unwrap();
            for (statement, index) in indexed {
                let statement = match statement {
                    KEY_BY_HASH => statement.replace("$1", "'\\x00'"),
                    _ => ["$1", "$2", "$3"]
                        .into_iter()
                        .fold(statement.to_owned(), |sql, parameter| sql.replace(parameter, "3")),
                };
                let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
                let rows = sqlx::query(explain).fetch_all(&mut *connection).await.unwrap();
                let plan: Vec<String> = rows.iter().map(|row| row.get::<String, _>(0)).collect();
                let plan = plan.join("\n");
                assert!(plan.contains(index), "{statement}: {plan}");
                assert!(!plan.contains("Seq Scan on transfers"), "{statement}: {plan}");
            }
        })
        .await;
    }
}
