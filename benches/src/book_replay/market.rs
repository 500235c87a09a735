//! The engine with a thousand accounts and Islands, and the hash of its trades.

use domain::{
    AccountId, ClientOrderId, Credits, Digest, Eligibility, Excluded, InputWeight, Instrument, InstrumentId,
    IslandId, Jobs, KarmaBand, LatencyValue, Liquidity, OrderId, Price, Region, RegionTable, RoundTrip,
    SelfTradeMode, Sequence, SessionId, Side, Slots, SpeedFloors, Task, Tier, TierFloor, TimeInForce,
    Timestamp, TokenCount, TransferId, Units,
};
use matcher::{
    Amend, BidLimit, Cancel, Command, Engine, Event, Fund, JoinIsland, Limits, ListInstrument, PlaceAsk,
    PlaceBid, PostOnly, RejectReason, Room, SetTier, Stamped,
};

use crate::book_replay::flow::{Action, Operation};
use crate::{HashedTrade, TradeHash};

/// Owners of Islands are other accounts than those that bid.
const OWNER: u64 = 1 << 40;

/// The name of the ask that keeps a book servable, less the book's number.
const FAR_ABOVE: u128 = u128::MAX;

/// The engine and what it traded.
#[derive(Debug)]
pub struct Market {
    engine: Engine,
    accounts: u64,
    books: u32,
    session: SessionId,
    /// By the flow's order id: the engine's, which is the sequence of the command that places it.
    orders: Vec<OrderId>,
    next_sequence: Sequence,
    /// The first sequence of an order of the flow, and by sequence from there on the flow's order id.
    first_order: u64,
    flow_ids: Vec<u64>,
    events: Vec<Event>,
    trades: Vec<Trade>,
    refused: Option<(Sequence, RejectReason)>,
}

/// What one trade adds to the hash.
#[derive(Clone, Copy, Debug)]
struct Trade {
    maker: OrderId,
    taker: OrderId,
    price: Price,
    jobs: Jobs,
}

impl Market {
    /// A market in which nothing rests yet.
    ///
    /// # Panics
    /// When the engine refuses the set-up.
    #[must_use]
    pub fn new(books: u32, accounts: u64) -> Self {
        let mut market = Self {
            engine: Engine::new(Limits::default()),
            accounts: accounts.max(1),
            books,
            session: SessionId::new(0),
            orders: vec![OrderId::new(0)],
            next_sequence: Sequence::ZERO.next(),
            first_order: 0,
            flow_ids: Vec::new(),
            events: Vec::new(),
            trades: Vec::new(),
            refused: None,
        };
        market.set_up();
        market.first_order = market.next_sequence.get();
        market
    }

    /// How many trades there were.
    #[must_use]
    pub fn trades(&self) -> usize {
        self.trades.len()
    }

