//! Commands at random, aimed at what is there.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, EndCause, Excluded, InstrumentId, IslandId, JobEnd,
    JobOutcome, Jobs, KarmaBand, LatencyValue, LeaseId, OrderId, PayloadDigest, Price, PriceBand, Region,
    RegionSet, RegionTable, RoundTrip, SelfTradeMode, SessionId, Slots, Tier, TimeInForce, Timestamp,
    TransferId, Units,
};
use matcher::{
    Amend, BidLimit, Cancel, CancelAll, CancelScope, Checkpoint, CloseLease, Command, Defund, Engine,
    FailOver, Fund, JoinIsland, ListInstrument, LoseSessions, PlaceAsk, PlaceBid, PostOnly, ReleaseSlot,
    SetBand, SetDeadMan, SetPriceBand, SetSlots, SetTier,
};

use crate::scenario::specification;

/// A xorshift64* generator: the same numbers for a seed on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn small(&mut self, bound: u32) -> u32 {
        u32::try_from(self.below(u64::from(bound))).unwrap()
    }

    pub(crate) fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        let count = u64::try_from(values.len()).unwrap();
        values[usize::try_from(self.below(count)).unwrap()].clone()
    }
}

/// What the next command is chosen from.
pub(crate) struct Generator {
    set_up: Vec<Command>,
    /// Orders that were placed, to repeat and to vary.
    placed: Vec<Command>,
    /// Leases by the Island's session that took the slot.
    ended_leases: u64,
    table: RegionTable,
    next_id: u128,
    next_transfer: u128,
}

impl Generator {
    pub(crate) fn new(random: &mut Random) -> Self {
        let table = table(random, 3);
        let mut set_up = vec![Command::SetRegions(table.clone())];
        for number in 0..2 {
            set_up.push(list(number));
        }
        for number in 1..=4 {
            set_up.push(Command::Fund(Fund {
                transfer: TransferId::new(number),
                account: AccountId::new(u64::try_from(number).unwrap()),
                amount: Credits::from_nano(i64::try_from(random.below(300_000)).unwrap() + 1),
            }));
        }
        // Sessions are named by their sequence, and all that comes before them is above.
        let first_session = u64::try_from(set_up.len()).unwrap() + 1;
        for _ in 0..6 {
            set_up.push(Command::OpenSession);
        }
        for number in 0..4 {
            set_up.push(Command::JoinIsland(JoinIsland {
                island: IslandId::new(number + 1),
                owner: AccountId::new(random.pick(&[1, 2, 8, 9, 9])),
                session: SessionId::new(first_session + number),
                region: region(random),
                band: band(random),
                slots: Slots::new(random.small(6)),
            }));
            for instrument in 0..2 {
                set_up.push(Command::SetTier(SetTier {
                    island: IslandId::new(number + 1),
                    instrument: InstrumentId::new(instrument),
                    tier: Some(random.pick(&[Tier::Phone, Tier::Desktop, Tier::Server])),
                }));
            }
        }
        for number in 0..8 {
            set_up.push(Command::PlaceAsk(PlaceAsk {
                island: IslandId::new(number % 4 + 1),
                session: SessionId::new(first_session + number % 4),
                client_order_id: ClientOrderId::new(u128::from(number) + 10_000),
                instrument: InstrumentId::new(u32::from(number == 7)),
                price: price(random),
                jobs: Jobs::new(random.small(4) + 1),
                time_in_force: TimeInForce::Gtc,
                post_only: PostOnly::No,
                self_trade: mode(random),
            }));
        }
        set_up.reverse();
        Self {
            set_up,
            placed: Vec::new(),
            ended_leases: 0,
            table,
            next_id: 1,
            next_transfer: 100,
        }
    }

    pub(crate) fn is_setting_up(&self) -> bool {
        !self.set_up.is_empty()
    }

    pub(crate) fn next(&mut self, random: &mut Random, engine: &Engine, now: u64) -> Command {
        if let Some(command) = self.set_up.pop() {
            return command;
        }
        let islands = engine.islands().count();
        if islands < 4 && random.one_in(2) {
            return self.join(random, engine);
        }
        match random.below(100) {
            0..36 => self.bid(random, engine, now),
            36..56 => self.ask(random, engine, now),
            56..60 => self.cancel(random, engine),
            60..64 => Self::amend(random, engine),
            64..78 => self.lease(random, engine, now),
            78..86 => self.slot(random, engine),
            86..92 => Self::island(random, engine),
            92..94 => self.money(random),
            94..96 => Self::halt(random),
            96..98 => Self::session(random, engine, now),
            98 => self.listing(random, engine),
            99 if random.one_in(2) => Self::price_band(random),
            _ => Command::Tick,
        }
    }

