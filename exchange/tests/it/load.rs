//! A random market: four Islands in three regions, four consumers, two models.

use domain::{
    AccountId, ClientOrderId, Credits, Digest, Eligibility, EndCause, Excluded, InputWeight, Instrument,
    InstrumentId, IslandId, JobEnd, JobOutcome, Jobs, KarmaBand, LatencyValue, LeaseId, OrderId, Price,
    Region, RegionTable, RoundTrip, SelfTradeMode, Sequence, SessionId, Slots, SpeedFloors, Task, Tier,
    TierFloor, TimeInForce, Timestamp, TokenCount, TransferId, Units,
};
use matcher::{
    BidLimit, Cancel, CloseLease, Command, Event, FailOver, Fund, JoinIsland, ListInstrument, PlaceAsk,
    PlaceBid, PostOnly, ReleaseSlot, SetBand, SetSlots, SetTier,
};

use crate::faulty_disk::Random;

pub(crate) const MODELS: [&str; 2] = ["tiny", "small"];
const GATE: u64 = 4;
const ISLANDS: u64 = 4;

pub(crate) fn table() -> RegionTable {
    let row = |row: [u16; 3]| row.map(RoundTrip::from_millis).to_vec();
    RegionTable::new(
        ["eu", "us", "ap"].map(str::to_owned).to_vec(),
        vec![row([5, 90, 160]), row([90, 5, 120]), row([160, 120, 5])],
    )
    .unwrap()
}

fn instrument(number: u32) -> Command {
    let floor = TierFloor {
        decode_per_second: 1,
        prefill_per_second: 1,
    };
    Command::ListInstrument(ListInstrument {
        instrument: InstrumentId::new(number),
        specification: Instrument {
            model: MODELS[usize::try_from(number).unwrap()].to_owned(),
            task: Task::Chat,
            digest: Digest::new([7; 32]),
            input_weight: InputWeight::DEFAULT,
            context_max: TokenCount::new(2_048),
            floors: SpeedFloors::new([floor; 5]),
        },
    })
}

/// The commands that open the market, from sequence 1 on. The gateway's session is 4, the Islands' follow.
pub(crate) fn opening() -> Vec<Command> {
    let mut commands = vec![Command::SetRegions(table()), instrument(0), instrument(1)];
    commands.extend((0..=ISLANDS).map(|_| Command::OpenSession));
    for island in 0..ISLANDS {
        commands.push(Command::JoinIsland(JoinIsland {
            island: IslandId::new(island),
            owner: AccountId::new(100 + island),
            session: island_session(island),
            region: region(island),
            band: KarmaBand::C,
            slots: Slots::new(3),
        }));
        for instrument in 0..2 {
            commands.push(Command::SetTier(SetTier {
                island: IslandId::new(island),
                instrument: InstrumentId::new(instrument),
                tier: Some(Tier::ALL[usize::try_from(island).unwrap()]),
            }));
        }
    }
    for account in 0..4 {
        commands.push(Command::Fund(Fund {
            transfer: TransferId::new(u128::from(account)),
            account: AccountId::new(account),
            amount: Credits::from_nano(10_000_000_000),
        }));
    }
    commands
}

fn island_session(island: u64) -> SessionId {
    SessionId::of_sequence(Sequence::new(GATE + 1 + island))
}

fn region(island: u64) -> Region {
    Region::new(u8::try_from(island % 3).unwrap()).unwrap()
}

/// Makes commands that fit what came of the ones before.
pub(crate) struct Load {
    random: Random,
    commands: u64,
    /// The clock of the market; deadlines lie a little after it.
    pub(crate) now: Timestamp,
    orders: Vec<(AccountId, OrderId)>,
    leases: Vec<(LeaseId, SessionId)>,
    busy: Vec<(LeaseId, SessionId)>,
}

