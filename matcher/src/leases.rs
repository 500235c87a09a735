//! Open leases.
//!
//! A trade of n jobs opens n leases that differ only in their numbers, so they are kept as one run until one of them
//! is touched: memory follows trades, not jobs. Invariants: runs do not overlap; a run is never empty.

use std::collections::BTreeMap;

use domain::{
    ClientOrderId, Credits, Eligibility, IslandId, JobId, LatencyValue, LeaseEpoch, LeaseId, Liquidity,
    OrderId, Price, RunningBill, SelfTradeMode, SessionId, TradeId, Units,
};

use crate::book::arena::Handle;
use crate::order::Special;
use crate::{CellKey, LeaseView};

/// A run of leases that differ only in their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Run {
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

/// All open leases.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    runs: BTreeMap<LeaseId, Run>,
    /// The next lease's number.
    next: LeaseId,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            next: LeaseId::new(1),
        }
    }
}

impl Leases {
    pub(crate) fn next(&self) -> LeaseId {
        self.next
    }

    /// Opens a run and returns its first lease.
    pub(crate) fn open(&mut self, run: Run) -> LeaseId {
        let first = self.next;
        self.next = plus(first, run.count);
        self.runs.insert(first, run);
        first
    }

    /// The run that holds an open lease.
    pub(crate) fn find(&self, lease: LeaseId) -> Option<&Run> {
        self.run_of(lease).map(|first| &self.runs[&first])
    }

    /// The run that holds an open lease, and the run's first lease.
    pub(crate) fn run_with_first(&self, lease: LeaseId) -> Option<(LeaseId, &Run)> {
        self.run_of(lease).map(|first| (first, &self.runs[&first]))
    }

    /// An open lease by itself.
    pub(crate) fn get_mut(&mut self, lease: LeaseId) -> &mut Run {
        self.isolate(lease);
        self.runs.get_mut(&lease).expect("an isolated lease is a run")
    }

    /// Ends an open lease and returns what it was.
    pub(crate) fn remove(&mut self, lease: LeaseId) -> Run {
        self.isolate(lease);
        self.runs.remove(&lease).expect("an isolated lease is a run")
    }

    /// Every run with its first lease, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (LeaseId, &Run)> {
        self.runs.iter().map(|(first, run)| (*first, run))
    }

    /// Puts back what a snapshot held; `false` if the run overlaps another.
    pub(crate) fn restore(&mut self, first: LeaseId, run: Run) -> bool {
        let Some(end) = first.get().checked_add(u64::from(run.count)) else {
            return false;
        };
        if run.count == 0 || first < self.next {
            return false;
        }
        self.next = LeaseId::new(end);
        self.runs.insert(first, run);
        true
    }

    /// Sets the next lease's number after a restore; `false` if it was given already.
    pub(crate) fn restore_next(&mut self, next: LeaseId) -> bool {
        if next < self.next {
            return false;
        }
        self.next = next;
        true
    }

    fn run_of(&self, lease: LeaseId) -> Option<LeaseId> {
        let (first, run) = self.runs.range(..=lease).next_back()?;
        (lease < plus(*first, run.count)).then_some(*first)
    }

    /// Splits the run around an open lease, so that it is a run by itself.
    fn isolate(&mut self, lease: LeaseId) {
        let first = self.run_of(lease).expect("the lease is open");
        let run = self.runs.remove(&first).expect("the run was found");
        let before = u32::try_from(lease.get() - first.get()).expect("a run's count fits 32 bits");
        let after = run.count - before - 1;
        if before > 0 {
            self.runs.insert(first, run.part(0, before));
        }
        if after > 0 {
            self.runs
                .insert(LeaseId::new(lease.get() + 1), run.part(before + 1, after));
        }
        self.runs.insert(lease, run.part(before, 1));
    }
}

impl Run {
    /// The `count` leases from `offset` on.
    fn part(&self, offset: u32, count: u32) -> Self {
        Self {
            count,
            job: self.job_at(offset),
            ..self.clone()
        }
    }

    pub(crate) fn job_at(&self, offset: u32) -> JobId {
        JobId::of_order(self.job.order(), self.job.index() + offset)
    }

    /// The lease at `offset` of the run that begins with `first`, as a shell sees it.
    pub(crate) fn view(&self, first: LeaseId, offset: u32, account: domain::AccountId) -> LeaseView {
        LeaseView {
            lease: plus(first, offset),
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
