//! Scripts: one command a line, names for everything, and the events in words.
//!
//! Three regions (`eu`, `us`, `ap`), two instruments (`m`, and `n` where a line says `in=n`), a gateway session `gate`,
//! and accounts that are funded with a whole credit on first use. A price is in ticks, so at the default of 1,000 work
//! units a job costs as many thousand nano-credits. What comes before a line `---` is set-up and is not shown.
//!
//! ```text
//! island i eu desktop B slots=2 owner=o    opens a session, joins, gives the tier in `m`
//! ask a i 3@10 ioc post mode=allow gtd=50
//! bid b alice 4@12 home=eu regions=eu,us tier=laptop band=C lv=9 not=i,j units=500 says=7 fok
//! bid c bob 4@12 ioc min=2
//! cancel b · cancel-all alice in=m · amend b 2 · checkpoint 1 40 · close 1 500 · failover 1 200 left=700
//! release 1 i · slots i 3 · band i A · tier i server · lose gate · halt · resume · dead-man gate 100 · tick 5
//! price-band 8 12 · price-band off
//! ```
//! `+5 …` lets five milliseconds pass before the command.

mod parse;
mod print;

use std::collections::BTreeMap;

use domain::{
    AccountId, Credits, Digest, InputWeight, Instrument, InstrumentId, IslandId, OrderId, RegionTable,
    RoundTrip, Sequence, SessionId, SpeedFloors, Task, TierFloor, Timestamp, TokenCount, TransferId,
};
use expect_test::Expect;
use matcher::{Command, Engine, Event, Fund, Limits, ListInstrument, Stamped};

pub(crate) const REGIONS: [&str; 3] = ["eu", "us", "ap"];

/// An engine and the names of what is in it.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) journal: Vec<Stamped>,
    pub(crate) now: u64,
    accounts: BTreeMap<String, AccountId>,
    islands: BTreeMap<String, IslandId>,
    sessions: BTreeMap<String, SessionId>,
    orders: BTreeMap<String, OrderId>,
    next_client_order_id: u128,
}

/// Runs a script and compares what it shows.
pub(crate) fn check(script: &str, expected: Expect) {
    check_within(Limits::default(), script, expected);
}

/// Runs a script under other bounds.
pub(crate) fn check_within(limits: Limits, script: &str, expected: Expect) {
    let mut world = World::within(limits);
    expected.assert_eq(&world.run(script));
}

impl World {
    pub(crate) fn within(limits: Limits) -> Self {
        let mut world = Self {
            engine: Engine::new(limits),
            journal: Vec::new(),
            now: 1_000_000,
            accounts: BTreeMap::new(),
            islands: BTreeMap::new(),
            sessions: BTreeMap::new(),
            orders: BTreeMap::new(),
            next_client_order_id: 1_000,
        };
        world.apply(Command::SetRegions(table()));
        for number in 0..2 {
            world.apply(Command::ListInstrument(ListInstrument {
                instrument: InstrumentId::new(number),
                specification: specification(),
            }));
        }
        world.open_session("gate");
        world
    }

    /// Runs a script; returns the events of what comes after the line `---`, or of all of it.
    pub(crate) fn run(&mut self, script: &str) -> String {
        let mut shown = String::new();
        for line in script.lines().map(str::trim) {
            if line == "---" {
                shown.clear();
                continue;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            for event in self.line(line) {
                let text = self.print(&event);
                shown.push_str(&text);
                shown.push('\n');
            }
        }
        shown
    }

    /// Applies one command at the present time, audits the engine, and returns the events.
    pub(crate) fn apply(&mut self, command: Command) -> Vec<Event> {
        let stamped = Stamped {
            sequence: self.engine.sequence().next(),
            at: Timestamp::from_micros(self.now),
            command,
        };
        let mut events = Vec::new();
        self.engine.apply(&stamped, &mut events);
        self.engine.audit().unwrap();
        self.journal.push(stamped);
        events
    }

    pub(crate) fn next_sequence(&self) -> Sequence {
        self.engine.sequence().next()
    }

    pub(crate) fn open_session(&mut self, name: &str) -> Vec<Event> {
        let session = SessionId::of_sequence(self.next_sequence());
        self.sessions.insert(name.to_owned(), session);
        self.apply(Command::OpenSession)
    }

    /// The account of that name, funded with a whole credit if it is new.
    pub(crate) fn account(&mut self, name: &str) -> AccountId {
        if let Some(account) = self.accounts.get(name) {
            return *account;
        }
        let account = self.unfunded(name);
        self.apply(Command::Fund(Fund {
            transfer: TransferId::new(u128::from(account.get()) << 64),
            account,
            amount: Credits::from_whole(1).unwrap(),
        }));
        account
    }

    /// The account of that name; a new one is not funded.
    pub(crate) fn unfunded(&mut self, name: &str) -> AccountId {
        let next = u64::try_from(self.accounts.len()).unwrap() + 1;
        *self
            .accounts
            .entry(name.to_owned())
            .or_insert_with(|| AccountId::new(next))
    }

    pub(crate) fn island(&mut self, name: &str) -> IslandId {
        let next = u64::try_from(self.islands.len()).unwrap() + 1;
        *self
            .islands
            .entry(name.to_owned())
            .or_insert_with(|| IslandId::new(next))
    }

    pub(crate) fn session(&self, name: &str) -> SessionId {
        self.sessions
            .get(name)
            .copied()
            .unwrap_or_else(|| SessionId::new(999_999))
    }

    pub(crate) fn order(&self, name: &str) -> OrderId {
        self.orders
            .get(name)
            .copied()
            .unwrap_or_else(|| OrderId::new(999_999))
    }
}

/// The table of the three regions: 5 ms at home, 90 ms eu–us, 200 ms eu–ap, 150 ms us–ap.
pub(crate) fn table() -> RegionTable {
    let rows = [[5, 90, 200], [90, 5, 150], [200, 150, 5]];
    let round_trips = rows.map(|row| row.map(RoundTrip::from_millis).to_vec()).to_vec();
    RegionTable::new(REGIONS.map(str::to_owned).to_vec(), round_trips).unwrap()
}

pub(crate) fn specification() -> Instrument {
    let floor = TierFloor {
        decode_per_second: 1,
        prefill_per_second: 1,
    };
    Instrument {
        model: "model".to_owned(),
        task: Task::Chat,
        digest: Digest::new([7; 32]),
        input_weight: InputWeight::DEFAULT,
        context_max: TokenCount::new(2_048),
        floors: SpeedFloors::new([floor; 5]),
    }
}
