//! Applying commands takes no memory once the engine has met as much as there is now.
//!
//! Every allocation of this thread is counted. Bids that name Islands to avoid, and failovers, are left out: what few
//! bids have lies in a box of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, IslandId, JobEnd, JobOutcome,
    Jobs, KarmaBand, LatencyValue, LeaseId, OrderId, PayloadDigest, Price, Region, SelfTradeMode, SessionId,
    Slots, Tier, TimeInForce, Timestamp, TransferId, Units,
};
use matcher::{
    Amend, BidLimit, Cancel, Checkpoint, CloseLease, Command, Engine, Event, Fund, JoinIsland, Limits,
    ListInstrument, PlaceAsk, PlaceBid, PostOnly, ReleaseSlot, Room, SetTier, Stamped,
};

use crate::campaign::Random;
use crate::scenario::{specification, table};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator has no other interface")]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const PARTIES: u64 = 20;
const OWNER: u64 = 1_000;

#[test]
fn a_warm_engine_applies_commands_without_allocating() {
    let mut market = Market::new();
    for _ in 0..60_000 {
        market.step();
    }
    let (trades, warm) = (market.trades, market.allocations);
    for _ in 0..20_000 {
        market.step();
    }
    assert!(market.trades > trades + 1_000, "the flow hardly trades");
    assert_eq!(market.allocations - warm, 0);
    market.engine.audit().unwrap();
}

/// A market that goes on for ever: orders come, rest, trade, expire and go; leases open and close.
struct Market {
    engine: Engine,
    random: Random,
    now: u64,
    next_id: u128,
    session: SessionId,
    /// Orders that were placed, oldest first, at most a few; many of them are gone.
    placed: std::collections::VecDeque<(AccountId, OrderId)>,
    leases: std::collections::VecDeque<LeaseId>,
    events: Vec<Event>,
    trades: u64,
    allocations: u64,
}

impl Market {
    fn new() -> Self {
        let limits = Limits {
            client_id_kept: std::time::Duration::from_millis(20),
            ..Limits::default()
        };
        let mut market = Self {
            engine: Engine::new(limits),
            random: Random::new(3),
            now: 1_000_000,
            next_id: 1,
            session: SessionId::new(3),
            placed: std::collections::VecDeque::new(),
            leases: std::collections::VecDeque::new(),
            events: Vec::with_capacity(4_096),
            trades: 0,
            allocations: 0,
        };
        market.engine.make_room(&Room {
            orders: 2_000,
            client_order_ids: 10_000,
            trades: 1_000,
        });
        market.apply(Command::SetRegions(table()));
        market.apply(Command::ListInstrument(ListInstrument {
            instrument: InstrumentId::new(0),
            specification: specification(),
        }));
        market.apply(Command::OpenSession);
        for party in 0..PARTIES {
            market.enrol(party);
        }
        market
    }

    fn enrol(&mut self, party: u64) {
        let island = IslandId::new(party);
        self.apply(Command::Fund(Fund {
            transfer: TransferId::new(u128::from(party)),
            account: AccountId::new(party),
            amount: Credits::from_nano(1 << 50),
        }));
        self.apply(Command::JoinIsland(JoinIsland {
            island,
            owner: AccountId::new(OWNER + party),
            session: self.session,
            region: region(party % 3),
            band: KarmaBand::B,
            slots: Slots::new(12),
        }));
        self.apply(Command::SetTier(SetTier {
            island,
            instrument: InstrumentId::new(0),
            tier: Some(Tier::Desktop),
        }));
    }

    fn step(&mut self) {
        self.now += 100;
        while self.leases.len() > 150 {
            self.end_oldest_lease();
        }
        if self.placed.len() > 400 {
            self.placed.pop_front();
        }
        match self.random.below(10) {
            0..3 => self.bid(),
            3..6 => self.ask(),
            6..9 => self.cancel_or_amend(),
            _ => self.apply(Command::Tick),
        }
    }

