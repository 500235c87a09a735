//! The statements that are this database's own, static, so that a test can prepare them all on a freshly migrated one.
//!
//! Lists go in as one array a column: a batch of any size is one statement.

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

/// Whoever writes takes this first and keeps it to the end of the transaction: one batch at a time, whichever process
/// commits it, so that what a batch reads stays true, numbers have no gaps and the chain no forks.
pub(super) const TAKE_THE_PEN: &str = "SELECT pg_advisory_xact_lock(4705214310226321409)";

pub(super) const ACCOUNTS: &str = "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted
    FROM accounts WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

pub(super) const TRANSFERS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE id = ANY($1)
    UNION ALL
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at
    FROM transfers WHERE pending_id = ANY($1)";

pub(super) const SETTLEMENTS: &str = "SELECT s.shard, s.lease, s.sequence, s.job, s.epoch, s.consumer, s.island_owner, s.island,
        s.model, s.price, s.units, s.charge, s.fee, s.liquidity, s.pool_subsidy, s.compensation, s.billed_before,
        s.standing, s.refusal, s.refusal_message, s.created_at,
        CASE WHEN m.lease IS NULL THEN 0 ELSE 1 END::BIGINT
    FROM unnest($1::BIGINT[], $2::BYTEA[]) AS wanted (shard, lease)
    JOIN settlements AS s ON s.shard = wanted.shard AND s.lease = wanted.lease
    LEFT JOIN mended_settlements AS m ON m.shard = s.shard AND m.lease = s.lease";

pub(super) const CURSORS: &str = "SELECT shard, sequence FROM engine_cursor WHERE shard = ANY($1)";

pub(super) const KEYS: &str =
    "SELECT k.id, k.owner, k.name, k.scope, coalesce(k.line, k.id), k.expires_at, k.revoked_at,
        s.id, s.request_id, s.request_sha256
    FROM api_keys AS k LEFT JOIN api_keys AS s ON s.rotated_from = k.id
    WHERE k.id = ANY($1)";

pub(super) const SIGN_UPS: &str =
    "SELECT request_id, owner, key, day, granted FROM sign_ups WHERE request_id = ANY($1)";

pub(super) const KEY_REQUESTS: &str = "SELECT owner, request_id, id, request_sha256
    FROM unnest($1::BIGINT[], $2::TEXT[]) AS wanted (maker, request)
    JOIN api_keys ON owner = maker AND request_id = request
    WHERE request_id IS NOT NULL AND rotated_from IS NULL";

pub(super) const KEY_COUNTS: &str =
    "SELECT owner, count(*) FROM api_keys WHERE owner = ANY($1) GROUP BY owner";

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

pub(super) const INSERT_SETTLEMENTS: &str = "INSERT INTO settlements (shard, lease, sequence, job, epoch, consumer, island_owner, island, model, price,
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

/// What an account has, less what it earned too late: so what was refunded out of it matures no more.
pub(super) const DUE: &str = "SELECT a.owner, coalesce(m.through, 0), earned.through,
        a.credits_posted - a.debits_posted - earned.later, a.debits_posted
    FROM accounts AS a
    LEFT JOIN matured AS m ON m.account = a.id
    CROSS JOIN LATERAL (
        SELECT max(t.number) FILTER (WHERE t.created_at <= $2) AS through,
            coalesce(sum(t.amount) FILTER (WHERE t.created_at > $2), 0)::BIGINT AS later
        FROM transfers AS t
        WHERE t.credit > 1048575 AND t.credit >> 20 = a.owner AND t.number > coalesce(m.through, 0)
            AND t.credit = a.id AND t.mode IN (0, 2)
    ) AS earned
    WHERE a.kind IN (3, 4) AND a.kind = $1 AND a.owner > $4 AND a.credits_posted > a.debits_posted
        AND earned.through IS NOT NULL AND a.credits_posted - a.debits_posted > earned.later
    ORDER BY a.owner LIMIT $3";

pub(super) const PAYOUTS_BY_ID: &str =
    "SELECT number, id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note
    FROM payouts WHERE id = ANY($1)";

