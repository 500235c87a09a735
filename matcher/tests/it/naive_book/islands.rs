//! Sessions and Islands.

use domain::{IslandId, OrderId, SessionId, Slots, Timestamp};
use matcher::{
    EndReason, Event, JoinIsland, LoseSessions, RejectReason, ReleaseSlot, SetBand, SetDeadMan, SetSlots,
    SetTier,
};

use crate::naive_book::{NaiveBook, NaiveIsland, NaiveSession, Refused};

impl NaiveBook {
    pub(super) fn has_session(&self, session: SessionId) -> bool {
        self.sessions.iter().any(|open| open.id == session)
    }

    pub(super) fn open_session(&mut self) {
        let session = SessionId::new(self.sequence.get());
        self.sessions.push(NaiveSession {
            id: session,
            dead_man: None,
        });
        self.events.push(Event::SessionOpened { session });
    }

    pub(super) fn lose_sessions(&mut self, lost: &LoseSessions) -> Result<(), Refused> {
        let sessions: Vec<SessionId> = match lost {
            LoseSessions::All => self.sessions.iter().map(|session| session.id).collect(),
            LoseSessions::One(session) if self.has_session(*session) => vec![*session],
            LoseSessions::One(_) => return Err(RejectReason::UnknownSession.into()),
        };
        for session in sessions {
            self.end_session_orders(session, EndReason::SessionLost);
            self.lose_leases(session);
            self.islands.retain(|island| island.session != session);
            self.sessions.retain(|open| open.id != session);
            self.events.push(Event::SessionEnded { session });
        }
        Ok(())
    }

    pub(super) fn end_session_orders(&mut self, session: SessionId, reason: EndReason) {
        let bids = self
            .bids
            .iter()
            .filter(|bid| bid.body.session == session)
            .map(|bid| bid.id);
        let asks = self
            .asks
            .iter()
            .filter(|ask| ask.body.session == session)
            .map(|ask| ask.id);
        let mut doomed: Vec<OrderId> = bids.chain(asks).collect();
        doomed.sort_unstable();
        for order in doomed {
            self.end(order, reason);
        }
    }

    pub(super) fn set_dead_man(&mut self, set: &SetDeadMan) -> Result<(), Refused> {
        let (now, sequence) = (self.now, self.sequence);
        let Some(session) = self.sessions.iter_mut().find(|open| open.id == set.session) else {
            return Err(RejectReason::UnknownSession.into());
        };
        if set.deadline.is_some_and(|deadline: Timestamp| deadline <= now) {
            return Err(RejectReason::DeadlinePassed.into());
        }
        session.dead_man = set.deadline.map(|deadline| (deadline, sequence));
        self.events.push(Event::DeadManSet {
            session: set.session,
            deadline: set.deadline,
        });
        Ok(())
    }

    pub(super) fn join(&mut self, join: &JoinIsland) -> Result<(), Refused> {
        if !self.has_session(join.session) {
            return Err(RejectReason::UnknownSession.into());
        }
        let full = self.islands.len() >= usize::try_from(self.limits.islands_max).unwrap();
        if self.island(join.island).is_some() || full {
            return Err(RejectReason::UnknownIsland.into());
        }
        if !self.knows(join.region) {
            return Err(RejectReason::UnknownRegion.into());
        }
        self.accounts.entry(join.owner).or_default();
        self.islands.push(NaiveIsland {
            id: join.island,
            owner: join.owner,
            session: join.session,
            region: join.region,
            band: join.band,
            slots: join.slots.get(),
            held: Vec::new(),
            tiers: std::collections::BTreeMap::new(),
        });
        self.events.push(Event::IslandJoined {
            island: join.island,
            session: join.session,
        });
        Ok(())
    }

    pub(super) fn set_tier(&mut self, set: &SetTier) -> Result<(), Refused> {
        self.halted(set.instrument)?;
        let asks: Vec<OrderId> = self
            .asks
            .iter()
            .filter(|ask| ask.body.island == set.island && ask.body.instrument == set.instrument)
            .map(|ask| ask.id)
            .collect();
        let Some(island) = self.islands.iter_mut().find(|island| island.id == set.island) else {
            return Err(RejectReason::UnknownIsland.into());
        };
        let before = island.tiers.get(&set.instrument).copied();
        self.events.push(Event::TierSet {
            island: set.island,
            instrument: set.instrument,
            tier: set.tier,
        });
        match set.tier {
            Some(tier) => {
                island.tiers.insert(set.instrument, tier);
                if before != Some(tier) {
                    self.move_asks(asks);
                }
            }
            None => {
                for ask in asks {
                    self.end(ask, EndReason::NotQuotable);
                }
                let island = self.islands.iter_mut().find(|island| island.id == set.island);
                island.unwrap().tiers.remove(&set.instrument);
            }
        }
        Ok(())
    }

    pub(super) fn set_band(&mut self, set: &SetBand) -> Result<(), Refused> {
        let Some(island) = self.islands.iter_mut().find(|island| island.id == set.island) else {
            return Err(RejectReason::UnknownIsland.into());
        };
        let moved = island.band != set.band;
        island.band = set.band;
        self.events.push(Event::BandSet {
            island: set.island,
            band: set.band,
        });
        if moved {
            let mine = self.asks.iter().filter(|ask| ask.body.island == set.island);
            let asks = mine.map(|ask| ask.id).collect();
            self.move_asks(asks);
        }
        Ok(())
    }

    /// Asks that moved meet the bids one after the other, oldest first, and keep their place in time.
    fn move_asks(&mut self, asks: Vec<OrderId>) {
        for id in asks {
            let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
            let kept = self.asks[position].arrival.take();
            if self.match_ask(id) {
                self.show_ask(id, kept);
            }
        }
    }

    pub(super) fn set_slots(&mut self, set: &SetSlots) -> Result<(), Refused> {
        let Some(position) = self.islands.iter().position(|island| island.id == set.island) else {
            return Err(RejectReason::UnknownIsland.into());
        };
        self.islands[position].slots = set.slots.get();
        self.slots_changed(set.island);
        Ok(())
    }

    pub(super) fn release_slot(&mut self, release: &ReleaseSlot) -> Result<(), Refused> {
        if release.lease.get() == 0 || release.lease.get() > self.lease_count {
            return Err(RejectReason::UnknownLease.into());
        }
        let holder = self
            .islands
            .iter_mut()
            .find(|island| island.session == release.session && island.held.contains(&release.lease));
        let Some(island) = holder else {
            return Err(RejectReason::NoSlot.into());
        };
        island.held.retain(|held| *held != release.lease);
        let island = island.id;
        self.slots_changed(island);
        Ok(())
    }

    fn slots_changed(&mut self, island: IslandId) {
        self.events.push(Event::SlotsSet {
            island,
            slots: Slots::new(self.island(island).unwrap().slots),
            free: Slots::new(self.free(island)),
        });
        self.hide();
        let hidden: Vec<OrderId> = self
            .asks
            .iter()
            .filter(|ask| ask.body.island == island && ask.arrival.is_none())
            .map(|ask| ask.id)
            .collect();
        for ask in hidden {
            if self.match_ask(ask) {
                self.show_ask(ask, None);
            }
        }
    }
}
