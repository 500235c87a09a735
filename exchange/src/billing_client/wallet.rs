//! What an account asks of billing about itself: asked in its name, answered in billing's own messages.

use domain::{AccountId, KeyId, Timestamp};
use proto::billing::v1 as wire;
use proto::convert::id_from_wire;
use service::secret::Secret;

use super::{BATCH_TIMEOUTS, BillingClient, BillingError, Repeat, Service};

/// Calls about one account: the request's account is that one, whatever it says.
macro_rules! forwarded {
    ($($(#[$doc:meta])* $name:ident: $method:ident($request:ident) -> $response:ident;)*) => {
        impl BillingClient {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// See [`BillingError`].
                pub async fn $name(
                    &self,
                    account: AccountId,
                    request: wire::$request,
                ) -> Result<wire::$response, BillingError> {
                    let request = wire::$request {
                        account_id: account.to_string(),
                        ..request
                    };
                    let call = |mut service: Service| {
                        let request = request.clone();
                        async move { service.$method(request).await }
                    };
                    let timeout = self.timeout.saturating_mul(BATCH_TIMEOUTS);
                    self.call(Repeat::Safe, timeout, call).await
                }
            )*
        }
    };
}

forwarded! {
    /// A page of the account's transfers, newest first.
    history: list_transfers(ListTransfersRequest) -> ListTransfersResponse;
    /// The account's statement.
    statement: get_statement(GetStatementRequest) -> GetStatementResponse;
    /// Asks for a payout of the account's earnings.
    request_payout: request_payout(RequestPayoutRequest) -> RequestPayoutResponse;
    /// Says where the weekly run sends the account's earnings.
    set_payout_destination: set_payout_destination(SetPayoutDestinationRequest) -> SetPayoutDestinationResponse;
    /// A page of the account's payouts, newest first.
    payouts: list_payouts(ListPayoutsRequest) -> ListPayoutsResponse;
    /// A page of what the account bought and sold, by day, model and side.
    usage: list_usage(ListUsageRequest) -> ListUsageResponse;
}

/// A key that was asked for.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// Its id.
    pub key: KeyId,
    /// The secret, shown once; `None` if an earlier call made the key.
    pub secret: Option<Secret>,
}

impl CreatedKey {
    fn from_wire(key_id: &str, secret: String) -> Result<Self, BillingError> {
        Ok(Self {
            key: id_from_wire("key_id", key_id)?,
            secret: Some(secret).filter(|secret| !secret.is_empty()).map(Secret::new),
        })
    }
}

impl BillingClient {
    /// The account's keys, oldest first.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn api_keys(&self, account: AccountId) -> Result<Vec<wire::ApiKey>, BillingError> {
        let call = |mut service: Service| async move {
            let request = wire::ListApiKeysRequest {
                account_id: account.to_string(),
            };
            service.list_api_keys(request).await
        };
        Ok(self.call(Repeat::Safe, self.timeout, call).await?.keys)
    }

    /// Makes a key. Never repeated by itself: a repetition could not show the secret again.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn create_api_key(
        &self,
        account: AccountId,
        request: wire::CreateApiKeyRequest,
    ) -> Result<CreatedKey, BillingError> {
        let request = wire::CreateApiKeyRequest {
            account_id: account.to_string(),
            ..request
        };
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.create_api_key(request).await }
        };
        let answer = self.call(Repeat::Never, self.timeout, call).await?;
        CreatedKey::from_wire(&answer.key_id, answer.secret)
    }

    /// Makes a key's successor, and tells when the key itself ends. Whose key it is, the caller has made sure of. Never
    /// repeated by itself.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn rotate_api_key(
        &self,
        request: wire::RotateApiKeyRequest,
    ) -> Result<(CreatedKey, Timestamp), BillingError> {
        let call = |mut service: Service| {
            let request = request.clone();
            async move { service.rotate_api_key(request).await }
        };
        let answer = self.call(Repeat::Never, self.timeout, call).await?;
        let old_ends = Timestamp::from_micros(answer.old_expire_time_us);
        Ok((CreatedKey::from_wire(&answer.key_id, answer.secret)?, old_ends))
    }

    /// Sets what may be spent with a key. Whose it is, the caller has made sure of.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn set_spending_limit(
        &self,
        key: KeyId,
        spending_limit: Option<wire::SpendingLimit>,
    ) -> Result<(), BillingError> {
        let call = |mut service: Service| async move {
            let request = wire::SetSpendingLimitRequest {
                key_id: key.to_string(),
                spending_limit,
            };
            service.set_spending_limit(request).await
        };
        self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(())
    }

    /// Ends a key. Whose it is, the caller has made sure of.
    ///
    /// # Errors
    /// See [`BillingError`].
    pub async fn revoke_api_key(&self, key: KeyId) -> Result<(), BillingError> {
        let call = |mut service: Service| async move {
            let request = wire::RevokeApiKeyRequest {
                key_id: key.to_string(),
            };
            service.revoke_api_key(request).await
        };
        self.call(Repeat::Safe, self.timeout, call).await?;
        Ok(())
    }
}
