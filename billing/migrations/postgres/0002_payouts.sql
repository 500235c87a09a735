-- Payouts: each is a pending transfer from its owner to the payouts account, and this row, which says where the credits go
-- and how far they are. What was asked for never changes; the state only follows the transfers.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE TABLE payouts (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The pending transfer.
    id BYTEA NOT NULL UNIQUE REFERENCES transfers (id) CHECK (length(id) = 16),
    owner BIGINT NOT NULL REFERENCES owners (id),
    destination TEXT NOT NULL CHECK (destination <> ''),
    amount BIGINT NOT NULL CHECK (amount > 0),
    cause TEXT NOT NULL CHECK (cause IN ('on_demand', 'weekly')),
    -- Days since 1970.
    day BIGINT NOT NULL CHECK (day >= 0),
    state TEXT NOT NULL CHECK (state IN ('held', 'approved', 'paid', 'failed')),
    -- Who approved it; empty while nobody did, `policy` where nobody had to.
    approved_by TEXT NOT NULL,
    attempts BIGINT NOT NULL CHECK (attempts >= 0),
    -- When the provider is asked next, at the earliest.
    retry_at BIGINT NOT NULL CHECK (retry_at >= 0),
    -- The provider's reference of what is paid, or why it failed.
    note TEXT NOT NULL
);

CREATE INDEX payouts_of_owner ON payouts (owner, number);
-- What the provider is to be asked.
CREATE INDEX payouts_to_send ON payouts (retry_at) WHERE state = 'approved';
-- What waits for an operator.
CREATE INDEX payouts_by_state ON payouts (state, number);
-- One on demand a day, and one a day of the weekly run, unless it failed.
CREATE UNIQUE INDEX payouts_once_a_day ON payouts (owner, cause, day) WHERE state <> 'failed';

CREATE FUNCTION payout_holds() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.state NOT IN ('held', 'approved') AND NOT EXISTS (SELECT 1 FROM payouts WHERE id = NEW.id)
        OR NOT EXISTS (
            SELECT 1 FROM transfers AS held
            WHERE held.id = NEW.id AND held.mode = 1 AND held.kind = 'payout' AND held.amount = NEW.amount
                AND held.debit = ((NEW.owner << 20) | 1)
        )
    THEN
        RAISE EXCEPTION 'a payout begins with the pending transfer that holds it';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION payout_follows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.number <> OLD.number OR NEW.id <> OLD.id OR NEW.owner <> OLD.owner OR NEW.destination <> OLD.destination
        OR NEW.amount <> OLD.amount OR NEW.cause <> OLD.cause OR NEW.day <> OLD.day OR NEW.attempts < OLD.attempts
        OR OLD.state IN ('paid', 'failed') OR (OLD.state = 'approved' AND NEW.state = 'held')
        OR (NEW.state = 'paid') <> EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.id AND mode = 2)
        OR (NEW.state = 'failed') <> EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.id AND mode = 3)
    THEN
        RAISE EXCEPTION 'a payout moves forward only, and as its transfer does';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER payouts_hold BEFORE INSERT ON payouts FOR EACH ROW EXECUTE FUNCTION payout_holds();
CREATE TRIGGER payouts_follow BEFORE UPDATE ON payouts FOR EACH ROW EXECUTE FUNCTION payout_follows();
CREATE TRIGGER payouts_remain BEFORE DELETE ON payouts
    FOR EACH ROW EXECUTE FUNCTION refuse('a payout is never deleted');

-- Where the weekly run sends an owner's earnings; empty if it does not.
CREATE TABLE payout_destinations (
    owner BIGINT PRIMARY KEY REFERENCES owners (id),
    destination TEXT NOT NULL
);

-- What an Island earned, for its statement.
CREATE INDEX settlements_of_island ON settlements (island, created_at);

GRANT SELECT, INSERT ON payouts, payout_destinations TO atoll_billing;
GRANT UPDATE (state, approved_by, attempts, retry_at, note) ON payouts TO atoll_billing;
GRANT UPDATE (destination) ON payout_destinations TO atoll_billing;
