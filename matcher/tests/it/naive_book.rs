//! The engine again, the obvious way: plain vectors, a fresh scan for every question, one trade at a time.
//!
//! It shares the commands and events with the engine and none of its code. Where the engine plans before it acts,
//! this one acts on a copy and throws the copy away.

mod ending;
mod islands;
mod leases;
mod matching;
mod orders;

use std::collections::BTreeMap;

use domain::{
    AccountId, ClientOrderId, Eligibility, InstrumentId, IslandId, JobEnd, JobId, Jobs, KarmaBand, LeaseId,
    Liquidity, OrderId, Price, PriceBand, Region, RegionTable, RunningBill, Sequence, SessionId, Tier,
    TimeInForce, Timestamp, TransferId, Units,
};
use matcher::{
    AskDepth, BidDepth, CellKey, Command, EndReason, Event, LeaseEnded, Limits, PlaceAsk, PlaceBid,
    RejectReason, Rejected, Stamped, Unmatched,
};

/// The whole market.
#[derive(Clone)]
pub(crate) struct NaiveBook {
    limits: Limits,
    now: Timestamp,
    sequence: Sequence,
    regions: Option<RegionTable>,
    instruments: Vec<NaiveInstrument>,
    accounts: BTreeMap<AccountId, NaiveAccount>,
    sessions: Vec<NaiveSession>,
    islands: Vec<NaiveIsland>,
    bids: Vec<NaiveBid>,
    asks: Vec<NaiveAsk>,
    leases: Vec<NaiveLease>,
    ids: Vec<NaiveId>,
    arrivals: u64,
    trades: u64,
    lease_count: u64,
    /// By account and minute: orders, cancels and amends, and trades.
    messages: BTreeMap<(AccountId, u64), (u32, u32)>,
    published: BTreeMap<Level, u64>,
    events: Vec<Event>,
}

#[derive(Clone, Default)]
struct NaiveInstrument {
    halted: bool,
    price_band: Option<PriceBand>,
    classes: Vec<Eligibility>,
}

#[derive(Clone, Default)]
pub(crate) struct NaiveAccount {
    pub(crate) available: i64,
    pub(crate) reserved: i64,
    transfers: Vec<TransferId>,
}

#[derive(Clone)]
struct NaiveSession {
    id: SessionId,
    dead_man: Option<(Timestamp, Sequence)>,
}

#[derive(Clone)]
struct NaiveIsland {
    id: IslandId,
    owner: AccountId,
    session: SessionId,
    region: Region,
    band: KarmaBand,
    slots: u32,
    held: Vec<LeaseId>,
    tiers: BTreeMap<InstrumentId, Tier>,
}

#[derive(Clone)]
struct NaiveBid {
    id: OrderId,
    body: PlaceBid,
    limit: Price,
    leaves: u32,
    filled: u32,
    reserved_each: i64,
    /// Its place in the queue of all arrivals, once it rests.
    arrival: u64,
    class: u16,
    failed: Vec<IslandId>,
    resumes: Option<(JobId, u8, RunningBill)>,
    /// How a job that goes on ends if nobody takes the rest.
    otherwise: Option<JobEnd>,
    /// What an amend took away.
    amended: u32,
}

#[derive(Clone)]
struct NaiveAsk {
    id: OrderId,
    body: PlaceAsk,
    owner: AccountId,
    leaves: u32,
    /// Its place in the queue of all arrivals, while something of it is displayed.
    arrival: Option<u64>,
}

#[derive(Clone)]
struct NaiveLease {
    id: LeaseId,
    trade: u64,
    job: JobId,
    epoch: u8,
    bid: NaiveBid,
    island: IslandId,
    owner: AccountId,
    price: Price,
    liquidity: Liquidity,
    billed: RunningBill,
    checkpointed: Units,
}

#[derive(Clone, PartialEq)]
enum Body {
    Bid(PlaceBid),
    Ask(PlaceAsk),
}

#[derive(Clone)]
struct NaiveId {
    account: AccountId,
    client_order_id: ClientOrderId,
    order: OrderId,
    body: Body,
    forget_at: Option<Timestamp>,
    unmatched: Option<Unmatched>,
    jobs: BTreeMap<JobId, NaiveJob>,
}

/// What a job was billed, and how it ended if it has.
#[derive(Clone)]
struct NaiveJob {
    segments: Vec<LeaseEnded>,
    end: Option<(JobEnd, Timestamp)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ask(CellKey, Price),
    Bid(InstrumentId, u16, Price),
}

