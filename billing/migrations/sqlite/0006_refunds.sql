-- Refunds of settled segments, and settlements that were refused first and booked when their cause was mended.

-- A request's part of one lease, and who bore it. Nothing here ever changes.
CREATE TABLE refunds (
    -- The request's, and this lease's place in it, from 0.
    id BLOB NOT NULL CHECK (length(id) = 16),
    place INTEGER NOT NULL CHECK (place BETWEEN 0 AND 63),
    shard INTEGER NOT NULL,
    lease BLOB NOT NULL CHECK (length(lease) = 8),
    job BLOB NOT NULL CHECK (length(job) = 16),
    consumer INTEGER NOT NULL REFERENCES owners (id),
    island_owner INTEGER NOT NULL REFERENCES owners (id),
    -- What was asked for, of the whole job; null for all that was left.
    asked INTEGER CHECK (asked > 0),
    from_earnings INTEGER NOT NULL CHECK (from_earnings >= 0),
    from_available INTEGER NOT NULL CHECK (from_available >= 0),
    from_fees INTEGER NOT NULL CHECK (from_fees >= 0),
    from_pool INTEGER NOT NULL CHECK (from_pool >= 0),
    standing TEXT NOT NULL CHECK (standing IN ('established', 'probation')),
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (id, place),
    FOREIGN KEY (shard, lease) REFERENCES settlements (shard, lease),
    CHECK (from_earnings + from_available + from_fees + from_pool > 0)
) STRICT;

CREATE INDEX refunds_of_lease ON refunds (shard, lease);
CREATE INDEX refunds_of_island_owner ON refunds (island_owner);
CREATE INDEX settlements_of_job ON settlements (job);

CREATE TRIGGER refunds_once BEFORE INSERT ON refunds
WHEN EXISTS (SELECT 1 FROM refunds WHERE id = NEW.id AND place = NEW.place)
BEGIN
    SELECT RAISE (ABORT, 'a refund is made once');
END;

CREATE TRIGGER refunds_of_what_was_paid BEFORE INSERT ON refunds
WHEN NEW.from_earnings + NEW.from_available + NEW.from_fees + NEW.from_pool
    + coalesce((
        SELECT sum(from_earnings + from_available + from_fees + from_pool) FROM refunds
        WHERE shard = NEW.shard AND lease = NEW.lease), 0)
    > coalesce((
        SELECT CASE liquidity WHEN 'taker' THEN charge + fee ELSE charge END FROM settlements
        WHERE shard = NEW.shard AND lease = NEW.lease), 0)
BEGIN
    SELECT RAISE (ABORT, 'no more is refunded than was paid');
END;

CREATE TRIGGER refunds_stay BEFORE UPDATE ON refunds
BEGIN
    SELECT RAISE (ABORT, 'a refund never changes');
END;

CREATE TRIGGER refunds_remain BEFORE DELETE ON refunds
BEGIN
    SELECT RAISE (ABORT, 'a refund is never deleted');
END;

-- Refused settlements that an operator had booked afterwards: what was said of them first stays as it is.
CREATE TABLE mended_settlements (
    shard INTEGER NOT NULL,
    lease BLOB NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (shard, lease),
    FOREIGN KEY (shard, lease) REFERENCES settlements (shard, lease)
) STRICT, WITHOUT ROWID;

CREATE INDEX mended_settlements_of_day ON mended_settlements (created_at);

CREATE TRIGGER mended_settlements_once BEFORE INSERT ON mended_settlements
WHEN EXISTS (SELECT 1 FROM mended_settlements WHERE shard = NEW.shard AND lease = NEW.lease)
    OR NOT EXISTS (
        SELECT 1 FROM settlements WHERE shard = NEW.shard AND lease = NEW.lease AND refusal IS NOT NULL)
BEGIN
    SELECT RAISE (ABORT, 'a refused settlement is mended once');
END;

CREATE TRIGGER mended_settlements_stay BEFORE UPDATE ON mended_settlements
BEGIN
    SELECT RAISE (ABORT, 'what was mended stays so');
END;

CREATE TRIGGER mended_settlements_remain BEFORE DELETE ON mended_settlements
BEGIN
    SELECT RAISE (ABORT, 'what was mended stays so');
END;

-- Earnings that may no longer be paid out, although they left the account in which they waited: refunded, or reset.
CREATE TABLE earnings_taken (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner INTEGER NOT NULL REFERENCES owners (id),
    amount INTEGER NOT NULL CHECK (amount > 0)
) STRICT;

CREATE INDEX earnings_taken_of_owner ON earnings_taken (owner);

CREATE TRIGGER earnings_taken_once BEFORE INSERT ON earnings_taken
WHEN EXISTS (SELECT 1 FROM earnings_taken WHERE number = NEW.number)
BEGIN
    SELECT RAISE (ABORT, 'what was taken stays so');
END;

CREATE TRIGGER earnings_taken_stay BEFORE UPDATE ON earnings_taken
BEGIN
    SELECT RAISE (ABORT, 'what was taken stays so');
END;

CREATE TRIGGER earnings_taken_remain BEFORE DELETE ON earnings_taken
BEGIN
    SELECT RAISE (ABORT, 'what was taken stays so');
END;
