//! The service's life: take the folder, open the books, answer, drain, close.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use domain::Timestamp;
use proto::billing::v1::billing_service_server::BillingServiceServer;
use service::metrics::Metrics;
use service::secret::Secret;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::api::Api;
use crate::auth::TokenCheck;
use crate::config::{Config, Database, OwnedFolder};
use crate::figures::Figures;
use crate::limits::{DRAIN_DEADLINE, MESSAGE_SIZE_MAX};
use crate::payouts::provider::{VIRTUAL_FILE, VirtualProvider};
use crate::store::postgres::{PostgresStore, Schema};
use crate::store::sqlite::SqliteStore;
use crate::store::{Durability, LedgerStore};
use crate::{closing, maturing, payouts, resetting, writer};

/// What reflection lists.
const SERVICE: &str = "atoll.billing.v1.BillingService";

/// A billing that answers.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where Prometheus may ask, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// What callers must show.
    pub token: Secret,
    /// Ends when billing has stopped, with why if it was not asked to.
    pub join: JoinHandle<anyhow::Result<()>>,
}

/// Runs until the shutdown.
///
/// # Errors
/// When it cannot start, or fails while it runs.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let running = start(config, shutdown).await?;
    running.join.await.context("billing's task ended")?
}

/// Starts, and returns once calls are answered.
///
/// # Errors
/// When the configuration is wrong, the folder is in use, the database cannot be opened, or the address is taken.
pub async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    config.check()?;
    let folder = OwnedFolder::take(&config.data_dir)?;
    let token = config.token()?;
    match config.database()? {
        Database::Sqlite(path) => {
            folder.make_private_file(&path)?;
            let store = SqliteStore::open(&path, Durability::Synced).await?;
            serve_books(config, store, folder, token, shutdown).await
        }
        Database::Postgres(address) => {
            let schema = if config.migrate_on_start {
                Schema::Migrate
            } else {
                Schema::AsItIs
            };
            let store = PostgresStore::open(address.expose(), schema, Durability::Synced).await?;
            serve_books(config, store, folder, token, shutdown).await
        }
    }
}

/// Listens, and answers out of `store` until the shutdown.
async fn serve_books<S: LedgerStore>(
    config: Config,
    store: S,
    folder: OwnedFolder,
    token: Secret,
    shutdown: Shutdown,
) -> anyhow::Result<Running> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("could not listen on {}", config.listen))?;
    let address = listener.local_addr().context("could not tell the address")?;
    let scraped = match config.metrics_address()? {
        Some(asked) => Some(
            TcpListener::bind(asked)
                .await
                .with_context(|| format!("could not listen on {asked} for Prometheus"))?,
        ),
        None => None,
    };
    let metrics = scraped.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(%address, data_dir = %config.data_dir.display(), "billing answers");
    let check = TokenCheck::new(&token);
    let join = tokio::spawn(async move {
        let served = serve(
            config,
            Arc::new(store),
            Listeners {
                calls: listener,
                scraped,
            },
            check,
            shutdown,
        )
        .await;
        drop(folder);
        served
    });
    Ok(Running {
        address,
        metrics,
        token,
        join,
    })
}

/// Where is listened.
struct Listeners {
    calls: TcpListener,
    /// For Prometheus, if at all.
    scraped: Option<TcpListener>,
}

fn now() -> Timestamp {
    Timestamp::from_micros(service::clock::unix_micros())
}

async fn serve<S: LedgerStore>(
    config: Config,
    store: Arc<S>,
    listeners: Listeners,
    check: TokenCheck,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let provider = VirtualProvider::open(&config.data_dir.join(VIRTUAL_FILE))?;
    let stop_writing = Shutdown::manual();
    let metrics = Metrics::new();
    let figures = Figures::new(metrics.clone());
    let (writer, writing) = writer::start_counting(Arc::clone(&store), now, stop_writing.clone(), figures);
    // The timers also stop when the server fails.
    let stop = shutdown.child();
    let scraping = listeners
        .scraped
        .map(|listener| tokio::spawn(metrics.serve(listener, stop.clone())));
    let timer = tokio::spawn(maturing::run(
        Arc::clone(&store),
        writer.clone(),
        config.maturity,
        now,
        stop.clone(),
    ));
    let resetting = tokio::spawn(resetting::run(
        Arc::clone(&store),
        writer.clone(),
        config.maturity.interval(),
        now,
        stop.clone(),
    ));
    let closing = tokio::spawn(closing::run(
        Arc::clone(&store),
        config.data_dir.join(closing::EXPORT_FOLDER),
        now,
        stop.clone(),
    ));
    let sending = tokio::spawn(payouts::run(
        Arc::clone(&store),
        writer.clone(),
        provider,
        config.payouts,
        now,
        stop.clone(),
    ));
    let api = Api::new(Arc::clone(&store), writer, config.payouts, config.sign_up);
    let answered = answer_calls(api, listeners.calls, check, shutdown).await;
    stop.trigger();
    timer.await.context("the maturity timer ended")?;
    if let Some(scraping) = scraping {
        scraping.await.context("the endpoint for Prometheus ended")?;
    }
    resetting.await.context("the timer of resets ended")?;
    closing.await.context("the closing of days ended")?;
    sending.await.context("the sending of payouts ended")?;
    // The writer finishes what waits, and ends.
    stop_writing.trigger();
    writing.await.context("the writer ended")?;
    store.close().await.context("could not close the books")?;
    tracing::info!("billing has stopped");
    answered
}

async fn answer_calls<S: LedgerStore>(
    api: Api<S>,
    listener: TcpListener,
    check: TokenCheck,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let billing = BillingServiceServer::new(api)
        .max_decoding_message_size(MESSAGE_SIZE_MAX)
        .max_encoding_message_size(MESSAGE_SIZE_MAX);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<BillingServiceServer<Api<S>>>().await;
    let server = Server::builder()
        .add_service(health_service)
        .add_service(service::grpc::reflection_v1(proto::DESCRIPTORS, &[SERVICE])?)
        .add_service(service::grpc::reflection_v1alpha(proto::DESCRIPTORS, &[SERVICE])?)
        .add_service(InterceptedService::new(billing, check));
    // Small answers must not wait for more to send.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stopping = shutdown.clone();
    let stopped = async move { stopping.triggered().await };
    let serving = server.serve_with_incoming_shutdown(incoming, stopped);
    let overdue = async {
        shutdown.triggered().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        served = serving => served.context("the server failed"),
        () = overdue => {
            tracing::warn!("calls were still open at the deadline; they are cut off");
            Ok(())
        }
    }
}
