//! A client's end of the wire: where the exchange is, whose key speaks, and what its errors mean to a person.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use proto::exchange::v1::exchange_service_client::ExchangeServiceClient;
use proto::exchange::v1::explain_service_client::ExplainServiceClient;
use proto::exchange::v1::operator_service_client::OperatorServiceClient;
use proto::exchange::v1::order_entry_service_client::OrderEntryServiceClient;
use proto::exchange::v1::wallet_service_client::WalletServiceClient;
use proto::market_data::v1::market_data_service_client::MarketDataServiceClient;
use service::secret::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::state::{self, Membership, State};

/// How long a connection may take: longer means that nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What these options are under in a command's help.
const HEADING: &str = "Which exchange";

/// Where the exchange is and whose key speaks.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// The exchange's address; that of the `atoll up` on this machine unless given.
    #[arg(long, env = "ATOLL_EXCHANGE", value_name = "URL", help_heading = HEADING)]
    exchange: Option<String>,
    /// The API key; that of the `atoll up` on this machine, or of `atoll sign-up`, unless given.
    #[arg(
        long,
        env = "ATOLL_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = HEADING
    )]
    api_key: Option<Secret>,
    /// The state folder of the `atoll up` whose address and key are the defaults.
    #[arg(long, env = "ATOLL_DATA", value_name = "DIR", help_heading = HEADING)]
    data: Option<PathBuf>,
}

/// Whose orders or money, at which exchange.
#[derive(Args, Clone, Debug)]
pub(crate) struct Account {
    /// Those of the Islands' owner, the other account of the `atoll up` on this machine. With --api-key they are those
    /// of the key's account.
    #[arg(long, conflicts_with = "api_key", help_heading = HEADING)]
    owner: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Account {
    /// Connects to the exchange with the account's key.
    ///
    /// # Errors
    /// When no exchange or key is known, or nobody answers.
    pub(crate) async fn exchange(&self) -> Result<Exchange> {
        let bearer = Bearer::new(&self.key()?)?;
        let channel = self.connection.channel().await?;
        Ok(ExchangeServiceClient::with_interceptor(channel, bearer))
    }

    /// Connects to the account's wallet with its key.
    ///
    /// # Errors
    /// When no exchange or key is known, or nobody answers.
    pub(crate) async fn wallet(&self) -> Result<WalletClient> {
        let bearer = Bearer::new(&self.key()?)?;
        let channel = self.connection.channel().await?;
        Ok(WalletServiceClient::with_interceptor(channel, bearer))
    }

    fn key(&self) -> Result<Secret> {
        if self.owner {
            self.connection.key_of(|state| state.owner.api_key)
        } else {
            self.connection.key()
        }
    }
}

/// The exchange's own service, with the key on every call.
pub(crate) type Exchange = ExchangeServiceClient<InterceptedService<Channel, Bearer>>;

/// Order entry, with the key on every call.
pub(crate) type OrderEntry = OrderEntryServiceClient<InterceptedService<Channel, Bearer>>;

/// What explains orders, with the key on every call.
pub(crate) type Explanations = ExplainServiceClient<InterceptedService<Channel, Bearer>>;

/// An account's money, with the key on every call.
pub(crate) type WalletClient = WalletServiceClient<InterceptedService<Channel, Bearer>>;

/// The operator's levers, with his token on every call.
pub(crate) type Operator = OperatorServiceClient<InterceptedService<Channel, Bearer>>;

/// Adds the key to every call.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// A bearer of this key.
    ///
    /// # Errors
    /// When the key has characters that no header carries.
    pub(crate) fn new(key: &Secret) -> Result<Self> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.expose())
            .parse()
            .context("the API key is not printable text")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Connection {
    fn state(&self) -> Option<State> {
        State::read(&self.folder()).ok().flatten()
    }

    fn membership(&self) -> Option<Membership> {
        Membership::read(&self.folder()).ok().flatten()
    }

    fn folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(state::default_folder)
    }

    async fn channel(&self) -> Result<Channel> {
        let running = || self.state().and_then(|state| state.address);
        let joined = || self.membership().map(|membership| membership.exchange);
        let known = self.exchange.clone().or_else(running).or_else(joined);
        let url = known.ok_or_else(|| {
            anyhow!("no exchange is known here; start one with `atoll up`, or name one with --exchange URL")
        })?;
        connect(&url).await
    }

    /// Connects to the exchange with the key.
    ///
    /// # Errors
    /// When no exchange or key is known, or nobody answers.
    pub(crate) async fn exchange(&self) -> Result<Exchange> {
        let bearer = Bearer::new(&self.key()?)?;
        Ok(ExchangeServiceClient::with_interceptor(
            self.channel().await?,
            bearer,
        ))
    }

    /// Connects to order entry with the key; with that of the Islands' owner unless one is given.
    ///
    /// # Errors
    /// When no exchange or key is known, or nobody answers.
    pub(crate) async fn order_entry(&self) -> Result<OrderEntry> {
        let bearer = Bearer::new(&self.key_of(|state| state.owner.api_key)?)?;
        Ok(OrderEntryServiceClient::with_interceptor(
            self.channel().await?,
            bearer,
        ))
    }

    fn key(&self) -> Result<Secret> {
        self.key_of(|state| state.consumer.api_key)
    }

    /// The key that was given, or one that is remembered.
    fn key_of(&self, remembered: impl FnOnce(State) -> Secret) -> Result<Secret> {
        let known = || self.state().map(remembered);
        let joined = || self.membership().map(|membership| membership.api_key);
        let key = self.api_key.clone().or_else(known).or_else(joined);
        key.ok_or_else(|| {
            anyhow!("no API key is known here; pass --api-key KEY, set ATOLL_API_KEY, or make an account with `atoll sign-up`")
        })
    }

    /// Connects to the exchange's explanations with the key.
    ///
    /// # Errors
    /// When no exchange or key is known, or nobody answers.
    pub(crate) async fn explanations(&self) -> Result<Explanations> {
        let bearer = Bearer::new(&self.key()?)?;
        Ok(ExplainServiceClient::with_interceptor(
            self.channel().await?,
            bearer,
        ))
    }

    /// Connects as the operator: with `--api-key` as his token, else with that of the `atoll up` on this machine.
    ///
    /// # Errors
    /// When no exchange or token is known, or nobody answers.
    pub(crate) async fn operator(&self) -> Result<Operator> {
        let known = self.state().map(|state| state.operator_token);
        let token = self
            .api_key
            .clone()
            .or(known)
            .ok_or_else(|| anyhow!("no operator's token is known here; pass it as --api-key TOKEN"))?;
        let bearer = Bearer::new(&token)?;
        Ok(OperatorServiceClient::with_interceptor(
            self.channel().await?,
            bearer,
        ))
    }

    /// Connects to the public market data.
    ///
    /// # Errors
    /// When no exchange is known, or nobody answers.
    pub(crate) async fn market_data(&self) -> Result<MarketDataServiceClient<Channel>> {
        Ok(MarketDataServiceClient::new(self.channel().await?))
    }

    /// Connects to the exchange at `url` with `key`.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) async fn exchange_at(url: &str, key: &Secret) -> Result<Exchange> {
        Ok(ExchangeServiceClient::with_interceptor(
            connect(url).await?,
            Bearer::new(key)?,
        ))
    }
}

