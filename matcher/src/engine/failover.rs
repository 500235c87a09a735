//! Bidding again for the rest of a job whose Island failed.
//!
//! The new bid carries all that is left of the job's reservation, so it is always funded: what one segment was billed
//! and what the rest may be billed never exceed an unbroken run at the limit, fees included, for both round down.

use arrayvec::ArrayVec;
use domain::{Eligibility, JobEnd, Jobs, OrderId, TimeInForce, Units};

use crate::book::arena::Handle;
use crate::engine::Engine;
use crate::engine::lease::{Segment, bill};
use crate::engine::place_bid::check_units;
use crate::engine::refusal::{Refusal, require};
use crate::engine::trading::Fate;
use crate::leases::Run;
use crate::order::{Bid, Entry, Part, Resumed, Special, Terms};
use crate::{BidAccepted, EndReason, Event, FailOver, LeaseEnd, LeaseEnded, RejectReason};

impl Engine {
    /// Ends a lease, bills what was done, and bids again for the rest.
    pub(super) fn fail_over(&mut self, failover: &FailOver, events: &mut Vec<Event>) -> Result<(), Refusal> {
        check_units(failover.units_max)?;
        self.check_deadline(failover.time_in_force)?;
        let run = self.open_lease(failover.lease)?;
        let segment = bill(run, failover.units, Units::ZERO)?;
        let left_to_do = run.units_max.checked_sub(failover.units);
        require(
            left_to_do.is_some_and(|left| failover.units_max <= left),
            RejectReason::OverBilled,
        )?;
        require(
            run.epoch.get() < self.limits.failovers_per_job_max,
            RejectReason::TooManyFailovers,
        )?;

        let id = OrderId::of_sequence(self.sequence);
        let run = self.leases.remove(failover.lease);
        self.accounts.pay(run.account, segment.bill.consumer_pays());
        let account = self.accounts.get(run.account).id;
        let ended = LeaseEnded {
            bill: segment.bill,
            ..run.ended(failover.lease, account, LeaseEnd::FailedOver(id))
        };
        self.note_lease(&run, &ended, None);
        events.push(Event::LeaseEnded(ended));
        let eligibility = run.eligibility;
        let order = self.bid_again(run, segment, failover, events);
        self.match_resumed(order, &eligibility, failover.time_in_force, events);
        Ok(())
    }

    fn bid_again(
        &mut self,
        run: Run,
        segment: Segment,
        failover: &FailOver,
        events: &mut Vec<Event>,
    ) -> Handle {
        let id = OrderId::of_sequence(self.sequence);
        let session = self
            .roster
            .find_session(run.session)
            .expect("a lease ends with its bid's session");
        let special = special_after(&run, segment, failover.otherwise);
        let order = self.insert_order(Entry {
            id,
            account: run.account,
            instrument: run.cell.instrument,
            price: run.limit,
            part: Part::Bid(Bid { session, class: 0 }),
            self_trade: run.self_trade,
            time_in_force: failover.time_in_force,
            terms: Terms::of_bid(None, Jobs::ONE, failover.units_max, run.latency_value),
            special: Some(Box::new(special)),
        });
        events.push(Event::BidAccepted(BidAccepted {
            order: id,
            account: self.accounts.get(run.account).id,
            session: run.session,
            client_order_id: run.client_order_id,
            instrument: run.cell.instrument,
            limit: run.limit,
            jobs: Jobs::ONE,
            units_max: failover.units_max,
            reserved: segment.left,
            time_in_force: failover.time_in_force,
            resumes: Some(run.job),
        }));
        order
    }

    /// Matches the bid of a failover; of one job, so fill-or-kill is immediate-or-cancel. One that nobody who quotes could ever fill ends at once; so does one that
    /// finds no room to rest, for a job under way is never refused.
    fn match_resumed(
        &mut self,
        handle: Handle,
        eligibility: &Eligibility,
        time_in_force: TimeInForce,
        events: &mut Vec<Event>,
    ) {
        let mut plan = self.take_plan();
        let taker = self.taker_of(handle, eligibility);
        if self.is_servable(&taker.wish) {
            self.plan_bid(&taker, &mut plan);
            if self.execute(handle, &plan, events) == Fate::Open {
                self.settle_bid(handle, eligibility, time_in_force, events);
            }
        } else {
            self.end_order(handle, EndReason::NotQuotable, events);
        }
        self.keep_plan(plan);
    }
}

/// What the new bid excludes and resumes.
fn special_after(run: &Run, segment: Segment, otherwise: JobEnd) -> Special {
    let mut special = run.special.as_deref().cloned().unwrap_or_default();
    if special.failed.is_full() {
        // Only reached when a job may fail over more often than this list is long: the oldest failure gives way.
        special.failed.remove(0);
    }
    let mut failed: ArrayVec<_, { crate::order::FAILED_MAX }> = special.failed;
    if !failed.contains(&run.island) {
        failed.push(run.island);
    }
    Special {
        excluded: special.excluded,
        failed,
        resumes: Some(Resumed {
            job: run.job,
            epoch: run.epoch.next(),
            billed: segment.billed,
            reserved: segment.left,
            otherwise,
        }),
        inherited: Some(run.client_order_id),
    }
}
