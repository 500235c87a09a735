-- What is reserved when a reset comes covers orders, and is taken when it comes back.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- What had ever come into an account when its owner's turn came: until as much has left it, what leaves is from before.
CREATE TABLE reserved_before_resets (
    reset BIGINT NOT NULL REFERENCES resets (number),
    account BIGINT NOT NULL REFERENCES accounts (id),
    ever BIGINT NOT NULL CHECK (ever > 0),
    PRIMARY KEY (account, reset)
);

CREATE TRIGGER reserved_before_resets_stay BEFORE UPDATE ON reserved_before_resets
    FOR EACH ROW EXECUTE FUNCTION refuse('what was reserved before a reset stays so');
CREATE TRIGGER reserved_before_resets_remain BEFORE DELETE ON reserved_before_resets
    FOR EACH ROW EXECUTE FUNCTION refuse('what was reserved before a reset stays so');
CREATE TRIGGER reserved_before_resets_remain_all BEFORE TRUNCATE ON reserved_before_resets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was reserved before a reset stays so');

GRANT SELECT, INSERT ON reserved_before_resets TO atoll_billing;
