-- What is reserved when a reset comes covers orders, and is taken when it comes back.

-- What had ever come into an account when its owner's turn came: until as much has left it, what leaves is from before.
CREATE TABLE reserved_before_resets (
    reset INTEGER NOT NULL REFERENCES resets (number),
    account INTEGER NOT NULL REFERENCES accounts (id),
    ever INTEGER NOT NULL CHECK (ever > 0),
    PRIMARY KEY (account, reset)
) STRICT;

CREATE TRIGGER reserved_before_resets_once BEFORE INSERT ON reserved_before_resets
WHEN EXISTS (SELECT 1 FROM reserved_before_resets WHERE reset = NEW.reset AND account = NEW.account)
BEGIN
    SELECT RAISE (ABORT, 'what was reserved before a reset stays so');
END;

CREATE TRIGGER reserved_before_resets_stay BEFORE UPDATE ON reserved_before_resets
BEGIN
    SELECT RAISE (ABORT, 'what was reserved before a reset stays so');
END;

CREATE TRIGGER reserved_before_resets_remain BEFORE DELETE ON reserved_before_resets
BEGIN
    SELECT RAISE (ABORT, 'what was reserved before a reset stays so');
END;
