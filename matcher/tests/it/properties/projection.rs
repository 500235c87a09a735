//! The market as somebody downstream rebuilds it, from commands and events alone.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    AccountId, Eligibility, InstrumentId, IslandId, LatencyValue, LeaseId, OrderId, Price, RegionTable,
    SelfTradeMode, SessionId,
};
use matcher::{CellKey, Command, Event, LeaseEnd, PlaceAsk, PlaceBid, Stamped, Traded};

/// The terms of a bid, which a failover's bid inherits.
#[derive(Clone, Debug)]
pub(super) struct Bid {
    pub(super) account: AccountId,
    pub(super) instrument: InstrumentId,
    pub(super) limit: Price,
    pub(super) eligibility: Eligibility,
    pub(super) latency_value: LatencyValue,
    pub(super) excluded: BTreeSet<IslandId>,
    pub(super) self_trade: SelfTradeMode,
    pub(super) leaves: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) owner: AccountId,
    pub(super) island: IslandId,
    pub(super) cell: CellKey,
    pub(super) price: Price,
    pub(super) self_trade: SelfTradeMode,
    pub(super) leaves: u32,
    /// Its place among all asks that came to be displayed, while it is.
    pub(super) arrival: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Island {
    pub(super) session: SessionId,
    pub(super) slots: u32,
    /// Leases that have one of its slots.
    pub(super) held: BTreeSet<LeaseId>,
}

impl Island {
    pub(super) fn free(&self) -> u32 {
        self.slots.saturating_sub(u32::try_from(self.held.len()).unwrap())
    }
}

#[derive(Debug, Default)]
pub(super) struct Projection {
    /// Those that ended included: a lease may still fail over on their terms.
    pub(super) bids: BTreeMap<OrderId, Bid>,
    pub(super) asks: BTreeMap<OrderId, Ask>,
    pub(super) islands: BTreeMap<IslandId, Island>,
    pub(super) regions: Option<RegionTable>,
    bid_of_lease: BTreeMap<LeaseId, OrderId>,
    failing: Option<(LeaseId, IslandId)>,
    arrivals: u64,
}

impl Projection {
    /// Follows all events of a command, and shows itself before each.
    pub(super) fn follow(
        &mut self,
        stamped: &Stamped,
        events: &[Event],
        mut look: impl FnMut(&Self, &Event),
    ) {
        for event in events {
            look(self, event);
            self.follow_one(&stamped.command, event);
        }
        self.settle();
    }

    fn follow_one(&mut self, command: &Command, event: &Event) {
        match (command, event) {
            (Command::SetRegions(table), Event::RegionsSet) => self.regions = Some(table.clone()),
            (Command::JoinIsland(join), Event::IslandJoined { island, session }) => {
                let joined = Island {
                    session: *session,
                    slots: join.slots.get(),
                    held: BTreeSet::new(),
                };
                self.islands.insert(*island, joined);
            }
            (Command::PlaceBid(place), Event::BidAccepted(bid)) => {
                self.bids.insert(bid.order, Bid::of(place, bid.limit));
            }
            (Command::FailOver(_), Event::BidAccepted(bid)) => self.fail_over(bid.order),
            (Command::PlaceAsk(place), Event::AskAccepted(ask)) => {
                let ask_placed = Ask::of(place, ask.account, ask.cell);
                self.asks.insert(ask.order, ask_placed);
            }
            (_, Event::Traded(trade)) => self.trade(trade),
            (_, Event::Amended { order, leaves, .. }) => self.set_leaves(*order, leaves.get()),
            (_, Event::OrderEnded(ended)) => self.set_leaves(ended.order, 0),
            (_, Event::SessionEnded { session }) => {
                self.islands.retain(|_, island| island.session != *session);
            }
            (Command::ReleaseSlot(release), Event::SlotsSet { island, .. }) => {
                let held = &mut self.islands.get_mut(island).unwrap().held;
                assert!(held.remove(&release.lease), "a slot comes back once");
            }
            (_, Event::SlotsSet { island, slots, .. }) => {
                self.islands.get_mut(island).unwrap().slots = slots.get();
                self.hide(*island);
            }
            (
                _,
                Event::TierSet {
                    island,
                    instrument,
                    tier: Some(tier),
                },
            ) => {
                let asks = self.asks.values_mut().filter(|ask| ask.island == *island);
                for ask in asks.filter(|ask| ask.cell.instrument == *instrument) {
                    ask.cell.tier = *tier;
                }
            }
            (_, Event::BandSet { island, band }) => {
                for ask in self.asks.values_mut().filter(|ask| ask.island == *island) {
                    ask.cell.band = *band;
                }
            }
            (_, Event::LeaseEnded(ended)) => {
                self.failing =
                    matches!(ended.end, LeaseEnd::FailedOver(_)).then_some((ended.lease, ended.island));
            }
            _ => {}
        }
    }

