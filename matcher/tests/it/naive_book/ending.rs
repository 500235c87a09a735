//! Orders: cancelled, lowered, ended, and what is remembered of them.

use domain::{AccountId, CancelCause, EndCause, JobEnd, JobId, JobOutcome, Jobs, OrderId, Side};
use matcher::{
    Amend, Cancel, CancelAll, CancelScope, EndReason, Event, LeaseEnded, OrderEnded, RejectReason, Unmatched,
};

use crate::naive_book::orders::reject;
use crate::naive_book::{NaiveBook, NaiveJob, Refused};

impl NaiveBook {
    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Result<(), Refused> {
        reject(
            self.owner(cancel.order) == Some(cancel.account),
            RejectReason::UnknownOrder,
        )?;
        self.end(cancel.order, EndReason::Cancelled);
        Ok(())
    }

    pub(super) fn cancel_all(&mut self, cancel: &CancelAll) -> Result<(), Refused> {
        match cancel.scope {
            CancelScope::Everything => {}
            CancelScope::Instrument(instrument) => {
                self.halted(instrument)?;
            }
            CancelScope::Session(session) => reject(self.has_session(session), RejectReason::UnknownSession)?,
            CancelScope::Island(island) => {
                reject(self.island(island).is_some(), RejectReason::UnknownIsland)?
            }
        }
        let mut doomed: Vec<OrderId> = Vec::new();
        for bid in self.bids.iter().filter(|bid| bid.body.account == cancel.account) {
            let hit = match cancel.scope {
                CancelScope::Everything => true,
                CancelScope::Instrument(instrument) => bid.body.instrument == instrument,
                CancelScope::Session(session) => bid.body.session == session,
                CancelScope::Island(_) => false,
            };
            if hit {
                doomed.push(bid.id);
            }
        }
        for ask in self.asks.iter().filter(|ask| ask.owner == cancel.account) {
            let hit = match cancel.scope {
                CancelScope::Everything => true,
                CancelScope::Instrument(instrument) => ask.body.instrument == instrument,
                CancelScope::Session(session) => ask.body.session == session,
                CancelScope::Island(island) => ask.body.island == island,
            };
            if hit {
                doomed.push(ask.id);
            }
        }
        doomed.sort_unstable();
        for id in doomed {
            self.end(id, EndReason::Cancelled);
        }
        Ok(())
    }

    pub(super) fn amend(&mut self, amend: &Amend) -> Result<(), Refused> {
        reject(
            self.owner(amend.order) == Some(amend.account),
            RejectReason::UnknownOrder,
        )?;
        let new = amend.leaves.get();
        if let Some(bid) = self.bids.iter_mut().find(|bid| bid.id == amend.order) {
            reject(new > 0 && new < bid.leaves, RejectReason::NotLess)?;
            let freed = bid.reserved_each * i64::from(bid.leaves - new);
            bid.amended += bid.leaves - new;
            bid.leaves = new;
            let taken = Self::jobs(bid.amended);
            let account = self.accounts.get_mut(&amend.account).unwrap();
            account.reserved -= freed;
            account.available += freed;
            self.note_unmatched(amend.order, taken, EndReason::Cancelled);
        }
        if let Some(ask) = self.asks.iter_mut().find(|ask| ask.id == amend.order) {
            reject(new > 0 && new < ask.leaves, RejectReason::NotLess)?;
            ask.leaves = new;
        }
        self.events.push(Event::Amended {
            order: amend.order,
            account: amend.account,
            leaves: amend.leaves,
        });
        Ok(())
    }

    /// Ends what is left of an order that rests or has just come in.
    pub(super) fn end(&mut self, id: OrderId, reason: EndReason) {
        let ended = if let Some(position) = self.bids.iter().position(|bid| bid.id == id) {
            let bid = self.bids.remove(position);
            let freed = bid.reserved_each * i64::from(bid.leaves);
            let account = self.accounts.get_mut(&bid.body.account).unwrap();
            account.reserved -= freed;
            account.available += freed;
            match bid.resumes {
                None => self.note_unmatched(id, Self::jobs(bid.leaves + bid.amended), reason),
                Some((job, _, _)) => {
                    let otherwise = bid.otherwise.unwrap();
                    let end = match reason {
                        EndReason::Cancelled => {
                            JobEnd::because(JobOutcome::Cancelled, EndCause::Cancelled(CancelCause::Asked))
                        }
                        EndReason::SessionLost => JobEnd::because(otherwise.outcome, EndCause::SessionLost),
                        _ => otherwise,
                    };
                    self.note_end(job, end);
                }
            }
            OrderEnded {
                order: id,
                account: bid.body.account,
                session: bid.body.session,
                side: Side::Bid,
                leaves: Self::jobs(bid.leaves),
                reason,
                resumes: bid.resumes.map(|(job, _, _)| job),
            }
        } else {
            let position = self.asks.iter().position(|ask| ask.id == id).unwrap();
            let ask = self.asks.remove(position);
            OrderEnded {
                order: id,
                account: ask.owner,
                session: ask.body.session,
                side: Side::Ask,
                leaves: Self::jobs(ask.leaves),
                reason,
                resumes: None,
            }
        };
        self.events.push(Event::OrderEnded(ended));
        self.forget_later(id);
    }

    pub(super) fn note_unmatched(&mut self, order: OrderId, jobs: Jobs, reason: EndReason) {
        for id in self.ids.iter_mut().filter(|id| id.order == order) {
            id.unmatched = Some(Unmatched { jobs, reason });
        }
    }

    /// Notes a segment of a job whose order is remembered.
    pub(super) fn note_segment(&mut self, ended: &LeaseEnded) {
        if ended.job.index() >= self.limits.ended_jobs_per_order_max {
            return;
        }
        for id in self.ids.iter_mut().filter(|id| id.order == ended.job.order()) {
            let job = id.jobs.entry(ended.job).or_insert(NaiveJob {
                segments: Vec::new(),
                end: None,
            });
            job.segments.push(*ended);
        }
    }

    pub(super) fn note_end(&mut self, job: JobId, end: JobEnd) {
        for id in &mut self.ids {
            if let Some(known) = id.jobs.get_mut(&job) {
                known.end = Some((end, self.now));
            }
        }
    }

    pub(super) fn forget_later(&mut self, order: OrderId) {
        let at = self.now.after(self.limits.client_id_kept);
        for id in self.ids.iter_mut().filter(|id| id.order == order) {
            id.forget_at = Some(at);
        }
    }

    pub(super) fn owner(&self, order: OrderId) -> Option<AccountId> {
        let bid = self.bids.iter().find(|bid| bid.id == order);
        let ask = self.asks.iter().find(|ask| ask.id == order);
        bid.map(|bid| bid.body.account).or(ask.map(|ask| ask.owner))
    }
}
