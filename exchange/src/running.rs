//! The exchange as a whole: its parts wired, started and stopped in order.
//!
//! Start: port, journal, replay, sequencer; then every session of the run before is lost, the gateway's is opened, what
//! the market is made of is put in force, and billing is asked what was reserved; only then is anybody served.
//! Stop: take no new jobs, let those that run finish under a deadline, end what is left with a report to its owner, say
//! goodbye to Islands and clients, sync, settle.

mod market;
mod services;
mod stop;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use domain::ShardId;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::agent_sessions::{AgentParts, AgentSessions, Enrolments};
use crate::billing_client::{BillingClient, BillingConfig, TIMEOUT};
use crate::buying_power::{BuyingPower, IdleWatch};
use crate::config::Config;
use crate::gateway::auth::Keys;
use crate::gateway::{Gateway, Parts, PayloadKey, serve};
use crate::halts::Halts;
use crate::journal::FileArchive;
use crate::journal_check::{JournalCheck, JournalCheckCounts};
use crate::leasing::{LeasingParts, ended_orders, leasing};
use crate::market_data::MarketData;
use crate::order_entry::{EngineFeed, OrderEntry, SessionBounds, Sessions};
use crate::outbox::{BUFFERED_MAX, Outbox, OutboxParts};
use crate::receipts::ExchangeKey;
use crate::reconcile::{ReconcileCounts, ReconcileParts, ReconcileWatch, reconcile};
use crate::sequencer::{Clock, Sequencer, SequencerConfig, Started, subscription};
use crate::spending::{self, Spending};
use stop::Stopping;

/// The one shard that a single machine runs.
const SHARD: ShardId = ShardId::new(0);

/// The journal's folder in the data folder.
const JOURNAL: &str = "journal";

/// An exchange that serves.
#[derive(Debug)]
pub struct Running {
    /// Where: gRPC and HTTP on one port.
    pub address: SocketAddr,
    /// How often its books and billing's were compared, and what was found.
    pub reconciliations: ReconcileCounts,
    /// How often segments of its journal were read again, and what was found.
    pub journal_checks: JournalCheckCounts,
    /// Ends when the exchange has stopped; tells whether it stopped in order.
    pub join: JoinHandle<Result<()>>,
}

/// Starts an exchange; returns when it serves. It stops in order when `shutdown` is triggered.
///
/// Waits for billing as long as it takes, or until `shutdown` is triggered.
///
/// # Errors
/// When the port is taken, the journal is in use or damaged, a model is not installed or not what it was, or `shutdown`
/// was triggered meanwhile.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running> {
    let journal = SequencerConfig::new(config.data_dir.join(JOURNAL));
    start_on(journal, config, shutdown).await
}

/// Starts an exchange whose journal is kept as `journal` says, but for how long, which `config` says.
///
/// # Errors
/// See [`start`].
pub async fn start_on(journal: SequencerConfig, config: Config, shutdown: Shutdown) -> Result<Running> {
    // Before anything is journaled: a port that is taken is the commonest mistake.
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("could not listen on {}", config.listen))?;
    let address = listener.local_addr().context("the port has no address")?;
    let stopping = tokio::select! {
        stopping = wire(journal, config, listener) => stopping?,
        () = shutdown.triggered() => bail!("told to stop before it could serve"),
    };
    let reconciliations = stopping.reconciliations.clone();
    let journal_checks = stopping.journal_checks.clone();
    let join = tokio::spawn(stopping.when(shutdown));
    Ok(Running {
        address,
        reconciliations,
        journal_checks,
        join,
    })
}

/// Runs an exchange until `shutdown` is triggered.
///
/// # Errors
/// See [`start`]; or when a part failed while it ran.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<()> {
    let running = start(config, shutdown).await?;
    running.join.await.context("the exchange broke")?
}