    fn join(&mut self, random: &mut Random, engine: &Engine) -> Command {
        let session = pick_session(random, engine);
        Command::JoinIsland(JoinIsland {
            island: IslandId::new(random.below(6) + 1),
            owner: AccountId::new(random.pick(&[1, 2, 8, 9, 9])),
            session,
            region: if random.one_in(8) {
                Region::new(3).unwrap()
            } else {
                region(random)
            },
            band: band(random),
            slots: Slots::new(random.small(6)),
        })
    }

    fn bid(&mut self, random: &mut Random, engine: &Engine, now: u64) -> Command {
        if let Some(repeated) = self.repeat(random) {
            return repeated;
        }
        let unknown = Region::new(3).unwrap();
        let home = if random.one_in(40) {
            unknown
        } else {
            region(random)
        };
        let regions: RegionSet = if random.one_in(40) {
            RegionSet::EMPTY
        } else if random.one_in(6) {
            [region(random)].into_iter().collect()
        } else {
            self.table.all()
        };
        let excluded =
            (0..random.pick(&[0, 0, 0, 0, 0, 0, 0, 1, 2])).map(|_| IslandId::new(random.below(6) + 1));
        let excluded = Excluded::new(excluded.collect::<Vec<_>>()).unwrap();
        let time_in_force = time_in_force(random, now);
        let may_have_minimum = time_in_force == TimeInForce::Ioc || random.one_in(40);
        let jobs_min = if may_have_minimum && random.one_in(2) {
            Jobs::new(random.small(4))
        } else {
            Jobs::ZERO
        };
        let command = Command::PlaceBid(PlaceBid {
            account: AccountId::new(random.pick(&[1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 5])),
            session: pick_session(random, engine),
            client_order_id: self.client_order_id(),
            instrument: instrument(random),
            limit: if random.one_in(8) {
                BidLimit::Protection
            } else {
                BidLimit::At(price(random))
            },
            jobs: jobs(random),
            units_max: Units::new(if random.one_in(30) {
                random.pick(&[0, 1 << 40, 1 << 41])
            } else {
                random.pick(&[1, 700, 1_000, 1_500])
            }),
            eligibility: Eligibility {
                home,
                regions,
                min_tier: if random.one_in(4) {
                    random.pick(&[Tier::Desktop, Tier::Server])
                } else {
                    Tier::Phone
                },
                min_band: if random.one_in(6) {
                    KarmaBand::B
                } else {
                    KarmaBand::D
                },
            },
            latency_value: LatencyValue::new(random.pick(&[0, 0, 200, 400])),
            excluded,
            time_in_force,
            self_trade: mode(random),
            jobs_min,
            payload: PayloadDigest::new(random.below(2)),
        });
        self.placed.push(command.clone());
        command
    }

    fn ask(&mut self, random: &mut Random, engine: &Engine, now: u64) -> Command {
        if let Some(repeated) = self.repeat(random) {
            return repeated;
        }
        let known: Vec<IslandId> = engine.islands().map(|island| island.island).collect();
        let island = if known.is_empty() || random.one_in(25) {
            IslandId::new(random.below(6) + 1)
        } else {
            random.pick(&known)
        };
        let session = engine.island(island).map(|island| island.session);
        let session = session.filter(|_| !random.one_in(20));
        let command = Command::PlaceAsk(PlaceAsk {
            island,
            session: session.unwrap_or_else(|| pick_session(random, engine)),
            client_order_id: self.client_order_id(),
            instrument: instrument(random),
            price: price(random),
            jobs: jobs(random),
            time_in_force: if random.one_in(3) {
                time_in_force(random, now)
            } else {
                TimeInForce::Gtc
            },
            post_only: random.pick(&[PostOnly::No, PostOnly::No, PostOnly::No, PostOnly::Yes]),
            self_trade: mode(random),
        });
        self.placed.push(command.clone());
        command
    }

    /// Now and then an order that was placed before, as it was or with another quantity.
    fn repeat(&self, random: &mut Random) -> Option<Command> {
        if self.placed.is_empty() || !random.one_in(14) {
            return None;
        }
        let mut command = random.pick(&self.placed);
        if random.one_in(2) {
            match &mut command {
                Command::PlaceBid(bid) if random.one_in(2) => {
                    bid.payload = PayloadDigest::new(random.below(2))
                }
                Command::PlaceBid(bid) => bid.jobs = jobs(random),
                Command::PlaceAsk(ask) => ask.jobs = jobs(random),
                _ => {}
            }
        }
        Some(command)
    }

    fn client_order_id(&mut self) -> ClientOrderId {
        self.next_id += 1;
        ClientOrderId::new(self.next_id)
    }

