//! A real engine behind a real journal, with one Island, and jobs that are done as soon as they are bid for.

use std::path::Path;
use std::sync::Arc;

use domain::{
    AccountId, ClientOrderId, Credits, Digest, Eligibility, Excluded, InputWeight, Instrument, InstrumentId,
    IslandId, JobEnd, JobOutcome, Jobs, KarmaBand, LatencyValue, LeaseId, Price, Region, RegionSet,
    RegionTable, RoundTrip, SelfTradeMode, SessionId, Slots, SpeedFloors, Task, Tier, TierFloor, TimeInForce,
    TokenCount, Units,
};
use exchange::billing_client::BillingClient;
use exchange::buying_power::{BuyingPower, OpenedSession};
use exchange::names::Names;
use exchange::outbox::{BUFFERED_MAX, Outbox, OutboxParts};
use exchange::sequencer::{
    Applied, Sequencer, SequencerConfig, SequencerHandle, Started, Subscription, subscription,
};
use matcher::{
    BidLimit, CloseLease, Command, Engine, Event, JoinIsland, ListInstrument, LoseSessions, PlaceAsk,
    PlaceBid, PostOnly, ReleaseSlot, SetTier,
};

use super::billing::SHARD;

pub(crate) const CONSUMER: AccountId = AccountId::new(1);
pub(crate) const OTHER: AccountId = AccountId::new(2);
pub(crate) const OWNER: AccountId = AccountId::new(9);
const ISLAND: IslandId = IslandId::new(4);
const TINY: InstrumentId = InstrumentId::new(0);
/// A job of 1,000 units at the market's price costs a hundredth of a credit, and 2 % for the taker.
const PRICE: u64 = 10_000_000;
pub(crate) const JOB_COSTS: i64 = 10_200_000;
pub(crate) const JOB_EARNS: i64 = 10_000_000;

pub(crate) struct Market {
    pub(crate) sequencer: SequencerHandle,
    started: Sequencer,
    subscription: Option<Subscription>,
    parts: (Arc<Names>, exchange::sequencer::Replay, domain::Sequence),
    opened: OpenedSession,
    island_session: SessionId,
    bids: u128,
}

fn session_of(applied: &Applied) -> OpenedSession {
    OpenedSession {
        session: SessionId::of_sequence(applied.sequence),
        at: applied.at,
    }
}

fn tiny() -> Instrument {
    let floor = TierFloor {
        decode_per_second: 1,
        prefill_per_second: 1,
    };
    Instrument {
        model: "tiny-chat".to_owned(),
        task: Task::Chat,
        digest: Digest::of(b"tiny"),
        input_weight: InputWeight::DEFAULT,
        context_max: TokenCount::new(512),
        floors: SpeedFloors::new([floor; 5]),
    }
}

impl Market {
    /// Starts on the journal in `folder` as the exchange does: what was open is lost, a gateway's session begins. The
    /// Island joins and quotes.
    pub(crate) async fn start(folder: &Path) -> Self {
        let (sender, subscription) = subscription();
        let config = SequencerConfig::new(folder.join("journal"));
        let Started {
            handle,
            sequencer,
            recovery,
            replay,
        } = Sequencer::start(&config, vec![sender]).unwrap();
        let regions = RegionTable::new(vec!["eu".to_owned()], vec![vec![RoundTrip::from_millis(5)]]).unwrap();
        handle
            .apply(Command::LoseSessions(LoseSessions::All))
            .await
            .unwrap();
        let opened = session_of(&handle.apply(Command::OpenSession).await.unwrap());
        handle.apply(Command::SetRegions(regions.clone())).await.unwrap();
        if handle
            .read(|engine| engine.instrument(TINY).is_none())
            .await
            .unwrap()
        {
            let list = ListInstrument {
                instrument: TINY,
                specification: tiny(),
            };
            handle.apply(Command::ListInstrument(list)).await.unwrap();
        }
        let island_session = session_of(&handle.apply(Command::OpenSession).await.unwrap()).session;
        let names = Names::new([(TINY, "tiny-chat".to_owned())], regions).unwrap();
        let mut market = Self {
            sequencer: handle,
            started: sequencer,
            subscription: Some(subscription),
            parts: (Arc::new(names), replay, recovery.sequence),
            opened,
            island_session,
            bids: u128::from(opened.session.get()) << 64,
        };
        market.open_island().await;
        market
    }

