-- Who signed up by himself: once a request, so many a day.

CREATE TABLE sign_ups (
    request_id TEXT PRIMARY KEY,
    owner INTEGER NOT NULL UNIQUE REFERENCES owners (id),
    key INTEGER NOT NULL REFERENCES api_keys (id),
    -- Days since 1970.
    day INTEGER NOT NULL CHECK (day >= 0),
    granted INTEGER NOT NULL CHECK (granted >= 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_ups_of_day ON sign_ups (day);

CREATE TRIGGER sign_ups_once BEFORE INSERT ON sign_ups
WHEN EXISTS (SELECT 1 FROM sign_ups WHERE request_id = NEW.request_id OR owner = NEW.owner)
BEGIN
    SELECT RAISE (ABORT, 'a sign-up is once');
END;

CREATE TRIGGER sign_ups_stay BEFORE UPDATE ON sign_ups
BEGIN
    SELECT RAISE (ABORT, 'a sign-up never changes');
END;

CREATE TRIGGER sign_ups_remain BEFORE DELETE ON sign_ups
BEGIN
    SELECT RAISE (ABORT, 'a sign-up is never deleted');
END;
