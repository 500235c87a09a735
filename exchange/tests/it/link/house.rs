//! The engine on its journal, leasing and the agents' door, with one consumer who has buying power.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, IslandId, JobId, Jobs, KarmaBand,
    KeyId, LatencyValue, Price, RegionTable, RoundTrip, SelfTradeMode, SessionId, Tier, TimeInForce,
    Timestamp, TokenCount, TransferId, Units,
};
use exchange::agent_sessions::{AgentParts, AgentSessions, Enrolments};
use exchange::halts::Halts;
use exchange::identity::{AuthError, Authenticator, Identity, KeyScope, SpendingTerms};
use exchange::journal::{Disk, FileJournal, FileJournalOptions};
use exchange::leasing::{
    Completed, JobEvent, JobEvents, JobPayload, JobSubmission, LeasingHandle, LeasingParts, Sampling, leasing,
};
use exchange::receipts::ExchangeKey;
use exchange::registry::Registry;
use exchange::sequencer::{Clock, Sequencer, SequencerHandle, Upkeep, subscription};
use futures::FutureExt;
use futures::future::BoxFuture;
use matcher::{BidLimit, BuyingPower, Command, Fund, IslandView, PlaceBid};
use service::shutdown::Shutdown;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::registry::fixture;

pub(crate) const MODEL: InstrumentId = InstrumentId::new(0);
pub(crate) const CONSUMER: AccountId = AccountId::new(50);
pub(crate) const OWNER: AccountId = AccountId::new(60);
pub(crate) const ISLAND_KEY: &str = "atoll_sk_island";
pub(crate) const OTHER_ISLAND_KEY: &str = "atoll_sk_other";
pub(crate) const CONSUMER_KEY: &str = "atoll_sk_consumer";
pub(crate) const FUNDS: i64 = 1_000_000_000;

/// Longer than any deadline that a test waits for; an event that has not come by then will not come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(event) => event,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

struct Keys;

impl Authenticator for Keys {
    fn authenticate<'a>(&'a self, secret: &'a str) -> BoxFuture<'a, Result<Identity, AuthError>> {
        let identity = |account, scope| {
            Ok(Identity {
                account,
                key: KeyId::new(1),
                scope,
                spending: SpendingTerms::unlimited(KeyId::new(1)),
            })
        };
        let found = match secret {
            ISLAND_KEY => identity(OWNER, KeyScope::Island),
            OTHER_ISLAND_KEY => identity(AccountId::new(61), KeyScope::Full),
            CONSUMER_KEY => identity(CONSUMER, KeyScope::Consumer),
            "atoll_sk_billing_is_down" => Err(AuthError::Unavailable),
            _ => Err(AuthError::Unknown),
        };
        std::future::ready(found).boxed()
    }
}

pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) sequencer: SequencerHandle,
    pub(crate) leasing: LeasingHandle,
    pub(crate) registry: Registry,
    pub(crate) key: Arc<ExchangeKey>,
    pub(crate) shutdown: Shutdown,
    pub(crate) sessions: AgentSessions,
    gateway: SessionId,
    next_client_id: AtomicU64,
    time: Arc<AtomicU64>,
    _sequencer: Sequencer,
    _data: TempDir,
}

