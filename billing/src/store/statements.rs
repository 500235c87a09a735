//! The statements that both databases take, static, so that a test can prepare them all on each freshly migrated one.
//! What one of them says otherwise is in its own folder.

pub(super) const COUNTS: &str = "SELECT
    (SELECT coalesce(max(id), 0) FROM owners),
    (SELECT coalesce(max(id), 0) FROM api_keys),
    coalesce((SELECT max(number) FROM transfers), 0),
    coalesce((SELECT created_at FROM transfers ORDER BY number DESC LIMIT 1), 0),
    coalesce((SELECT (max(day) + 1) * 86400000000 FROM fenced_days), 0),
    (SELECT hash FROM seals ORDER BY first DESC LIMIT 1)";

pub(super) const INSERT_SEAL: &str = "INSERT INTO seals (first, through, hash) VALUES ($1, $2, $3)";

pub(super) const MOVE_CURSOR: &str = "INSERT INTO engine_cursor (shard, sequence) VALUES ($1, $2)
    ON CONFLICT (shard) DO UPDATE SET sequence = excluded.sequence";

pub(super) const INSERT_KEY: &str =
    "INSERT INTO api_keys (id, owner, name, scope, prefix, secret_sha256, created_at, expires_at, request_id,
        request_sha256, rotated_from, line)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

pub(super) const SIGN_UPS_OF_DAY: &str = "SELECT count(*) FROM sign_ups WHERE day = $1";

pub(super) const INSERT_SIGN_UP: &str =
    "INSERT INTO sign_ups (request_id, owner, key, day, granted) VALUES ($1, $2, $3, $4, $5)";

pub(super) const EXPIRE_KEY: &str = "UPDATE api_keys SET expires_at = $2 WHERE id = $1";

pub(super) const REVOKE_KEY: &str =
    "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

pub(super) const MOVE_MATURED: &str = "INSERT INTO matured (account, through) VALUES ($1, $2)
    ON CONFLICT (account) DO UPDATE SET through = excluded.through";

pub(super) const KEY_BY_HASH: &str = "SELECT k.id, k.owner, k.name, k.scope, k.created_at, k.revoked_at,
        k.expires_at, coalesce(k.line, k.id), k.rotated_from, s.id, l.key_per_day, l.user_per_day
    FROM api_keys AS k LEFT JOIN api_keys AS s ON s.rotated_from = k.id
        LEFT JOIN spending_limits AS l ON l.line = coalesce(k.line, k.id)
    WHERE k.secret_sha256 = $1";

pub(super) const KEY_BY_ID: &str = "SELECT k.id, k.owner, k.name, k.scope, k.created_at, k.revoked_at,
        k.expires_at, coalesce(k.line, k.id), k.rotated_from, s.id, l.key_per_day, l.user_per_day
    FROM api_keys AS k LEFT JOIN api_keys AS s ON s.rotated_from = k.id
        LEFT JOIN spending_limits AS l ON l.line = coalesce(k.line, k.id)
    WHERE k.id = $1";

pub(super) const LIMIT_SPENDING: &str =
    "INSERT INTO spending_limits (line, key_per_day, user_per_day) VALUES ($1, $2, $3)
    ON CONFLICT (line) DO UPDATE SET key_per_day = excluded.key_per_day, user_per_day = excluded.user_per_day";

pub(super) const NOTE_SPENDING: &str =
    "INSERT INTO spending (line, day, user_sha256, spent) VALUES ($1, $2, $3, $4)
    ON CONFLICT (line, day, user_sha256) DO UPDATE SET spent = excluded.spent
    WHERE excluded.spent > spending.spent";

pub(super) const SPENDING: &str = "SELECT number, line, day, user_sha256, spent FROM spending
    WHERE line = $1 AND day = $2 AND number > $3 ORDER BY number LIMIT $4";

pub(super) const OWNER_EXISTS: &str = "SELECT count(*) FROM owners WHERE id = $1";

