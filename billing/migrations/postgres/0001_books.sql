-- The books. Amounts are nano-credits in 64-bit integers; what would leave their range is an error.
-- What is written here is never updated or deleted, but for counters (moved by the trigger on transfers), cursors and
-- the moment a key is revoked. Triggers say so to everybody, and the service's role has no right to try.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE owners (
    id BIGINT PRIMARY KEY CHECK (id BETWEEN 1 AND 8796093022207),
    -- The caller's key of idempotence: asking again gives the same owner.
    request_id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0)
);

-- The number is (owner, shard, kind) in 43, 16 and 4 bits: all accounts of an owner are one range.
-- Kinds: 1 available, 2 reserved, 3 pending earnings, 4 earnings on probation; the exchange's own: 8 grants, 9 fees,
-- 10 pool, 11 payouts. 5 to 7 and 12 to 15 are free for kinds to come.
CREATE TABLE accounts (
    id BIGINT PRIMARY KEY,
    owner BIGINT REFERENCES owners (id),
    shard BIGINT NOT NULL DEFAULT 0 CHECK (shard BETWEEN 0 AND 65535),
    kind BIGINT NOT NULL,
    debits_pending BIGINT NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
    debits_posted BIGINT NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
    credits_pending BIGINT NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
    credits_posted BIGINT NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    CHECK ((owner IS NULL AND kind BETWEEN 8 AND 15) OR (owner IS NOT NULL AND kind BETWEEN 1 AND 7)),
    CHECK (shard = 0 OR kind = 2),
    CHECK (id = ((coalesce(owner, 0) << 20) | (shard << 4) | kind)),
    -- Grants, fees and pool may owe; nobody else may.
    CONSTRAINT no_overdraft CHECK (kind IN (8, 9, 10) OR credits_posted - debits_posted >= debits_pending)
)
-- Counters change all the time and no index has them: room on the page keeps the new row beside the old one.
WITH (fillfactor = 70);

-- Accounts whose earnings mature, and a shard's reserved accounts, both by owner. No counter is in a condition, or every
-- payment would write the index.
CREATE INDEX accounts_earning ON accounts (kind, owner) WHERE kind IN (3, 4);
CREATE INDEX accounts_of_shard ON accounts (shard, id) WHERE kind = 2;

INSERT INTO accounts (id, kind) VALUES (8, 8), (9, 9), (10, 10), (11, 11);

-- Modes: 0 final, 1 pending, 2 posts a pending one, 3 voids it.
CREATE TABLE transfers (
    number BIGINT PRIMARY KEY CHECK (number > 0),
    id BYTEA NOT NULL UNIQUE CHECK (octet_length(id) = 16),
    kind TEXT NOT NULL,
    mode BIGINT NOT NULL CHECK (mode IN (0, 1, 2, 3)),
    pending_id BYTEA REFERENCES transfers (id),
    debit BIGINT NOT NULL REFERENCES accounts (id),
    credit BIGINT NOT NULL REFERENCES accounts (id),
    amount BIGINT NOT NULL CHECK (amount > 0),
    job BYTEA CHECK (octet_length(job) = 16),
    memo TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    CHECK (debit <> credit),
    CHECK ((mode IN (2, 3)) = (pending_id IS NOT NULL))
);

-- A pending transfer resolves once.
CREATE UNIQUE INDEX transfers_resolve_once ON transfers (pending_id) WHERE pending_id IS NOT NULL;
-- An owner's history, newest first, whichever of his accounts it touched.
CREATE INDEX transfers_of_debtor ON transfers ((debit >> 20), number) WHERE debit > 1048575;
CREATE INDEX transfers_of_creditor ON transfers ((credit >> 20), number) WHERE credit > 1048575;
-- A shard's reservations, oldest first.
CREATE INDEX transfers_of_shard
    ON transfers (((CASE kind WHEN 'reserve' THEN credit ELSE debit END >> 4) & 65535), number)
    WHERE kind IN ('reserve', 'return');

-- What the exchange said of each ended lease; refusal is null where it was booked.
CREATE TABLE settlements (
    shard BIGINT NOT NULL CHECK (shard BETWEEN 0 AND 65535),
    lease BYTEA NOT NULL CHECK (octet_length(lease) = 8),
    sequence BIGINT NOT NULL CHECK (sequence > 0),
    job BYTEA NOT NULL CHECK (octet_length(job) = 16),
    epoch BIGINT NOT NULL,
    consumer BYTEA NOT NULL CHECK (octet_length(consumer) = 8),
    island_owner BYTEA NOT NULL CHECK (octet_length(island_owner) = 8),
    island BYTEA NOT NULL CHECK (octet_length(island) = 8),
    model TEXT NOT NULL,
    price BIGINT NOT NULL CHECK (price > 0),
    units BIGINT NOT NULL CHECK (units >= 0),
    charge BIGINT NOT NULL,
    fee BIGINT NOT NULL,
    liquidity TEXT NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    pool_subsidy BIGINT NOT NULL,
    compensation BIGINT NOT NULL,
    billed_before BYTEA NOT NULL CHECK (octet_length(billed_before) = 16),
    standing TEXT NOT NULL CHECK (standing IN ('established', 'probation')),
    refusal TEXT,
    refusal_message TEXT,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (shard, lease),
    CHECK ((refusal IS NULL) = (refusal_message IS NULL))
);

