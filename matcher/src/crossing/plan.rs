//! What an incoming order will do. Its vectors are used again for the next one.

use domain::{Eligibility, Jobs};

use crate::book::arena::Handle;
use crate::crossing::walk::{AskWalk, BidWalk};

/// One step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Trade with a resting order.
    Fill { resting: Handle, jobs: Jobs },
    /// End a resting order of the same owner.
    CancelResting { resting: Handle },
}

/// What becomes of what is left of the incoming order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its time in force decides.
    #[default]
    Open,
    /// Self-trade prevention ends it.
    CancelIncoming,
}

/// The steps of one incoming order, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) ending: Ending,
    /// Of an incoming bid: which cells may fill it.
    pub(crate) eligibility: Option<Eligibility>,
    filled: Jobs,
    /// Slots that the plan takes, by the Island's place in its arena.
    slots: Vec<u32>,
    /// Places in `slots` that are not zero.
    groups: Vec<Handle>,
    pub(super) asks: AskWalk,
    pub(super) bids: BidWalk,
}

impl Plan {
    pub(super) fn clear(&mut self, island_place_count: usize) {
        for group in self.groups.drain(..) {
            self.slots[group.position()] = 0;
        }
        if self.slots.len() < island_place_count {
            self.slots.resize(island_place_count, 0);
        }
        self.actions.clear();
        self.ending = Ending::Open;
        self.eligibility = None;
        self.filled = Jobs::ZERO;
        self.asks.clear();
        self.bids.clear();
    }

    /// How many jobs it trades.
    pub(crate) fn filled(&self) -> Jobs {
        self.filled
    }

    /// What the plan leaves of an Island's free slots.
    pub(super) fn free_of(&self, island: Handle, free: Jobs) -> Jobs {
        Jobs::new(free.get().saturating_sub(self.slots[island.position()]))
    }

    /// Plans a trade of at most `available` of the `left` jobs; returns what is left then.
    pub(super) fn fill(&mut self, resting: Handle, island: Handle, available: Jobs, left: Jobs) -> Jobs {
        let jobs = available.min(left);
        if jobs.is_zero() {
            return left;
        }
        let taken = &mut self.slots[island.position()];
        if *taken == 0 {
            self.groups.push(island);
        }
        *taken += jobs.get();
        self.actions.push(Action::Fill { resting, jobs });
        self.filled = self
            .filled
            .checked_add(jobs)
            .expect("no more is filled than was asked");
        left.checked_sub(jobs).expect("no more is filled than was left")
    }

    /// Plans the end of a resting order.
    pub(super) fn cancel(&mut self, resting: Handle, ending: Ending) -> Ending {
        self.actions.push(Action::CancelResting { resting });
        ending
    }
}