pub(super) const KEYS_OF_OWNER: &str = "SELECT k.id, k.owner, k.name, k.scope, k.created_at, k.revoked_at,
        k.expires_at, coalesce(k.line, k.id), k.rotated_from, s.id, l.key_per_day, l.user_per_day
    FROM api_keys AS k LEFT JOIN api_keys AS s ON s.rotated_from = k.id
        LEFT JOIN spending_limits AS l ON l.line = coalesce(k.line, k.id)
    WHERE k.owner = $1 ORDER BY k.id";

pub(super) const ACCOUNTS_OF_OWNER: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted
    FROM accounts WHERE id BETWEEN $1 AND $2";

pub(super) const HISTORY: &str = "SELECT * FROM (
        SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
        WHERE debit > 1048575 AND debit >> 20 = $1 AND number < $2 ORDER BY number DESC LIMIT $3) AS paid
    UNION
    SELECT * FROM (
        SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
        WHERE credit > 1048575 AND credit >> 20 = $1 AND number < $2 ORDER BY number DESC LIMIT $3) AS earned
    ORDER BY number DESC LIMIT $3";

pub(super) const RESERVATIONS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE kind IN ('reserve', 'return')
        AND (CASE kind WHEN 'reserve' THEN credit ELSE debit END >> 4) & 65535 = $1 AND number > $2
    ORDER BY number LIMIT $3";

pub(super) const RESERVED_BALANCES: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted FROM accounts
    WHERE kind = 2 AND shard = $1 AND id > $2 AND credits_posted <> debits_posted ORDER BY id LIMIT $3";

pub(super) const CURSOR: &str = "SELECT sequence FROM engine_cursor WHERE shard = $1";

pub(super) const FIRST_OPEN_DAY: &str = "SELECT min(created_at) FROM settlements
    WHERE created_at >= coalesce((SELECT (max(day) + 1) * 86400000000 FROM closed_days), 0)";

pub(super) const CLOSED_DAY: &str = "SELECT c.day, c.settlements, c.root, f.through, f.hash
    FROM closed_days AS c LEFT JOIN fenced_days AS f ON f.day = c.day WHERE c.day = $1";

pub(super) const CLOSED_DAYS: &str = "SELECT c.day, c.settlements, c.root, f.through, f.hash
    FROM closed_days AS c LEFT JOIN fenced_days AS f ON f.day = c.day WHERE c.day > $1 ORDER BY c.day LIMIT $2";

pub(super) const SETTLEMENTS_OF_DAY: &str =
    "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements WHERE created_at >= $1 AND created_at < $2 ORDER BY shard, lease";

/// From here on nothing is booked in the day, and the chain has come so far.
pub(super) const FENCE_DAY: &str = "INSERT INTO fenced_days (day, through, hash)
    SELECT CAST($1 AS BIGINT), (SELECT through FROM seals ORDER BY first DESC LIMIT 1),
        (SELECT hash FROM seals ORDER BY first DESC LIMIT 1)
    WHERE NOT EXISTS (SELECT 1 FROM fenced_days WHERE day = CAST($1 AS BIGINT))";

pub(super) const CLOSE_DAY: &str =
    "INSERT INTO closed_days (day, settlements, root, closed_at) VALUES ($1, $2, $3, $4)";

pub(super) const ALL_ACCOUNTS: &str =
    "SELECT id, debits_pending, debits_posted, credits_pending, credits_posted FROM accounts ORDER BY id";

pub(super) const ALL_TRANSFERS: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at, through, hash
    FROM transfers LEFT JOIN seals ON seals.first = transfers.number ORDER BY number";

pub(super) const SEAL_COUNT: &str = "SELECT count(*) FROM seals";

pub(super) const ALL_SETTLEMENTS: &str = "SELECT s.shard, s.lease, s.sequence, s.job, s.epoch, s.consumer, s.island_owner, s.island,
        s.model, s.price, s.units, s.charge, s.fee, s.liquidity, s.pool_subsidy, s.compensation, s.billed_before,
        s.standing, s.refusal, s.refusal_message, s.created_at,
        CASE WHEN m.lease IS NULL THEN CAST(0 AS BIGINT) ELSE 1 END
    FROM settlements AS s LEFT JOIN mended_settlements AS m ON m.shard = s.shard AND m.lease = s.lease
    ORDER BY s.shard, s.lease";

