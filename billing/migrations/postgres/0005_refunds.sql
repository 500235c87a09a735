-- Refunds of settled segments, and settlements that were refused first and booked when their cause was mended.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- A request's part of one lease, and who bore it. Nothing here ever changes.
CREATE TABLE refunds (
    -- The request's, and this lease's place in it, from 0.
    id BYTEA NOT NULL CHECK (octet_length(id) = 16),
    place BIGINT NOT NULL CHECK (place BETWEEN 0 AND 63),
    shard BIGINT NOT NULL,
    lease BYTEA NOT NULL CHECK (octet_length(lease) = 8),
    job BYTEA NOT NULL CHECK (octet_length(job) = 16),
    consumer BIGINT NOT NULL REFERENCES owners (id),
    island_owner BIGINT NOT NULL REFERENCES owners (id),
    -- What was asked for, of the whole job; null for all that was left.
    asked BIGINT CHECK (asked > 0),
    from_earnings BIGINT NOT NULL CHECK (from_earnings >= 0),
    from_available BIGINT NOT NULL CHECK (from_available >= 0),
    from_fees BIGINT NOT NULL CHECK (from_fees >= 0),
    from_pool BIGINT NOT NULL CHECK (from_pool >= 0),
    standing TEXT NOT NULL CHECK (standing IN ('established', 'probation')),
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (id, place),
    FOREIGN KEY (shard, lease) REFERENCES settlements (shard, lease),
    CHECK (from_earnings + from_available + from_fees + from_pool > 0)
);

CREATE INDEX refunds_of_lease ON refunds (shard, lease);
CREATE INDEX refunds_of_island_owner ON refunds (island_owner);
CREATE INDEX settlements_of_job ON settlements (job);

CREATE FUNCTION refunds_what_was_paid() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.from_earnings + NEW.from_available + NEW.from_fees + NEW.from_pool
        + coalesce((
            SELECT sum(from_earnings + from_available + from_fees + from_pool) FROM refunds
            WHERE shard = NEW.shard AND lease = NEW.lease), 0)
        > coalesce((
            SELECT CASE liquidity WHEN 'taker' THEN charge + fee ELSE charge END FROM settlements
            WHERE shard = NEW.shard AND lease = NEW.lease), 0)
    THEN
        RAISE EXCEPTION 'no more is refunded than was paid';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER refunds_of_what_was_paid BEFORE INSERT ON refunds
    FOR EACH ROW EXECUTE FUNCTION refunds_what_was_paid();
CREATE TRIGGER refunds_stay BEFORE UPDATE ON refunds
    FOR EACH ROW EXECUTE FUNCTION refuse('a refund never changes');
CREATE TRIGGER refunds_remain BEFORE DELETE ON refunds
    FOR EACH ROW EXECUTE FUNCTION refuse('a refund is never deleted');
CREATE TRIGGER refunds_remain_all BEFORE TRUNCATE ON refunds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a refund is never deleted');

-- Refused settlements that an operator had booked afterwards: what was said of them first stays as it is.
CREATE TABLE mended_settlements (
    shard BIGINT NOT NULL,
    lease BYTEA NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    PRIMARY KEY (shard, lease),
    FOREIGN KEY (shard, lease) REFERENCES settlements (shard, lease)
);

CREATE INDEX mended_settlements_of_day ON mended_settlements (created_at);

CREATE FUNCTION mends_a_refused_one() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM settlements WHERE shard = NEW.shard AND lease = NEW.lease AND refusal IS NOT NULL)
    THEN
        RAISE EXCEPTION 'a refused settlement is mended once';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER mended_settlements_once BEFORE INSERT ON mended_settlements
    FOR EACH ROW EXECUTE FUNCTION mends_a_refused_one();
CREATE TRIGGER mended_settlements_stay BEFORE UPDATE ON mended_settlements
    FOR EACH ROW EXECUTE FUNCTION refuse('what was mended stays so');
CREATE TRIGGER mended_settlements_remain BEFORE DELETE ON mended_settlements
    FOR EACH ROW EXECUTE FUNCTION refuse('what was mended stays so');
CREATE TRIGGER mended_settlements_remain_all BEFORE TRUNCATE ON mended_settlements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was mended stays so');

-- Earnings that may no longer be paid out, although they left the account in which they waited: refunded, or reset.
CREATE TABLE earnings_taken (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner BIGINT NOT NULL REFERENCES owners (id),
    amount BIGINT NOT NULL CHECK (amount > 0)
);

CREATE INDEX earnings_taken_of_owner ON earnings_taken (owner);

CREATE TRIGGER earnings_taken_stay BEFORE UPDATE ON earnings_taken
    FOR EACH ROW EXECUTE FUNCTION refuse('what was taken stays so');
CREATE TRIGGER earnings_taken_remain BEFORE DELETE ON earnings_taken
    FOR EACH ROW EXECUTE FUNCTION refuse('what was taken stays so');
CREATE TRIGGER earnings_taken_remain_all BEFORE TRUNCATE ON earnings_taken
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was taken stays so');

GRANT SELECT, INSERT ON refunds, mended_settlements, earnings_taken TO atoll_billing;
