-- What may be spent with keys in a day, and what was.

-- A limit holds for a key and all that it was rotated into, under the first of them; null is no limit.
CREATE TABLE spending_limits (
    line INTEGER PRIMARY KEY REFERENCES api_keys (id),
    key_per_day INTEGER CHECK (key_per_day > 0),
    user_per_day INTEGER CHECK (user_per_day > 0)
) STRICT;

-- Totals of a day, counted from 1970. Of the end user there is only a hash; an empty one stands for all of them together.
CREATE TABLE spending (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    line INTEGER NOT NULL REFERENCES api_keys (id),
    day INTEGER NOT NULL CHECK (day >= 0),
    user_sha256 BLOB NOT NULL CHECK (length(user_sha256) IN (0, 32)),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    UNIQUE (line, day, user_sha256)
) STRICT;

CREATE INDEX spending_of_day ON spending (line, day, number);

CREATE TRIGGER spending_grows BEFORE UPDATE ON spending
WHEN NEW.number <> OLD.number OR NEW.line <> OLD.line OR NEW.day <> OLD.day OR NEW.user_sha256 <> OLD.user_sha256
    OR NEW.spent < OLD.spent
BEGIN
    SELECT RAISE (ABORT, 'what was spent on a day only grows');
END;
