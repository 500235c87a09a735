-- What is held for a payout when a reset comes is left to it, and is taken when the payout fails.

CREATE TABLE held_before_resets (
    payout BLOB PRIMARY KEY REFERENCES payouts (id),
    reset INTEGER NOT NULL REFERENCES resets (number)
) STRICT;

CREATE TRIGGER held_before_resets_once BEFORE INSERT ON held_before_resets
WHEN EXISTS (SELECT 1 FROM held_before_resets WHERE payout = NEW.payout)
BEGIN
    SELECT RAISE (ABORT, 'what was held before a reset stays so');
END;

CREATE TRIGGER held_before_resets_stay BEFORE UPDATE ON held_before_resets
BEGIN
    SELECT RAISE (ABORT, 'what was held before a reset stays so');
END;

CREATE TRIGGER held_before_resets_remain BEFORE DELETE ON held_before_resets
BEGIN
    SELECT RAISE (ABORT, 'what was held before a reset stays so');
END;
