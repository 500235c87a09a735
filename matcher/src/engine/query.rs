//! What a shell may read between commands.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, Instrument, InstrumentId, IslandId, Jobs,
    LeaseId, OrderId, Price, RegionTable, SelfTradeMode, Sequence, SessionId, Slots, TimeInForce, Timestamp,
    TransferId,
};

use crate::book::Trading;
use crate::book::arena::Handle;
use crate::crossing::Wish;
use crate::engine::Engine;
use crate::engine::resting::cell_key;
use crate::order::{Order, Part, Special, Standing};
use crate::roster::Island;
use crate::{
    AskDepth, AskView, BidDepth, BidView, BuyingPower, ClassDefinition, Depth, IslandView, LeaseView, Limits,
    OrderDetail, OrderView,
};

impl Engine {
    /// The last command's place.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The last command's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The bounds that it was made with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// An account's buying power; nothing for an account that was never funded.
    #[must_use]
    pub fn buying_power(&self, account: AccountId) -> BuyingPower {
        self.accounts
            .find(account)
            .map(|account| self.accounts.get(account).power)
            .unwrap_or_default()
    }

    /// Every account that was funded or owns an Island, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, BuyingPower)> + '_ {
        self.accounts
            .in_order()
            .map(|(_, account)| (account.id, account.power))
    }

    /// All buying power, available and reserved: what billing's reserved accounts hold for this shard.
    #[must_use]
    pub fn buying_power_total(&self) -> Credits {
        self.accounts.total()
    }

    /// Whether a transfer is remembered as applied to an account, by `Fund` or `Defund`.
    #[must_use]
    pub fn has_transfer(&self, account: AccountId, transfer: TransferId) -> bool {
        self.accounts
            .find(account)
            .is_some_and(|account| self.accounts.knows_transfer(account, transfer))
    }

    /// A book as it stands, or `None` for an unknown instrument.
    #[must_use]
    pub fn depth(&self, instrument: InstrumentId) -> Option<Depth> {
        let book = self.find_book(instrument)?;
        let mut depth = Depth::default();
        for cell in book.cells.iter() {
            let levels = cell.displayed.iter(&self.levels);
            depth.asks.extend(levels.map(|level| AskDepth {
                cell: cell_key(instrument, cell.place),
                price: level.ticks.price(),
                jobs: level.jobs,
            }));
        }
        for (number, class) in book.classes.iter() {
            depth.classes.push(ClassDefinition {
                instrument,
                class: number,
                eligibility: class.eligibility,
            });
            let best_first = depth.bids.len();
            let levels = class.ladder.iter(&self.levels);
            depth.bids.extend(levels.map(|level| BidDepth {
                instrument,
                class: number,
                price: level.ticks.price(),
                jobs: level.jobs,
            }));
            depth.bids[best_first..].reverse();
        }
        Some(depth)
    }

    /// The lowest eligible ask of an Island not excluded, busy ones included.
    #[must_use]
    pub fn best_ask(
        &self,
        instrument: InstrumentId,
        eligibility: &Eligibility,
        excluded: &Excluded,
    ) -> Option<Price> {
        self.find_book(instrument)?;
        let special = Special {
            excluded: excluded.clone(),
            ..Special::default()
        };
        self.best_quote(&Wish {
            instrument,
            account: None,
            eligibility,
            special: Some(&special),
            self_trade: SelfTradeMode::Skip,
        })
    }

    /// A resting order.
    #[must_use]
    pub fn order(&self, order: OrderId) -> Option<OrderView> {
        self.orders.find(order).map(|order| self.view_of(order))
    }

    /// The order that an account's client order id names, live or ended, for as long as the name is remembered.
    #[must_use]
    pub fn order_named(&self, account: AccountId, client_order_id: ClientOrderId) -> Option<OrderId> {
        let account = self.accounts.find(account)?;
        let record = self.client_ids.find(account, client_order_id)?;
        Some(self.client_ids.get(record).remembered.order)
    }

    /// An account's resting orders, in order of their ids.
    #[must_use]
    pub fn orders_of(&self, account: AccountId) -> Vec<OrderView> {
        let Some(account) = self.accounts.find(account) else {
            return Vec::new();
        };
        let orders = self.orders_owned_by(account).into_iter();
        orders.map(|order| self.view_of(order)).collect()
    }

    /// Every resting order, in order of its id.
    pub fn orders(&self) -> impl Iterator<Item = OrderView> + '_ {
        let orders = self.orders.in_order().into_iter();
        orders.map(|order| self.view_of(order))
    }

    /// An open lease.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> Option<LeaseView> {
        let run = self.leases.find(lease)?;
        let offset = u32::try_from(lease.get() - run.first.get()).expect("a run's count fits 32 bits");
        Some(run.view(offset, self.account_id(run.account)))
    }

    /// Every open lease, in order.
    pub fn leases(&self) -> impl Iterator<Item = LeaseView> + '_ {
        self.leases.runs().flat_map(move |run| {
            (0..run.count).map(move |offset| run.view(offset, self.account_id(run.account)))
        })
    }

    /// An Island with a live session.
    #[must_use]
    pub fn island(&self, island: IslandId) -> Option<IslandView> {
        self.roster
            .find_island(island)
            .map(|island| self.view_of_island(&self.roster.islands[island]))
    }

    /// Every Island with a live session, in order.
    pub fn islands(&self) -> impl Iterator<Item = IslandView> + '_ {
        self.roster
            .islands()
            .map(|(_, island)| self.view_of_island(island))
    }

    /// Every open session, in order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.roster.sessions().map(|(_, session)| session.id)
    }

    /// What an instrument is.
    #[must_use]
    pub fn instrument(&self, instrument: InstrumentId) -> Option<&Instrument> {
        self.find_book(instrument).map(|book| &book.specification)
    }

    /// Every instrument, in order.
    pub fn instruments(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> + '_ {
        (0u32..)
            .map(InstrumentId::new)
            .zip(self.books.iter().map(|book| &book.specification))
    }

    /// Whether matching is stopped in an instrument.
    #[must_use]
    pub fn is_halted(&self, instrument: InstrumentId) -> bool {
        self.find_book(instrument)
            .is_some_and(|book| book.trading == Trading::Halted)
    }

    /// The region table in force.
    #[must_use]
    pub fn regions(&self) -> Option<&RegionTable> {
        self.regions.as_ref()
    }

    fn account_id(&self, account: Handle) -> AccountId {
        self.accounts.get(account).id
    }

    /// The client's name for an order.
    pub(crate) fn client_order_id(&self, order: Handle) -> ClientOrderId {
        let terms = self.orders.terms(order);
        match terms.record {
            Some(record) => self.client_ids.get(record).client_order_id,
            None => self
                .orders
                .special(order)
                .and_then(|special| special.inherited)
                .expect("a bid without a name of its own has inherited one"),
        }
    }

    /// Which cells may fill a resting bid.
    pub(crate) fn eligibility_of_resting(&self, bid: &Order) -> Eligibility {
        let classes = &self.book(bid.instrument).classes;
        classes.get(bid.bid().class).eligibility
    }

    /// How long a resting order stays.
    pub(crate) fn time_in_force(&self, order: Handle) -> TimeInForce {
        match self.orders.terms(order).timer {
            Some(timer) => TimeInForce::Gtd(self.timers.deadline(timer)),
            None => TimeInForce::Gtc,
        }
    }

    fn view_of(&self, handle: Handle) -> OrderView {
        let (order, terms) = (&self.orders[handle], self.orders.terms(handle));
        let (session, detail) = match order.part() {
            Part::Bid(bid) => {
                let excluded = self.orders.special(handle).map(Special::islands);
                let view = BidView {
                    units_max: terms.units_max(),
                    eligibility: self.eligibility_of_resting(order),
                    latency_value: terms.latency_value,
                    excluded: excluded.unwrap_or_default(),
                    reserved: self.orders.reserved(handle),
                    resumes: self.orders.resumed(handle).map(|resumed| resumed.job),
                };
                (bid.session, OrderDetail::Bid(view))
            }
            Part::Ask(ask) => {
                let island = &self.roster.islands[ask.island];
                let view = AskView {
                    island: island.id,
                    cell: self.cell_of(order.instrument, ask.cell),
                    displayed: match order.standing() {
                        Standing::Displayed(jobs) => jobs,
                        Standing::Busy | Standing::Away => Jobs::ZERO,
                    },
                    post_only: terms.post_only,
                };
                (island.session, OrderDetail::Ask(view))
            }
        };
        OrderView {
            order: order.id,
            account: self.account_id(order.account),
            session: self.roster.sessions[session].id,
            client_order_id: self.client_order_id(handle),
            instrument: order.instrument,
            price: order.price(),
            jobs: terms.jobs,
            filled: terms.filled,
            leaves: order.leaves,
            time_in_force: self.time_in_force(handle),
            detail,
        }
    }

    fn view_of_island(&self, island: &Island) -> IslandView {
        IslandView {
            island: island.id,
            owner: self.account_id(island.owner),
            session: self.roster.sessions[island.session].id,
            region: island.region,
            band: island.band,
            slots: island.slots,
            free: Slots::new(island.free().get()),
            tiers: island.tiers.iter().collect(),
        }
    }
}
