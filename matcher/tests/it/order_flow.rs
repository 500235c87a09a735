//! The published order flow: a port of `benches/workload/orderflow.py` with its own obvious book, and the engine
//! beside it. The hash of the trades is the one that the generator prints.

use std::collections::{BTreeMap, VecDeque};

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, IslandId, Jobs, KarmaBand,
    LatencyValue, OrderId, Price, Region, SelfTradeMode, SessionId, Slots, Tier, TimeInForce, Timestamp,
    TransferId, Units,
};
use matcher::{
    Amend, BidLimit, Cancel, Command, Engine, Event, Fund, JoinIsland, Limits, ListInstrument, PlaceAsk,
    PlaceBid, PostOnly, SetTier, Stamped,
};

use crate::scenario::{specification, table};

const MIDDLE: u64 = 32_768;

/// `orderflow.py small.csv 20000 4 2000 50 7`
#[test]
fn the_engine_makes_the_trades_of_the_order_flow() {
    let mut flow = Flow::new(7, 4);
    for _ in 0..2_000 {
        flow.preload(50);
    }
    for _ in 0..20_000 {
        flow.step();
    }
    let far_above = flow.books.len();
    let resting = flow.market.engine.orders().count() - far_above;
    assert_eq!(
        (
            flow.market.trades,
            flow.market.quantity,
            flow.market.hash,
            resting
        ),
        (2_173, 19_241, 0x8c3e_8f84_90e3_af21, 2_341)
    );
    flow.market.engine.audit().unwrap();
}

/// The generator's xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) * bound) >> 32
    }
}

/// One side of the obvious book: by price, the orders and what is left of them, earliest first.
type Levels = BTreeMap<u64, VecDeque<(u64, u64)>>;

/// A new order of the flow.
#[derive(Clone, Copy)]
struct NewOrder {
    id: u64,
    book: usize,
    /// 0 for a bid, 1 for an ask.
    side: usize,
    price: u64,
    quantity: u64,
    time_in_force: TimeInForce,
}

/// The generator: picks operations by what its own book holds.
struct Flow {
    numbers: Numbers,
    middle: Vec<u64>,
    /// Orders to pick from; the gone are dropped when met.
    live: Vec<(u64, usize, usize)>,
    books: Vec<[Levels; 2]>,
    next_order: u64,
    preloaded: usize,
    market: Market,
}

impl Flow {
    fn new(seed: u64, books: usize) -> Self {
        Self {
            numbers: Numbers(seed | 1),
            middle: vec![MIDDLE; books],
            live: Vec::new(),
            books: (0..books).map(|_| [Levels::new(), Levels::new()]).collect(),
            next_order: 1,
            preloaded: 0,
            market: Market::new(u32::try_from(books).unwrap()),
        }
    }

    fn preload(&mut self, half_range: u64) {
        let book = self.preloaded % self.books.len();
        self.preloaded += 1;
        let side = usize::try_from(self.numbers.below(2)).unwrap();
        let offset = 1 + self.numbers.below(half_range);
        let price = if side == 0 {
            self.middle[book] - offset
        } else {
            self.middle[book] + offset
        };
        let quantity = 1 + self.numbers.below(100);
        let id = self.enter(book, side, price, quantity, TimeInForce::Gtc);
        self.live.push((id, side, book));
    }

    fn step(&mut self) {
        let count = u64::try_from(self.books.len()).unwrap();
        let book = usize::try_from(self.numbers.below(count)).unwrap();
        if self.numbers.below(100) == 0 {
            let up = self.numbers.below(2) == 0;
            let middle = if up {
                self.middle[book] + 1
            } else {
                self.middle[book] - 1
            };
            self.middle[book] = middle.clamp(MIDDLE - 1_800, MIDDLE + 1_800);
        }
        let kind = self.numbers.below(100);
        let picked = if (50..98).contains(&kind) {
            self.pick()
        } else {
            None
        };
        match picked {
            Some(picked) if kind < 90 => {
                let (id, side, book) = self.live.swap_remove(picked);
                self.take_out(id, side, book);
                self.market.cancel(id, side);
            }
            Some(picked) if self.remaining(self.live[picked]) > Some(1) => {
                let (id, side, book) = self.live[picked];
                let left = self.remaining((id, side, book)).unwrap();
                let quantity = 1 + self.numbers.below(left - 1);
                for (order, remaining) in self.books[book][side].values_mut().flatten() {
                    if *order == id {
                        *remaining = quantity;
                    }
                }
                self.market.amend(id, side, quantity);
            }
            _ => self.place(book, kind >= 98),
        }
    }