async fn wire(mut journal: SequencerConfig, config: Config, listener: TcpListener) -> Result<Stopping> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("could not make {}", config.data_dir.display()))?;
    let key = ExchangeKey::load_or_create(&config.data_dir).context("could not use the exchange's key")?;
    let key = Arc::new(key);
    let enrolments = Enrolments::open(&config.data_dir).context("could not read which Islands there are")?;
    let (models_dir, models) = (config.models_dir.clone(), config.models.clone());
    let mut registry = blocking(move || market::load_registry(&models_dir, &models)).await?;

    let (market_sender, market_subscription) = subscription();
    let (leasing_sender, leasing_subscription) = subscription();
    let (outbox_sender, outbox_subscription) = subscription();
    let (order_entry_sender, order_entry_subscription) = subscription();
    journal.upkeep.retention = config.retention;
    let (spending_sender, spending_subscription) = subscription();
    let subscribers = vec![
        market_sender,
        leasing_sender,
        outbox_sender,
        order_entry_sender,
        spending_sender,
    ];
    let (storage, folder) = (Arc::clone(&journal.storage), journal.folder.clone());
    let started =
        blocking(move || Sequencer::start(&journal, subscribers).context("could not use the journal"))
            .await?;
    let Started {
        handle,
        sequencer,
        recovery,
        replay,
    } = started;
    tracing::info!(
        sequence = recovery.sequence.get(),
        replayed = recovery.replayed,
        took = ?recovery.took,
        state = %recovery.state_hash,
        "the journal is read"
    );
    let (opened, names) = market::open(&handle, &config.regions, &mut registry).await?;
    let names = Arc::new(names);

    let billing = BillingClient::new(&BillingConfig {
        address: config.billing_url.clone(),
        token: config.billing_token.clone(),
        timeout: TIMEOUT,
    })?;
    let outbox = Outbox::start(
        OutboxParts {
            shard: SHARD,
            names: Arc::clone(&names),
            billing: billing.clone(),
            replay: replay.clone(),
            recovered: recovery.sequence,
            buffered_max: BUFFERED_MAX,
        },
        outbox_subscription,
    );
    let market_data = MarketData::new(Arc::clone(&names));
    let following = tokio::spawn(market_data.clone().run(handle.clone(), market_subscription));
    let recalled = market_data.clone();
    let recalling = tokio::task::spawn_blocking(move || {
        if let Err(error) = recalled.recall(&replay, recovery.sequence) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "the trades of before this start are not shown");
        }
    });
    let halts = handle.read(Halts::of).await?;
    let (leasing, leasing_handle, agents) = leasing(LeasingParts {
        sequencer: handle.clone(),
        subscription: leasing_subscription,
        registry: registry.clone(),
        key: Arc::clone(&key),
        clock: Clock::steady(),
        ended: handle.read(ended_orders).await?,
        halts: halts.clone(),
    });
    let (order_entry_sessions, following_orders) = Sessions::start(
        handle.clone(),
        leasing_handle.clone(),
        Arc::clone(&names),
        SessionBounds {
            resume_within: config.limits.session_resume_within,
            report_bytes_max: config.limits.session_report_bytes_max,
        },
        EngineFeed {
            halts,
            subscription: order_entry_subscription,
        },
    );
    let stop_leasing = Shutdown::manual();
    let leasing = tokio::spawn(leasing.run(stop_leasing.clone()));

    let buying_power = BuyingPower::new(SHARD, opened, handle.clone(), billing.clone());
    tracing::info!(billing = config.billing_url, "comparing the books with billing's");
    let reconciled = reconcile(SHARD, &handle, &billing, &outbox.handle())
        .await
        .context("could not compare the books with billing's")?;
    let reconciliations = ReconcileCounts::default();
    reconciliations.add(&reconciled);
    buying_power.suspend(reconciled.mismatches.into_keys());

    let stop_watches = Shutdown::manual();
    let idle_watch = tokio::spawn(IdleWatch::new(buying_power.clone()).run(stop_watches.clone()));
    let books = ReconcileParts {
        shard: SHARD,
        sequencer: handle.clone(),
        billing: billing.clone(),
        outbox: outbox.handle(),
        buying_power: buying_power.clone(),
    };
    let reconcile_watch = ReconcileWatch::new(books.clone(), reconciliations.clone());
    let reconcile_watch = tokio::spawn(reconcile_watch.run(stop_watches.clone()));

    let spending = Spending::new(billing.clone());
    let following_spending = tokio::spawn(spending::follow(spending.clone(), spending_subscription));
    let reporting_spending = tokio::spawn(spending::report(spending.clone(), stop_watches.clone()));
    let archive = FileArchive::open_on(storage, &folder).context("could not read the journal again")?;
    let journal_checks = JournalCheckCounts::default();
    let journal_check = JournalCheck::new(archive, config.journal_check_period, journal_checks.clone());
    let journal_check = tokio::spawn(journal_check.run(stop_watches.clone()));

    let keys = Arc::new(Keys::new(billing.clone(), config.limits.key_kept));
    let agents_registry = registry.clone();
    let gateway = Gateway::new(Parts {
        sequencer: handle.clone(),
        leasing: leasing_handle,
        registry,
        names: Arc::clone(&names),
        billing,
        buying_power,
        spending,
        books,
        keys: Arc::clone(&keys),
        session: opened.session,
        home: config.region,
        operator_token: config.operator_token,
        payload_key: PayloadKey::of(&key),
        limits: config.limits,
    });
    let stop_agents = Shutdown::manual();
    let agents = AgentSessions::new(AgentParts {
        sequencer: handle.clone(),
        link: agents,
        registry: agents_registry,
        regions: config.regions,
        enrolments,
        authenticator: keys,
        key,
        clock: Clock::steady(),
        shutdown: stop_agents.clone(),
    });
    let order_entry = OrderEntry::new(gateway.clone(), &order_entry_sessions);
    let (router, health) = services::router(&gateway, &order_entry, &market_data, &agents).await?;
    let served = serve(listener, router, config.limits)?;
    tracing::info!(address = %served.address, "serving gRPC and HTTP");
    Ok(Stopping {
        drain_timeout: config.limits.drain_timeout,
        gateway,
        health,
        served,
        handle,
        sequencer,
        market_data,
        following,
        recalling,
        order_entry: order_entry_sessions,
        following_orders,
        leasing,
        stop_leasing,
        agents,
        stop_agents,
        outbox,
        idle_watch,
        following_spending,
        reporting_spending,
        reconcile_watch,
        journal_check,
        stop_watches,
        reconciliations,
        journal_checks,
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("a part of the start broke")?
}
