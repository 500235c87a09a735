//! Open leases.
//!
//! A trade of n jobs opens n leases that differ only in their numbers, so they are kept as one run until one of them
//! is touched: what a lease takes by itself is a place in a page. Invariants: runs do not overlap; a run is never
//! empty; every lease of a run names it.

mod pages;

use domain::{
    ClientOrderId, Credits, Eligibility, IslandId, JOBS_MAX, JobId, LatencyValue, LeaseEpoch, LeaseId,
    Liquidity, OrderId, Price, RunningBill, SelfTradeMode, SessionId, TradeId, Units,
};

use crate::book::arena::{Arena, Handle};
use crate::leases::pages::{Entry, Pages};
use crate::order::Special;
use crate::{CellKey, LeaseView};

/// Slots that one entry of a snapshot may hold: what is far beyond any machine is a lie.
const HELD_MAX: u32 = 1 << 24;

/// A run of leases that differ only in their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The first lease; the others count up from it.
    pub(crate) first: LeaseId,
    /// How many leases.
    pub(crate) count: u32,
    /// The job of the first; the others' indexes count up from it.
    pub(crate) job: JobId,
    pub(crate) trade: TradeId,
    pub(crate) epoch: LeaseEpoch,
    pub(crate) bid: OrderId,
    pub(crate) account: Handle,
    pub(crate) session: SessionId,
    pub(crate) client_order_id: ClientOrderId,
    pub(crate) island: IslandId,
    pub(crate) island_session: SessionId,
    pub(crate) owner: domain::AccountId,
    pub(crate) cell: CellKey,
    pub(crate) price: Price,
    pub(crate) limit: Price,
    pub(crate) units_max: Units,
    pub(crate) bid_liquidity: Liquidity,
    /// Set aside for each.
    pub(crate) reserved: Credits,
    /// What each job was billed before.
    pub(crate) billed: RunningBill,
    pub(crate) checkpointed: Units,
    pub(crate) eligibility: Eligibility,
    pub(crate) latency_value: LatencyValue,
    pub(crate) self_trade: SelfTradeMode,
    pub(crate) special: Option<Box<Special>>,
}

/// All open leases, and the slots that leases hold.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    runs: Arena<Run>,
    pages: Pages,
    /// The next lease's number.
    next: LeaseId,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            runs: Arena::default(),
            pages: Pages::default(),
            next: LeaseId::new(1),
        }
    }
}

impl Leases {
    pub(crate) fn make_room(&mut self, trades: usize) {
        self.runs.make_room(trades);
        self.pages.make_room(trades);
    }

    #[inline]
    pub(crate) fn next(&self) -> LeaseId {
        self.next
    }

    /// Opens a run; each of its leases takes a slot of the Island.
    #[inline]
    pub(crate) fn open(&mut self, run: Run, holder: Handle) {
        let count = run.count;
        let entry = Entry {
            run: Some(self.runs.insert(run)),
            holder: Some(holder),
        };
        self.pages.fill(self.next, count, entry);
        self.next = plus(self.next, count);
    }

    /// The run that holds an open lease.
    pub(crate) fn find(&self, lease: LeaseId) -> Option<&Run> {
        self.pages.get(lease).run.map(|run| &self.runs[run])
    }

    /// An open lease by itself.
    pub(crate) fn get_mut(&mut self, lease: LeaseId) -> &mut Run {
        let run = self.isolate(lease);
        &mut self.runs[run]
    }

    /// Ends an open lease and returns what it was.
    pub(crate) fn remove(&mut self, lease: LeaseId) -> Run {
        let run = self.isolate(lease);
        let entry = self.pages.get(lease);
        self.pages.set(lease, Entry { run: None, ..entry });
        self.runs.remove(run)
    }

    /// The Island whose slot a lease holds.
    pub(crate) fn holder(&self, lease: LeaseId) -> Option<Handle> {
        self.pages.get(lease).holder
    }

    /// Gives back the slot that a lease holds.
    pub(crate) fn release(&mut self, lease: LeaseId) {
        let entry = self.pages.get(lease);
        self.pages.set(
            lease,
            Entry {
                holder: None,
                ..entry
            },
        );
    }

    /// Gives back every slot of an Island: it leaves the roster.
    pub(crate) fn release_all(&mut self, holder: Handle) {
        let held: Vec<LeaseId> = self
            .held()
            .filter(|(_, other)| *other == holder)
            .map(|(lease, _)| lease)
            .collect();
        for lease in held {
            self.release(lease);
        }
    }

    /// Every lease that holds a slot, in order, and whose slot it is.
    pub(crate) fn held(&self) -> impl Iterator<Item = (LeaseId, Handle)> {
        let known = self.pages.iter();
        known.filter_map(|(lease, entry)| Some((lease, entry.holder?)))
    }

