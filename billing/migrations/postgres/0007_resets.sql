-- Announced resets of the virtual economy: what is to happen, to whom it has happened, and that it is over.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE resets (
    number BIGINT PRIMARY KEY CHECK (number BETWEEN 1 AND 4294967295),
    -- Derived from the request that announced it.
    id BYTEA NOT NULL UNIQUE CHECK (octet_length(id) = 16),
    at BIGINT NOT NULL CHECK (at > created_at),
    -- What everybody begins with who took part, and what he gets on top.
    starter BIGINT NOT NULL CHECK (starter >= 0),
    bonus BIGINT NOT NULL CHECK (bonus >= 0),
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0)
);

-- Whose turn has come: once each.
CREATE TABLE reset_owners (
    reset BIGINT NOT NULL REFERENCES resets (number),
    owner BIGINT NOT NULL REFERENCES owners (id),
    PRIMARY KEY (owner, reset)
);

CREATE TABLE reset_ends (
    reset BIGINT PRIMARY KEY REFERENCES resets (number),
    ended_at BIGINT NOT NULL CHECK (ended_at >= 0)
);

CREATE TRIGGER resets_stay BEFORE UPDATE ON resets
    FOR EACH ROW EXECUTE FUNCTION refuse('a reset never changes');
CREATE TRIGGER resets_remain BEFORE DELETE ON resets
    FOR EACH ROW EXECUTE FUNCTION refuse('a reset never changes');
CREATE TRIGGER resets_remain_all BEFORE TRUNCATE ON resets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a reset never changes');

CREATE TRIGGER reset_owners_stay BEFORE UPDATE ON reset_owners
    FOR EACH ROW EXECUTE FUNCTION refuse('an owner is reset once');
CREATE TRIGGER reset_owners_remain BEFORE DELETE ON reset_owners
    FOR EACH ROW EXECUTE FUNCTION refuse('an owner is reset once');
CREATE TRIGGER reset_owners_remain_all BEFORE TRUNCATE ON reset_owners
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an owner is reset once');

CREATE TRIGGER reset_ends_stay BEFORE UPDATE ON reset_ends
    FOR EACH ROW EXECUTE FUNCTION refuse('a reset ends once');
CREATE TRIGGER reset_ends_remain BEFORE DELETE ON reset_ends
    FOR EACH ROW EXECUTE FUNCTION refuse('a reset ends once');
CREATE TRIGGER reset_ends_remain_all BEFORE TRUNCATE ON reset_ends
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a reset ends once');

GRANT SELECT, INSERT ON resets, reset_owners, reset_ends TO atoll_billing;
