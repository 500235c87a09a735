-- A day is fenced before its settlements are read, so that the writer need not wait for that; and where the chain had come
-- is kept with the day. And what could still be taken away by a deletion, or by a replacement (which deletes without firing
-- a delete trigger), no longer can.

CREATE TABLE fenced_days (
    day INTEGER PRIMARY KEY CHECK (day >= 0),
    -- The last seal at that moment; null before the first transfer.
    through INTEGER CHECK (through > 0),
    hash BLOB CHECK (length(hash) = 32),
    CHECK ((through IS NULL) = (hash IS NULL))
) STRICT;

INSERT INTO fenced_days (day) SELECT day FROM closed_days;

CREATE TRIGGER fenced_days_once BEFORE INSERT ON fenced_days
WHEN EXISTS (SELECT 1 FROM fenced_days WHERE day = NEW.day)
BEGIN
    SELECT RAISE (ABORT, 'a day is fenced once');
END;

CREATE TRIGGER fenced_days_stay BEFORE UPDATE ON fenced_days
BEGIN
    SELECT RAISE (ABORT, 'a fence never changes');
END;

CREATE TRIGGER fenced_days_remain BEFORE DELETE ON fenced_days
BEGIN
    SELECT RAISE (ABORT, 'a fence stays');
END;

CREATE TRIGGER closed_days_fenced BEFORE INSERT ON closed_days
WHEN NOT EXISTS (SELECT 1 FROM fenced_days WHERE day = NEW.day)
BEGIN
    SELECT RAISE (ABORT, 'a day is fenced before it is closed');
END;

DROP TRIGGER settlements_after_the_close;

CREATE TRIGGER settlements_after_the_close BEFORE INSERT ON settlements
WHEN NEW.created_at < (SELECT (max(day) + 1) * 86400000000 FROM fenced_days)
BEGIN
    SELECT RAISE (ABORT, 'the day is closed');
END;

CREATE TRIGGER matured_remain BEFORE DELETE ON matured
BEGIN
    SELECT RAISE (ABORT, 'what matured stays matured');
END;

CREATE TRIGGER matured_replaced BEFORE INSERT ON matured
WHEN EXISTS (SELECT 1 FROM matured WHERE account = NEW.account AND through > NEW.through)
BEGIN
    SELECT RAISE (ABORT, 'maturity only moves forward');
END;

CREATE TRIGGER engine_cursor_remain BEFORE DELETE ON engine_cursor
BEGIN
    SELECT RAISE (ABORT, 'a cursor is never deleted');
END;

CREATE TRIGGER engine_cursor_replaced BEFORE INSERT ON engine_cursor
WHEN EXISTS (
    SELECT 1 FROM engine_cursor
    WHERE shard = NEW.shard AND (sequence > NEW.sequence OR epoch > NEW.epoch)
)
BEGIN
    SELECT RAISE (ABORT, 'a cursor only moves forward');
END;

CREATE TRIGGER owners_once BEFORE INSERT ON owners
WHEN EXISTS (SELECT 1 FROM owners WHERE id = NEW.id OR request_id = NEW.request_id)
BEGIN
    SELECT RAISE (ABORT, 'an owner is made once');
END;

CREATE TRIGGER api_keys_once BEFORE INSERT ON api_keys
WHEN EXISTS (SELECT 1 FROM api_keys WHERE id = NEW.id OR secret_sha256 = NEW.secret_sha256)
BEGIN
    SELECT RAISE (ABORT, 'a key is made once');
END;

CREATE TRIGGER payouts_replaced BEFORE INSERT ON payouts
WHEN EXISTS (
    SELECT 1 FROM payouts AS before
    WHERE before.id = NEW.id AND (
        before.owner <> NEW.owner OR before.destination <> NEW.destination OR before.amount <> NEW.amount
        OR before.cause <> NEW.cause OR before.day <> NEW.day OR before.attempts > NEW.attempts
        OR before.state IN ('paid', 'failed')
        OR (NEW.state = 'paid') <> EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.id AND mode = 2)
        OR (NEW.state = 'failed') <> EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.id AND mode = 3)
    )
)
BEGIN
    SELECT RAISE (ABORT, 'a payout moves forward only, and as its transfer does');
END;
