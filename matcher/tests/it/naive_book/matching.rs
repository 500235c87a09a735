//! Orders: meeting one another.

use std::cmp::Reverse;

use domain::{Eligibility, InstrumentId, IslandId, Liquidity, OrderId, Price, SelfTradeMode};
use matcher::{ClassDefinition, EndReason, Event, PlaceBid};

use crate::naive_book::orders::rests;
use crate::naive_book::{NaiveAsk, NaiveBid, NaiveBook};

impl NaiveBook {
    /// Matches a bid that came in; what is left rests or ends.
    pub(super) fn match_and_rest(&mut self, bid: NaiveBid) {
        let Some(mut bid) = self.match_bid(bid) else {
            return;
        };
        let class = self.class_for(bid.body.instrument, &bid.body.eligibility);
        let (true, Some(class)) = (rests(bid.body.time_in_force), class) else {
            self.bids.push(bid.clone());
            return self.end(bid.id, EndReason::Immediate);
        };
        let instrument = bid.body.instrument;
        let position = usize::try_from(instrument.get()).unwrap();
        let eligibility = bid.body.eligibility;
        let classes = &self.instruments[position].classes;
        if classes.get(usize::from(class)) != Some(&eligibility) {
            if usize::from(class) < classes.len() {
                self.publish();
                self.instruments[position].classes[usize::from(class)] = eligibility;
            } else {
                self.instruments[position].classes.push(eligibility);
            }
            self.events.push(Event::ClassCreated(ClassDefinition {
                instrument,
                class,
                eligibility,
            }));
        }
        bid.class = class;
        bid.arrival = self.arrive();
        self.bids.push(bid);
    }

    /// Trades a bid as far as it goes, best ask first; `None` if nothing is left of it.
    pub(super) fn match_bid(&mut self, mut bid: NaiveBid) -> Option<NaiveBid> {
        if self.halted(bid.body.instrument).ok()? {
            return Some(bid);
        }
        while bid.leaves > 0 {
            let best = (0..self.asks.len())
                .filter(|position| {
                    let ask = &self.asks[*position];
                    ask.body.instrument == bid.body.instrument
                        && ask.arrival.is_some()
                        && ask.body.price <= bid.limit
                        && self.covers(&bid.body.eligibility, ask)
                        && self.would_take(&bid.body, &bid.failed, ask)
                })
                .min_by_key(|position| self.rank(&bid.body, &self.asks[*position]));
            let Some(position) = best else {
                return Some(bid);
            };
            let own = self.asks[position].owner == bid.body.account;
            let resting = self.asks[position].id;
            match bid.body.self_trade {
                SelfTradeMode::CancelNewest if own => {
                    self.bids.push(bid.clone());
                    self.end(bid.id, EndReason::SelfTrade);
                    return None;
                }
                SelfTradeMode::CancelOldest if own => self.end(resting, EndReason::SelfTrade),
                SelfTradeMode::CancelBoth if own => {
                    self.end(resting, EndReason::SelfTrade);
                    self.bids.push(bid.clone());
                    self.end(bid.id, EndReason::SelfTrade);
                    return None;
                }
                _ => {
                    let jobs = bid.leaves.min(self.displayed(&self.asks[position]));
                    let price = self.asks[position].body.price;
                    let mut ask = self.asks[position].clone();
                    self.trade(&mut bid, &mut ask, price, jobs, Liquidity::Taker);
                    self.asks[position] = ask;
                    if self.asks[position].leaves == 0 {
                        self.asks.remove(position);
                        self.forget_later(resting);
                    }
                    self.hide();
                }
            }
        }
        self.forget_later(bid.id);
        None
    }

    pub(super) fn uncross(&mut self, instrument: InstrumentId) {
        let mut order: Vec<(Reverse<Price>, u64, OrderId)> = self
            .bids
            .iter()
            .filter(|bid| bid.body.instrument == instrument)
            .map(|bid| (Reverse(bid.limit), bid.arrival, bid.id))
            .collect();
        order.sort_unstable();
        for (_, _, id) in order {
            let position = self.bids.iter().position(|bid| bid.id == id).unwrap();
            let bid = self.bids.remove(position);
            if let Some(left) = self.match_bid(bid) {
                self.bids.push(left);
            }
        }
    }

    /// Gives an ask its place, if anything of it is displayed.
    pub(super) fn show_ask(&mut self, id: OrderId, kept: Option<u64>) {
        let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
        if self.displayed(&self.asks[position]) == 0 {
            self.asks[position].arrival = None;
            return;
        }
        let arrival = match kept {
            Some(arrival) => arrival,
            None => self.arrive(),
        };
        self.asks[position].arrival = Some(arrival);
    }

