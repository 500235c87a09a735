-- What is held for a payout when a reset comes is left to it, and is taken when the payout fails.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE held_before_resets (
    payout BYTEA PRIMARY KEY REFERENCES payouts (id),
    reset BIGINT NOT NULL REFERENCES resets (number)
);

CREATE TRIGGER held_before_resets_stay BEFORE UPDATE ON held_before_resets
    FOR EACH ROW EXECUTE FUNCTION refuse('what was held before a reset stays so');
CREATE TRIGGER held_before_resets_remain BEFORE DELETE ON held_before_resets
    FOR EACH ROW EXECUTE FUNCTION refuse('what was held before a reset stays so');
CREATE TRIGGER held_before_resets_remain_all BEFORE TRUNCATE ON held_before_resets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was held before a reset stays so');

GRANT SELECT, INSERT ON held_before_resets TO atoll_billing;
