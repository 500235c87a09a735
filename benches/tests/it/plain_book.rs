//! The matching of the implied workload in the plainest words: each order that comes in looks at every order there is.
//!
//! The naive book of the matcher's tests answers everything, and publishes, copies and searches so much that the whole
//! workload would take it days. This one only matches: no covers, no self-trade prevention, no times in force, none of
//! which the workload ever reaches. The naive book confirms it where that is quick; it confirms the whole.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use benches::HashedTrade;
use domain::{Eligibility, IslandId, KarmaBand, LatencyValue, Price, Region, RegionTable, Tier};
use matcher::{BidLimit, Command, PlaceAsk, PlaceBid};

struct Bid {
    number: u64,
    limit: Price,
    eligibility: Eligibility,
}

struct Ask {
    number: u64,
    price: Price,
    region: Region,
    tier: Tier,
    band: KarmaBand,
}

/// Every order has one job, so each trades whole.
#[derive(Default)]
pub(crate) struct PlainBook {
    table: Option<RegionTable>,
    islands: BTreeMap<IslandId, (Region, KarmaBand, Option<Tier>)>,
    bids: Vec<Bid>,
    asks: Vec<Ask>,
    orders: u64,
}

impl PlainBook {
    /// Applies a command of the workload; returns its trade if it makes one.
    pub(crate) fn apply(&mut self, command: &Command) -> Option<HashedTrade> {
        match command {
            Command::SetRegions(table) => self.table = Some(table.clone()),
            Command::ListInstrument(_) | Command::OpenSession | Command::Fund(_) => {}
            Command::JoinIsland(join) => {
                self.islands.insert(join.island, (join.region, join.band, None));
            }
            Command::SetTier(set) => self.islands.get_mut(&set.island).unwrap().2 = set.tier,
            Command::PlaceBid(bid) => return self.bid(bid),
            Command::PlaceAsk(ask) => return self.ask(ask),
            other => panic!("the workload has no {}", other.name()),
        }
        None
    }

    fn bid(&mut self, place: &PlaceBid) -> Option<HashedTrade> {
        let BidLimit::At(limit) = place.limit else {
            panic!("the workload names its limits")
        };
        self.orders += 1;
        let bid = Bid {
            number: self.orders,
            limit,
            eligibility: place.eligibility,
        };
        let asks = self.asks.iter().enumerate();
        let best = asks
            .filter(|(_, ask)| meets(&bid, ask))
            .min_by_key(|(_, ask)| self.rank(&bid, place.latency_value, ask))
            .map(|(position, _)| position);
        let Some(position) = best else {
            self.bids.push(bid);
            return None;
        };
        let ask = self.asks.swap_remove(position);
        Some(HashedTrade {
            maker: ask.number,
            taker: bid.number,
            price_ticks: ask.price.ticks(),
            jobs: 1,
        })
    }

    fn ask(&mut self, place: &PlaceAsk) -> Option<HashedTrade> {
        self.orders += 1;
        let (region, band, tier) = self.islands[&place.island];
        let ask = Ask {
            number: self.orders,
            price: place.price,
            region,
            tier: tier.unwrap(),
            band,
        };
        let bids = self.bids.iter().enumerate();
        let best = bids
            .filter(|(_, bid)| meets(bid, &ask))
            .min_by_key(|(_, bid)| (Reverse(bid.limit), bid.number))
            .map(|(position, _)| position);
        let Some(position) = best else {
            self.asks.push(ask);
            return None;
        };
        let bid = self.bids.swap_remove(position);
        Some(HashedTrade {
            maker: bid.number,
            taker: ask.number,
            price_ticks: bid.limit.ticks(),
            jobs: 1,
        })
    }

    /// Cheaper with the distance priced in, then nearer, then better reputed, then earlier.
    fn rank(&self, bid: &Bid, latency_value: LatencyValue, ask: &Ask) -> impl Ord + use<> {
        let table = self.table.as_ref().unwrap();
        let distance = table.round_trip(bid.eligibility.home, ask.region).unwrap();
        let handicap = u64::from(latency_value.get()) * u64::from(distance.as_millis());
        let adjusted = 10 * ask.price.get() + handicap;
        (adjusted, distance, Reverse(ask.band), ask.number)
    }
}

fn meets(bid: &Bid, ask: &Ask) -> bool {
    ask.price <= bid.limit
        && bid.eligibility.regions.contains(ask.region)
        && ask.tier >= bid.eligibility.min_tier
        && ask.band >= bid.eligibility.min_band
}
