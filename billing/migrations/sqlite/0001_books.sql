-- The books. Amounts are nano-credits in 64-bit integers; STRICT keeps an overflow from becoming a float.
-- What is written here is never updated or deleted, but for counters (moved by the trigger on transfers), cursors and
-- the moment a key is revoked. Triggers say so, so that no code path can forget.

CREATE TABLE owners (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 8796093022207),
    -- The caller's key of idempotence: asking again gives the same owner.
    request_id TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0)
) STRICT;

-- The number is (owner, shard, kind) in 43, 16 and 4 bits: all accounts of an owner are one range.
-- Kinds: 1 available, 2 reserved, 3 pending earnings; the exchange's own: 8 grants, 9 fees, 10 pool, 11 payouts.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    owner INTEGER REFERENCES owners (id),
    shard INTEGER NOT NULL DEFAULT 0 CHECK (shard BETWEEN 0 AND 65535),
    kind INTEGER NOT NULL,
    debits_pending INTEGER NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
    debits_posted INTEGER NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
    credits_pending INTEGER NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
    credits_posted INTEGER NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    CHECK ((owner IS NULL AND kind IN (8, 9, 10, 11)) OR (owner IS NOT NULL AND kind IN (1, 2, 3))),
    CHECK (shard = 0 OR kind = 2),
    CHECK (id = ((coalesce(owner, 0) << 20) | (shard << 4) | kind)),
    -- Grants, fees and pool may owe; nobody else may.
    CONSTRAINT no_overdraft CHECK (kind IN (8, 9, 10) OR credits_posted - debits_posted >= debits_pending)
) STRICT;

-- Owners with earnings that may mature.
CREATE INDEX accounts_earning ON accounts (owner) WHERE kind = 3 AND credits_posted > debits_posted;

INSERT INTO accounts (id, kind) VALUES (8, 8), (9, 9), (10, 10), (11, 11);

-- Modes: 0 final, 1 pending, 2 posts a pending one, 3 voids it.
CREATE TABLE transfers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    mode INTEGER NOT NULL CHECK (mode IN (0, 1, 2, 3)),
    pending_id BLOB UNIQUE REFERENCES transfers (id),
    debit INTEGER NOT NULL REFERENCES accounts (id),
    credit INTEGER NOT NULL REFERENCES accounts (id),
    amount INTEGER NOT NULL CHECK (amount > 0),
    job BLOB CHECK (length(job) = 16),
    memo TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    CHECK (debit <> credit),
    CHECK ((mode IN (2, 3)) = (pending_id IS NOT NULL))
) STRICT;

-- An owner's history, newest first, whichever of his accounts it touched.
CREATE INDEX transfers_of_debtor ON transfers (debit >> 20, number) WHERE debit > 1048575;
CREATE INDEX transfers_of_creditor ON transfers (credit >> 20, number) WHERE credit > 1048575;
-- A shard's reservations, oldest first.
CREATE INDEX transfers_of_shard
    ON transfers ((CASE kind WHEN 'reserve' THEN credit ELSE debit END >> 4) & 65535, number)
    WHERE kind IN ('reserve', 'return');

-- Replacing a row deletes the old one without firing its delete trigger, so a second row is refused before that.
CREATE TRIGGER transfers_once BEFORE INSERT ON transfers
WHEN EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id OR number = NEW.number)
BEGIN
    SELECT RAISE (ABORT, 'a transfer is booked once');
END;

CREATE TRIGGER transfers_resolve BEFORE INSERT ON transfers
WHEN NEW.pending_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM transfers AS held
    WHERE held.id = NEW.pending_id AND held.mode = 1 AND held.kind = NEW.kind
        AND held.debit = NEW.debit AND held.credit = NEW.credit AND held.amount = NEW.amount
)
BEGIN
    SELECT RAISE (ABORT, 'a transfer resolves a pending one of the same accounts and amount');
END;

CREATE TRIGGER transfers_resolve_once BEFORE INSERT ON transfers
WHEN NEW.pending_id IS NOT NULL
    AND EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.pending_id)
BEGIN
    SELECT RAISE (ABORT, 'a pending transfer resolves once');
END;

CREATE TRIGGER transfers_move AFTER INSERT ON transfers
BEGIN
    UPDATE accounts SET
        debits_pending = debits_pending
            + CASE NEW.mode WHEN 1 THEN NEW.amount WHEN 0 THEN 0 ELSE -NEW.amount END,
        debits_posted = debits_posted + CASE WHEN NEW.mode IN (0, 2) THEN NEW.amount ELSE 0 END
    WHERE id = NEW.debit;
    UPDATE accounts SET
        credits_pending = credits_pending
            + CASE NEW.mode WHEN 1 THEN NEW.amount WHEN 0 THEN 0 ELSE -NEW.amount END,
        credits_posted = credits_posted + CASE WHEN NEW.mode IN (0, 2) THEN NEW.amount ELSE 0 END
    WHERE id = NEW.credit;
END;

CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers
BEGIN
    SELECT RAISE (ABORT, 'a transfer never changes');
END;

CREATE TRIGGER transfers_remain BEFORE DELETE ON transfers
BEGIN
    SELECT RAISE (ABORT, 'a transfer is never deleted');
END;

CREATE TRIGGER accounts_once BEFORE INSERT ON accounts
WHEN EXISTS (SELECT 1 FROM accounts WHERE id = NEW.id)
BEGIN
    SELECT RAISE (ABORT, 'an account is opened once');