/// Connects to a server of ours.
///
/// # Errors
/// When the address is malformed, or nobody answers.
pub(crate) async fn connect(url: &str) -> Result<Channel> {
    Endpoint::from_shared(url.to_owned())
        .with_context(|| format!("`{url}` is not an address such as http://127.0.0.1:8080"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .connect()
        .await
        .with_context(|| format!("nobody answers at {url}; is the exchange running?"))
}

/// What a refused call means, with its stable code.
pub(crate) fn explain(status: &Status) -> anyhow::Error {
    explain_as(status, &[])
}

/// The same, with the wire's names of fields replaced by what a person wrote: pairs of the one and the other.
pub(crate) fn explain_as(status: &Status, words: &[(&str, &str)]) -> anyhow::Error {
    let message = replace_words(status.message(), words);
    match service::errors::reason_of(status) {
        Some(code) => anyhow!("{message} [{code}]"),
        None => anyhow!("{message} [{:?}]", status.code()),
    }
}

/// A message with the wire's names of fields replaced by what a person wrote.
pub(crate) fn replace_words(message: &str, words: &[(&str, &str)]) -> String {
    let mut message = message.to_owned();
    for (field, word) in words {
        // Some messages name again what is wrong: `the prompt: the prompt is empty`.
        message = message
            .replace(field, word)
            .replace(&format!("{word}: {word} "), &format!("{word} "));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_wire_is_called_what_a_person_wrote() {
        let status = service::errors::bad_field("atoll.exchange", "terms.max_rtt_ms", "is too far");
        let words = [("terms.max_rtt_ms", "--max-rtt-ms"), ("terms", "the terms")];
        assert_eq!(
            explain_as(&status, &words).to_string(),
            "--max-rtt-ms: is too far [INVALID_ARGUMENT]"
        );
        let status =
            service::errors::bad_field("atoll.exchange", "inputs[0].messages", "the prompt is empty");
        assert_eq!(
            explain_as(&status, &[("inputs[0].messages", "the prompt")]).to_string(),
            "the prompt is empty [INVALID_ARGUMENT]"
        );
        assert_eq!(
            explain(&Status::unavailable("nobody is there")).to_string(),
            "nobody is there [Unavailable]"
        );
    }
}