CREATE INDEX settlements_refused ON settlements (shard, sequence) WHERE refusal IS NOT NULL;
CREATE INDEX settlements_of_day ON settlements (created_at);

-- How far each shard's journal is settled. The epoch fences a stale leader of a clustered shard.
CREATE TABLE engine_cursor (
    shard BIGINT PRIMARY KEY CHECK (shard BETWEEN 0 AND 65535),
    epoch BIGINT NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL CHECK (sequence >= 0)
);

-- Which earnings have matured: of the account that they waited in, all up to this transfer's number.
CREATE TABLE matured (
    account BIGINT PRIMARY KEY REFERENCES accounts (id),
    through BIGINT NOT NULL CHECK (through >= 0)
);

-- Only the hash of a secret is known here.
CREATE TABLE api_keys (
    id BIGINT PRIMARY KEY CHECK (id > 0),
    owner BIGINT NOT NULL REFERENCES owners (id),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('full', 'consumer', 'island')),
    prefix TEXT NOT NULL,
    secret_sha256 BYTEA NOT NULL UNIQUE CHECK (octet_length(secret_sha256) = 32),
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    revoked_at BIGINT CHECK (revoked_at >= 0)
);

CREATE INDEX api_keys_of_owner ON api_keys (owner, id);

-- The hash over the transfers of each batch and the seal before.
CREATE TABLE seals (
    first BIGINT PRIMARY KEY CHECK (first > 0),
    through BIGINT NOT NULL CHECK (through >= first),
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32)
);

-- Days (since 1970) whose settlements are final, each with the Merkle root over them.
CREATE TABLE closed_days (
    day BIGINT PRIMARY KEY CHECK (day >= 0),
    settlements BIGINT NOT NULL CHECK (settlements >= 0),
    root BYTEA NOT NULL CHECK (octet_length(root) = 32),
    closed_at BIGINT NOT NULL CHECK (closed_at >= 0)
);

-- Double entry, a line each.
CREATE VIEW postings AS
    SELECT number, id AS transfer_id, debit AS account, -amount AS amount, kind, created_at
    FROM transfers WHERE mode IN (0, 2)
    UNION ALL
    SELECT number, id, credit, amount, kind, created_at
    FROM transfers WHERE mode IN (0, 2);

-- Refuses whatever fires it, in the words that the trigger gives it.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0];
END
$$;

CREATE FUNCTION transfer_resolves() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM transfers AS held
        WHERE held.id = NEW.pending_id AND held.mode = 1 AND held.kind = NEW.kind
            AND held.debit = NEW.debit AND held.credit = NEW.credit AND held.amount = NEW.amount
    ) THEN
        RAISE EXCEPTION 'a transfer resolves a pending one of the same accounts and amount';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER transfers_resolve BEFORE INSERT ON transfers
    FOR EACH ROW WHEN (NEW.pending_id IS NOT NULL) EXECUTE FUNCTION transfer_resolves();

-- Moves the counters: once for all transfers of a statement, each account once, in the order of their numbers, so that
-- two writers never wait for one another in a circle. The owner's right, not the inserter's: nobody else may move one.
CREATE FUNCTION move_counters() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM accounts
    WHERE id IN (SELECT debit FROM booked UNION SELECT credit FROM booked)
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE accounts SET
        debits_pending = accounts.debits_pending + moved.debits_pending,
        debits_posted = accounts.debits_posted + moved.debits_posted,
        credits_pending = accounts.credits_pending + moved.credits_pending,
        credits_posted = accounts.credits_posted + moved.credits_posted
    FROM (
        SELECT id,
            sum(debits_pending)::BIGINT AS debits_pending, sum(debits_posted)::BIGINT AS debits_posted,
            sum(credits_pending)::BIGINT AS credits_pending, sum(credits_posted)::BIGINT AS credits_posted
        FROM (
            SELECT debit AS id,
                CASE mode WHEN 1 THEN amount WHEN 0 THEN 0 ELSE -amount END AS debits_pending,
                CASE WHEN mode IN (0, 2) THEN amount ELSE 0 END AS debits_posted,
                0 AS credits_pending, 0 AS credits_posted
            FROM booked
            UNION ALL
            SELECT credit, 0, 0,
                CASE mode WHEN 1 THEN amount WHEN 0 THEN 0 ELSE -amount END,
                CASE WHEN mode IN (0, 2) THEN amount ELSE 0 END
            FROM booked
        ) AS sides
        GROUP BY id
    ) AS moved
    WHERE accounts.id = moved.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER transfers_move AFTER INSERT ON transfers
    REFERENCING NEW TABLE AS booked FOR EACH STATEMENT EXECUTE FUNCTION move_counters();

CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse('a transfer never changes');
CREATE TRIGGER transfers_remain BEFORE DELETE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse('a transfer is never deleted');
CREATE TRIGGER transfers_remain_all BEFORE TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a transfer is never deleted');

CREATE TRIGGER accounts_open_empty BEFORE INSERT ON accounts
    FOR EACH ROW WHEN (NEW.debits_pending <> 0 OR NEW.debits_posted <> 0 OR NEW.credits_pending <> 0
        OR NEW.credits_posted <> 0)
    EXECUTE FUNCTION refuse('an account opens empty');
CREATE TRIGGER accounts_stay BEFORE UPDATE OF id, owner, shard, kind ON accounts
    FOR EACH ROW EXECUTE FUNCTION refuse('an account never changes hands');
CREATE TRIGGER accounts_remain BEFORE DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION refuse('an account is never deleted');

CREATE TRIGGER settlements_stay BEFORE UPDATE ON settlements
    FOR EACH ROW EXECUTE FUNCTION refuse('a settlement never changes');
CREATE TRIGGER settlements_remain BEFORE DELETE ON settlements
    FOR EACH ROW EXECUTE FUNCTION refuse('a settlement is never deleted');
CREATE TRIGGER settlements_remain_all BEFORE TRUNCATE ON settlements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a settlement is never deleted');

CREATE FUNCTION settles_an_open_day() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM added
        WHERE created_at < (SELECT (max(day) + 1) * 86400000000 FROM closed_days)
    ) THEN
        RAISE EXCEPTION 'the day is closed';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER settlements_after_the_close AFTER INSERT ON settlements
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION settles_an_open_day();

CREATE TRIGGER engine_cursor_advances BEFORE UPDATE ON engine_cursor
    FOR EACH ROW WHEN (NEW.shard <> OLD.shard OR NEW.epoch < OLD.epoch OR NEW.sequence < OLD.sequence)
    EXECUTE FUNCTION refuse('a cursor only moves forward');
CREATE TRIGGER matured_advances BEFORE UPDATE ON matured
    FOR EACH ROW WHEN (NEW.account <> OLD.account OR NEW.through < OLD.through)
    EXECUTE FUNCTION refuse('maturity only moves forward');

CREATE TRIGGER api_keys_stay BEFORE UPDATE ON api_keys
    FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL OR NEW.id <> OLD.id OR NEW.owner <> OLD.owner
        OR NEW.scope <> OLD.scope OR NEW.secret_sha256 <> OLD.secret_sha256)
    EXECUTE FUNCTION refuse('a key is revoked once, and otherwise never changes');
CREATE TRIGGER api_keys_remain BEFORE DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION refuse('a key is never deleted');
CREATE TRIGGER owners_remain BEFORE DELETE ON owners
    FOR EACH ROW EXECUTE FUNCTION refuse('an owner is never deleted');

CREATE FUNCTION seal_follows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.first <= (SELECT through FROM seals ORDER BY first DESC LIMIT 1) THEN
        RAISE EXCEPTION 'a seal follows the one before';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER seals_follow BEFORE INSERT ON seals FOR EACH ROW EXECUTE FUNCTION seal_follows();
CREATE TRIGGER seals_stay BEFORE UPDATE ON seals
    FOR EACH ROW EXECUTE FUNCTION refuse('a seal never changes');
CREATE TRIGGER seals_remain BEFORE DELETE ON seals
    FOR EACH ROW EXECUTE FUNCTION refuse('a seal is never deleted');
CREATE TRIGGER closed_days_stay BEFORE UPDATE ON closed_days
    FOR EACH ROW EXECUTE FUNCTION refuse('a day that is closed never changes');
CREATE TRIGGER closed_days_remain BEFORE DELETE ON closed_days
    FOR EACH ROW EXECUTE FUNCTION refuse('a day that is closed stays closed');

-- The role that the service works under, whoever it logs in as. It may add; of what is there it may change cursors, where
-- maturity has come, and that a key is revoked. Rows of accounts cannot be locked without the right to update some column:
-- the shard is one that never changes.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'atoll_billing') THEN
        BEGIN
            CREATE ROLE atoll_billing NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Another database's migration was quicker.
            NULL;
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'atoll_billing', 'MEMBER') THEN
        EXECUTE format('GRANT atoll_billing TO %I', current_user);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO atoll_billing', current_schema());
END
$$;

-- Whoever starts the service without the right to migrate must be able to tell whether he should.
GRANT SELECT ON owners, accounts, transfers, settlements, engine_cursor, matured, api_keys, seals, closed_days, postings,
    _sqlx_migrations
    TO atoll_billing;
GRANT INSERT ON owners, accounts, transfers, settlements, engine_cursor, matured, api_keys, seals, closed_days
    TO atoll_billing;
GRANT UPDATE (shard) ON accounts TO atoll_billing;
GRANT UPDATE (sequence) ON engine_cursor TO atoll_billing;
GRANT UPDATE (through) ON matured TO atoll_billing;
GRANT UPDATE (revoked_at) ON api_keys TO atoll_billing;
