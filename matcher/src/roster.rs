//! Sessions that are open and Islands that have one.
//!
//! Invariants: an Island has exactly one open session, and leaves the roster with it; a slot is held by a lease that
//! took it and was not released since.

use domain::{InstrumentId, IslandId, Jobs, KarmaBand, Region, Sequence, SessionId, Slots, Tier, Timestamp};

use crate::book::arena::{Arena, Handle};
use crate::book::queue::Queue;
use crate::index::{Index, Tag};
use crate::prefetch::prefetch;

/// An open session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) dead_man: Option<DeadMan>,
    /// Accounts that have bid under it, each once.
    visits: Vec<Handle>,
    /// Its Islands, in the order in which they joined.
    pub(crate) islands: Vec<Handle>,
}

/// An account that has bid under a session.
#[derive(Clone, Copy, Debug)]
struct Visit {
    session: Handle,
    account: Handle,
}

/// An armed dead-man switch: when it fires, and the command that armed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadMan {
    pub(crate) deadline: Timestamp,
    pub(crate) armed_by: Sequence,
    pub(crate) timer: Handle,
}

/// An Island with an open session: a capacity group, in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Island {
    pub(crate) id: IslandId,
    /// The account that earns.
    pub(crate) owner: Handle,
    pub(crate) session: Handle,
    pub(crate) region: Region,
    pub(crate) band: KarmaBand,
    pub(crate) slots: Slots,
    /// Slots that leases hold.
    pub(crate) held: u32,
    /// Its asks, oldest first.
    pub(crate) asks: Queue,
    /// No ask of it has more left. With as many slots free, a fill changes only what its own ask displays.
    pub(crate) leaves_bound: Jobs,
    pub(crate) tiers: Tiers,
}

const _: () = assert!(
    size_of::<Option<Island>>() == 64,
    "an ask touches one cache line of its Island"
);

impl Island {
    /// Slots that no lease holds. An Island that lowered its slots may hold more than it has.
    pub(crate) fn free(&self) -> Jobs {
        Jobs::new(self.slots.get().saturating_sub(self.held))
    }
}

/// An Island's tiers, by instrument.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiers(Vec<(InstrumentId, Tier)>);

impl Tiers {
    #[inline]
    pub(crate) fn get(&self, instrument: InstrumentId) -> Option<Tier> {
        let place = self.find(instrument).ok()?;
        Some(self.0[place].1)
    }

    pub(crate) fn set(&mut self, instrument: InstrumentId, tier: Option<Tier>) {
        match (self.find(instrument), tier) {
            (Ok(place), Some(tier)) => self.0[place].1 = tier,
            (Ok(place), None) => {
                self.0.remove(place);
            }
            (Err(place), Some(tier)) => self.0.insert(place, (instrument, tier)),
            (Err(_), None) => {}
        }
    }

    /// In order of the instrument.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (InstrumentId, Tier)> {
        self.0.iter().copied()
    }

    /// Asks for where the search for an instrument begins.
    #[inline]
    pub(crate) fn prefetch(&self, instrument: InstrumentId) {
        if let Some(entry) = self.0.get(first_guess(instrument)).or(self.0.first()) {
            prefetch(entry);
        }
    }

    /// An Island that may quote whatever is listed has each instrument at its number.
    #[inline]
    fn find(&self, instrument: InstrumentId) -> Result<usize, usize> {
        let guess = first_guess(instrument);
        if self.0.get(guess).is_some_and(|entry| entry.0 == instrument) {
            return Ok(guess);
        }
        self.0.binary_search_by_key(&instrument, |entry| entry.0)
    }
}

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    pub(crate) sessions: Arena<Session>,
    sessions_by_id: Index,
    pub(crate) islands: Arena<Island>,
    islands_by_id: Index,
    visits: Arena<Visit>,
    visits_by_pair: Index,
}

