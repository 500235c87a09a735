//! What is measured: billing and an exchange as they are started for real, with an account that buys and one that owns
//! an Island.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use domain::Credits;
use exchange::config::{Config, Models};
use exchange::registry::Registry;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::billing::v1::{CreateAccountRequest, CreateApiKeyRequest, GrantCreditsRequest, KeyScope};
use service::secret::Secret;
use service::shutdown::Shutdown;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::island::Island;

/// The model that orders are for: the exchange's own fixture, so that nothing has to be fetched.
pub(super) const MODEL: &str = "tiny-chat";

/// What services show each other; they listen on the loopback of this machine only.
const SERVICE_TOKEN: &str = "measured-service-token";

/// What an account may spend: more than all orders of a run reserve together.
const GRANT: Credits = match Credits::from_whole(1_000_000) {
    Some(credits) => credits,
    None => Credits::ZERO,
};

/// Billing, an exchange, two accounts, an Island.
#[derive(Debug)]
pub(super) struct Stage {
    exchange: exchange::Running,
    billing: billing::Running,
    stop_exchange: Shutdown,
    stop_billing: Shutdown,
    billing_url: String,
    /// The key of who buys.
    pub(super) buyer: String,
    /// The key of who owns the Island: nobody buys from himself.
    pub(super) owner: String,
    pub(super) island: Island,
}

/// A key as a call carries it.
pub(super) fn bearer(key: &str) -> Result<MetadataValue<Ascii>> {
    format!("Bearer {key}")
        .parse()
        .context("a key that no header carries")
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../exchange/tests/fixtures/models")
}

impl Stage {
    /// Starts all of it in an empty folder.
    pub(super) async fn build(folder: &Path) -> Result<Self> {
        let (stop_exchange, stop_billing) = (Shutdown::manual(), Shutdown::manual());
        let books = billing::Config {
            listen: "127.0.0.1:0".parse()?,
            data_dir: folder.join("billing"),
            service_token: Some(Secret::new(SERVICE_TOKEN)),
            ..billing::Config::default()
        };
        let billing = billing::start(books, stop_billing.clone()).await?;
        let billing_url = format!("http://{}", billing.address);
        let buyer = account(&billing_url, "buyer").await?;
        let owner = account(&billing_url, "owner").await?;
        let mut config = Config::new(&folder.join("exchange"), &models(), Secret::new(SERVICE_TOKEN));
        config.listen = "127.0.0.1:0".parse()?;
        config.models = Models::Only(vec![MODEL.to_owned()]);
        config.billing_url.clone_from(&billing_url);
        // Every bid that is in flight or rests is a job of the one account.
        config.limits.jobs_per_account_max = config.limits.jobs_max;
        let exchange = exchange::start(config, stop_exchange.clone()).await?;
        let registry = Registry::load(&models(), &[MODEL.to_owned()])?;
        let channel = connect(&format!("http://{}", exchange.address)).await?;
        let island = Island::join(channel, &owner, &registry).await?;
        Ok(Self {
            exchange,
            billing,
            stop_exchange,
            stop_billing,
            billing_url,
            buyer,
            owner,
            island,
        })
    }

    /// The key of an account that nobody has seen yet.
    pub(super) async fn fresh_account(&self, name: &str) -> Result<String> {
        account(&self.billing_url, name).await
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> Result<Channel> {
        connect(&format!("http://{}", self.exchange.address)).await
    }

    /// Stops all of it in order.
    pub(super) async fn strike(self) -> Result<()> {
        drop(self.island);
        self.stop_exchange.trigger();
        self.exchange.join.await??;
        self.stop_billing.trigger();
        self.billing.join.await?
    }
}

/// Connects, with small messages sent at once.
pub(super) async fn connect(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
    endpoint.connect().await.context("nobody answers")
}

/// Makes an account with credits and returns its key.
async fn account(billing_url: &str, name: &str) -> Result<String> {
    let token = bearer(SERVICE_TOKEN)?;
    let mut books = BillingServiceClient::with_interceptor(
        connect(billing_url).await?,
        move |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", token.clone());
            Ok(request)
        },
    );
    let request = CreateAccountRequest {
        request_id: format!("account-of-{name}"),
        display_name: name.to_owned(),
    };
    let account_id = books.create_account(request).await?.into_inner().account_id;
    books
        .grant_credits(GrantCreditsRequest {
            request_id: format!("grant-to-{name}"),
            account_id: account_id.clone(),
            amount_nano: GRANT.as_nano(),
            reason: "measured".to_owned(),
        })
        .await?;
    let request = CreateApiKeyRequest {
        account_id,
        name: "measured".to_owned(),
        scope: KeyScope::Full.into(),
        ..CreateApiKeyRequest::default()
    };
    Ok(books.create_api_key(request).await?.into_inner().secret)
}
