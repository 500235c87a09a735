-- The hash chain over the transfers, closed days with their roots, and earnings of Islands on probation.

-- Owners' accounts get more kinds (4: earnings on probation), and the numbers 5 to 7 and 12 to 15 stay free for kinds to
-- come. A CHECK cannot be altered, so the table is made anew under its name; whoever runs this has foreign keys off, for
-- the rows that refer to it are not touched.
CREATE TABLE accounts_before AS SELECT * FROM accounts;
DROP TABLE accounts;

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    owner INTEGER REFERENCES owners (id),
    shard INTEGER NOT NULL DEFAULT 0 CHECK (shard BETWEEN 0 AND 65535),
    kind INTEGER NOT NULL,
    debits_pending INTEGER NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
    debits_posted INTEGER NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
    credits_pending INTEGER NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
    credits_posted INTEGER NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    CHECK ((owner IS NULL AND kind BETWEEN 8 AND 15) OR (owner IS NOT NULL AND kind BETWEEN 1 AND 7)),
    CHECK (shard = 0 OR kind = 2),
    CHECK (id = ((coalesce(owner, 0) << 20) | (shard << 4) | kind)),
    -- Grants, fees and pool may owe; nobody else may.
    CONSTRAINT no_overdraft CHECK (kind IN (8, 9, 10) OR credits_posted - debits_posted >= debits_pending)
) STRICT;

INSERT INTO accounts SELECT * FROM accounts_before;
DROP TABLE accounts_before;

-- Accounts with earnings that may mature.
CREATE INDEX accounts_earning ON accounts (kind, owner) WHERE kind IN (3, 4) AND credits_posted > debits_posted;
-- A shard's reserved accounts, by owner.
CREATE INDEX accounts_of_shard ON accounts (shard, id) WHERE kind = 2;

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

-- Which earnings have matured: of the account that they waited in, all up to this transfer's number.
CREATE TABLE matured (
    account INTEGER PRIMARY KEY REFERENCES accounts (id),
    through INTEGER NOT NULL CHECK (through >= 0)
) STRICT;

INSERT INTO matured (account, through) SELECT (owner << 20) | 3, matured_through FROM maturity;
DROP TABLE maturity;

CREATE TRIGGER matured_advances BEFORE UPDATE ON matured
WHEN NEW.account <> OLD.account OR NEW.through < OLD.through
BEGIN
    SELECT RAISE (ABORT, 'maturity only moves forward');
END;

-- How far the Island was trusted when the lease ended.
ALTER TABLE settlements ADD COLUMN standing TEXT NOT NULL DEFAULT 'established'
    CHECK (standing IN ('established', 'probation'));

CREATE INDEX settlements_of_day ON settlements (created_at);

-- The hash over the transfers of each batch and the seal before.
CREATE TABLE seals (
    first INTEGER PRIMARY KEY CHECK (first > 0),
    through INTEGER NOT NULL CHECK (through >= first),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER seals_follow BEFORE INSERT ON seals
WHEN NEW.first <= (SELECT coalesce(max(through), 0) FROM (SELECT through FROM seals ORDER BY first DESC LIMIT 1))
BEGIN
    SELECT RAISE (ABORT, 'a seal follows the one before');
END;

CREATE TRIGGER seals_stay BEFORE UPDATE ON seals
BEGIN
    SELECT RAISE (ABORT, 'a seal never changes');
END;

CREATE TRIGGER seals_remain BEFORE DELETE ON seals
BEGIN
    SELECT RAISE (ABORT, 'a seal is never deleted');
END;

-- Days (since 1970) whose settlements are final, each with the Merkle root over them.
CREATE TABLE closed_days (
    day INTEGER PRIMARY KEY CHECK (day >= 0),
    settlements INTEGER NOT NULL CHECK (settlements >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    closed_at INTEGER NOT NULL CHECK (closed_at >= 0)
) STRICT;

CREATE TRIGGER closed_days_once BEFORE INSERT ON closed_days
WHEN EXISTS (SELECT 1 FROM closed_days WHERE day = NEW.day)
BEGIN
    SELECT RAISE (ABORT, 'a day is closed once');
END;

CREATE TRIGGER closed_days_stay BEFORE UPDATE ON closed_days
BEGIN
    SELECT RAISE (ABORT, 'a day that is closed never changes');
END;

CREATE TRIGGER closed_days_remain BEFORE DELETE ON closed_days
BEGIN
    SELECT RAISE (ABORT, 'a day that is closed stays closed');
END;

CREATE TRIGGER settlements_after_the_close BEFORE INSERT ON settlements
WHEN NEW.created_at < (SELECT (max(day) + 1) * 86400000000 FROM closed_days)
BEGIN
    SELECT RAISE (ABORT, 'the day is closed');
END;