END;

CREATE TRIGGER accounts_open_empty BEFORE INSERT ON accounts
WHEN NEW.debits_pending <> 0 OR NEW.debits_posted <> 0 OR NEW.credits_pending <> 0 OR NEW.credits_posted <> 0
BEGIN
    SELECT RAISE (ABORT, 'an account opens empty');
END;

CREATE TRIGGER accounts_stay BEFORE UPDATE OF id, owner, shard, kind ON accounts
BEGIN
    SELECT RAISE (ABORT, 'an account never changes hands');
END;

CREATE TRIGGER accounts_remain BEFORE DELETE ON accounts
BEGIN
    SELECT RAISE (ABORT, 'an account is never deleted');
END;

-- Double entry, a line each.
CREATE VIEW postings AS
    SELECT number, id AS transfer_id, debit AS account, -amount AS amount, kind, created_at
    FROM transfers WHERE mode IN (0, 2)
    UNION ALL
    SELECT number, id, credit, amount, kind, created_at
    FROM transfers WHERE mode IN (0, 2);

-- What the exchange said of each ended lease; refusal is null where it was booked.
CREATE TABLE settlements (
    shard INTEGER NOT NULL CHECK (shard BETWEEN 0 AND 65535),
    lease BLOB NOT NULL CHECK (length(lease) = 8),
    sequence INTEGER NOT NULL CHECK (sequence > 0),
    job BLOB NOT NULL CHECK (length(job) = 16),
    epoch INTEGER NOT NULL,
    consumer BLOB NOT NULL CHECK (length(consumer) = 8),
    island_owner BLOB NOT NULL CHECK (length(island_owner) = 8),
    island BLOB NOT NULL CHECK (length(island) = 8),
    model TEXT NOT NULL,
    price INTEGER NOT NULL CHECK (price > 0),
    units INTEGER NOT NULL CHECK (units >= 0),
    charge INTEGER NOT NULL,
    fee INTEGER NOT NULL,
    liquidity TEXT NOT NULL CHECK (liquidity IN ('maker', 'taker')),
    pool_subsidy INTEGER NOT NULL,
    compensation INTEGER NOT NULL,
    billed_before BLOB NOT NULL CHECK (length(billed_before) = 16),
    refusal TEXT,
    refusal_message TEXT,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (shard, lease),
    CHECK ((refusal IS NULL) = (refusal_message IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX settlements_refused ON settlements (shard, sequence) WHERE refusal IS NOT NULL;

CREATE TRIGGER settlements_once BEFORE INSERT ON settlements
WHEN EXISTS (SELECT 1 FROM settlements WHERE shard = NEW.shard AND lease = NEW.lease)
BEGIN
    SELECT RAISE (ABORT, 'a lease is settled once');
END;

CREATE TRIGGER settlements_stay BEFORE UPDATE ON settlements
BEGIN
    SELECT RAISE (ABORT, 'a settlement never changes');
END;

CREATE TRIGGER settlements_remain BEFORE DELETE ON settlements
BEGIN
    SELECT RAISE (ABORT, 'a settlement is never deleted');
END;

-- How far each shard's journal is settled. The epoch fences a stale leader of a clustered shard.
CREATE TABLE engine_cursor (
    shard INTEGER PRIMARY KEY CHECK (shard BETWEEN 0 AND 65535),
    epoch INTEGER NOT NULL DEFAULT 0,
    sequence INTEGER NOT NULL CHECK (sequence >= 0)
) STRICT;

CREATE TRIGGER engine_cursor_advances BEFORE UPDATE ON engine_cursor
WHEN NEW.shard <> OLD.shard OR NEW.epoch < OLD.epoch OR NEW.sequence < OLD.sequence
BEGIN
    SELECT RAISE (ABORT, 'a cursor only moves forward');
END;

-- Which of an owner's earnings have matured: all up to this transfer's number.
CREATE TABLE maturity (
    owner INTEGER PRIMARY KEY REFERENCES owners (id),
    matured_through INTEGER NOT NULL CHECK (matured_through >= 0)
) STRICT;

CREATE TRIGGER maturity_advances BEFORE UPDATE ON maturity
WHEN NEW.owner <> OLD.owner OR NEW.matured_through < OLD.matured_through
BEGIN
    SELECT RAISE (ABORT, 'maturity only moves forward');
END;

-- Only the hash of a secret is known here.
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    owner INTEGER NOT NULL REFERENCES owners (id),
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('full', 'consumer', 'island')),
    prefix TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL UNIQUE CHECK (length(secret_sha256) = 32),
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    revoked_at INTEGER CHECK (revoked_at >= 0)
) STRICT;

CREATE INDEX api_keys_of_owner ON api_keys (owner, id);

CREATE TRIGGER api_keys_stay BEFORE UPDATE ON api_keys
WHEN OLD.revoked_at IS NOT NULL OR NEW.id <> OLD.id OR NEW.owner <> OLD.owner
    OR NEW.scope <> OLD.scope OR NEW.secret_sha256 <> OLD.secret_sha256
BEGIN
    SELECT RAISE (ABORT, 'a key is revoked once, and otherwise never changes');
END;

CREATE TRIGGER api_keys_remain BEFORE DELETE ON api_keys
BEGIN
    SELECT RAISE (ABORT, 'a key is never deleted');
END;

CREATE TRIGGER owners_remain BEFORE DELETE ON owners
BEGIN
    SELECT RAISE (ABORT, 'an owner is never deleted');
END;