    fn bid(&mut self) {
        let party = self.random.below(PARTIES);
        let account = AccountId::new(party);
        let command = Command::PlaceBid(PlaceBid {
            account,
            session: self.session,
            client_order_id: self.client_order_id(),
            instrument: InstrumentId::new(0),
            limit: BidLimit::At(self.price()),
            jobs: self.jobs(),
            units_max: Units::new(1_000),
            eligibility: Eligibility {
                home: region(party % 3),
                regions: (0..3).map(region).collect(),
                min_tier: Tier::Phone,
                min_band: KarmaBand::D,
            },
            latency_value: LatencyValue::new(3),
            excluded: Excluded::default(),
            time_in_force: self.time_in_force(),
            self_trade: SelfTradeMode::Skip,
            jobs_min: Jobs::ZERO,
            payload: PayloadDigest::NONE,
        });
        self.place(account, command);
    }

    fn ask(&mut self) {
        let party = self.random.below(PARTIES);
        let command = Command::PlaceAsk(PlaceAsk {
            island: IslandId::new(party),
            session: self.session,
            client_order_id: self.client_order_id(),
            instrument: InstrumentId::new(0),
            price: self.price(),
            jobs: self.jobs(),
            time_in_force: self.time_in_force(),
            post_only: PostOnly::No,
            self_trade: SelfTradeMode::Skip,
        });
        self.place(AccountId::new(OWNER + party), command);
    }

    fn place(&mut self, account: AccountId, command: Command) {
        let order = OrderId::of_sequence(self.engine.sequence().next());
        self.placed.push_back((account, order));
        self.apply(command);
    }

    fn cancel_or_amend(&mut self) {
        if self.placed.is_empty() {
            return;
        }
        let count = u64::try_from(self.placed.len()).unwrap();
        let place = usize::try_from(self.random.below(count)).unwrap();
        let (account, order) = self.placed[place];
        if self.random.one_in(4) {
            self.apply(Command::Amend(Amend {
                account,
                order,
                leaves: Jobs::ONE,
            }));
        } else {
            self.apply(Command::Cancel(Cancel { account, order }));
        }
    }

    fn end_oldest_lease(&mut self) {
        let lease = self.leases.pop_front().unwrap();
        self.apply(Command::Checkpoint(Checkpoint {
            lease,
            units: Units::new(5),
        }));
        self.apply(Command::CloseLease(CloseLease {
            lease,
            units: Units::new(9),
            reread_units: Units::ZERO,
            end: JobEnd::clean(JobOutcome::Stopped),
        }));
        self.apply(Command::ReleaseSlot(ReleaseSlot {
            lease,
            session: self.session,
        }));
    }

    fn client_order_id(&mut self) -> ClientOrderId {
        self.next_id += 1;
        ClientOrderId::new(self.next_id)
    }

    fn price(&mut self) -> Price {
        Price::from_ticks(95 + self.random.below(11)).unwrap()
    }

    fn jobs(&mut self) -> Jobs {
        Jobs::new(u32::try_from(self.random.below(4)).unwrap() + 1)
    }

    fn time_in_force(&mut self) -> TimeInForce {
        match self.random.below(4) {
            0 => TimeInForce::Gtc,
            1 => TimeInForce::Ioc,
            _ => TimeInForce::Gtd(Timestamp::from_micros(self.now + 1 + self.random.below(30_000))),
        }
    }

    /// Applies a command, and counts what that allocates.
    fn apply(&mut self, command: Command) {
        let stamped = Stamped {
            sequence: self.engine.sequence().next(),
            at: Timestamp::from_micros(self.now),
            command,
        };
        self.events.clear();
        let before = ALLOCATIONS.with(Cell::get);
        self.engine.apply(&stamped, &mut self.events);
        self.allocations += ALLOCATIONS.with(Cell::get) - before;
        for event in &self.events {
            if let Event::Traded(trade) = event {
                self.trades += 1;
                let leases = (0..u64::from(trade.jobs.get())).map(|offset| trade.first_lease.get() + offset);
                self.leases.extend(leases.map(LeaseId::new));
            }
        }
    }
}

fn region(index: u64) -> Region {
    Region::new(u8::try_from(index).unwrap()).unwrap()
}
