-- Payouts: each is a pending transfer from its owner to the payouts account, and this row, which says where the credits go
-- and how far they are. What was asked for never changes; the state only follows the transfers.

CREATE TABLE payouts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The pending transfer.
    id BLOB NOT NULL UNIQUE REFERENCES transfers (id) CHECK (length(id) = 16),
    owner INTEGER NOT NULL REFERENCES owners (id),
    destination TEXT NOT NULL CHECK (destination <> ''),
    amount INTEGER NOT NULL CHECK (amount > 0),
    cause TEXT NOT NULL CHECK (cause IN ('on_demand', 'weekly')),
    -- Days since 1970.
    day INTEGER NOT NULL CHECK (day >= 0),
    state TEXT NOT NULL CHECK (state IN ('held', 'approved', 'paid', 'failed')),
    -- Who approved it; empty while nobody did, `policy` where nobody had to.
    approved_by TEXT NOT NULL,
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    -- When the provider is asked next, at the earliest.
    retry_at INTEGER NOT NULL CHECK (retry_at >= 0),
    -- The provider's reference of what is paid, or why it failed.
    note TEXT NOT NULL
) STRICT;

CREATE INDEX payouts_of_owner ON payouts (owner, number);
-- What the provider is to be asked.
CREATE INDEX payouts_to_send ON payouts (retry_at) WHERE state = 'approved';
-- What waits for an operator.
CREATE INDEX payouts_by_state ON payouts (state, number);
-- One on demand a day, and one a day of the weekly run, unless it failed.
CREATE UNIQUE INDEX payouts_once_a_day ON payouts (owner, cause, day) WHERE state <> 'failed';

CREATE TRIGGER payouts_hold BEFORE INSERT ON payouts
WHEN NEW.state NOT IN ('held', 'approved') AND NOT EXISTS (SELECT 1 FROM payouts WHERE id = NEW.id)
    OR NOT EXISTS (
        SELECT 1 FROM transfers AS held
        WHERE held.id = NEW.id AND held.mode = 1 AND held.kind = 'payout' AND held.amount = NEW.amount
            AND held.debit = ((NEW.owner << 20) | 1)
    )
BEGIN
    SELECT RAISE (ABORT, 'a payout begins with the pending transfer that holds it');
END;

CREATE TRIGGER payouts_follow BEFORE UPDATE ON payouts
WHEN NEW.number <> OLD.number OR NEW.id <> OLD.id OR NEW.owner <> OLD.owner OR NEW.destination <> OLD.destination
    OR NEW.amount <> OLD.amount OR NEW.cause <> OLD.cause OR NEW.day <> OLD.day OR NEW.attempts < OLD.attempts
    OR OLD.state IN ('paid', 'failed') OR (OLD.state = 'approved' AND NEW.state = 'held')
    OR (NEW.state = 'paid') <> EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.id AND mode = 2)
    OR (NEW.state = 'failed') <> EXISTS (SELECT 1 FROM transfers WHERE pending_id = NEW.id AND mode = 3)
BEGIN
    SELECT RAISE (ABORT, 'a payout moves forward only, and as its transfer does');
END;

CREATE TRIGGER payouts_remain BEFORE DELETE ON payouts
BEGIN
    SELECT RAISE (ABORT, 'a payout is never deleted');
END;

-- Where the weekly run sends an owner's earnings; empty if it does not.
CREATE TABLE payout_destinations (
    owner INTEGER PRIMARY KEY REFERENCES owners (id),
    destination TEXT NOT NULL
) STRICT;

-- What an Island earned, for its statement.
CREATE INDEX settlements_of_island ON settlements (island, created_at);