    /// Trades an ask that stands nowhere as far as it goes; false if it ended.
    pub(super) fn match_ask(&mut self, id: OrderId) -> bool {
        loop {
            let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
            let ask = self.asks[position].clone();
            if self.halted(ask.body.instrument).ok() == Some(true) || self.displayed(&ask) == 0 {
                return true;
            }
            let best = (0..self.bids.len())
                .filter(|position| {
                    let bid = &self.bids[*position];
                    bid.body.instrument == ask.body.instrument
                        && bid.limit >= ask.body.price
                        && self.covers(&bid.body.eligibility, &ask)
                        && !bid.body.excluded.contains(ask.body.island)
                        && !bid.failed.contains(&ask.body.island)
                        && (bid.body.account != ask.owner || ask.body.self_trade != SelfTradeMode::Skip)
                })
                .min_by_key(|position| (Reverse(self.bids[*position].limit), self.bids[*position].arrival));
            let Some(best) = best else {
                return true;
            };
            let own = self.bids[best].body.account == ask.owner;
            let resting = self.bids[best].id;
            match ask.body.self_trade {
                SelfTradeMode::CancelNewest if own => {
                    self.end(id, EndReason::SelfTrade);
                    return false;
                }
                SelfTradeMode::CancelOldest if own => self.end(resting, EndReason::SelfTrade),
                SelfTradeMode::CancelBoth if own => {
                    self.end(resting, EndReason::SelfTrade);
                    self.end(id, EndReason::SelfTrade);
                    return false;
                }
                _ => {
                    let mut bid = self.bids[best].clone();
                    let mut ask = ask;
                    let jobs = bid.leaves.min(self.displayed(&ask));
                    let price = bid.limit;
                    self.trade(&mut bid, &mut ask, price, jobs, Liquidity::Maker);
                    let (bid_left, ask_left) = (bid.leaves, ask.leaves);
                    self.bids[best] = bid;
                    self.asks[position] = ask;
                    if bid_left == 0 {
                        self.bids.remove(best);
                        self.forget_later(resting);
                    }
                    self.hide();
                    if ask_left == 0 {
                        self.asks.remove(position);
                        self.forget_later(id);
                        return false;
                    }
                }
            }
        }
    }

    pub(super) fn covers(&self, eligibility: &Eligibility, ask: &NaiveAsk) -> bool {
        let cell = self.cell(&ask.body);
        eligibility.regions.contains(cell.region)
            && cell.tier >= eligibility.min_tier
            && cell.band >= eligibility.min_band
    }

    /// Whether a bid would take an ask, price and place aside.
    pub(super) fn would_take(&self, bid: &PlaceBid, failed: &[IslandId], ask: &NaiveAsk) -> bool {
        !bid.excluded.contains(ask.body.island)
            && !failed.contains(&ask.body.island)
            && (ask.owner != bid.account || bid.self_trade != SelfTradeMode::Skip)
    }

    pub(super) fn is_servable(&self, bid: &NaiveBid) -> bool {
        self.asks.iter().any(|ask| {
            ask.body.instrument == bid.body.instrument
                && self.covers(&bid.body.eligibility, ask)
                && self.would_take(&bid.body, &bid.failed, ask)
        })
    }

    pub(super) fn rank(
        &self,
        bid: &PlaceBid,
        ask: &NaiveAsk,
    ) -> (u64, u64, Reverse<domain::KarmaBand>, Option<u64>) {
        let cell = self.cell(&ask.body);
        let distance = self.millis(bid.eligibility.home, cell.region);
        let adjusted = ask.body.price.get() * 10 + u64::from(bid.latency_value.get()) * distance;
        (adjusted, distance, Reverse(cell.band), ask.arrival)
    }

    /// How far a cell is from what a bid asked for: what it gives up, then by how much, then what it costs.
    pub(super) fn far_from(
        &self,
        eligibility: &Eligibility,
        ask: &NaiveAsk,
    ) -> (usize, Vec<usize>, u64, usize, usize, Price, matcher::CellKey) {
        let cell = self.cell(&ask.body);
        let tier = eligibility.min_tier.index().saturating_sub(cell.tier.index());
        let band = eligibility.min_band.index().saturating_sub(cell.band.index());
        let mut given_up = Vec::new();
        if !eligibility.regions.contains(cell.region) {
            given_up.push(1);
        }
        if tier > 0 {
            given_up.push(2);
        }
        if band > 0 {
            given_up.push(3);
        }
        let worst_first: Vec<usize> = given_up.iter().rev().copied().collect();
        let distance = self.millis(eligibility.home, cell.region);
        (
            given_up.len(),
            worst_first,
            distance,
            tier,
            band,
            ask.body.price,
            cell,
        )
    }
}