    async fn open_island(&mut self) {
        let session = self.island_session;
        let slots = Slots::new(10_000);
        self.apply(Command::JoinIsland(JoinIsland {
            island: ISLAND,
            owner: OWNER,
            session,
            region: Region::new(0).unwrap(),
            band: KarmaBand::C,
            slots,
        }))
        .await;
        self.apply(Command::SetTier(SetTier {
            island: ISLAND,
            instrument: TINY,
            tier: Some(Tier::Laptop),
        }))
        .await;
        self.apply(Command::PlaceAsk(PlaceAsk {
            island: ISLAND,
            session,
            client_order_id: ClientOrderId::new(u128::from(session.get())),
            instrument: TINY,
            price: Price::new(PRICE).unwrap(),
            jobs: Jobs::new(1_000_000),
            time_in_force: TimeInForce::Gtc,
            post_only: PostOnly::No,
            self_trade: SelfTradeMode::Skip,
        }))
        .await;
    }

    pub(crate) async fn apply(&self, command: Command) -> Applied {
        let applied = self.sequencer.apply(command).await.unwrap();
        let rejected = applied
            .events
            .iter()
            .find(|event| matches!(event, Event::Rejected(_)));
        assert_eq!(rejected, None);
        applied
    }

    pub(crate) fn buying_power(&self, billing: &BillingClient) -> BuyingPower {
        BuyingPower::new(SHARD, self.opened, self.sequencer.clone(), billing.clone())
    }

    pub(crate) fn outbox(&mut self, billing: &BillingClient) -> Outbox {
        self.outbox_of(billing, BUFFERED_MAX)
    }

    pub(crate) fn outbox_of(&mut self, billing: &BillingClient, buffered_max: usize) -> Outbox {
        let (names, replay, recovered) = self.parts.clone();
        let parts = OutboxParts {
            shard: SHARD,
            names,
            billing: billing.clone(),
            replay,
            recovered,
            buffered_max,
        };
        Outbox::start(parts, self.subscription.take().unwrap())
    }

    /// Bids for jobs of 1,000 units each; all are leased at once.
    pub(crate) async fn lease(&mut self, account: AccountId, jobs: u32) -> Vec<LeaseId> {
        self.bids += 1;
        let region = Region::new(0).unwrap();
        let bid = PlaceBid {
            account,
            session: self.opened.session,
            client_order_id: ClientOrderId::new(self.bids),
            instrument: TINY,
            limit: BidLimit::At(Price::new(PRICE).unwrap()),
            jobs: Jobs::new(jobs),
            units_max: Units::new(1_000),
            eligibility: Eligibility {
                home: region,
                regions: RegionSet::EMPTY.with(region),
                min_tier: Tier::Phone,
                min_band: KarmaBand::D,
            },
            latency_value: LatencyValue::ZERO,
            excluded: Excluded::default(),
            time_in_force: TimeInForce::Fok,
            self_trade: SelfTradeMode::Skip,
            jobs_min: Jobs::ZERO,
            payload: domain::PayloadDigest::NONE,
        };
        let applied = self.apply(Command::PlaceBid(bid)).await;
        let mut leases = Vec::new();
        for event in applied.events.iter() {
            if let Event::Traded(traded) = event {
                let first = traded.first_lease.get();
                leases.extend((0..u64::from(traded.jobs.get())).map(|index| LeaseId::new(first + index)));
            }
        }
        leases
    }

    /// Ends a lease with all of its units done.
    pub(crate) async fn close(&self, lease: LeaseId) {
        self.apply(Command::CloseLease(CloseLease {
            lease,
            units: Units::new(1_000),
            reread_units: Units::ZERO,
            end: JobEnd::clean(JobOutcome::Stopped),
        }))
        .await;
        self.apply(Command::ReleaseSlot(ReleaseSlot {
            lease,
            session: self.island_session,
        }))
        .await;
    }

    /// Has `jobs` done for an account, one after the other.
    pub(crate) async fn work(&mut self, account: AccountId, jobs: u32) {
        for lease in self.lease(account, jobs).await {
            self.close(lease).await;
        }
    }

    /// What the engine lets an account spend, set aside or not.
    pub(crate) async fn power(&self, account: AccountId) -> Credits {
        let read = move |engine: &Engine| {
            let power = engine.buying_power(account);
            power.available.checked_add(power.reserved).unwrap()
        };
        self.sequencer.read(read).await.unwrap()
    }

    pub(crate) async fn sequence(&self) -> domain::Sequence {
        self.sequencer.read(Engine::sequence).await.unwrap()
    }

    /// Ends the exchange; the journal stays.
    pub(crate) async fn stop(self) {
        drop(self.subscription);
        self.started.stop().await.unwrap();
    }
}
