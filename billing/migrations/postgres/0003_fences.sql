-- A day is fenced before its settlements are read, so that the writer need not wait for that; and where the chain had come
-- is kept with the day. And what could still be deleted or truncated no longer can.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE fenced_days (
    day BIGINT PRIMARY KEY CHECK (day >= 0),
    -- The last seal at that moment; null before the first transfer.
    through BIGINT CHECK (through > 0),
    hash BYTEA CHECK (octet_length(hash) = 32),
    CHECK ((through IS NULL) = (hash IS NULL))
);

INSERT INTO fenced_days (day) SELECT day FROM closed_days;

-- The role may read fences and add them, and no more.
GRANT SELECT, INSERT ON fenced_days TO atoll_billing;

ALTER TABLE closed_days ADD CONSTRAINT closed_days_fenced FOREIGN KEY (day) REFERENCES fenced_days (day);

CREATE OR REPLACE FUNCTION settles_an_open_day() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM added
        WHERE created_at < (SELECT (max(day) + 1) * 86400000000 FROM fenced_days)
    ) THEN
        RAISE EXCEPTION 'the day is closed';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER fenced_days_stay BEFORE UPDATE ON fenced_days
    FOR EACH ROW EXECUTE FUNCTION refuse('a fence never changes');
CREATE TRIGGER fenced_days_remain BEFORE DELETE ON fenced_days
    FOR EACH ROW EXECUTE FUNCTION refuse('a fence stays');
CREATE TRIGGER fenced_days_remain_all BEFORE TRUNCATE ON fenced_days
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a fence stays');
CREATE TRIGGER closed_days_remain_all BEFORE TRUNCATE ON closed_days
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a day that is closed stays closed');
CREATE TRIGGER seals_remain_all BEFORE TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a seal is never deleted');
CREATE TRIGGER matured_remain BEFORE DELETE ON matured
    FOR EACH ROW EXECUTE FUNCTION refuse('what matured stays matured');
CREATE TRIGGER matured_remain_all BEFORE TRUNCATE ON matured
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what matured stays matured');
CREATE TRIGGER engine_cursor_remain BEFORE DELETE ON engine_cursor
    FOR EACH ROW EXECUTE FUNCTION refuse('a cursor is never deleted');
CREATE TRIGGER engine_cursor_remain_all BEFORE TRUNCATE ON engine_cursor
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a cursor is never deleted');
CREATE TRIGGER accounts_remain_all BEFORE TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an account is never deleted');
CREATE TRIGGER owners_remain_all BEFORE TRUNCATE ON owners
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an owner is never deleted');
CREATE TRIGGER api_keys_remain_all BEFORE TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a key is never deleted');
CREATE TRIGGER payouts_remain_all BEFORE TRUNCATE ON payouts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a payout is never deleted');

-- From PostgreSQL 16 on, who makes a role is a member of it without the right to become it, unless he gives it to himself.
DO $$
BEGIN
    IF current_setting('server_version_num')::INTEGER >= 160000 THEN
        IF NOT pg_has_role(current_user, 'atoll_billing', 'SET') THEN
            EXECUTE format('GRANT atoll_billing TO %I WITH SET TRUE', current_user);
        END IF;
    END IF;
END
$$;
