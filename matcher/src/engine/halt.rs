//! Halting an instrument, the uncross when it resumes, and its price band.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domain::{Eligibility, InstrumentId, Price};

use crate::book::Trading;
use crate::book::arena::Handle;
use crate::book::queue::Chain;
use crate::crossing::{BidTaker, Wish};
use crate::engine::Engine;
use crate::engine::refusal::Refusal;
use crate::{CellKey, Event, IndicativeVolume, RejectReason, SetPriceBand, Traded};

impl Engine {
    pub(super) fn halt(&mut self, instrument: InstrumentId, events: &mut Vec<Event>) -> Result<(), Refusal> {
        self.find_book(instrument)
            .ok_or(RejectReason::UnknownInstrument)?;
        self.book_mut(instrument).trading = Trading::Halted;
        events.push(Event::Halted { instrument });
        Ok(())
    }

    /// Resumes matching. Resting bids meet the asks in order of (limit, sequence), each as if it came now, at the
    /// ask's price.
    pub(super) fn resume(
        &mut self,
        instrument: InstrumentId,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        self.find_book(instrument)
            .ok_or(RejectReason::UnknownInstrument)?;
        self.book_mut(instrument).trading = Trading::Open;
        events.push(Event::Resumed { instrument });
        for bid in self.bids_that_may_cross(instrument) {
            self.uncross(bid, events);
        }
        Ok(())
    }

    /// What a halted instrument would trade in each cell if it resumed now, in the cells' order; nothing for one that
    /// trades. The uncross is carried out on a copy of the engine, so that it cannot differ from the real one; that costs
    /// as much as copying everything, for a question that is asked only during a halt.
    #[must_use]
    pub fn indicative_volume(&self, instrument: InstrumentId) -> Vec<IndicativeVolume> {
        if !self.is_halted(instrument) {
            return Vec::new();
        }
        let mut events = Vec::new();
        let resumed = self.clone().resume(instrument, &mut events);
        debug_assert!(resumed.is_ok(), "an instrument that is halted is listed");
        let mut volumes: BTreeMap<CellKey, IndicativeVolume> = BTreeMap::new();
        for event in &events {
            let Event::Traded(Traded {
                cell, price, jobs, ..
            }) = event
            else {
                continue;
            };
            let volume = volumes.entry(*cell).or_insert(IndicativeVolume {
                cell: *cell,
                jobs: 0,
                lowest: *price,
                highest: *price,
            });
            volume.jobs += u64::from(jobs.get());
            volume.lowest = volume.lowest.min(*price);
            volume.highest = volume.highest.max(*price);
        }
        volumes.into_values().collect()
    }

    pub(super) fn set_price_band(
        &mut self,
        set: &SetPriceBand,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let SetPriceBand { instrument, band } = *set;
        self.find_book(instrument)
            .ok_or(RejectReason::UnknownInstrument)?;
        self.book_mut(instrument).price_band = band;
        events.push(Event::PriceBandSet { instrument, band });
        Ok(())
    }

    /// Resting bids that reach the lowest ask, highest limit first, then earliest.
    fn bids_that_may_cross(&self, instrument: InstrumentId) -> Vec<Handle> {
        let book = self.book(instrument);
        let Some(lowest) = book.cells.tops().iter().map(|top| top.price).min() else {
            return Vec::new();
        };
        let mut bids: Vec<(Reverse<Price>, u64, Handle)> = Vec::new();
        for (_, class) in book.classes.iter() {
            let levels = class.ladder.iter(&self.levels);
            for level in levels.take_while(|level| level.ticks.price() >= lowest) {
                let ranked = level
                    .queue
                    .iter(&self.orders, Chain::Level)
                    .map(|bid| (Reverse(level.ticks.price()), self.orders[bid].priority, bid));
                bids.extend(ranked);
            }
        }
        bids.sort_unstable();
        bids.into_iter().map(|(_, _, bid)| bid).collect()
    }

    fn uncross(&mut self, handle: Handle, events: &mut Vec<Event>) {
        let mut plan = self.take_plan();
        let eligibility = self.eligibility_of_resting(&self.orders[handle]);
        let taker = self.taker_of(handle, &eligibility);
        self.plan_bid(&taker, &mut plan);
        self.execute(handle, &plan, events);
        self.keep_plan(plan);
    }

    /// A bid that is in the engine already, as a taker.
    pub(super) fn taker_of<'a>(&'a self, bid: Handle, eligibility: &'a Eligibility) -> BidTaker<'a> {
        let (order, terms) = (&self.orders[bid], self.orders.terms(bid));
        BidTaker {
            wish: Wish {
                instrument: order.instrument,
                account: Some(order.account),
                eligibility,
                special: self.orders.special(bid),
                self_trade: order.self_trade,
            },
            limit: order.price(),
            jobs: order.leaves,
            latency_value: terms.latency_value,
        }
    }
}
