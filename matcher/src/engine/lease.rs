//! Leases that go on and leases that end: checkpoints and bills.

use domain::{Bill, Credits, LeaseId, RunningBill, Units, fee_on};

use crate::engine::Engine;
use crate::engine::refusal::{Refusal, require};
use crate::leases::Run;
use crate::{Checkpoint, CloseLease, Event, LeaseEnd, LeaseEnded, RejectReason};

/// A segment's bill, and what the job was billed with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) bill: Bill,
    pub(super) billed: RunningBill,
    /// What is left of the reservation after the consumer paid.
    pub(super) left: Credits,
}

impl Engine {
    /// Records work that an Island has signed for. A lower count than before changes nothing.
    pub(super) fn checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let run = self.open_lease(checkpoint.lease)?;
        require(checkpoint.units <= run.units_max, RejectReason::OverBilled)?;
        let units = if checkpoint.units > run.checkpointed {
            self.leases.get_mut(checkpoint.lease).checkpointed = checkpoint.units;
            checkpoint.units
        } else {
            run.checkpointed
        };
        events.push(Event::Checkpointed {
            lease: checkpoint.lease,
            units,
        });
        Ok(())
    }

    /// Ends a lease and its job.
    pub(super) fn close_lease(&mut self, close: &CloseLease, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let run = self.open_lease(close.lease)?;
        let segment = bill(run, close.units, close.reread_units)?;
        let run = self.leases.remove(close.lease);
        self.accounts.pay(run.account, segment.bill.consumer_pays());
        self.accounts.release(run.account, segment.left);
        let account = self.accounts.get(run.account).id;
        let ended = LeaseEnded {
            bill: segment.bill,
            released: segment.left,
            ..run.ended(close.lease, account, LeaseEnd::Closed(close.end.outcome))
        };
        self.note_lease(&run, &ended, Some(close.end));
        events.push(Event::LeaseEnded(ended));
        Ok(())
    }

    pub(super) fn open_lease(&self, lease: LeaseId) -> Result<&Run, Refusal> {
        Ok(self.leases.find(lease).ok_or(RejectReason::UnknownLease)?)
    }
}

/// Bills one segment of a job, or refuses what is more than its lease may bill.
pub(super) fn bill(run: &Run, units: Units, reread_units: Units) -> Result<Segment, Refusal> {
    require(units <= run.units_max, RejectReason::OverBilled)?;
    let mut billed = run.billed;
    let charge = billed
        .bill(run.price, units)
        .map_err(|_| RejectReason::OverBilled)?;
    let bill = Bill {
        units,
        charge,
        fee: fee_on(charge),
        bid_liquidity: run.bid_liquidity,
        pool_subsidy: run.price.cost_of(reread_units).ok_or(RejectReason::OverBilled)?,
    };
    charge.checked_add(bill.fee).ok_or(RejectReason::OverBilled)?;
    let left = run
        .reserved
        .checked_sub(bill.consumer_pays())
        .filter(|left| !left.is_negative())
        .ok_or(RejectReason::OverBilled)?;
    Ok(Segment { bill, billed, left })
}