    fn cancel(&self, random: &mut Random, engine: &Engine) -> Command {
        let orders: Vec<_> = engine.orders().collect();
        if random.one_in(4) {
            let scope = match random.below(4) {
                0 => CancelScope::Everything,
                1 => CancelScope::Instrument(instrument(random)),
                2 => CancelScope::Session(pick_session(random, engine)),
                _ => CancelScope::Island(IslandId::new(random.below(6) + 1)),
            };
            return Command::CancelAll(CancelAll {
                account: AccountId::new(random.pick(&[1, 2, 3, 9])),
                scope,
            });
        }
        if orders.is_empty() || random.one_in(10) {
            return Command::Cancel(Cancel {
                account: AccountId::new(1),
                order: OrderId::new(random.below(80)),
            });
        }
        let order = random.pick(&orders);
        Command::Cancel(Cancel {
            account: order.account,
            order: order.order,
        })
    }

    fn amend(random: &mut Random, engine: &Engine) -> Command {
        let orders: Vec<_> = engine.orders().filter(|order| order.leaves.get() > 1).collect();
        if orders.is_empty() {
            return Command::Tick;
        }
        let order = random.pick(&orders);
        Command::Amend(Amend {
            account: order.account,
            order: order.order,
            leaves: Jobs::new(random.small(order.leaves.get() + 1)),
        })
    }

    fn lease(&mut self, random: &mut Random, engine: &Engine, now: u64) -> Command {
        let leases: Vec<_> = engine.leases().collect();
        if leases.is_empty() && !random.one_in(10) {
            return self.ask(random, engine, now);
        }
        if leases.is_empty() || random.one_in(20) {
            return Command::CloseLease(CloseLease {
                lease: LeaseId::new(random.below(30)),
                units: Units::new(1),
                reread_units: Units::ZERO,
                end: JobEnd::clean(JobOutcome::Stopped),
            });
        }
        let lease = random.pick(&leases);
        let units = Units::new(random.below(lease.units_max.get().min(2_000) + 1));
        self.ended_leases += 1;
        match random.below(10) {
            0..3 => Command::CloseLease(CloseLease {
                lease: lease.lease,
                units: if random.one_in(8) {
                    Units::new(lease.units_max.get() + 1)
                } else {
                    units
                },
                reread_units: Units::new(random.below(500)),
                end: end(lease.lease.get()),
            }),
            3..5 => Command::Checkpoint(Checkpoint {
                lease: lease.lease,
                units,
            }),
            _ => Command::FailOver(FailOver {
                lease: lease.lease,
                units: Units::new(random.below(units.get() + 1)),
                units_max: Units::new(random.below(lease.units_max.get().min(2_000) - units.get() + 2)),
                time_in_force: match random.below(3) {
                    0 => TimeInForce::Ioc,
                    1 => TimeInForce::Gtc,
                    _ => TimeInForce::Gtd(Timestamp::from_micros(now + random.below(40_000))),
                },
                otherwise: end(lease.lease.get()),
            }),
        }
    }

    /// Gives a slot back that some lease may hold, under the session that may have taken it.
    fn slot(&self, random: &mut Random, engine: &Engine) -> Command {
        let lease = LeaseId::new(random.below(self.ended_leases + 8));
        let session = engine.lease(lease).map(|lease| lease.island_session);
        let sessions: Vec<SessionId> = engine.islands().map(|island| island.session).collect();
        let session = match (session, sessions.is_empty()) {
            (Some(session), _) => session,
            (None, true) => SessionId::new(1),
            (None, false) => random.pick(&sessions),
        };
        Command::ReleaseSlot(ReleaseSlot { lease, session })
    }

    fn island(random: &mut Random, engine: &Engine) -> Command {
        let known: Vec<IslandId> = engine.islands().map(|island| island.island).collect();
        let island = if known.is_empty() || random.one_in(15) {
            IslandId::new(77)
        } else {
            random.pick(&known)
        };
        match random.below(10) {
            0..5 => Command::SetTier(SetTier {
                island,
                instrument: instrument(random),
                tier: if random.one_in(12) {
                    None
                } else {
                    Some(random.pick(&[Tier::Phone, Tier::Desktop, Tier::Server]))
                },
            }),
            5..7 => Command::SetBand(SetBand {
                island,
                band: band(random),
            }),
            _ => Command::SetSlots(SetSlots {
                island,
                slots: Slots::new(random.small(6)),
            }),
        }
    }

    fn money(&mut self, random: &mut Random) -> Command {
        self.next_transfer += 1;
        let transfer = TransferId::new(if random.one_in(3) {
            self.next_transfer - 1 - u128::from(random.below(3))
        } else {
            self.next_transfer
        });
        let account = AccountId::new(random.below(5) + 1);
        let amount = Credits::from_nano(i64::try_from(random.below(60_000)).unwrap() - 5_000);
        if random.one_in(2) {
            Command::Fund(Fund {
                transfer,
                account,
                amount,
            })
        } else {
            Command::Defund(Defund {
                transfer,
                account,
                amount,
            })
        }
    }

