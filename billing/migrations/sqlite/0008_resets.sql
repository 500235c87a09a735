-- Announced resets of the virtual economy: what is to happen, to whom it has happened, and that it is over.

CREATE TABLE resets (
    number INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 4294967295),
    -- Derived from the request that announced it.
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    at INTEGER NOT NULL CHECK (at > created_at),
    -- What everybody begins with who took part, and what he gets on top.
    starter INTEGER NOT NULL CHECK (starter >= 0),
    bonus INTEGER NOT NULL CHECK (bonus >= 0),
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0)
) STRICT;

-- Whose turn has come: once each.
CREATE TABLE reset_owners (
    reset INTEGER NOT NULL REFERENCES resets (number),
    owner INTEGER NOT NULL REFERENCES owners (id),
    PRIMARY KEY (owner, reset)
) STRICT;

CREATE TABLE reset_ends (
    reset INTEGER PRIMARY KEY REFERENCES resets (number),
    ended_at INTEGER NOT NULL CHECK (ended_at >= 0)
) STRICT;

CREATE TRIGGER resets_once BEFORE INSERT ON resets
WHEN EXISTS (SELECT 1 FROM resets WHERE number = NEW.number OR id = NEW.id)
BEGIN
    SELECT RAISE (ABORT, 'a reset never changes');
END;

CREATE TRIGGER resets_stay BEFORE UPDATE ON resets
BEGIN
    SELECT RAISE (ABORT, 'a reset never changes');
END;

CREATE TRIGGER resets_remain BEFORE DELETE ON resets
BEGIN
    SELECT RAISE (ABORT, 'a reset never changes');
END;

CREATE TRIGGER reset_owners_once BEFORE INSERT ON reset_owners
WHEN EXISTS (SELECT 1 FROM reset_owners WHERE reset = NEW.reset AND owner = NEW.owner)
BEGIN
    SELECT RAISE (ABORT, 'an owner is reset once');
END;

CREATE TRIGGER reset_owners_stay BEFORE UPDATE ON reset_owners
BEGIN
    SELECT RAISE (ABORT, 'an owner is reset once');
END;

CREATE TRIGGER reset_owners_remain BEFORE DELETE ON reset_owners
BEGIN
    SELECT RAISE (ABORT, 'an owner is reset once');
END;

CREATE TRIGGER reset_ends_once BEFORE INSERT ON reset_ends
WHEN EXISTS (SELECT 1 FROM reset_ends WHERE reset = NEW.reset)
BEGIN
    SELECT RAISE (ABORT, 'a reset ends once');
END;

CREATE TRIGGER reset_ends_stay BEFORE UPDATE ON reset_ends
BEGIN
    SELECT RAISE (ABORT, 'a reset ends once');
END;

CREATE TRIGGER reset_ends_remain BEFORE DELETE ON reset_ends
BEGIN
    SELECT RAISE (ABORT, 'a reset ends once');
END;
