//! Who buys and who owns the Islands, made on the first start and remembered.

use anyhow::{Context, Result};
use domain::Credits;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::billing::v1::{CreateAccountRequest, CreateApiKeyRequest, GrantCreditsRequest, KeyScope};
use service::secret::Secret;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::client::{self, Bearer, explain};
use crate::state::{Holder, State};

/// What the consumer starts with: enough for some hundred thousand answers at the Islands' prices. Virtual.
const STARTER_GRANT: Credits = match Credits::from_whole(1_000) {
    Some(credits) => credits,
    None => Credits::ZERO,
};

/// Billing, with the service token on every call.
pub(crate) type Billing = BillingServiceClient<InterceptedService<Channel, Bearer>>;

/// Connects to billing.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn connect(url: &str, token: &Secret) -> Result<Billing> {
    Ok(BillingServiceClient::with_interceptor(
        client::connect(url).await?,
        Bearer::new(token)?,
    ))
}

/// The secrets that this folder's services share, fresh.
///
/// # Errors
/// When the machine has no randomness.
pub(crate) fn fresh_secret() -> Result<Secret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the machine gave no randomness")?;
    Ok(Secret::new(
        data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase(),
    ))
}

/// Makes both accounts, grants the consumer his credits, and makes the keys. Repeating it after a half-made start
/// finds the accounts and the grant that are there.
///
/// # Errors
/// When billing refuses.
pub(crate) async fn create(billing: &mut Billing, service_token: Secret) -> Result<State> {
    let consumer = holder(billing, "up-consumer", "consumer").await?;
    let owner = holder(billing, "up-owner", "Island owner").await?;
    let grant = GrantCreditsRequest {
        request_id: "up-starter-grant".to_owned(),
        account_id: consumer.account.clone(),
        amount_nano: STARTER_GRANT.as_nano(),
        reason: "starter grant".to_owned(),
    };
    billing
        .grant_credits(grant)
        .await
        .map_err(|status| explain(&status))
        .context("could not grant credits")?;
    Ok(State {
        service_token,
        operator_token: fresh_secret()?,
        consumer,
        owner,
        address: None,
    })
}

async fn holder(billing: &mut Billing, request_id: &str, name: &str) -> Result<Holder> {
    let request = CreateAccountRequest {
        request_id: request_id.to_owned(),
        display_name: name.to_owned(),
    };
    let answer = billing
        .create_account(request)
        .await
        .map_err(|status| explain(&status));
    let account = answer
        .context("could not make an account")?
        .into_inner()
        .account_id;
    let request = CreateApiKeyRequest {
        account_id: account.clone(),
        name: "made by atoll up".to_owned(),
        scope: KeyScope::Full.into(),
        ..CreateApiKeyRequest::default()
    };
    let answer = billing
        .create_api_key(request)
        .await
        .map_err(|status| explain(&status));
    let secret = answer.context("could not make an API key")?.into_inner().secret;
    Ok(Holder {
        account,
        api_key: Secret::new(secret),
    })
}
