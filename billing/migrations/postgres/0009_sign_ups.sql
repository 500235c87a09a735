-- Who signed up by himself: once a request, so many a day.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE sign_ups (
    request_id TEXT PRIMARY KEY,
    owner BIGINT NOT NULL UNIQUE REFERENCES owners (id),
    key BIGINT NOT NULL REFERENCES api_keys (id),
    -- Days since 1970.
    day BIGINT NOT NULL CHECK (day >= 0),
    granted BIGINT NOT NULL CHECK (granted >= 0)
);

CREATE INDEX sign_ups_of_day ON sign_ups (day);

CREATE TRIGGER sign_ups_stay BEFORE UPDATE ON sign_ups
    FOR EACH ROW EXECUTE FUNCTION refuse('a sign-up never changes');
CREATE TRIGGER sign_ups_remain BEFORE DELETE ON sign_ups
    FOR EACH ROW EXECUTE FUNCTION refuse('a sign-up is never deleted');
CREATE TRIGGER sign_ups_remain_all BEFORE TRUNCATE ON sign_ups
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a sign-up is never deleted');

GRANT SELECT, INSERT ON sign_ups TO atoll_billing;