pub(super) const PAID_OUT: &str = "SELECT wanted.owner,
        (SELECT coalesce(sum(amount), 0)::BIGINT FROM payouts AS p
        WHERE p.owner = wanted.owner AND state <> 'failed'),
        (SELECT max(day) FROM payouts AS p
        WHERE p.owner = wanted.owner AND state <> 'failed' AND cause = 'on_demand'),
        (SELECT coalesce(sum(amount), 0)::BIGINT FROM earnings_taken AS e WHERE e.owner = wanted.owner)
    FROM unnest($1::BIGINT[]) AS wanted (owner)";

pub(super) const RESET_OWNERS: &str = "SELECT reset, owner FROM reset_owners WHERE owner = ANY($1)";

pub(super) const RESERVED_BEFORE: &str = "SELECT account, max(ever) FROM reserved_before_resets
    WHERE account = ANY($1) GROUP BY account";

pub(super) const REFUNDS_BY_ID: &str =
    "SELECT id, place, shard, lease, job, consumer, island_owner, asked, from_earnings, from_available,
        from_fees, from_pool, standing, author, reason, asked_lease
    FROM refunds WHERE id = ANY($1)";

pub(super) const REFUNDS_OF_LEASES: &str = "SELECT r.id, r.place, r.shard, r.lease, r.job, r.consumer, r.island_owner, r.asked, r.from_earnings, r.from_available,
        r.from_fees, r.from_pool, r.standing, r.author, r.reason, r.asked_lease
    FROM unnest($1::BIGINT[], $2::BYTEA[]) AS wanted (shard, lease)
    JOIN refunds AS r ON r.shard = wanted.shard AND r.lease = wanted.lease";

/// An owner's available credits are kind 1, and what left kinds 3 and 4 are his earnings.
pub(super) const WEEKLY_PAYABLE: &str = "SELECT owner, destination, payable FROM (
        SELECT d.owner, d.destination, least(
            (SELECT a.credits_posted - a.debits_posted - a.debits_pending FROM accounts AS a
            WHERE a.id = ((d.owner << 20) | 1)),
            (SELECT coalesce(sum(a.debits_posted), 0)::BIGINT FROM accounts AS a
            WHERE a.id IN ((d.owner << 20) | 3, (d.owner << 20) | 4))
            - (SELECT coalesce(sum(p.amount), 0)::BIGINT FROM payouts AS p
            WHERE p.owner = d.owner AND p.state <> 'failed')
            - (SELECT coalesce(sum(e.amount), 0)::BIGINT FROM earnings_taken AS e WHERE e.owner = d.owner)
        ) AS payable
        FROM payout_destinations AS d
        WHERE d.destination <> '' AND d.owner > $1 AND NOT EXISTS (
            SELECT 1 FROM payouts AS p WHERE p.owner = d.owner AND p.cause = 'weekly' AND p.day >= $2)
    ) AS candidates WHERE payable >= $3 ORDER BY owner LIMIT $4";

pub(super) const SERVER_VERSION: &str = "SELECT current_setting('server_version_num')::BIGINT";

/// Whether the login may become the service's role, up to PostgreSQL 15.
pub(super) const IS_MEMBER: &str =
    "SELECT CASE WHEN pg_has_role(session_user, 'atoll_billing', 'MEMBER') THEN 1 ELSE 0 END::BIGINT";

/// The same from PostgreSQL 16 on.
pub(super) const MAY_SET_ROLE: &str =
    "SELECT CASE WHEN pg_has_role(session_user, 'atoll_billing', 'SET') THEN 1 ELSE 0 END::BIGINT";

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
    use crate::store::statements::{self as shared, *};
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqlSafeStr};

    const TEXTS: [&str; 25] = [
        RESET_OWNERS,
        RESERVED_BEFORE,
        REFUNDS_BY_ID,
        REFUNDS_OF_LEASES,
        SERVER_VERSION,
        IS_MEMBER,
        TAKE_THE_PEN,
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
        INSERT_OWNERS,
        INSERT_ACCOUNTS,
        INSERT_TRANSFERS,
        INSERT_SETTLEMENTS,
        DUE,
        PAYOUTS_BY_ID,
        PAID_OUT,
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
            for statement in TEXTS.into_iter().chain(shared::ALL) {
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
            (SPENDING, "spending_of_day"),
            (KEYS_OF_OWNER, "api_keys_rotated_once"),
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
                    _ => ["$1", "$2", "$3", "$4"]
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