    fn halt(random: &mut Random) -> Command {
        let instrument = instrument(random);
        if random.one_in(3) {
            Command::Halt(instrument)
        } else {
            Command::Resume(instrument)
        }
    }

    fn session(random: &mut Random, engine: &Engine, now: u64) -> Command {
        match random.below(6) {
            0 => Command::LoseSessions(if random.one_in(8) {
                LoseSessions::All
            } else {
                LoseSessions::One(pick_session(random, engine))
            }),
            1 | 2 => Command::SetDeadMan(SetDeadMan {
                session: pick_session(random, engine),
                deadline: if random.one_in(4) {
                    None
                } else {
                    Some(Timestamp::from_micros(now + random.below(30_000)))
                },
            }),
            _ => Command::OpenSession,
        }
    }

    /// Mostly lifts the band again, so that trading goes on.
    fn price_band(random: &mut Random) -> Command {
        let (lowest, highest) = (price(random), price(random));
        Command::SetPriceBand(SetPriceBand {
            instrument: instrument(random),
            band: PriceBand::new(lowest, highest).ok().filter(|_| random.one_in(2)),
        })
    }

    /// Another table, sometimes one that moves a region; another instrument, sometimes out of order.
    fn listing(&mut self, random: &mut Random, engine: &Engine) -> Command {
        if random.one_in(2) {
            let count = u32::try_from(engine.instruments().count()).unwrap();
            return list(count + random.small(2));
        }
        let count = random.pick(&[2, 3, 3, 4]);
        let table = table(random, count);
        if count == 3 {
            self.table = table.clone();
        }
        Command::SetRegions(table)
    }
}

fn list(number: u32) -> Command {
    Command::ListInstrument(ListInstrument {
        instrument: InstrumentId::new(number),
        specification: specification(),
    })
}

/// A table whose distances collide with prices: 50 ms at a latency value of 200 are one tick.
fn table(random: &mut Random, count: usize) -> RegionTable {
    let codes = ["eu", "us", "ap", "sa"].map(str::to_owned)[..count].to_vec();
    // By the sum of the two indexes and the seed's choice, so that it is the same both ways.
    let choices: Vec<u16> = (0..2 * count).map(|_| random.pick(&[50, 50, 100])).collect();
    let round_trip = |a: usize, b: usize| RoundTrip::from_millis(if a == b { 0 } else { choices[a + b] });
    let rows = (0..count)
        .map(|a| (0..count).map(|b| round_trip(a, b)).collect())
        .collect();
    RegionTable::new(codes, rows).unwrap()
}

fn pick_session(random: &mut Random, engine: &Engine) -> SessionId {
    let sessions: Vec<SessionId> = engine.sessions().collect();
    if sessions.is_empty() || random.one_in(30) {
        return SessionId::new(3);
    }
    // Mostly the first few: Islands and gateways share sessions here.
    let few = &sessions[..sessions.len().min(5)];
    random.pick(few)
}

fn instrument(random: &mut Random) -> InstrumentId {
    InstrumentId::new(random.pick(&[
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 8,
    ]))
}

fn region(random: &mut Random) -> Region {
    Region::new(random.pick(&[0, 0, 0, 1, 1, 2])).unwrap()
}

fn band(random: &mut Random) -> KarmaBand {
    random.pick(&[KarmaBand::C, KarmaBand::B, KarmaBand::A])
}

fn price(random: &mut Random) -> Price {
    Price::from_ticks(random.below(6) + 1).unwrap()
}

fn jobs(random: &mut Random) -> Jobs {
    Jobs::new(if random.one_in(40) {
        0
    } else {
        random.pick(&[1, 1, 2, 3, 4])
    })
}

fn mode(random: &mut Random) -> SelfTradeMode {
    random.pick(&[
        SelfTradeMode::Skip,
        SelfTradeMode::Skip,
        SelfTradeMode::CancelNewest,
        SelfTradeMode::CancelOldest,
        SelfTradeMode::CancelBoth,
        SelfTradeMode::Allow,
    ])
}

fn time_in_force(random: &mut Random, now: u64) -> TimeInForce {
    match random.below(10) {
        0 => TimeInForce::Ioc,
        1 => TimeInForce::Fok,
        2..5 => TimeInForce::Gtd(Timestamp::from_micros(now + random.below(60_000))),
        _ => TimeInForce::Gtc,
    }
}

/// An end, one of each kind in turn.
fn end(number: u64) -> JobEnd {
    match number % 3 {
        0 => JobEnd::clean(JobOutcome::Length),
        1 => JobEnd::because(JobOutcome::Incomplete, EndCause::NoIslandLeft),
        _ => JobEnd::because(JobOutcome::Failed, EndCause::Exchange),
    }
}