impl Roster {
    pub(crate) fn find_session(&self, session: SessionId) -> Option<Handle> {
        let tag = Tag::of_number(session.get());
        self.sessions_by_id
            .find(tag, |handle| self.sessions[handle].id == session)
    }

    pub(crate) fn find_island(&self, island: IslandId) -> Option<Handle> {
        let tag = Tag::of_number(island.get());
        self.islands_by_id
            .find(tag, |handle| self.islands[handle].id == island)
    }

    /// Asks for the slot where the search for an Island begins.
    #[inline]
    pub(crate) fn prefetch_slot(&self, island: IslandId) {
        self.islands_by_id.prefetch(Tag::of_number(island.get()));
    }

    /// The Island that is likely to have an id.
    #[inline]
    pub(crate) fn guess_island(&self, island: IslandId) -> Option<Handle> {
        self.islands_by_id.guess(Tag::of_number(island.get()))
    }

    pub(crate) fn open_session(&mut self, id: SessionId) -> Handle {
        let handle = self.sessions.insert(Session {
            id,
            dead_man: None,
            visits: Vec::new(),
            islands: Vec::new(),
        });
        self.sessions_by_id.insert(Tag::of_number(id.get()), handle);
        handle
    }

    pub(crate) fn join(&mut self, island: Island) -> Handle {
        let (id, session) = (island.id, island.session);
        let handle = self.islands.insert(island);
        self.islands_by_id.insert(Tag::of_number(id.get()), handle);
        self.sessions[session].islands.push(handle);
        handle
    }

    /// Notes that an account bids under a session.
    pub(crate) fn visit(&mut self, session: Handle, account: Handle) {
        let tag = tag_of_visit(session, account);
        let known = self.visits_by_pair.find(tag, |visit| {
            let visit = &self.visits[visit];
            visit.session == session && visit.account == account
        });
        if known.is_none() {
            let visit = self.visits.insert(Visit { session, account });
            self.visits_by_pair.insert(tag, visit);
            self.sessions[session].visits.push(visit);
        }
    }

    /// Every account that has bid under a session.
    pub(crate) fn visitors(&self, session: Handle) -> impl Iterator<Item = Handle> {
        let visits = self.sessions[session].visits.iter();
        visits.map(|visit| self.visits[*visit].account)
    }

    /// Ends a session and the Islands that joined under it. Their orders have ended before.
    pub(crate) fn close_session(&mut self, handle: Handle) {
        let session = self.sessions.remove(handle);
        self.sessions_by_id
            .remove(Tag::of_number(session.id.get()), handle);
        for visit in session.visits {
            let account = self.visits.remove(visit).account;
            self.visits_by_pair.remove(tag_of_visit(handle, account), visit);
        }
        for handle in session.islands {
            let island = self.islands.remove(handle);
            assert!(island.asks.is_empty(), "an Island's asks end before its session");
            self.islands_by_id.remove(Tag::of_number(island.id.get()), handle);
        }
    }

    /// Every open session, in order of its id.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (Handle, &Session)> {
        let mut handles: Vec<Handle> = self.sessions.handles().collect();
        handles.sort_unstable_by_key(|session| self.sessions[*session].id);
        let handles = handles.into_iter();
        handles.map(|session| (session, &self.sessions[session]))
    }

    /// Every Island, in order of its id.
    pub(crate) fn islands(&self) -> impl Iterator<Item = (Handle, &Island)> {
        let mut handles: Vec<Handle> = self.islands.handles().collect();
        handles.sort_unstable_by_key(|island| self.islands[*island].id);
        let handles = handles.into_iter();
        handles.map(|island| (island, &self.islands[island]))
    }
}

#[inline]
fn first_guess(instrument: InstrumentId) -> usize {
    usize::try_from(instrument.get()).expect("32 bits fit a usize")
}

fn tag_of_visit(session: Handle, account: Handle) -> Tag {
    let number = |handle: Handle| u64::try_from(handle.position()).expect("a handle fits 64 bits");
    Tag::of_pair(number(session), u128::from(number(account)))
}