    fn place(&mut self, book: usize, immediate: bool) {
        let side = usize::try_from(self.numbers.below(2)).unwrap();
        let best_bid = self.books[book][0].last_key_value().map(|(price, _)| *price);
        let best_ask = self.books[book][1].first_key_value().map(|(price, _)| *price);
        let aggressive = immediate || self.numbers.below(100) < 15;
        let quantity = 1 + self.numbers.below(if aggressive { 20 } else { 100 });
        let offset = 1 + self.numbers.below(50);
        let mut price = if side == 0 {
            self.middle[book] - offset
        } else {
            self.middle[book] + offset
        };
        match (aggressive, side, best_bid, best_ask) {
            (true, 0, _, Some(ask)) => price = ask + self.numbers.below(3),
            (true, 1, Some(bid), _) => price = bid - self.numbers.below(3),
            (false, 0, _, Some(ask)) => price = price.min(ask - 1),
            (false, 1, Some(bid), _) => price = price.max(bid + 1),
            _ => {}
        }
        let time_in_force = if immediate {
            TimeInForce::Ioc
        } else {
            TimeInForce::Gtc
        };
        let id = self.enter(book, side, price, quantity, time_in_force);
        if self.remaining((id, side, book)).is_some() {
            self.live.push((id, side, book));
        }
    }

    /// The place in `live` of an order that still rests.
    fn pick(&mut self) -> Option<usize> {
        while !self.live.is_empty() {
            let count = u64::try_from(self.live.len()).unwrap();
            let picked = usize::try_from(self.numbers.below(count)).unwrap();
            if self.remaining(self.live[picked]).is_some() {
                return Some(picked);
            }
            self.live.swap_remove(picked);
        }
        None
    }

    fn remaining(&self, (id, side, book): (u64, usize, usize)) -> Option<u64> {
        let mut orders = self.books[book][side].values().flatten();
        orders.find(|(order, _)| *order == id).map(|(_, left)| *left)
    }

    fn take_out(&mut self, id: u64, side: usize, book: usize) {
        self.books[book][side].retain(|_, level| {
            level.retain(|(order, _)| *order != id);
            !level.is_empty()
        });
    }

    /// Enters an order in the obvious book and in the engine.
    fn enter(
        &mut self,
        book: usize,
        side: usize,
        price: u64,
        quantity: u64,
        time_in_force: TimeInForce,
    ) -> u64 {
        let id = self.next_order;
        self.next_order += 1;
        let mut left = quantity;
        while left > 0 {
            let other = &mut self.books[book][1 - side];
            let best = if side == 0 {
                other.first_entry().filter(|level| *level.key() <= price)
            } else {
                other.last_entry().filter(|level| *level.key() >= price)
            };
            let Some(mut level) = best else {
                break;
            };
            let maker = level.get_mut().front_mut().unwrap();
            let filled = left.min(maker.1);
            left -= filled;
            maker.1 -= filled;
            if maker.1 == 0 {
                level.get_mut().pop_front();
                if level.get().is_empty() {
                    level.remove();
                }
            }
        }
        if left > 0 && time_in_force == TimeInForce::Gtc {
            self.books[book][side]
                .entry(price)
                .or_default()
                .push_back((id, left));
        }
        self.market.place(NewOrder {
            id,
            book,
            side,
            price,
            quantity,
            time_in_force,
        });
        id
    }
}

/// The engine: an instrument a book, a thousand accounts and a thousand Islands.
struct Market {
    engine: Engine,
    orders: BTreeMap<u64, OrderId>,
    flow_ids: BTreeMap<OrderId, u64>,
    trades: u64,
    quantity: u64,
    hash: u64,
}

const PARTIES: u64 = 1_000;
const OWNER: u64 = 1_000_000;

impl Market {
    fn new(books: u32) -> Self {
        let mut market = Self {
            engine: Engine::new(Limits::default()),
            orders: BTreeMap::new(),
            flow_ids: BTreeMap::new(),
            trades: 0,
            quantity: 0,
            hash: 0,
        };
        market.apply(Command::SetRegions(table()));
        for number in 0..books {
            market.apply(Command::ListInstrument(ListInstrument {
                instrument: InstrumentId::new(number),
                specification: specification(),
            }));
        }
        let session = SessionId::of_sequence(market.engine.sequence().next());
        market.apply(Command::OpenSession);
        for party in 0..PARTIES {
            market.apply(Command::Fund(Fund {
                transfer: TransferId::new(u128::from(party)),
                account: AccountId::new(party),
                amount: Credits::from_whole(1_000).unwrap(),
            }));
            market.apply(Command::JoinIsland(JoinIsland {
                island: IslandId::new(party),
                owner: AccountId::new(OWNER + party),
                session,
                region: region(),
                band: KarmaBand::B,
                slots: Slots::new(u32::MAX),
            }));
            for number in 0..books {
                market.apply(Command::SetTier(SetTier {
                    island: IslandId::new(party),
                    instrument: InstrumentId::new(number),
                    tier: Some(Tier::Desktop),
                }));
            }
        }
        market.quote_far_above(books);
        market
    }

