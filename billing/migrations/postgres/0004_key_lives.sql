-- Keys that expire, keys that are made once a request, keys that follow one another.

-- Functions keep the path that stands here: the books' schema first, and what a session made for itself last, or a
-- temporary table of the same name would be taken for one of the books.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- When it stops working; null if it does not.
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT CHECK (expires_at >= 0);
-- What it was asked for under: the caller's key of idempotence and a digest of the rest.
ALTER TABLE api_keys ADD COLUMN request_id TEXT;
ALTER TABLE api_keys ADD COLUMN request_sha256 BYTEA
    CHECK (octet_length(request_sha256) = 32 AND (request_sha256 IS NULL) = (request_id IS NULL));
-- The key whose successor it is, and the first key of all that followed one another; null for a first one.
ALTER TABLE api_keys ADD COLUMN rotated_from BIGINT REFERENCES api_keys (id);
ALTER TABLE api_keys ADD COLUMN line BIGINT REFERENCES api_keys (id)
    CHECK ((line IS NULL) = (rotated_from IS NULL));

CREATE UNIQUE INDEX api_keys_of_request ON api_keys (owner, request_id)
    WHERE request_id IS NOT NULL AND rotated_from IS NULL;
CREATE UNIQUE INDEX api_keys_rotated_once ON api_keys (rotated_from) WHERE rotated_from IS NOT NULL;

DROP TRIGGER api_keys_stay ON api_keys;

CREATE TRIGGER api_keys_stay BEFORE UPDATE ON api_keys
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.owner <> OLD.owner OR NEW.name <> OLD.name OR NEW.scope <> OLD.scope
        OR NEW.prefix <> OLD.prefix OR NEW.secret_sha256 <> OLD.secret_sha256 OR NEW.created_at <> OLD.created_at
        OR NEW.request_id IS DISTINCT FROM OLD.request_id OR NEW.request_sha256 IS DISTINCT FROM OLD.request_sha256
        OR NEW.rotated_from IS DISTINCT FROM OLD.rotated_from OR NEW.line IS DISTINCT FROM OLD.line
        OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
        OR (NEW.expires_at IS DISTINCT FROM OLD.expires_at
            AND (NEW.expires_at IS NULL OR NEW.expires_at > coalesce(OLD.expires_at, NEW.expires_at))))
    EXECUTE FUNCTION refuse('a key is revoked once, its end only comes nearer, and otherwise it never changes');

CREATE FUNCTION key_follows() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM api_keys AS followed
        WHERE followed.id = NEW.rotated_from AND followed.owner = NEW.owner AND followed.name = NEW.name AND followed.scope = NEW.scope
            AND coalesce(followed.line, followed.id) = NEW.line
    ) THEN
        RAISE EXCEPTION 'a successor has the owner, the name and the scope of the key that it follows';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER api_keys_follow BEFORE INSERT ON api_keys
    FOR EACH ROW WHEN (NEW.rotated_from IS NOT NULL) EXECUTE FUNCTION key_follows();

GRANT UPDATE (expires_at) ON api_keys TO atoll_billing;
