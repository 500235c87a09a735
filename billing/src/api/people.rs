//! Accounts and API keys.

use domain::{AccountId, Timestamp};
use proto::billing::v1 as wire;
use proto::convert::billing::{
    create_account_from_wire, create_key_from_wire, rotate_key_from_wire, scope_to_wire, sign_up_from_wire,
    spending_limit_to_wire,
};
use proto::convert::{FieldError, id_from_wire};
use service::secret::Secret;

use super::{Api, now, unexpected};
use crate::error::ApiError;
use crate::keys::{new_secret, sha256};
use crate::store::key::{KeptSecret, KeyMade, KeyRecord, KeyRequest, NewKey, Rotation};
use crate::store::sign_up::NewSignUp;
use crate::store::{Change, LedgerStore, Outcome, Rejection};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn make_account(
        &self,
        request: wire::CreateAccountRequest,
    ) -> Result<wire::CreateAccountResponse, ApiError> {
        let request = create_account_from_wire(request)?;
        let open = Change::OpenOwner {
            request_id: request.request_id,
            display_name: request.display_name,
        };
        let outcome = self.writer.write_one(open).await?;
        let Outcome::Owner(account) = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::CreateAccountResponse {
            account_id: account.to_string(),
        })
    }

    pub(super) async fn make_sign_up(
        &self,
        request: wire::SignUpRequest,
    ) -> Result<wire::SignUpResponse, ApiError> {
        let request = sign_up_from_wire(request)?;
        if !self.sign_ups.enabled {
            return Err(ApiError::SignUpOff);
        }
        let (secret, kept) = fresh_secret()?;
        let sign_up = NewSignUp {
            request_id: request.request_id,
            display_name: request.display_name,
            secret: kept,
            grant: self.sign_ups.grant(),
            per_day_max: self.sign_ups.per_day_max,
        };
        let outcome = self.writer.write_one(Change::SignUp(sign_up)).await?;
        let Outcome::SignedUp { owner, key, granted } = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::SignUpResponse {
            account_id: owner.to_string(),
            key_id: key.id().to_string(),
            secret: shown(key, &secret),
            made_before: is_before(key),
            granted_nano: granted.as_nano(),
        })
    }

    pub(super) async fn make_key(
        &self,
        request: wire::CreateApiKeyRequest,
    ) -> Result<wire::CreateApiKeyResponse, ApiError> {
        let request = create_key_from_wire(request)?;
        let (secret, kept) = fresh_secret()?;
        let body = format!(
            "create {:?} {:?} {:?}",
            request.name, request.scope, request.expires_at
        );
        let key = NewKey {
            owner: request.account,
            name: request.name,
            scope: request.scope,
            secret: kept,
            request: request.request_id.map(|id| key_request(id, &body)),
            expires_at: request.expires_at,
        };
        let outcome = self.writer.write_one(Change::CreateKey(key)).await?;
        let Outcome::Key(made) = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::CreateApiKeyResponse {
            key_id: made.id().to_string(),
            secret: shown(made, &secret),
            made_before: is_before(made),
        })
    }

    pub(super) async fn rotate_key(
        &self,
        request: wire::RotateApiKeyRequest,
    ) -> Result<wire::RotateApiKeyResponse, ApiError> {
        let request = rotate_key_from_wire(request)?;
        let (secret, kept) = fresh_secret()?;
        let body = format!("rotate {:?} {:?}", request.grace, request.expires_at);
        let rotation = Rotation {
            key: request.key,
            request: key_request(request.request_id, &body),
            secret: kept,
            old_expires_at: now().after(request.grace),
            expires_at: request.expires_at,
        };
        let outcome = self.writer.write_one(Change::RotateKey(rotation)).await?;
        let Outcome::Rotated {
            successor,
            old_expires_at,
        } = outcome
        else {
            return Err(unexpected(outcome));
        };
        Ok(wire::RotateApiKeyResponse {
            key_id: successor.id().to_string(),
            secret: shown(successor, &secret),
            made_before: is_before(successor),
            old_expire_time_us: old_expires_at.as_micros(),
        })
    }

    pub(super) async fn revoke_key(
        &self,
        request: &wire::RevokeApiKeyRequest,
    ) -> Result<wire::RevokeApiKeyResponse, ApiError> {
        let key = id_from_wire("key_id", &request.key_id)?;
        let outcome = self.writer.write_one(Change::RevokeKey(key)).await?;
        let Outcome::Revoked = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::RevokeApiKeyResponse {})
    }

    pub(super) async fn list_keys(
        &self,
        request: &wire::ListApiKeysRequest,
    ) -> Result<wire::ListApiKeysResponse, ApiError> {
        let account: AccountId = id_from_wire("account_id", &request.account_id)?;
        let keys = self.store.keys_of(account).await?;
        let keys = keys.ok_or(Rejection::UnknownAccount(account))?;
        Ok(wire::ListApiKeysResponse {
            keys: keys.into_iter().map(key_to_wire).collect(),
        })
    }

    pub(super) async fn authenticate(
        &self,
        request: &wire::AuthenticateApiKeyRequest,
    ) -> Result<wire::AuthenticateApiKeyResponse, ApiError> {
        let hash = <[u8; 32]>::try_from(request.secret_sha256.as_slice())
            .map_err(|_| FieldError::new("secret_sha256", "must be 32 bytes"))?;
        let key = self.store.key_by_hash(hash).await?;
        let key = key.ok_or(ApiError::UnknownSecret)?;
        if key.revoked_at.is_some() {
            return Err(ApiError::RevokedSecret);
        }
        if key.expires_at.is_some_and(|at| at <= now()) {
            return Err(ApiError::ExpiredSecret);
        }
        Ok(wire::AuthenticateApiKeyResponse {
            account_id: key.owner.to_string(),
            key_id: key.id.to_string(),
            scope: scope_to_wire(key.scope).into(),
            expire_time_us: time_to_wire(key.expires_at),
            line_key_id: key.line.to_string(),
            spending_limit: Some(spending_limit_to_wire(key.limit)),
        })
    }
}

