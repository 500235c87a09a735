-- What may be spent with keys in a day, and what was.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- A limit holds for a key and all that it was rotated into, under the first of them; null is no limit.
CREATE TABLE spending_limits (
    line BIGINT PRIMARY KEY REFERENCES api_keys (id),
    key_per_day BIGINT CHECK (key_per_day > 0),
    user_per_day BIGINT CHECK (user_per_day > 0)
);

-- Totals of a day, counted from 1970. Of the end user there is only a hash; an empty one stands for all of them together.
CREATE TABLE spending (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line BIGINT NOT NULL REFERENCES api_keys (id),
    day BIGINT NOT NULL CHECK (day >= 0),
    user_sha256 BYTEA NOT NULL CHECK (octet_length(user_sha256) IN (0, 32)),
    spent BIGINT NOT NULL CHECK (spent >= 0),
    UNIQUE (line, day, user_sha256)
);

CREATE INDEX spending_of_day ON spending (line, day, number);

CREATE TRIGGER spending_grows BEFORE UPDATE ON spending
    FOR EACH ROW WHEN (NEW.number <> OLD.number OR NEW.line <> OLD.line OR NEW.day <> OLD.day
        OR NEW.user_sha256 <> OLD.user_sha256 OR NEW.spent < OLD.spent)
    EXECUTE FUNCTION refuse('what was spent on a day only grows');

GRANT SELECT, INSERT ON spending_limits, spending TO atoll_billing;
GRANT UPDATE (key_per_day, user_per_day) ON spending_limits TO atoll_billing;
GRANT UPDATE (spent) ON spending TO atoll_billing;
