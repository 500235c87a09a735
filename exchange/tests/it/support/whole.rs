//! A whole exchange on a free port, with a billing double behind it and nothing else faked.

use std::net::SocketAddr;

use domain::AccountId;
use exchange::Running;
use exchange::config::{Config, Models};
use exchange::sequencer::SequencerConfig;
use proto::billing::v1::KeyScope;
use proto::exchange::v1 as wire;
use proto::exchange::v1::exchange_service_client::ExchangeServiceClient;
use service::secret::Secret;
use service::shutdown::Shutdown;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::bank::Bank;
use super::http::Http;
use crate::faulty_disk::FaultyDisk;
use crate::money::billing::TOKEN;
use crate::registry::fixture;

pub(crate) const CONSUMER: AccountId = AccountId::new(1);
pub(crate) const POOR: AccountId = AccountId::new(2);
pub(crate) const OWNER: AccountId = AccountId::new(9);
pub(crate) const OPERATOR_TOKEN: &str = "operator-token";

/// How often the exchange is asked before a test gives up waiting for it.
const QUESTIONS_MAX: usize = 5_000;

/// A whole exchange. Dropping it cuts it off; [`Whole::stop`] stops it in order.
pub(crate) struct Whole {
    pub(crate) address: SocketAddr,
    pub(crate) bank: Bank,
    /// Held so that the folder lives as long as the exchange.
    pub(crate) data: TempDir,
    /// A key of an account with ten credits.
    pub(crate) key: String,
    /// A key of an account with none.
    pub(crate) poor_key: String,
    /// A key that only enrols Islands.
    pub(crate) island_key: String,
    shutdown: Shutdown,
    running: Running,
    billing: tokio::task::AbortHandle,
}

fn journal_in(data: &TempDir) -> SequencerConfig {
    SequencerConfig::new(data.path().join("journal"))
}

/// Adds a key to every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(crate) type Client = ExchangeServiceClient<InterceptedService<Channel, Bearer>>;

impl Whole {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        // For who looks for a fault: `ATOLL_LOG=info cargo test …` shows what the exchange says.
        if std::env::var_os(service::logs::FILTER_VARIABLE).is_some() {
            service::logs::init("info");
        }
        let bank = Bank::default();
        bank.billing.give(CONSUMER, 10_000_000_000);
        let data = tempfile::tempdir().unwrap();
        let journal = journal_in(&data);
        Self::start_on(bank, data, journal, change).await
    }

    /// One with its journal on a disk that a test fills, in segments that a test fills soon.
    pub(crate) async fn start_on_disk(disk: &FaultyDisk) -> Self {
        let bank = Bank::default();
        bank.billing.give(CONSUMER, 10_000_000_000);
        let data = tempfile::tempdir().unwrap();
        let mut journal = journal_in(&data);
        journal.storage = disk.boot();
        journal.segment_bytes = 1 << 17;
        Self::start_on(bank, data, journal, |_| {}).await
    }

    async fn start_on(
        bank: Bank,
        data: TempDir,
        journal: SequencerConfig,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let key = bank.key("consumer", CONSUMER, KeyScope::Full);
        let poor_key = bank.key("poor", POOR, KeyScope::Consumer);
        let island_key = bank.key("island", OWNER, KeyScope::Island);
        let (billing_address, billing) = bank.serve().await;
        let mut config = Config::new(data.path(), &fixture::folder(), Secret::new(TOKEN));
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.models = Models::Only(vec![fixture::MODEL.to_owned()]);
        config.billing_url = format!("http://{billing_address}");
        config.operator_token = Some(Secret::new(OPERATOR_TOKEN));
        change(&mut config);
        let shutdown = Shutdown::manual();
        let running = exchange::start_on(journal, config, shutdown.clone())
            .await
            .unwrap();
        let address = running.address;
        Self {
            address,
            bank,
            data,
            key,
            poor_key,
            island_key,
            shutdown,
            running,
            billing,
        }
    }

    /// Stops in order, and starts again on the same folder with the same books.
    pub(crate) async fn restart(self) -> Self {
        self.shutdown.trigger();
        self.running.join.await.unwrap().unwrap();
        self.billing.abort();
        let journal = journal_in(&self.data);
        Self::start_on(self.bank, self.data, journal, |_| {}).await
    }

    /// The same, with nothing but the journal to start from, as after a crash before the first snapshot.
    pub(crate) async fn restart_without_snapshots(self) -> Self {
        self.shutdown.trigger();
        self.running.join.await.unwrap().unwrap();
        self.billing.abort();
        let mut removed = 0;
        for entry in std::fs::read_dir(self.data.path().join("journal")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "snapshot") {
                std::fs::remove_file(path).unwrap();
                removed += 1;
            }
        }
        assert!(removed > 0, "a stop takes a snapshot");
        let journal = journal_in(&self.data);
        Self::start_on(self.bank, self.data, journal, |_| {}).await
    }

    /// Stops in order.
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.running.join.await.unwrap().unwrap();
        self.billing.abort();
    }

    /// Begins to stop in order; what is returned ends when it has.
    pub(crate) fn begin_stop(self) -> tokio::task::JoinHandle<anyhow::Result<()>> {
        self.shutdown.trigger();
        tokio::spawn(async move {
            let ended = self.running.join.await.unwrap();
            self.billing.abort();
            ended
        })
    }

    pub(crate) fn http(&self) -> Http {
        Http::to(self.address).key(&self.key)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn grpc_as(&self, key: &str) -> Client {
        let bearer = Bearer(format!("Bearer {key}").parse().unwrap());
        ExchangeServiceClient::with_interceptor(self.channel().await, bearer)
    }

    pub(crate) async fn grpc(&self) -> Client {
        self.grpc_as(&self.key).await
    }

    pub(crate) async fn status(&self) -> wire::GetStatusResponse {
        let mut operator = self.grpc_as(OPERATOR_TOKEN).await;
        operator
            .get_status(wire::GetStatusRequest {})
            .await
            .unwrap()
            .into_inner()
    }

    /// Asks how the exchange stands until `good` says so.
    pub(crate) async fn until(
        &self,
        what: &str,
        good: impl Fn(&wire::GetStatusResponse) -> bool,
    ) -> wire::GetStatusResponse {
        let mut operator = self.grpc_as(OPERATOR_TOKEN).await;
        let mut last = None;
        for _ in 0..QUESTIONS_MAX {
            let status = operator
                .get_status(wire::GetStatusRequest {})
                .await
                .unwrap()
                .into_inner();
            if good(&status) {
                return status;
            }
            last = Some(status);
        }
        panic!("{what} never came: {last:?}");
    }

    /// Waits until nothing is bound or leased, and only asks rest: nothing leaked.
    pub(crate) async fn nothing_leaked(&self) {
        let quotes = |status: &wire::GetStatusResponse| {
            status
                .islands
                .iter()
                .flat_map(|island| &island.quotes)
                .filter(|quote| quote.price > 0)
                .count()
        };
        self.until("a state without leaks", |status| {
            status.open_leases == 0
                && usize::try_from(status.resting_orders).unwrap() == quotes(status)
                && status.buying_power.iter().all(|power| power.bound_nano == 0)
                && status
                    .islands
                    .iter()
                    .all(|island| island.free_slots == island.slots)
        })
        .await;
    }
}
