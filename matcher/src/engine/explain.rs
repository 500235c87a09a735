//! Explanations: why an order does not trade. They walk the book as a match does, so they cannot disagree with it.

use std::cmp::Reverse;

use domain::{Eligibility, Jobs, KarmaBand, Price, RoundTrip, SelfTradeMode};

use crate::book::Trading;
use crate::book::arena::Handle;
use crate::book::cells::{Cell, Place};
use crate::book::queue::Chain;
use crate::crossing::{Action, AskTaker, BidTaker, Plan, Wish, adjusted};
use crate::engine::Engine;
use crate::engine::resting::cell_key;
use crate::explain::{
    AskStanding, AskSubject, BidStanding, BidSubject, Buyer, CellStanding, EXPLAINED_JOBS_MAX, Filter,
};
use crate::order::{Special, Standing};
use crate::{Alternative, CellKey};

/// An ask that is explained, wherever it comes from.
#[derive(Clone, Copy, Debug)]
struct Explained {
    cell: CellKey,
    price: Price,
    /// The order, if it is not imagined.
    order: Option<Handle>,
}

/// What ranks an ask before a buyer: adjusted price, then nearer, then higher band, then earlier.
type Rank = (u64, RoundTrip, Reverse<KarmaBand>, u64);

/// Orders and jobs before another.
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    orders: u32,
    jobs: u64,
}

impl Ahead {
    fn sum(fills: impl Iterator<Item = (Handle, Jobs)>) -> Self {
        fills.fold(Self::default(), |ahead, (_, jobs)| Self {
            orders: ahead.orders + 1,
            jobs: ahead.jobs + u64::from(jobs.get()),
        })
    }
}

impl Engine {
    /// How an ask stands before a buyer; `None` for an order that is no resting ask, or for an unknown instrument or
    /// region.
    #[must_use]
    pub fn explain_ask(&self, subject: AskSubject, buyer: &Buyer) -> Option<AskStanding> {
        let explained = self.explained_ask(subject)?;
        let Explained { cell, price, order } = explained;
        let regions = self.regions.as_ref()?;
        let distance = regions.round_trip(buyer.eligibility.home, cell.region)?;
        let special = special_of(buyer);
        let wish = Wish {
            instrument: cell.instrument,
            account: None,
            eligibility: &buyer.eligibility,
            special: Some(&special),
            self_trade: SelfTradeMode::Skip,
        };
        let priority = order.map_or(u64::MAX, |order| self.orders[order].priority);
        let rank = self.rank_of(cell, price, priority, buyer);
        let ahead = self.asks_ahead(&wish, buyer, rank);
        Some(AskStanding {
            sequence: self.sequence,
            cell,
            price,
            distance,
            filters: self.filters_of_ask(&explained, buyer, &special),
            asks_ahead: ahead.orders,
            jobs_ahead: ahead.jobs,
            best: self
                .best_displayed(&wish)
                .filter(|best| buyer.limit.is_none_or(|limit| *best <= limit)),
        })
    }

    /// How a bid stands; `None` for an order that is no resting bid, or for an unknown instrument or region.
    #[must_use]
    pub fn explain_bid(&self, subject: &BidSubject) -> Option<BidStanding> {
        match subject {
            BidSubject::Imagined { instrument, buyer } => {
                self.find_book(*instrument)?;
                let special = special_of(buyer);
                let wish = Wish {
                    instrument: *instrument,
                    account: None,
                    eligibility: &buyer.eligibility,
                    special: Some(&special),
                    self_trade: SelfTradeMode::Skip,
                };
                self.standing_of_bid(&wish, buyer.limit, None)
            }
            BidSubject::Resting(order) => {
                let handle = self.orders.find(*order)?;
                let order = &self.orders[handle];
                order.as_bid()?;
                let eligibility = self.eligibility_of_resting(order);
                let wish = Wish {
                    instrument: order.instrument,
                    account: Some(order.account),
                    eligibility: &eligibility,
                    special: self.orders.special(handle),
                    self_trade: order.self_trade,
                };
                self.standing_of_bid(&wish, Some(order.price()), Some(order.priority))
            }
        }
    }