impl Load {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            commands: 0,
            now: Timestamp::from_micros(1_000_000),
            orders: Vec::new(),
            leases: Vec::new(),
            busy: Vec::new(),
        }
    }

    /// One whose orders are named by the numbers after `first`.
    pub(crate) fn named_from(seed: u64, first: u64) -> Self {
        Self {
            commands: first,
            ..Self::new(seed)
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from(self.random.below(usize::try_from(bound).unwrap())).unwrap()
    }

    pub(crate) fn next(&mut self) -> Command {
        self.commands += 1;
        match self.below(20) {
            0..=6 => self.bid(),
            7..=12 => self.ask(),
            13 | 14 => self.cancel(),
            15 | 16 => self.end_lease(),
            17 => self.release(),
            18 => Command::SetBand(SetBand {
                island: IslandId::new(self.below(ISLANDS)),
                band: KarmaBand::ALL[self.random.below(4)],
            }),
            _ => Command::SetSlots(SetSlots {
                island: IslandId::new(self.below(ISLANDS)),
                slots: Slots::new(u32::try_from(self.below(5)).unwrap()),
            }),
        }
    }

    /// Learns what came of the last command.
    pub(crate) fn saw(&mut self, events: &[Event]) {
        for event in events {
            if let Event::BidAccepted(bid) = event {
                self.orders.push((bid.account, bid.order));
            } else if let Event::AskAccepted(ask) = event {
                self.orders.push((ask.account, ask.order));
            } else if let Event::Traded(traded) = event {
                let first = traded.first_lease.get();
                let leases = (first..first + u64::from(traded.jobs.get())).map(LeaseId::new);
                self.leases
                    .extend(leases.map(|lease| (lease, traded.ask_session)));
            }
        }
    }

    fn time_in_force(&mut self) -> TimeInForce {
        match self.below(4) {
            0 => TimeInForce::Ioc,
            1 => {
                let ahead = self.below(50_000);
                TimeInForce::Gtd(Timestamp::from_micros(self.now.as_micros() + 1 + ahead))
            }
            _ => TimeInForce::Gtc,
        }
    }

    fn price(&mut self) -> Price {
        Price::from_ticks(1 + self.below(12)).unwrap()
    }

    fn bid(&mut self) -> Command {
        let home = region(self.below(3));
        let mut regions = [home].into_iter().collect::<domain::RegionSet>();
        for other in 0..3 {
            if self.below(2) == 0 {
                regions = regions.with(region(other));
            }
        }
        Command::PlaceBid(PlaceBid {
            account: AccountId::new(self.below(4)),
            session: SessionId::of_sequence(Sequence::new(GATE)),
            client_order_id: ClientOrderId::new(u128::from(self.commands)),
            instrument: InstrumentId::new(u32::try_from(self.below(2)).unwrap()),
            limit: BidLimit::At(self.price()),
            jobs: Jobs::new(1 + u32::try_from(self.below(3)).unwrap()),
            units_max: Units::new(1 + self.below(2_000)),
            eligibility: Eligibility {
                home,
                regions,
                min_tier: Tier::ALL[self.random.below(3)],
                min_band: KarmaBand::ALL[self.random.below(3)],
            },
            latency_value: LatencyValue::new(u32::try_from(self.below(3)).unwrap() * 100),
            excluded: Excluded::default(),
            time_in_force: self.time_in_force(),
            self_trade: SelfTradeMode::Skip,
            jobs_min: Jobs::ZERO,
            payload: domain::PayloadDigest::NONE,
        })
    }

    fn ask(&mut self) -> Command {
        let island = self.below(ISLANDS);
        Command::PlaceAsk(PlaceAsk {
            island: IslandId::new(island),
            session: island_session(island),
            client_order_id: ClientOrderId::new(u128::from(self.commands)),
            instrument: InstrumentId::new(u32::try_from(self.below(2)).unwrap()),
            price: self.price(),
            jobs: Jobs::new(1 + u32::try_from(self.below(4)).unwrap()),
            time_in_force: self.time_in_force(),
            post_only: PostOnly::No,
            self_trade: SelfTradeMode::Skip,
        })
    }

    fn cancel(&mut self) -> Command {
        if self.orders.is_empty() {
            return Command::Tick;
        }
        let index = self.random.below(self.orders.len());
        let (account, order) = self.orders.swap_remove(index);
        Command::Cancel(Cancel { account, order })
    }

    fn end_lease(&mut self) -> Command {
        if self.leases.is_empty() {
            return Command::Tick;
        }
        let index = self.random.below(self.leases.len());
        let (lease, session) = self.leases.swap_remove(index);
        self.busy.push((lease, session));
        if self.below(3) == 0 {
            return Command::FailOver(FailOver {
                lease,
                units: Units::ZERO,
                units_max: Units::new(1),
                time_in_force: TimeInForce::Gtc,
                otherwise: JobEnd::because(JobOutcome::Failed, EndCause::NoIslandLeft),
            });
        }
        Command::CloseLease(CloseLease {
            lease,
            units: Units::new(1),
            reread_units: Units::ZERO,
            end: JobEnd::clean(JobOutcome::Stopped),
        })
    }

    fn release(&mut self) -> Command {
        match self.busy.pop() {
            Some((lease, session)) => Command::ReleaseSlot(ReleaseSlot { lease, session }),
            None => Command::Tick,
        }
    }
}