pub(super) const ALL_MATURED: &str = "SELECT account, through FROM matured";

pub(super) const ALL_CURSORS: &str = "SELECT shard, sequence FROM engine_cursor";

pub(super) const WORTH_BEFORE: &str = "SELECT
    coalesce((SELECT CAST(sum(amount) AS BIGINT) FROM transfers
        WHERE credit > 1048575 AND credit >> 20 = $1 AND mode IN (0, 2) AND created_at < $2), 0)
    - coalesce((SELECT CAST(sum(amount) AS BIGINT) FROM transfers
        WHERE debit > 1048575 AND debit >> 20 = $1 AND mode IN (0, 2) AND created_at < $2), 0)";

pub(super) const BOOKED_BETWEEN: &str =
    "SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE debit > 1048575 AND debit >> 20 = $1 AND created_at >= $2 AND created_at < $3
    UNION
    SELECT number, id, kind, mode, pending_id, debit, credit, amount, job, memo, created_at FROM transfers
    WHERE credit > 1048575 AND credit >> 20 = $1 AND created_at >= $2 AND created_at < $3
    ORDER BY number LIMIT $4";

pub(super) const SETTLED_BETWEEN: &str = "SELECT shard, lease, sequence, job, epoch, consumer, island_owner, island,
        model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before,
        standing, refusal, refusal_message, created_at
    FROM settlements WHERE created_at >= $1 AND created_at < $2 AND refusal IS NULL
        AND (consumer = $3 OR island_owner = $3)
    UNION ALL
    SELECT s.shard, s.lease, s.sequence, s.job, s.epoch, s.consumer, s.island_owner, s.island,
        s.model, s.price, s.units, s.charge, s.fee, s.liquidity, s.pool_subsidy, s.compensation, s.billed_before,
        s.standing, s.refusal, s.refusal_message, m.created_at
    FROM mended_settlements AS m JOIN settlements AS s ON s.shard = m.shard AND s.lease = m.lease
    WHERE m.created_at >= $1 AND m.created_at < $2 AND (s.consumer = $3 OR s.island_owner = $3)
    ORDER BY created_at, shard, lease LIMIT $4";

/// By side: what the account bought, and what its Islands sold.
pub(super) const USAGE: &str = "SELECT day, model, side, jobs, segments, units, charge, fee, pool_subsidy, compensation FROM (
        SELECT created_at / 86400000000 AS day, model, CAST(1 AS BIGINT) AS side, count(DISTINCT job) AS jobs, count(*) AS segments,
            CAST(sum(units) AS BIGINT) AS units, CAST(sum(charge) AS BIGINT) AS charge,
            CAST(sum(CASE liquidity WHEN 'taker' THEN fee ELSE 0 END) AS BIGINT) AS fee,
            CAST(0 AS BIGINT) AS pool_subsidy, CAST(0 AS BIGINT) AS compensation
        FROM (
            SELECT job, model, units, charge, fee, liquidity, pool_subsidy, compensation, created_at FROM settlements
            WHERE consumer = $1 AND refusal IS NULL AND created_at >= $2 AND created_at < $3
            UNION ALL
            SELECT s.job, s.model, s.units, s.charge, s.fee, s.liquidity, s.pool_subsidy, s.compensation, m.created_at
            FROM mended_settlements AS m JOIN settlements AS s ON s.shard = m.shard AND s.lease = m.lease
            WHERE s.consumer = $1 AND m.created_at >= $2 AND m.created_at < $3
        ) AS settled GROUP BY created_at / 86400000000, model
        UNION ALL
        SELECT created_at / 86400000000 AS day, model, CAST(2 AS BIGINT) AS side, count(DISTINCT job) AS jobs, count(*) AS segments,
            CAST(sum(units) AS BIGINT) AS units, CAST(sum(charge) AS BIGINT) AS charge,
            CAST(sum(CASE liquidity WHEN 'maker' THEN fee ELSE 0 END) AS BIGINT) AS fee,
            CAST(sum(pool_subsidy) AS BIGINT) AS pool_subsidy, CAST(sum(compensation) AS BIGINT) AS compensation
        FROM (
            SELECT job, model, units, charge, fee, liquidity, pool_subsidy, compensation, created_at FROM settlements
            WHERE island_owner = $1 AND refusal IS NULL AND created_at >= $2 AND created_at < $3
            UNION ALL
            SELECT s.job, s.model, s.units, s.charge, s.fee, s.liquidity, s.pool_subsidy, s.compensation, m.created_at
            FROM mended_settlements AS m JOIN settlements AS s ON s.shard = m.shard AND s.lease = m.lease
            WHERE s.island_owner = $1 AND m.created_at >= $2 AND m.created_at < $3
        ) AS settled GROUP BY created_at / 86400000000, model
    ) AS sums
    WHERE (CAST($4 AS TEXT) = '' OR model = $4) AND (CAST($5 AS BIGINT) = 0 OR side = $5)
    ORDER BY day, model, side LIMIT $6 OFFSET $7";