    fn explained_ask(&self, subject: AskSubject) -> Option<Explained> {
        match subject {
            AskSubject::Resting(order) => {
                let handle = self.orders.find(order)?;
                let order = &self.orders[handle];
                Some(Explained {
                    cell: self.cell_of(order.instrument, order.as_ask()?.cell),
                    price: order.price(),
                    order: Some(handle),
                })
            }
            AskSubject::Imagined { cell, price } => {
                self.find_book(cell.instrument)?;
                Some(Explained {
                    cell,
                    price,
                    order: None,
                })
            }
        }
    }

    fn filters_of_ask(&self, explained: &Explained, buyer: &Buyer, special: &Special) -> Vec<Filter> {
        let place = place_of(explained.cell);
        let mut filters = self.filters_of_place(explained.cell, place, &buyer.eligibility);
        if let Some(order) = explained.order.map(|order| &self.orders[order]) {
            let island = &self.roster.islands[order.ask().island];
            filters.extend(special.excludes(island.id).then_some(Filter::Excluded));
            filters.extend((order.standing() == Standing::Busy).then_some(Filter::Busy));
        }
        let too_dear = buyer.limit.is_some_and(|limit| explained.price > limit);
        filters.extend(too_dear.then_some(Filter::TooDear));
        filters
    }

    fn filters_of_place(&self, cell: CellKey, place: Place, wanted: &Eligibility) -> Vec<Filter> {
        let checks = [
            (
                self.book(cell.instrument).trading == Trading::Halted,
                Filter::Halted,
            ),
            (!wanted.regions.contains(place.region), Filter::Region),
            (place.tier < wanted.min_tier, Filter::Tier),
            (place.band < wanted.min_band, Filter::KarmaBand),
        ];
        let kept = checks.into_iter().filter(|(holds, _)| *holds);
        kept.map(|(_, filter)| filter).collect()
    }

    /// Asks that a large bid of the buyer's would trade with before one of that rank.
    fn asks_ahead(&self, wish: &Wish<'_>, buyer: &Buyer, rank: Rank) -> Ahead {
        let taker = BidTaker {
            wish: *wish,
            limit: buyer.limit.unwrap_or(Price::MAX),
            jobs: EXPLAINED_JOBS_MAX,
            latency_value: buyer.latency_value,
        };
        let mut plan = Plan::default();
        self.plan_bid(&taker, &mut plan);
        let ahead = fills(&plan).take_while(|(ask, _)| {
            let ask = &self.orders[*ask];
            let cell = self.cell_of(ask.instrument, ask.ask().cell);
            self.rank_of(cell, ask.price(), ask.priority, buyer) < rank
        });
        Ahead::sum(ahead)
    }

    fn rank_of(&self, cell: CellKey, price: Price, priority: u64, buyer: &Buyer) -> Rank {
        let distance = self.distance(buyer.eligibility.home, cell.region);
        let adjusted = adjusted(price, buyer.latency_value.handicap(distance));
        (adjusted, distance, Reverse(cell.band), priority)
    }

    /// The lowest price of an ask that could trade with the buyer now.
    fn best_displayed(&self, wish: &Wish<'_>) -> Option<Price> {
        let book = self.book(wish.instrument);
        if book.trading == Trading::Halted {
            return None;
        }
        book.cells
            .iter()
            .filter(|cell| cell.place.is_covered_by(wish.eligibility))
            .filter_map(|cell| self.first_admitted(wish, &cell.displayed))
            .map(|ask| self.orders[ask].price())
            .min()
    }

