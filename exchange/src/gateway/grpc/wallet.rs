//! `WalletService`: an account's own money. Billing answers; this says whose it is.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use domain::{AccountId, Digest, KeyId};
use http::HeaderMap;
use proto::billing::v1 as billing;
use proto::convert::billing::REQUEST_ID_LENGTH_MAX;
use proto::convert::{id_from_wire, text_from_wire};
use proto::exchange::v1 as wire;
use proto::exchange::v1::wallet_service_server::WalletService;
use service::secret::Secret;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::queries::of_billing;
use crate::billing_client::BillingError;
use crate::gateway::Gateway;
use crate::gateway::errors::{Refusal, WRONG_KEY_SCOPE};
use crate::identity::KeyScope;

/// Who a refusal of billing's is from.
const BILLING_DOMAIN: &str = "atoll.billing";

#[tonic::async_trait]
impl WalletService for Gateway {
    async fn list_transfers(
        &self,
        request: Request<wire::ListTransfersRequest>,
    ) -> Result<Response<wire::ListTransfersResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let asked = request.into_inner();
        let request = billing::ListTransfersRequest {
            page_size: asked.page_size,
            page_token: asked.page_token,
            filter: asked.filter,
            ..Default::default()
        };
        let page = self.billing.history(account, request).await.map_err(told)?;
        Ok(Response::new(wire::ListTransfersResponse {
            transfers: page.transfers,
            next_page_token: page.next_page_token,
        }))
    }

    async fn get_statement(
        &self,
        request: Request<wire::GetStatementRequest>,
    ) -> Result<Response<wire::GetStatementResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let asked = request.into_inner();
        let request = billing::GetStatementRequest {
            from_us: asked.from_us,
            until_us: asked.until_us,
            island_id: asked.island_id,
            ..Default::default()
        };
        let statement = self.billing.statement(account, request).await.map_err(told)?;
        Ok(Response::new(wire::GetStatementResponse {
            statement: Some(statement),
        }))
    }

    async fn request_payout(
        &self,
        request: Request<wire::RequestPayoutRequest>,
    ) -> Result<Response<wire::RequestPayoutResponse>, Status> {
        let account = self.master(request.metadata().as_ref()).await?;
        let asked = request.into_inner();
        let request = billing::RequestPayoutRequest {
            request_id: own_request_id(account, asked.request_id)?,
            destination: asked.destination,
            amount_nano: asked.amount_nano,
            ..Default::default()
        };
        let answer = self
            .billing
            .request_payout(account, request)
            .await
            .map_err(told)?;
        Ok(Response::new(wire::RequestPayoutResponse {
            payout: answer.payout,
        }))
    }

    async fn set_payout_destination(
        &self,
        request: Request<wire::SetPayoutDestinationRequest>,
    ) -> Result<Response<wire::SetPayoutDestinationResponse>, Status> {
        let account = self.master(request.metadata().as_ref()).await?;
        let request = billing::SetPayoutDestinationRequest {
            destination: request.into_inner().destination,
            ..Default::default()
        };
        let noted = self.billing.set_payout_destination(account, request).await;
        noted.map_err(told)?;
        Ok(Response::new(wire::SetPayoutDestinationResponse {}))
    }

    async fn list_payouts(
        &self,
        request: Request<wire::ListPayoutsRequest>,
    ) -> Result<Response<wire::ListPayoutsResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let asked = request.into_inner();
        let request = billing::ListPayoutsRequest {
            page_size: asked.page_size,
            page_token: asked.page_token,
            ..Default::default()
        };
        let page = self.billing.payouts(account, request).await.map_err(told)?;
        Ok(Response::new(wire::ListPayoutsResponse {
            payouts: page.payouts,
            next_page_token: page.next_page_token,
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<wire::CreateApiKeyRequest>,
    ) -> Result<Response<wire::CreateApiKeyResponse>, Status> {
        let account = self.master(request.metadata().as_ref()).await?;
        let asked = request.into_inner();
        let request = billing::CreateApiKeyRequest {
            request_id: asked.request_id,
            name: asked.name,
            scope: asked.scope,
            expire_time_us: asked.expire_time_us,
            ..Default::default()
        };
        let created = self.billing.create_api_key(account, request).await;
        let created = created.map_err(told)?;
        Ok(Response::new(wire::CreateApiKeyResponse {
            key_id: created.key.to_string(),
            made_before: created.secret.is_none(),
            secret: shown(created.secret),
        }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<wire::RotateApiKeyRequest>,
    ) -> Result<Response<wire::RotateApiKeyResponse>, Status> {
        let account = self.master(request.metadata().as_ref()).await?;
        let asked = request.into_inner();
        let key = self.own_key(account, &asked.key_id).await?;
        let request = billing::RotateApiKeyRequest {
            key_id: key.to_string(),
            request_id: asked.request_id,
            grace_ms: asked.grace_ms,
            expire_time_us: asked.expire_time_us,
        };
        let (successor, old_ends) = self.billing.rotate_api_key(request).await.map_err(told)?;
        self.keys.forget(key);
        Ok(Response::new(wire::RotateApiKeyResponse {
            key_id: successor.key.to_string(),
            made_before: successor.secret.is_none(),
            secret: shown(successor.secret),
            old_expire_time_us: old_ends.as_micros(),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<wire::RevokeApiKeyRequest>,
    ) -> Result<Response<wire::RevokeApiKeyResponse>, Status> {
        let account = self.master(request.metadata().as_ref()).await?;
        let key = self.own_key(account, &request.get_ref().key_id).await?;
        self.billing.revoke_api_key(key).await.map_err(told)?;
        self.keys.forget(key);
        Ok(Response::new(wire::RevokeApiKeyResponse {}))
    }

    async fn set_spending_limit(
        &self,
        request: Request<wire::SetSpendingLimitRequest>,
    ) -> Result<Response<wire::SetSpendingLimitResponse>, Status> {
        let account = self.master(request.metadata().as_ref()).await?;
        let asked = request.into_inner();
        let key = self.own_key(account, &asked.key_id).await?;
        let set = self.billing.set_spending_limit(key, asked.spending_limit).await;
        set.map_err(told)?;
        self.keys.forget(key);
        Ok(Response::new(wire::SetSpendingLimitResponse {}))
    }

    async fn list_usage(
        &self,
        request: Request<wire::ListUsageRequest>,
    ) -> Result<Response<wire::ListUsageResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let asked = request.into_inner();
        let request = billing::ListUsageRequest {
            from_us: asked.from_us,
            until_us: asked.until_us,
            model: asked.model,
            page_size: asked.page_size,
            page_token: asked.page_token,
            ..Default::default()
        };
        let page = self.billing.usage(account, request).await.map_err(told)?;
        Ok(Response::new(wire::ListUsageResponse {
            usage: page.usage,
            next_page_token: page.next_page_token,
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<wire::ListApiKeysRequest>,
    ) -> Result<Response<wire::ListApiKeysResponse>, Status> {
        let account = self.caller(request.metadata().as_ref()).await?.account;
        let keys = self.billing.api_keys(account).await.map_err(told)?;
        Ok(Response::new(wire::ListApiKeysResponse { keys }))
    }
}

impl Gateway {
    /// The key, if it is the account's: of another's it is not even said that it exists.
    async fn own_key(&self, account: AccountId, key_id: &str) -> Result<KeyId, Status> {
        let key: KeyId = id_from_wire("key_id", key_id).map_err(Refusal::from)?;
        let keys = self.billing.api_keys(account).await.map_err(told)?;
        if keys.iter().any(|own| own.key_id == key.to_string()) {
            return Ok(key);
        }
        let message = "the account has no such key; `ListApiKeys` tells which it has";
        Err(billing_refusal(Code::NotFound, "UNKNOWN_KEY", message))
    }

    /// The account whose key of full scope came with the request: such a key may take money out of it, and make and end keys.
    async fn master(&self, headers: &HeaderMap) -> Result<AccountId, Refusal> {
        let caller = self.caller(headers).await?;
        match caller.scope {
            KeyScope::Full => Ok(caller.account),
            KeyScope::Consumer | KeyScope::Island => Err(WRONG_KEY_SCOPE
                .because("this key may neither take money out nor make or end keys; use one of full scope")),
        }
    }
}

/// The id that billing knows a request by. Callers choose theirs within their account; billing's are for all, so they
/// must neither meet nor be guessed by another account.
fn own_request_id(account: AccountId, request_id: String) -> Result<String, Refusal> {
    let request_id = text_from_wire("request_id", request_id, REQUEST_ID_LENGTH_MAX)?;
    let digest = Digest::of(format!("{account}/{request_id}").as_bytes());
    Ok(HEXLOWER.encode(digest.as_bytes()))
}

/// A secret on its way to its owner, the one time that it is shown.
fn shown(secret: Option<Secret>) -> String {
    secret.map_or_else(String::new, |secret| secret.expose().to_owned())
}

/// What billing refused, in its words; else that it cannot be asked.
fn told(error: BillingError) -> Status {
    match error {
        BillingError::Refused { grpc, code, message } => billing_refusal(grpc, code, message),
        error @ (BillingError::Unavailable { .. } | BillingError::Malformed { .. }) => {
            of_billing(error).into()
        }
    }
}

fn billing_refusal(grpc: Code, code: impl Into<String>, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(code, BILLING_DOMAIN, HashMap::new());
    Status::with_error_details(grpc, message, details)
}