    fn fail_over(&mut self, order: OrderId) {
        let (lease, island) = self.failing.take().unwrap();
        let mut bid = self.bids[&self.bid_of_lease[&lease]].clone();
        bid.excluded.insert(island);
        bid.leaves = 1;
        self.bids.insert(order, bid);
    }

    fn trade(&mut self, trade: &Traded) {
        let island = self.islands.get_mut(&trade.island).unwrap();
        for offset in 0..u64::from(trade.jobs.get()) {
            let lease = LeaseId::new(trade.first_lease.get() + offset);
            assert!(island.held.insert(lease), "a lease takes a slot once");
            self.bid_of_lease.insert(lease, trade.bid);
        }
        self.set_leaves(trade.bid, trade.bid_leaves.get());
        self.set_leaves(trade.ask, trade.ask_leaves.get());
        self.hide(trade.island);
    }

    fn set_leaves(&mut self, order: OrderId, leaves: u32) {
        if let Some(bid) = self.bids.get_mut(&order) {
            bid.leaves = leaves;
        } else if leaves == 0 {
            self.asks.remove(&order);
        } else {
            self.asks.get_mut(&order).unwrap().leaves = leaves;
        }
    }

    /// Asks of an Island without a free slot lose their place.
    fn hide(&mut self, island: IslandId) {
        if self.islands[&island].free() == 0 {
            for ask in self.asks.values_mut().filter(|ask| ask.island == island) {
                ask.arrival = None;
            }
        }
    }

    /// Asks that came to be displayed in a command take their places, oldest first.
    fn settle(&mut self) {
        for ask in self.asks.values_mut() {
            if ask.arrival.is_none() && self.islands[&ask.island].free() > 0 {
                self.arrivals += 1;
                ask.arrival = Some(self.arrivals);
            }
        }
    }
}

impl Bid {
    fn of(place: &PlaceBid, limit: Price) -> Self {
        Self {
            account: place.account,
            instrument: place.instrument,
            limit,
            eligibility: place.eligibility,
            latency_value: place.latency_value,
            excluded: place.excluded.iter().collect(),
            self_trade: place.self_trade,
            leaves: place.jobs.get(),
        }
    }

    /// Whether an ask may fill it, price aside.
    pub(super) fn admits(&self, ask: &Ask) -> bool {
        self.instrument == ask.cell.instrument
            && self.eligibility.regions.contains(ask.cell.region)
            && ask.cell.tier >= self.eligibility.min_tier
            && ask.cell.band >= self.eligibility.min_band
            && !self.excluded.contains(&ask.island)
    }
}

impl Ask {
    fn of(place: &PlaceAsk, owner: AccountId, cell: CellKey) -> Self {
        Self {
            owner,
            island: place.island,
            cell,
            price: place.price,
            self_trade: place.self_trade,
            leaves: place.jobs.get(),
            arrival: None,
        }
    }
}
