-- Keys that expire, keys that are made once a request, keys that follow one another.

-- When it stops working; null if it does not.
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER CHECK (expires_at >= 0);
-- What it was asked for under: the caller's key of idempotence and a digest of the rest.
ALTER TABLE api_keys ADD COLUMN request_id TEXT;
ALTER TABLE api_keys ADD COLUMN request_sha256 BLOB
    CHECK (length(request_sha256) = 32 AND (request_sha256 IS NULL) = (request_id IS NULL));
-- The key whose successor it is, and the first key of all that followed one another; null for a first one.
ALTER TABLE api_keys ADD COLUMN rotated_from INTEGER REFERENCES api_keys (id);
ALTER TABLE api_keys ADD COLUMN line INTEGER REFERENCES api_keys (id)
    CHECK ((line IS NULL) = (rotated_from IS NULL));

CREATE UNIQUE INDEX api_keys_of_request ON api_keys (owner, request_id)
    WHERE request_id IS NOT NULL AND rotated_from IS NULL;
CREATE UNIQUE INDEX api_keys_rotated_once ON api_keys (rotated_from) WHERE rotated_from IS NOT NULL;

DROP TRIGGER api_keys_stay;

CREATE TRIGGER api_keys_stay BEFORE UPDATE ON api_keys
WHEN NEW.id <> OLD.id OR NEW.owner <> OLD.owner OR NEW.name <> OLD.name OR NEW.scope <> OLD.scope
    OR NEW.prefix <> OLD.prefix OR NEW.secret_sha256 <> OLD.secret_sha256 OR NEW.created_at <> OLD.created_at
    OR NEW.request_id IS NOT OLD.request_id OR NEW.request_sha256 IS NOT OLD.request_sha256
    OR NEW.rotated_from IS NOT OLD.rotated_from OR NEW.line IS NOT OLD.line
    OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NOT OLD.revoked_at)
    OR (NEW.expires_at IS NOT OLD.expires_at
        AND (NEW.expires_at IS NULL OR NEW.expires_at > coalesce(OLD.expires_at, NEW.expires_at)))
BEGIN
    SELECT RAISE (ABORT, 'a key is revoked once, its end only comes nearer, and otherwise it never changes');
END;

CREATE TRIGGER api_keys_follow BEFORE INSERT ON api_keys
WHEN NEW.rotated_from IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM api_keys AS followed
    WHERE followed.id = NEW.rotated_from AND followed.owner = NEW.owner AND followed.name = NEW.name AND followed.scope = NEW.scope
        AND coalesce(followed.line, followed.id) = NEW.line
)
BEGIN
    SELECT RAISE (ABORT, 'a successor has the owner, the name and the scope of the key that it follows');
END;