/// A secret, and what is kept of it.
fn fresh_secret() -> Result<(Secret, KeptSecret), ApiError> {
    let made = new_secret().map_err(|_| ApiError::NoRandomness)?;
    let kept = KeptSecret {
        prefix: made.prefix,
        sha256: made.sha256,
    };
    Ok((made.secret, kept))
}

fn key_request(id: String, body: &str) -> KeyRequest {
    KeyRequest {
        id,
        body: sha256(body.as_bytes()),
    }
}

/// The secret, if it is the key's: that of a key that was made before nobody knows.
fn shown(made: KeyMade, secret: &Secret) -> String {
    match made {
        KeyMade::Now(_) => secret.expose().to_owned(),
        KeyMade::Before(_) => String::new(),
    }
}

const fn is_before(made: KeyMade) -> bool {
    match made {
        KeyMade::Now(_) => false,
        KeyMade::Before(_) => true,
    }
}

/// A moment on the wire; 0 if there is none.
fn time_to_wire(at: Option<Timestamp>) -> u64 {
    at.map_or(0, Timestamp::as_micros)
}

fn key_to_wire(key: KeyRecord) -> wire::ApiKey {
    wire::ApiKey {
        key_id: key.id.to_string(),
        name: key.name,
        scope: scope_to_wire(key.scope).into(),
        created_at_us: key.created_at.as_micros(),
        revoked_at_us: time_to_wire(key.revoked_at),
        expire_time_us: time_to_wire(key.expires_at),
        rotated_from_key_id: key.rotated_from.map_or_else(String::new, |id| id.to_string()),
        rotated_to_key_id: key.rotated_to.map_or_else(String::new, |id| id.to_string()),
        spending_limit: Some(spending_limit_to_wire(key.limit)),
    }
}
