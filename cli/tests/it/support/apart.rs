//! billing, exchange and island-agent as three processes, each from its own binary.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::billing::v1::{
    AuditRequest, AuditResponse, CreateAccountRequest, CreateApiKeyRequest, GetBalanceRequest,
    GetSettlementCursorRequest, GrantCreditsRequest,
};
use proto::exchange::v1::GetStatusRequest;
use proto::exchange::v1::exchange_service_client::ExchangeServiceClient;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const MODEL: &str = "smollm2-135m-instruct-q4_1";
const DIGEST: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
const SERVICE_TOKEN: &str = "a-service-token-of-the-crash-test-0123456789";
const OPERATOR_TOKEN: &str = "an-operator-token-of-the-crash-test-0123456789";
const GRANT_NANO: i64 = 1_000_000_000_000;
const PATIENCE: Duration = Duration::from_secs(90);

/// A client with a key.
pub(crate) type Exchange = ExchangeServiceClient<InterceptedService<Channel, Key>>;
type Billing = BillingServiceClient<InterceptedService<Channel, Key>>;

/// Adds the key to every call.
#[derive(Clone)]
pub(crate) struct Key(MetadataValue<Ascii>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

fn key(secret: &str) -> Key {
    Key(format!("Bearer {secret}").parse().unwrap())
}

/// The three processes.
pub(crate) struct Apart {
    folder: TempDir,
    billing: Child,
    exchange: Child,
    island: Child,
    billing_port: u16,
    exchange_port: u16,
    api_key: String,
    pub(crate) consumer_account: String,
    pub(crate) granted: i64,
    pub(crate) model: String,
}

/// A program of ours, which `--workspace` builds beside `atoll`.
fn program(name: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_atoll")).with_file_name(name);
    assert!(
        path.exists(),
        "`{name}` is not built; build the whole workspace, as `cargo xtask test` does"
    );
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

async fn channel(port: u16) -> Channel {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "nobody listens on {port}: {error}"),
        }
        tokio::task::yield_now().await;
    }
}