/// A refusal on its way out.
struct Refused(Rejected);

impl From<RejectReason> for Refused {
    fn from(reason: RejectReason) -> Self {
        Self(Rejected {
            account: None,
            client_order_id: None,
            order: None,
            reason,
            alternative: None,
            shortfall: domain::Credits::ZERO,
        })
    }
}

impl NaiveBook {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: Timestamp::ZERO,
            sequence: Sequence::ZERO,
            regions: None,
            instruments: Vec::new(),
            accounts: BTreeMap::new(),
            sessions: Vec::new(),
            islands: Vec::new(),
            bids: Vec::new(),
            asks: Vec::new(),
            leases: Vec::new(),
            ids: Vec::new(),
            arrivals: 0,
            trades: 0,
            lease_count: 0,
            messages: BTreeMap::new(),
            published: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = (AccountId, &NaiveAccount)> {
        self.accounts.iter().map(|(id, account)| (*id, account))
    }

    pub(crate) fn apply(&mut self, stamped: &Stamped) -> Vec<Event> {
        self.sequence = stamped.sequence;
        self.now = stamped.at;
        self.fire_timers();
        let done = match &stamped.command {
            Command::SetRegions(table) => self.set_regions(table),
            Command::ListInstrument(listing) => {
                let next = u32::try_from(self.instruments.len()).unwrap();
                if listing.instrument.get() == next && next < self.limits.instruments_max {
                    self.instruments.push(NaiveInstrument::default());
                    self.events.push(Event::InstrumentListed {
                        instrument: listing.instrument,
                    });
                    Ok(())
                } else {
                    Err(RejectReason::InstrumentOutOfOrder.into())
                }
            }
            Command::OpenSession => {
                self.open_session();
                Ok(())
            }
            Command::LoseSessions(lost) => self.lose_sessions(lost),
            Command::Fund(fund) => self.fund(fund),
            Command::Defund(defund) => self.defund(defund),
            Command::JoinIsland(join) => self.join(join),
            Command::SetTier(set) => self.set_tier(set),
            Command::SetBand(set) => self.set_band(set),
            Command::SetSlots(set) => self.set_slots(set),
            Command::PlaceBid(bid) => self.place_bid(bid),
            Command::PlaceAsk(ask) => self.place_ask(ask),
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::CancelAll(cancel) => self.cancel_all(cancel),
            Command::Amend(amend) => self.amend(amend),
            Command::SetDeadMan(set) => self.set_dead_man(set),
            Command::ReleaseSlot(release) => self.release_slot(release),
            Command::Checkpoint(checkpoint) => self.checkpoint(checkpoint),
            Command::CloseLease(close) => self.close_lease(close),
            Command::FailOver(failover) => self.fail_over(failover),
            Command::Halt(instrument) => self.halt(*instrument),
            Command::Resume(instrument) => self.resume(*instrument),
            Command::Tick => Ok(()),
            Command::SetPriceBand(set) => self.set_price_band(set),
        };
        if let Err(Refused(mut rejected)) = done {
            match &stamped.command {
                Command::PlaceBid(bid) => {
                    rejected.account = Some(bid.account);
                    rejected.client_order_id = Some(bid.client_order_id);
                }
                Command::PlaceAsk(ask) => rejected.client_order_id = Some(ask.client_order_id),
                Command::Cancel(cancel) => {
                    rejected.account = Some(cancel.account);
                    rejected.order = Some(cancel.order);
                }
                Command::Amend(amend) => {
                    rejected.account = Some(amend.account);
                    rejected.order = Some(amend.order);
                }
                Command::CancelAll(cancel) => rejected.account = Some(cancel.account),
                Command::Fund(fund) => rejected.account = Some(fund.account),
                Command::Defund(defund) => rejected.account = Some(defund.account),
                Command::JoinIsland(join) => rejected.account = Some(join.owner),
                _ => {}
            }
            self.events.push(Event::Rejected(rejected));
        } else {
            self.count_messages(&stamped.command);
        }
        self.publish();
        std::mem::take(&mut self.events)
    }

    fn set_regions(&mut self, table: &RegionTable) -> Result<(), Refused> {
        if let Some(old) = &self.regions {
            for region in old.regions() {
                if old.code(region) != table.code(region) {
                    return Err(RejectReason::RegionsConflict.into());
                }
            }
        }
        self.regions = Some(table.clone());
        self.events.push(Event::RegionsSet);
        Ok(())
    }