    fn standing_of_bid(
        &self,
        wish: &Wish<'_>,
        limit: Option<Price>,
        priority: Option<u64>,
    ) -> Option<BidStanding> {
        let regions = self.regions.as_ref()?;
        regions.code(wish.eligibility.home)?;
        let book = self.book(wish.instrument);
        let quoting = book
            .cells
            .iter()
            .filter(|cell| !(cell.displayed.is_empty() && cell.busy.is_empty()));
        let cells: Vec<CellStanding> = quoting
            .map(|cell| self.standing_of_cell(wish, limit, cell))
            .collect();
        let best = self.cheapest_ask(wish);
        let ahead = best
            .map(|ask| self.bids_ahead(ask, limit, priority))
            .unwrap_or_default();
        let best = best.map(|ask| {
            let ask = &self.orders[ask];
            Alternative {
                cell: self.cell_of(ask.instrument, ask.ask().cell),
                price: ask.price(),
            }
        });
        Some(BidStanding {
            sequence: self.sequence,
            instrument: wish.instrument,
            limit,
            cells,
            best,
            bids_ahead: ahead.orders,
            jobs_ahead: ahead.jobs,
            alternative: match best {
                Some(_) => None,
                None => self.alternative(wish),
            },
        })
    }

    fn standing_of_cell(&self, wish: &Wish<'_>, limit: Option<Price>, cell: &Cell) -> CellStanding {
        let key = cell_key(wish.instrument, cell.place);
        let first = |ladder| {
            let ask = self.first_admitted(wish, ladder)?;
            Some(self.orders[ask].price())
        };
        let (displayed, busy) = (first(&cell.displayed), first(&cell.busy));
        let mut filters = self.filters_of_place(key, cell.place, wish.eligibility);
        match (displayed, busy) {
            (None, None) => filters.push(self.why_none_is_admitted(wish, cell)),
            (None, Some(_)) => filters.push(Filter::Busy),
            (Some(_), _) => {}
        }
        let lowest = displayed.or(busy);
        let too_dear = lowest.is_some_and(|lowest| limit.is_some_and(|limit| lowest > limit));
        filters.extend(too_dear.then_some(Filter::TooDear));
        CellStanding {
            cell: key,
            distance: self.distance(wish.eligibility.home, cell.place.region),
            displayed,
            busy,
            filters,
        }
    }

    /// Every ask of a cell is passed over: because its Islands are named as excluded, or are the buyer's own.
    fn why_none_is_admitted(&self, wish: &Wish<'_>, cell: &Cell) -> Filter {
        let ladders = [&cell.displayed, &cell.busy];
        let mut asks = ladders
            .into_iter()
            .flat_map(|ladder| ladder.iter(&self.levels))
            .flat_map(|level| level.queue.iter(&self.orders, Chain::Level));
        let named = asks.any(|ask| {
            let island = &self.roster.islands[self.orders[ask].ask().island];
            wish.special.is_some_and(|special| special.excludes(island.id))
        });
        if named {
            Filter::Excluded
        } else {
            Filter::SameOwner
        }
    }

    /// Resting bids that an ask like this one, were it at the bid's limit, would trade with before the bid.
    fn bids_ahead(&self, ask: Handle, limit: Option<Price>, priority: Option<u64>) -> Ahead {
        let ask = &self.orders[ask];
        let limit = limit.unwrap_or(Price::MAX);
        let taker = AskTaker {
            instrument: ask.instrument,
            island: ask.ask().island,
            covered_by: self.book(ask.instrument).cells.cell(ask.ask().cell).covered_by,
            price: limit,
            jobs: EXPLAINED_JOBS_MAX,
            self_trade: SelfTradeMode::Allow,
        };
        let mut plan = Plan::default();
        self.plan_ask(&taker, &mut plan);
        let own = (Reverse(limit), priority.unwrap_or(u64::MAX));
        let ahead = fills(&plan).take_while(|(bid, _)| {
            let bid = &self.orders[*bid];
            (Reverse(bid.price()), bid.priority) < own
        });
        Ahead::sum(ahead)
    }
}

fn fills(plan: &Plan) -> impl Iterator<Item = (Handle, Jobs)> {
    plan.actions.iter().filter_map(|action| match action {
        Action::Fill { resting, jobs } => Some((*resting, *jobs)),
        Action::CancelResting { .. } => None,
    })
}

fn special_of(buyer: &Buyer) -> Special {
    Special {
        excluded: buyer.excluded.clone(),
        ..Special::default()
    }
}

fn place_of(cell: CellKey) -> Place {
    Place {
        region: cell.region,
        tier: cell.tier,
        band: cell.band,
    }
}