    /// Every run, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        let known = self.pages.iter();
        known.filter_map(|(lease, entry)| {
            let run = &self.runs[entry.run?];
            (run.first == lease).then_some(run)
        })
    }

    /// Puts back what a snapshot held; `false` if the run overlaps another, or the one before it ends later.
    pub(crate) fn restore(&mut self, run: Run) -> bool {
        let (first, count) = (run.first, run.count);
        let end = first.get().checked_add(u64::from(count));
        if count == 0 || count > JOBS_MAX || first < self.next {
            return false;
        }
        let Some(end) = end else {
            return false;
        };
        let handle = self.runs.insert(run);
        for offset in 0..count {
            let lease = plus(first, offset);
            let entry = self.pages.get(lease);
            let run = Some(handle);
            self.pages.set(lease, Entry { run, ..entry });
        }
        self.next = LeaseId::new(end);
        true
    }

    /// Puts back slots that leases hold; `false` if one of them holds one already, or there are too many.
    pub(crate) fn restore_held(&mut self, first: LeaseId, count: u32, holder: Handle) -> bool {
        let end = first.get().checked_add(u64::from(count));
        if count == 0 || count > HELD_MAX || end.is_none() {
            return false;
        }
        (0..count).all(|offset| {
            let lease = plus(first, offset);
            let entry = self.pages.get(lease);
            let holder = Some(holder);
            self.pages.set(lease, Entry { holder, ..entry });
            entry.holder.is_none()
        })
    }

    /// Sets the next lease's number after a restore; `false` if it was given already.
    pub(crate) fn restore_next(&mut self, next: LeaseId) -> bool {
        if next < self.next {
            return false;
        }
        self.next = next;
        true
    }

    /// Splits the run around an open lease, so that it is a run by itself. The larger part keeps its place, so that
    /// splitting a run to the end names each of its leases anew only a few times.
    fn isolate(&mut self, lease: LeaseId) -> Handle {
        let handle = self.pages.get(lease).run.expect("the lease is open");
        let run = &self.runs[handle];
        if run.count == 1 {
            return handle;
        }
        let before = u32::try_from(lease.get() - run.first.get()).expect("a run's count fits 32 bits");
        let after = run.count - before - 1;
        let alone = run.part(before, 1);
        let (head, tail) = (run.part(0, before), run.part(before + 1, after));
        let (kept, moved) = if before > after {
            (head, tail)
        } else {
            (tail, head)
        };
        self.runs[handle] = kept;
        self.name(alone);
        if moved.count > 0 {
            self.name(moved);
        }
        self.pages.get(lease).run.expect("the lease is a run by itself")
    }

    /// Takes in a part of a run and has its leases name it.
    fn name(&mut self, part: Run) {
        let (first, count) = (part.first, part.count);
        let run = Some(self.runs.insert(part));
        for offset in 0..count {
            let lease = plus(first, offset);
            let entry = self.pages.get(lease);
            self.pages.set(lease, Entry { run, ..entry });
        }
    }
}

impl Run {
    /// The `count` leases from `offset` on.
    fn part(&self, offset: u32, count: u32) -> Self {
        Self {
            first: plus(self.first, offset),
            count,
            job: self.job_at(offset),
            ..self.clone()
        }
    }

    pub(crate) fn job_at(&self, offset: u32) -> JobId {
        JobId::of_order(self.job.order(), self.job.index() + offset)
    }

    /// The lease at `offset` of the run, as a shell sees it.
    pub(crate) fn view(&self, offset: u32, account: domain::AccountId) -> LeaseView {
        LeaseView {
            lease: plus(self.first, offset),
            job: self.job_at(offset),
            trade: self.trade,
            epoch: self.epoch,
            bid: self.bid,
            account,
            session: self.session,
            client_order_id: self.client_order_id,
            island: self.island,
            island_session: self.island_session,
            owner: self.owner,
            instrument: self.cell.instrument,
            cell: self.cell,
            price: self.price,
            limit: self.limit,
            units_max: self.units_max,
            bid_liquidity: self.bid_liquidity,
            reserved: self.reserved,
            billed_before: self.billed,
            checkpointed: self.checkpointed,
            eligibility: self.eligibility,
            latency_value: self.latency_value,
            excluded: self
                .special
                .as_ref()
                .map(|special| special.islands())
                .unwrap_or_default(),
        }
    }
}

/// The lease `offset` after another.
pub(crate) fn plus(lease: LeaseId, offset: u32) -> LeaseId {
    LeaseId::new(
        lease
            .get()
            .checked_add(u64::from(offset))
            .expect("a shard never opens 2^64 leases"),
    )
}
