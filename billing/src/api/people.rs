//! Accounts and API keys.

use domain::AccountId;
use proto::billing::v1 as wire;
use proto::convert::billing::{create_account_from_wire, create_key_from_wire, scope_to_wire};
use proto::convert::{FieldError, id_from_wire};

use super::{Api, unexpected};
use crate::error::ApiError;
use crate::keys::new_secret;
use crate::store::{Change, KeyRecord, LedgerStore, NewKey, Outcome, Rejection};

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

    pub(super) async fn make_key(
        &self,
        request: wire::CreateApiKeyRequest,
    ) -> Result<wire::CreateApiKeyResponse, ApiError> {
        let request = create_key_from_wire(request)?;
        let made = new_secret().map_err(|_| ApiError::NoRandomness)?;
        let key = NewKey {
            owner: request.account,
            name: request.name,
            scope: request.scope,
            prefix: made.prefix,
            secret_sha256: made.sha256,
        };
        let outcome = self.writer.write_one(Change::CreateKey(key)).await?;
        let Outcome::Key(key) = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::CreateApiKeyResponse {
            key_id: key.to_string(),
            secret: made.secret.expose().to_owned(),
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
        Ok(wire::AuthenticateApiKeyResponse {
            account_id: key.owner.to_string(),
            key_id: key.id.to_string(),
            scope: scope_to_wire(key.scope).into(),
        })
    }
}

fn key_to_wire(key: KeyRecord) -> wire::ApiKey {
    wire::ApiKey {
        key_id: key.id.to_string(),
        name: key.name,
        scope: scope_to_wire(key.scope).into(),
        created_at_us: key.created_at.as_micros(),
        revoked_at_us: key.revoked_at.map_or(0, |at| at.as_micros()),
    }
}