fn write(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

impl Apart {
    /// Starts all three and waits until the Island quotes.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (at, billing_port, exchange_port) = (folder.path().to_owned(), free_port(), free_port());
        let data = |name: &str| at.join(name).display().to_string();
        let text = format!(
            "listen = \"127.0.0.1:{billing_port}\"\ndata_dir = \"{}\"\nservice_token = \"{SERVICE_TOKEN}\"\n",
            data("billing")
        );
        let config = write(&at, "billing.toml", &text).unwrap();
        let billing = program("billing").arg("--config").arg(config).spawn().unwrap();
        let mut books =
            BillingServiceClient::with_interceptor(channel(billing_port).await, key(SERVICE_TOKEN));
        let (consumer_account, api_key) = account(&mut books, "consumer").await;
        let (_, owner_key) = account(&mut books, "owner").await;
        let grant = GrantCreditsRequest {
            request_id: "grant".to_owned(),
            account_id: consumer_account.clone(),
            amount_nano: GRANT_NANO,
            reason: "test".to_owned(),
        };
        books.grant_credits(grant).await.unwrap();

        let text = format!(
            "listen = \"127.0.0.1:{exchange_port}\"\ndata_dir = \"{}\"\nmodels = [\"{MODEL}\"]\n\
             operator_token = \"{OPERATOR_TOKEN}\"\n[billing]\nurl = \"http://127.0.0.1:{billing_port}\"\n\
             token = \"{SERVICE_TOKEN}\"\n",
            data("exchange")
        );
        write(&at, "exchange.toml", &text).unwrap();
        let exchange = Self::exchange(&at);
        channel(exchange_port).await;
        let text = format!(
            "exchange = \"http://127.0.0.1:{exchange_port}\"\ndata = \"{}\"\nregion = \"eu-west\"\nslots = 3\n\
             models = [\"{MODEL}\"]\nrunner = \"scripted\"\n[pricing]\nprice = \"0.02\"\n[scripted]\n\
             model_sha256 = \"{DIGEST}\"\nvocabulary_size = 49152\ncontext_length = 8192\ntoken_interval_us = 2000\n\
             [reconnect]\nfirst_ms = 100\nmax_ms = 1000\n",
            data("island")
        );
        let config = write(&at, "island.toml", &text).unwrap();
        let mut island = program("island-agent");
        let island = island
            .args(["run", "--config"])
            .arg(config)
            .env("ATOLL_API_KEY", owner_key)
            .spawn()
            .unwrap();
        let apart = Self {
            folder,
            billing,
            exchange,
            island,
            billing_port,
            exchange_port,
            api_key,
            consumer_account,
            granted: GRANT_NANO,
            model: MODEL.to_owned(),
        };
        apart.wait_for_quote().await;
        apart
    }

    fn exchange(folder: &Path) -> Child {
        program("exchange")
            .arg("--config")
            .arg(folder.join("exchange.toml"))
            .spawn()
            .unwrap()
    }

    /// As a power cut does.
    pub(crate) fn kill_exchange(&mut self) {
        self.exchange.kill().unwrap();
        self.exchange.wait().unwrap();
    }

    /// Starts it again and waits until the Island has come back.
    pub(crate) async fn restart_exchange(&mut self) {
        self.exchange = Self::exchange(self.folder.path());
        self.wait_for_quote().await;
    }

    async fn wait_for_quote(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self
                .operator()
                .await
                .get_status(GetStatusRequest {})
                .await
                .unwrap()
                .into_inner();
            if status.islands.iter().any(|island| !island.quotes.is_empty()) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the Island does not quote: {:?}",
                status.islands
            );
            tokio::task::yield_now().await;
        }
    }

    /// The consumer's end.
    pub(crate) async fn consumer(&self) -> Exchange {
        ExchangeServiceClient::with_interceptor(channel(self.exchange_port).await, key(&self.api_key))
    }

    /// The operator's end.
    pub(crate) async fn operator(&self) -> Exchange {
        ExchangeServiceClient::with_interceptor(channel(self.exchange_port).await, key(OPERATOR_TOKEN))
    }

    /// Billing's end.
    pub(crate) async fn billing(&self) -> Billing {
        BillingServiceClient::with_interceptor(channel(self.billing_port).await, key(SERVICE_TOKEN))
    }

    /// Billing's audit once it has settled everything up to `sequence`.
    pub(crate) async fn settled_audit(&self, sequence: u64) -> AuditResponse {
        let mut billing = self.billing().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let cursor = billing
                .get_settlement_cursor(GetSettlementCursorRequest { shard: 0 })
                .await
                .unwrap();
            if cursor.into_inner().through_sequence >= sequence {
                return billing.audit(AuditRequest {}).await.unwrap().into_inner();
            }
            assert!(
                Instant::now() < deadline,
                "billing has not settled up to {sequence}"
            );
            tokio::task::yield_now().await;
        }
    }

    /// All that the consumer has with billing.
    pub(crate) async fn worth_of_consumer(&self) -> i64 {
        let request = GetBalanceRequest {
            account_id: self.consumer_account.clone(),
        };
        let balance = self
            .billing()
            .await
            .get_balance(request)
            .await
            .unwrap()
            .into_inner();
        balance.available_nano + balance.reserved_nano + balance.pending_nano
    }
}

async fn account(books: &mut Billing, name: &str) -> (String, String) {
    let request = CreateAccountRequest {
        request_id: name.to_owned(),
        display_name: name.to_owned(),
    };
    let account_id = books
        .create_account(request)
        .await
        .unwrap()
        .into_inner()
        .account_id;
    let request = CreateApiKeyRequest {
        account_id: account_id.clone(),
        name: name.to_owned(),
        scope: 0,
        ..CreateApiKeyRequest::default()
    };
    (
        account_id,
        books.create_api_key(request).await.unwrap().into_inner().secret,
    )
}

impl Drop for Apart {
    fn drop(&mut self) {
        for child in [&mut self.island, &mut self.exchange, &mut self.billing] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