    /// An ask that no bid of the flow reaches keeps each book servable while it has no other.
    fn quote_far_above(&mut self, books: u32) {
        for number in 0..books {
            let command = Command::PlaceAsk(PlaceAsk {
                island: IslandId::new(0),
                session: self.session(),
                client_order_id: ClientOrderId::new(u128::MAX - u128::from(number)),
                instrument: InstrumentId::new(number),
                price: Price::MAX,
                jobs: Jobs::ONE,
                time_in_force: TimeInForce::Gtc,
                post_only: PostOnly::No,
                self_trade: SelfTradeMode::Skip,
            });
            self.apply(command);
        }
    }

    fn session(&self) -> SessionId {
        self.engine.sessions().next().unwrap()
    }

    fn place(&mut self, new: NewOrder) {
        let NewOrder {
            id,
            side,
            time_in_force,
            ..
        } = new;
        let order = OrderId::of_sequence(self.engine.sequence().next());
        self.orders.insert(id, order);
        self.flow_ids.insert(order, id);
        let book = u32::try_from(new.book).unwrap();
        let price = Price::from_ticks(new.price).unwrap();
        let jobs = Jobs::new(u32::try_from(new.quantity).unwrap());
        let (session, party) = (self.session(), id % PARTIES);
        let command = if side == 0 {
            Command::PlaceBid(PlaceBid {
                account: AccountId::new(party),
                session,
                client_order_id: ClientOrderId::new(u128::from(id)),
                instrument: InstrumentId::new(book),
                limit: BidLimit::At(price),
                jobs,
                units_max: Units::new(1),
                eligibility: Eligibility {
                    home: region(),
                    regions: [region()].into_iter().collect(),
                    min_tier: Tier::Phone,
                    min_band: KarmaBand::D,
                },
                latency_value: LatencyValue::ZERO,
                excluded: Excluded::default(),
                time_in_force,
                self_trade: SelfTradeMode::Skip,
                jobs_min: Jobs::ZERO,
                payload: domain::PayloadDigest::NONE,
            })
        } else {
            Command::PlaceAsk(PlaceAsk {
                island: IslandId::new(party),
                session,
                client_order_id: ClientOrderId::new(u128::from(id)),
                instrument: InstrumentId::new(book),
                price,
                jobs,
                time_in_force,
                post_only: PostOnly::No,
                self_trade: SelfTradeMode::Skip,
            })
        };
        for event in self.apply(command) {
            match event {
                Event::Traded(trade) => self.traded(id, side, &trade),
                Event::Rejected(rejected) => panic!("{id} was refused: {rejected:?}"),
                _ => {}
            }
        }
    }

    fn traded(&mut self, taker: u64, side: usize, trade: &matcher::Traded) {
        let maker = if side == 0 { trade.ask } else { trade.bid };
        let quantity = u64::from(trade.jobs.get());
        let mixed = self.flow_ids[&maker].wrapping_mul(31)
            ^ taker.wrapping_mul(7)
            ^ (trade.price.ticks() << 40)
            ^ (quantity << 20);
        self.hash = (self.hash.rotate_left(5) ^ mixed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.trades += 1;
        self.quantity += quantity;
    }

    fn owner(id: u64, side: usize) -> AccountId {
        let party = id % PARTIES;
        AccountId::new(if side == 0 { party } else { OWNER + party })
    }

    fn cancel(&mut self, id: u64, side: usize) {
        let (account, order) = (Self::owner(id, side), self.orders[&id]);
        self.apply(Command::Cancel(Cancel { account, order }));
    }

    fn amend(&mut self, id: u64, side: usize, quantity: u64) {
        let (account, order) = (Self::owner(id, side), self.orders[&id]);
        let leaves = Jobs::new(u32::try_from(quantity).unwrap());
        self.apply(Command::Amend(Amend {
            account,
            order,
            leaves,
        }));
    }

    fn apply(&mut self, command: Command) -> Vec<Event> {
        let stamped = Stamped {
            sequence: self.engine.sequence().next(),
            at: Timestamp::from_micros(1_000_000),
            command,
        };
        let mut events = Vec::new();
        self.engine.apply(&stamped, &mut events);
        events
    }
}

fn region() -> Region {
    Region::new(0).unwrap()
}