pub(super) const EARNED_BEFORE: &str = "SELECT CAST(
        coalesce((SELECT sum(charge - CASE liquidity WHEN 'maker' THEN fee ELSE 0 END + pool_subsidy + compensation)
            FROM settlements
            WHERE island = $1 AND island_owner = $2 AND refusal IS NULL AND created_at < $3), 0)
        + coalesce((SELECT sum(charge - CASE liquidity WHEN 'maker' THEN fee ELSE 0 END + pool_subsidy + compensation)
            FROM settlements AS s JOIN mended_settlements AS m ON m.shard = s.shard AND m.lease = s.lease
            WHERE s.island = $1 AND s.island_owner = $2 AND m.created_at < $3), 0)
        - coalesce((SELECT sum(r.from_earnings + r.from_available)
            FROM settlements AS s JOIN refunds AS r ON r.shard = s.shard AND r.lease = s.lease
            WHERE s.island = $1 AND s.island_owner = $2 AND r.created_at < $3), 0)
    AS BIGINT)";

pub(super) const SAVE_PAYOUT: &str = "INSERT INTO payouts (id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note)
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

pub(super) const SCHEMA_VERSION: &str =
    "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";

pub(super) const ALL_REFUNDS: &str =
    "SELECT id, place, shard, lease, job, consumer, island_owner, asked, from_earnings, from_available,
        from_fees, from_pool, standing, author, reason, asked_lease
    FROM refunds ORDER BY shard, lease, created_at, id, place";

pub(super) const REFUNDS_OF_ISLAND: &str = "SELECT r.id, r.place, r.shard, r.lease, r.job, r.consumer, r.island_owner, r.asked, r.from_earnings, r.from_available,
        r.from_fees, r.from_pool, r.standing, r.author, r.reason, r.asked_lease
    FROM settlements AS s JOIN refunds AS r ON r.shard = s.shard AND r.lease = s.lease
    WHERE s.island = $1 AND s.island_owner = $2 AND r.created_at >= $3 AND r.created_at < $4
    ORDER BY r.created_at, r.id, r.place LIMIT $5";

pub(super) const LEASES_OF_JOB: &str =
    "SELECT shard, lease FROM settlements WHERE job = $1 ORDER BY shard, sequence, lease LIMIT $2";

pub(super) const INSERT_REFUND: &str = "INSERT INTO refunds (id, place, shard, lease, job, consumer, island_owner, asked, from_earnings, from_available,
        from_fees, from_pool, standing, author, reason, created_at, asked_lease)
    VALUES ($1, $2, $3, $4, $5, $6, $7, nullif($8, 0), $9, $10, $11, $12, $13, $14, $15, $16, $17)";

pub(super) const INSERT_MENDED: &str =
    "INSERT INTO mended_settlements (shard, lease, author, reason, created_at) VALUES ($1, $2, $3, $4, $5)";

pub(super) const INSERT_TAKEN: &str = "INSERT INTO earnings_taken (owner, amount) VALUES ($1, $2)";

pub(super) const RESETS: &str = "SELECT number, id, at, starter, bonus, author, reason,
        CASE WHEN e.reset IS NULL THEN CAST(0 AS BIGINT) ELSE 1 END
    FROM resets LEFT JOIN reset_ends AS e ON e.reset = number ORDER BY number";