pub(crate) async fn open() -> House {
    let data = tempfile::tempdir().unwrap();
    let (subscriber, subscription) = subscription();
    let time = Arc::new(AtomicU64::new(service::clock::unix_micros()));
    let hands = Arc::clone(&time);
    let clock = Clock::new(move || Timestamp::from_micros(hands.load(Ordering::Relaxed)));
    let folder = data.path().join("journal");
    let journal = FileJournal::open(Arc::new(Disk), &folder, FileJournalOptions::default()).unwrap();
    let started = Sequencer::start_on(
        Box::new(journal),
        clock.clone(),
        Upkeep::default(),
        vec![subscriber],
    )
    .unwrap();
    let sequencer = started.handle;
    let mut registry = fixture::registry();
    let listed = registry.align([]).unwrap();
    let key = Arc::new(ExchangeKey::load_or_create(data.path()).unwrap());
    let far = RoundTrip::from_millis(80);
    let near = RoundTrip::from_millis(0);
    let codes = vec!["eu-west".to_owned(), "us-east".to_owned()];
    let regions = RegionTable::new(codes, vec![vec![near, far], vec![far, near]]).unwrap();

    let gateway = sequencer.apply(Command::OpenSession).await.unwrap().sequence;
    sequencer
        .apply(Command::SetRegions(regions.clone()))
        .await
        .unwrap();
    for instrument in listed {
        sequencer
            .apply(Command::ListInstrument(instrument))
            .await
            .unwrap();
    }
    let fund = Fund {
        transfer: TransferId::new(1),
        account: CONSUMER,
        amount: Credits::from_nano(FUNDS),
    };
    sequencer.apply(Command::Fund(fund)).await.unwrap();

    let shutdown = Shutdown::manual();
    let (task, handle, link) = leasing(LeasingParts {
        sequencer: sequencer.clone(),
        subscription,
        registry: registry.clone(),
        key: Arc::clone(&key),
        clock: clock.clone(),
        ended: Vec::new(),
        halts: Halts::default(),
    });
    tokio::spawn(task.run(Shutdown::manual()));
    let sessions = AgentSessions::new(AgentParts {
        sequencer: sequencer.clone(),
        link,
        registry: registry.clone(),
        regions,
        enrolments: Enrolments::open(data.path()).unwrap(),
        authenticator: Arc::new(Keys),
        key: Arc::clone(&key),
        clock,
        shutdown: shutdown.clone(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = tonic::transport::Server::builder().add_service(sessions.service());
    tokio::spawn(server.serve_with_incoming(incoming));
    House {
        address,
        sequencer,
        leasing: handle,
        registry,
        key,
        shutdown,
        sessions,
        gateway: SessionId::of_sequence(gateway),
        next_client_id: AtomicU64::new(1),
        time,
        _sequencer: started.sequencer,
        _data: data,
    }
}

/// What the prompt of every job here is: eight tokens, two units.
pub(crate) fn prompt() -> Arc<[u32]> {
    Arc::from([10, 11, 12, 13, 14, 15, 16, 17])
}

pub(crate) fn payload(max_tokens: u32) -> JobPayload {
    JobPayload {
        prompt_ids: prompt(),
        max_tokens: TokenCount::new(max_tokens),
        sampling: Sampling {
            temperature: 0.0,
            top_p: 0.0,
            top_k: 0,
            seed: 7,
        },
        stop_ids: Arc::from([2]),
    }
}

impl House {
    /// A bid for one job of at most `max_tokens`, at a limit that any ask here meets.
    pub(crate) fn submission(&self, max_tokens: u32) -> JobSubmission {
        let number = self.next_client_id.fetch_add(1, Ordering::Relaxed);
        JobSubmission {
            bid: PlaceBid {
                account: CONSUMER,
                session: self.gateway,
                client_order_id: ClientOrderId::new(number.into()),
                instrument: MODEL,
                limit: BidLimit::At(Price::new(100_000).unwrap()),
                jobs: Jobs::ONE,
                units_max: Units::new(u64::from(max_tokens) + 2),
                eligibility: self.anywhere(),
                latency_value: LatencyValue::ZERO,
                excluded: Excluded::default(),
                time_in_force: TimeInForce::Gtd(self.now().after(Duration::from_secs(2))),
                self_trade: SelfTradeMode::Skip,
                jobs_min: Jobs::ZERO,
                payload: domain::PayloadDigest::NONE,
            },
            payloads: vec![payload(max_tokens)],
        }
    }

    fn anywhere(&self) -> Eligibility {
        let region = domain::Region::new(0).unwrap();
        let other = domain::Region::new(1).unwrap();
        Eligibility {
            home: region,
            regions: [region, other].into_iter().collect(),
            min_tier: Tier::Phone,
            min_band: KarmaBand::D,
        }
    }

    /// The house's time: it stands still until a test moves it, so no deadline depends on how busy the machine is.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.time.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap();
        self.time.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) async fn submit(&self, submission: JobSubmission) -> Events {
        Events(self.leasing.submit(submission).await.unwrap())
    }

    pub(crate) async fn buying_power(&self) -> BuyingPower {
        self.sequencer
            .read(|engine| engine.buying_power(CONSUMER))
            .await
            .unwrap()
    }

    pub(crate) async fn island(&self, island: IslandId) -> Option<IslandView> {
        self.sequencer
            .read(move |engine| engine.island(island))
            .await
            .unwrap()
    }

    /// Waits until the engine holds nothing of a job any more: no lease, no reservation, no slot taken.
    pub(crate) async fn idle(&self) {
        let settled = async {
            loop {
                let (leases, reserved, taken) = self
                    .sequencer
                    .read(|engine| {
                        let taken = engine.islands().any(|island| island.free != island.slots);
                        (
                            engine.leases().count(),
                            engine.buying_power(CONSUMER).reserved,
                            taken,
                        )
                    })
                    .await
                    .unwrap();
                if leases == 0 && reserved == Credits::ZERO && !taken {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        soon("an engine without leases, reservations and taken slots", settled).await;
        self.sequencer
            .read(|engine| engine.audit().unwrap())
            .await
            .unwrap();
    }
}

/// An order's events, each waited for.
pub(crate) struct Events(pub(crate) JobEvents);

impl Events {
    pub(crate) async fn next(&mut self) -> JobEvent {
        soon("an event", self.0.next())
            .await
            .unwrap_or_else(|| panic!("the events ended early"))
    }

    pub(crate) async fn accepted(&mut self) -> domain::OrderId {
        match self.next().await {
            JobEvent::Accepted(accepted) => accepted.order,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) async fn matched(&mut self) -> exchange::leasing::Matched {
        match self.next().await {
            JobEvent::Matched(matched) => matched,
            other => panic!("not matched: {other:?}"),
        }
    }

    /// Accepted and matched at once.
    pub(crate) async fn running(&mut self) -> JobId {
        self.accepted().await;
        self.matched().await.job
    }

    pub(crate) async fn tokens(&mut self, count: usize) -> Vec<u32> {
        let mut tokens = Vec::new();
        while tokens.len() < count {
            match self.next().await {
                JobEvent::Tokens { ids, .. } => tokens.extend(ids),
                other => panic!("not tokens: {other:?}"),
            }
        }
        assert_eq!(tokens.len(), count);
        tokens
    }

    pub(crate) async fn failed_over(&mut self) -> domain::LeaseFailure {
        match self.next().await {
            JobEvent::FailedOver { failure, .. } => failure,
            other => panic!("not failed over: {other:?}"),
        }
    }

    pub(crate) async fn completed(&mut self) -> Completed {
        match self.next().await {
            JobEvent::Completed(completed) => *completed,
            other => panic!("not completed: {other:?}"),
        }
    }

    pub(crate) async fn ended(mut self) {
        assert!(soon("the end of the events", self.0.next()).await.is_none());
    }
}