    /// The hash of the trades, the preloaded ones included.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let hash = self.trades.iter().fold(TradeHash::default(), |hash, trade| {
            hash.with(HashedTrade {
                maker: self.flow_id(trade.maker),
                taker: self.flow_id(trade.taker),
                price_ticks: trade.price.ticks(),
                jobs: trade.jobs.get(),
            })
        });
        hash.get()
    }

    /// Orders of the flow that rest.
    #[must_use]
    pub fn resting(&self) -> usize {
        let far_above = usize::try_from(self.books).unwrap_or_default();
        self.engine.orders().count().saturating_sub(far_above)
    }

    /// The flow's operations as the sequencer would stamp them.
    ///
    /// # Errors
    /// When an operation names an order that the flow never placed.
    pub fn commands(&mut self, operations: &[Operation]) -> anyhow::Result<Vec<Stamped>> {
        operations
            .iter()
            .map(|operation| self.command(operation))
            .collect()
    }

    /// Has the engine read ahead for a batch, as the sequencer does.
    pub fn anticipate(&self, batch: &[Stamped]) {
        self.engine.anticipate(batch);
    }

    /// Applies one command and notes its trades.
    #[inline]
    pub fn apply(&mut self, stamped: &Stamped) {
        self.events.clear();
        self.engine.apply(stamped, &mut self.events);
        for event in &self.events {
            if let Event::Traded(trade) = event {
                let (maker, taker) = match trade.bid_liquidity {
                    Liquidity::Taker => (trade.ask, trade.bid),
                    Liquidity::Maker => (trade.bid, trade.ask),
                };
                self.trades.push(Trade {
                    maker,
                    taker,
                    price: trade.price,
                    jobs: trade.jobs,
                });
            }
            if let Event::Rejected(rejected) = event {
                self.refused = Some((stamped.sequence, rejected.reason));
            }
        }
    }

    /// Refuses to report a run in which the engine refused something.
    ///
    /// # Errors
    /// When it did.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some((sequence, reason)) = self.refused {
            anyhow::bail!("command {sequence} was refused: {reason:?}");
        }
        Ok(())
    }

    /// Sets aside what the run writes itself, so that it takes no memory within the time.
    pub fn make_room(&mut self, operations: usize) {
        self.engine.make_room(&Room {
            orders: self.orders.len().saturating_add(self.orders.len().div_ceil(4)),
            client_order_ids: self.orders.len().saturating_add(operations),
            trades: operations.div_ceil(4),
        });
        self.trades.reserve(operations);
        self.flow_ids.reserve(operations);
        self.orders.reserve(operations);
    }

    fn flow_id(&self, order: OrderId) -> u64 {
        usize::try_from(order.get() - self.first_order)
            .ok()
            .and_then(|position| self.flow_ids.get(position).copied())
            .expect("only orders of the flow trade")
    }

    fn command(&mut self, operation: &Operation) -> anyhow::Result<Stamped> {
        let party = operation.id % self.accounts;
        let account = AccountId::new(match operation.side {
            Side::Bid => party,
            Side::Ask => OWNER + party,
        });
        let mut placed = 0;
        let command = match operation.action {
            Action::New {
                ticks,
                jobs,
                time_in_force,
            } => {
                placed = operation.id;
                let next = u64::try_from(self.orders.len())?;
                anyhow::ensure!(
                    placed == next,
                    "order {placed} follows {}: ids count up from 1",
                    next - 1
                );
                self.orders.push(OrderId::of_sequence(self.next_sequence));
                let (price, jobs) = (Price::from_ticks(ticks)?, Jobs::new(jobs));
                anyhow::ensure!(
                    price < Price::MAX,
                    "order {placed} has the price that keeps a book servable"
                );
                self.place(operation, price, jobs, time_in_force)
            }
            Action::Cancel => Command::Cancel(Cancel {
                account,
                order: self.order(operation.id)?,
            }),
            Action::Amend { jobs } => Command::Amend(Amend {
                account,
                order: self.order(operation.id)?,
                leaves: Jobs::new(jobs),
            }),
        };
        self.flow_ids.push(placed);
        Ok(self.stamp(command))
    }

    fn order(&self, id: u64) -> anyhow::Result<OrderId> {
        let order = self.orders.get(usize::try_from(id)?);
        order
            .copied()
            .ok_or_else(|| anyhow::anyhow!("order {id} is not there"))
    }

    fn place(&self, operation: &Operation, price: Price, jobs: Jobs, time_in_force: TimeInForce) -> Command {
        let party = operation.id % self.accounts;
        let client_order_id = ClientOrderId::new(u128::from(operation.id));
        let instrument = InstrumentId::new(operation.book);
        match operation.side {
            Side::Bid => Command::PlaceBid(PlaceBid {
                account: AccountId::new(party),
                session: self.session,
                client_order_id,
                instrument,
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
            }),
            Side::Ask => Command::PlaceAsk(PlaceAsk {
                island: IslandId::new(party),
                session: self.session,
                client_order_id,
                instrument,
                price,
                jobs,
                time_in_force,
                post_only: PostOnly::No,
                self_trade: SelfTradeMode::Skip,
            }),
        }
    }

    fn stamp(&mut self, command: Command) -> Stamped {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.next();
        Stamped {
            sequence,
            at: Timestamp::from_micros(1),
            command,
        }
    }

    fn set(&mut self, command: Command) {
        let stamped = self.stamp(command);
        self.apply(&stamped);
        self.check().expect("the set-up is legal");
    }

    fn set_up(&mut self) {
        let table = RegionTable::new(vec!["eu".to_owned()], vec![vec![RoundTrip::from_millis(1)]]);
        self.set(Command::SetRegions(table.expect("one region is a table")));
        for book in 0..self.books {
            self.set(Command::ListInstrument(ListInstrument {
                instrument: InstrumentId::new(book),
                specification: specification(),
            }));
        }
        self.session = SessionId::of_sequence(self.next_sequence);
        self.set(Command::OpenSession);
        for party in 0..self.accounts {
            self.set(Command::Fund(Fund {
                transfer: TransferId::new(u128::from(party)),
                account: AccountId::new(party),
                amount: Credits::from_nano(1 << 40),
            }));
            self.set(Command::JoinIsland(JoinIsland {
                island: IslandId::new(party),
                owner: AccountId::new(OWNER + party),
                session: self.session,
                region: region(),
                band: KarmaBand::B,
                slots: Slots::new(u32::MAX),
            }));
            for book in 0..self.books {
                self.set(Command::SetTier(SetTier {
                    island: IslandId::new(party),
                    instrument: InstrumentId::new(book),
                    tier: Some(Tier::Desktop),
                }));
            }
        }
        for book in 0..self.books {
            self.set(Command::PlaceAsk(PlaceAsk {
                island: IslandId::new(0),
                session: self.session,
                client_order_id: ClientOrderId::new(FAR_ABOVE - u128::from(book)),
                instrument: InstrumentId::new(book),
                price: Price::MAX,
                jobs: Jobs::ONE,
                time_in_force: TimeInForce::Gtc,
                post_only: PostOnly::No,
                self_trade: SelfTradeMode::Skip,
            }));
        }
    }
}

fn region() -> Region {
    Region::new(0).expect("0 is below 64")
}

pub(crate) fn specification() -> Instrument {
    let floor = TierFloor {
        decode_per_second: 1,
        prefill_per_second: 1,
    };
    Instrument {
        model: "order-flow".to_owned(),
        task: Task::Chat,
        digest: Digest::new([0; 32]),
        input_weight: InputWeight::DEFAULT,
        context_max: TokenCount::new(1),
        floors: SpeedFloors::new([floor; 5]),
    }
}