pub(super) const OPEN_RESET: &str = "SELECT number, id, at, starter, bonus, author, reason FROM resets
    WHERE NOT EXISTS (SELECT 1 FROM reset_ends AS e WHERE e.reset = number) ORDER BY number LIMIT 1";

/// Whoever opened his account after the reset was due begins as the new economy has it.
pub(super) const OWNERS_TO_RESET: &str = "SELECT o.id,
        CASE WHEN EXISTS (
            SELECT 1 FROM transfers AS t WHERE t.debit > 1048575 AND t.debit >> 20 = o.id AND t.kind = 'charge'
                AND t.created_at >= coalesce((SELECT max(p.at) FROM resets AS p WHERE p.number < r.number), 0)
        ) OR EXISTS (
            SELECT 1 FROM transfers AS t WHERE t.credit > 1048575 AND t.credit >> 20 = o.id
                AND t.kind IN ('charge', 'subsidy', 'compensation')
                AND t.created_at >= coalesce((SELECT max(p.at) FROM resets AS p WHERE p.number < r.number), 0)
        ) THEN CAST(1 AS BIGINT) ELSE 0 END
    FROM resets AS r JOIN owners AS o ON o.created_at <= r.at
    WHERE r.number = $1 AND o.id > $2
        AND NOT EXISTS (SELECT 1 FROM reset_owners AS x WHERE x.owner = o.id AND x.reset = r.number)
    ORDER BY o.id LIMIT $3";

pub(super) const INSERT_RESET: &str =
    "INSERT INTO resets (number, id, at, starter, bonus, author, reason, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

pub(super) const INSERT_RESET_OWNER: &str = "INSERT INTO reset_owners (reset, owner) VALUES ($1, $2)";

pub(super) const INSERT_RESERVED_BEFORE: &str =
    "INSERT INTO reserved_before_resets (reset, account, ever) VALUES ($1, $2, $3)";

pub(super) const HELD_BEFORE: &str = "SELECT reset FROM held_before_resets WHERE payout = $1";

pub(super) const INSERT_HELD_BEFORE: &str = "INSERT INTO held_before_resets (payout, reset) VALUES ($1, $2)";

pub(super) const INSERT_RESET_END: &str = "INSERT INTO reset_ends (reset, ended_at) VALUES ($1, $2)";

/// Every one, for the tests of both databases.
#[cfg(test)]
pub(super) const ALL: [&str; 61] = [
    RESETS,
    OPEN_RESET,
    OWNERS_TO_RESET,
    INSERT_RESET,
    INSERT_RESET_OWNER,
    INSERT_RESERVED_BEFORE,
    HELD_BEFORE,
    INSERT_HELD_BEFORE,
    INSERT_RESET_END,
    ALL_REFUNDS,
    REFUNDS_OF_ISLAND,
    LEASES_OF_JOB,
    INSERT_REFUND,
    INSERT_MENDED,
    INSERT_TAKEN,
    COUNTS,
    INSERT_SEAL,
    MOVE_CURSOR,
    INSERT_KEY,
    SIGN_UPS_OF_DAY,
    INSERT_SIGN_UP,
    EXPIRE_KEY,
    KEY_BY_ID,
    LIMIT_SPENDING,
    NOTE_SPENDING,
    SPENDING,
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
    FIRST_OPEN_DAY,
    CLOSED_DAY,
    CLOSED_DAYS,
    SETTLEMENTS_OF_DAY,
    FENCE_DAY,
    CLOSE_DAY,
    ALL_ACCOUNTS,
    ALL_TRANSFERS,
    SEAL_COUNT,
    ALL_SETTLEMENTS,
    ALL_MATURED,
    ALL_CURSORS,
    WORTH_BEFORE,
    BOOKED_BETWEEN,
    SETTLED_BETWEEN,
    USAGE,
    EARNED_BEFORE,
    SAVE_PAYOUT,
    SAVE_DESTINATION,
    PAYOUTS,
    PAYOUTS_OF_OWNER,
    PAYOUTS_IN_STATE,
    PAYOUTS_OF_OWNER_IN_STATE,
    PAYOUTS_TO_SEND,
    SCHEMA_VERSION,
];