    fn fire_timers(&mut self) {
        loop {
            let mut due: Vec<(Timestamp, u64)> = Vec::new();
            for (time_in_force, id) in self
                .bids
                .iter()
                .map(|bid| (bid.body.time_in_force, bid.id))
                .chain(self.asks.iter().map(|ask| (ask.body.time_in_force, ask.id)))
            {
                if let TimeInForce::Gtd(deadline) = time_in_force {
                    due.push((deadline, id.get()));
                }
            }
            for session in &self.sessions {
                if let Some((deadline, armed_by)) = session.dead_man {
                    due.push((deadline, armed_by.get()));
                }
            }
            due.retain(|(deadline, _)| *deadline <= self.now);
            let Some((_, sequence)) = due.into_iter().min() else {
                break;
            };
            let session = self.sessions.iter_mut().find(|session| {
                session
                    .dead_man
                    .is_some_and(|(_, armed_by)| armed_by.get() == sequence)
            });
            match session {
                Some(session) => {
                    session.dead_man = None;
                    let session = session.id;
                    self.end_session_orders(session, EndReason::DeadMan);
                    self.events.push(Event::DeadManSet {
                        session,
                        deadline: None,
                    });
                }
                None => self.end(OrderId::new(sequence), EndReason::Expired),
            }
        }
        let now = self.now;
        self.ids.retain(|id| id.forget_at.is_none_or(|at| at > now));
    }

    fn island(&self, id: IslandId) -> Option<&NaiveIsland> {
        self.islands.iter().find(|island| island.id == id)
    }

    fn free(&self, island: IslandId) -> u32 {
        let island = self.island(island).unwrap();
        island
            .slots
            .saturating_sub(u32::try_from(island.held.len()).unwrap())
    }

    fn displayed(&self, ask: &NaiveAsk) -> u32 {
        ask.leaves.min(self.free(ask.body.island))
    }

    fn cell(&self, ask: &PlaceAsk) -> CellKey {
        let island = self.island(ask.island).unwrap();
        CellKey {
            instrument: ask.instrument,
            region: island.region,
            tier: island.tiers[&ask.instrument],
            band: island.band,
        }
    }

    fn knows(&self, region: Region) -> bool {
        self.regions
            .as_ref()
            .is_some_and(|table| table.code(region).is_some())
    }

    fn millis(&self, a: Region, b: Region) -> u64 {
        let table = self.regions.as_ref().unwrap();
        u64::from(table.round_trip(a, b).unwrap().as_millis())
    }

    fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// Takes asks that display nothing off the book; what is displayed again later arrives anew.
    fn hide(&mut self) {
        for position in 0..self.asks.len() {
            if self.displayed(&self.asks[position]) == 0 {
                self.asks[position].arrival = None;
            }
        }
    }

    /// Publishes every level that differs from what was published last.
    fn publish(&mut self) {
        let mut levels: BTreeMap<Level, u64> = BTreeMap::new();
        for ask in self.asks.iter().filter(|ask| ask.arrival.is_some()) {
            let level = Level::Ask(self.cell(&ask.body), ask.body.price);
            *levels.entry(level).or_default() += u64::from(self.displayed(ask));
        }
        for bid in &self.bids {
            let level = Level::Bid(bid.body.instrument, bid.class, bid.limit);
            *levels.entry(level).or_default() += u64::from(bid.leaves);
        }
        let mut all: Vec<Level> = levels.keys().chain(self.published.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        for level in all {
            let jobs = levels.get(&level).copied().unwrap_or_default();
            if jobs == self.published.get(&level).copied().unwrap_or_default() {
                continue;
            }
            self.events.push(match level {
                Level::Ask(cell, price) => Event::AskDepth(AskDepth { cell, price, jobs }),
                Level::Bid(instrument, class, price) => Event::BidDepth(BidDepth {
                    instrument,
                    class,
                    price,
                    jobs,
                }),
            });
        }
        self.published = levels;
    }

    fn halted(&self, instrument: InstrumentId) -> Result<bool, Refused> {
        let position = usize::try_from(instrument.get()).unwrap();
        match self.instruments.get(position) {
            Some(instrument) => Ok(instrument.halted),
            None => Err(RejectReason::UnknownInstrument.into()),
        }
    }

    fn price_band(&self, instrument: InstrumentId) -> Option<PriceBand> {
        let position = usize::try_from(instrument.get()).unwrap();
        self.instruments.get(position)?.price_band
    }

    fn jobs(count: u32) -> Jobs {
        Jobs::new(count)
    }
}
