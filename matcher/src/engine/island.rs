//! Islands: joining, and what changes where and how much they quote.

use domain::{InstrumentId, Jobs};

use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::book::queue::{Chain, Queue};
use crate::engine::Engine;
use crate::engine::refusal::{Refusal, require};
use crate::engine::resting::Priority;
use crate::roster::{Island, Tiers};
use crate::{EndReason, Event, JoinIsland, RejectReason, ReleaseSlot, SetBand, SetSlots, SetTier};

impl Engine {
    /// Puts an Island on the roster. It starts with no tier and all slots free: tiers and slots belong to a session.
    /// An Island whose earlier session is still open is refused as unknown, and so is one for which there is no room.
    pub(super) fn join_island(&mut self, join: &JoinIsland, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let session = self
            .roster
            .find_session(join.session)
            .ok_or(RejectReason::UnknownSession)?;
        let count = u32::try_from(self.roster.islands.len()).expect("Islands are bounded by a u32");
        require(
            self.roster.find_island(join.island).is_none() && count < self.limits.islands_max,
            RejectReason::UnknownIsland,
        )?;
        let known = self
            .regions
            .as_ref()
            .is_some_and(|table| table.code(join.region).is_some());
        require(known, RejectReason::UnknownRegion)?;
        let owner = self.accounts.find_or_new(join.owner);
        self.join(Island {
            id: join.island,
            owner,
            session,
            region: join.region,
            band: join.band,
            slots: join.slots,
            held: 0,
            asks: Queue::default(),
            leaves_bound: Jobs::ZERO,
            tiers: Tiers::default(),
        });
        events.push(Event::IslandJoined {
            island: join.island,
            session: join.session,
        });
        Ok(())
    }

    pub(super) fn set_tier(&mut self, set: &SetTier, events: &mut Vec<Event>) -> Result<(), Refusal> {
        self.find_book(set.instrument)
            .ok_or(RejectReason::UnknownInstrument)?;
        let handle = self
            .roster
            .find_island(set.island)
            .ok_or(RejectReason::UnknownIsland)?;
        self.roster.islands[handle].tiers.set(set.instrument, set.tier);
        events.push(Event::TierSet {
            island: set.island,
            instrument: set.instrument,
            tier: set.tier,
        });
        for ask in self.asks_in(handle, set.instrument) {
            match set.tier {
                Some(_) => self.move_ask(ask, events),
                None => self.end_order(ask, EndReason::NotQuotable, events),
            }
        }
        Ok(())
    }

    pub(super) fn set_band(&mut self, set: &SetBand, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let handle = self
            .roster
            .find_island(set.island)
            .ok_or(RejectReason::UnknownIsland)?;
        self.roster.islands[handle].band = set.band;
        events.push(Event::BandSet {
            island: set.island,
            band: set.band,
        });
        let asks = &self.roster.islands[handle].asks;
        let asks: Vec<Handle> = asks.iter(&self.orders, Chain::Owner).collect();
        for ask in asks {
            self.move_ask(ask, events);
        }
        Ok(())
    }

    pub(super) fn set_slots(&mut self, set: &SetSlots, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let handle = self
            .roster
            .find_island(set.island)
            .ok_or(RejectReason::UnknownIsland)?;
        let free_before = self.roster.islands[handle].free();
        self.roster.islands[handle].slots = set.slots;
        self.report_slots(handle, events);
        self.follow_slots(handle, free_before, events);
        Ok(())
    }

    pub(super) fn release_slot(
        &mut self,
        release: &ReleaseSlot,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        require(
            release.lease.get() > 0 && release.lease < self.leases.next(),
            RejectReason::UnknownLease,
        )?;
        let session = self
            .roster
            .find_session(release.session)
            .ok_or(RejectReason::NoSlot)?;
        let handle = self
            .leases
            .holder(release.lease)
            .filter(|island| self.roster.islands[*island].session == session)
            .ok_or(RejectReason::NoSlot)?;
        let free_before = self.roster.islands[handle].free();
        self.leases.release(release.lease);
        self.roster.islands[handle].held -= 1;
        self.report_slots(handle, events);
        self.follow_slots(handle, free_before, events);
        Ok(())
    }

    /// Puts an Island on the roster and among its owner's.
    pub(crate) fn join(&mut self, island: Island) -> Handle {
        let owner = island.owner;
        let handle = self.roster.join(island);
        self.accounts.add_island(owner, handle);
        handle
    }

    fn report_slots(&self, island: Handle, events: &mut Vec<Event>) {
        let island = &self.roster.islands[island];
        events.push(Event::SlotsSet {
            island: island.id,
            slots: island.slots,
            free: domain::Slots::new(island.free().get()),
        });
    }

    fn asks_in(&self, island: Handle, instrument: InstrumentId) -> Vec<Handle> {
        self.roster.islands[island]
            .asks
            .iter(&self.orders, Chain::Owner)
            .filter(|ask| self.orders[*ask].instrument == instrument)
            .collect()
    }

    /// Moves an ask to the cell that its Island's profile now names. It keeps its sequence, and meets the bids that
    /// the move makes it eligible for as if it came now.
    fn move_ask(&mut self, handle: Handle, events: &mut Vec<Event>) {
        let order = &self.orders[handle];
        let instrument = order.instrument;
        let island = &self.roster.islands[order.ask().island];
        let place = Place {
            region: island.region,
            tier: island
                .tiers
                .get(instrument)
                .expect("asks end with their Island's tier"),
            band: island.band,
        };
        if self.book(instrument).cells.cell(order.ask().cell).place == place {
            return;
        }
        self.lift(handle);
        let cell = self.book_mut(instrument).cell_or_new(place);
        self.orders[handle].move_to(cell);
        self.enter_ask(handle, Priority::Kept, events);
    }
}
