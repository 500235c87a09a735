//! Sessions: opening, losing, and their dead-man switches.

use domain::{Bill, Credits, LeaseId, SessionId};

use crate::book::arena::Handle;
use crate::book::queue::Chain;
use crate::engine::Engine;
use crate::engine::ended_jobs::end_of_lost;
use crate::engine::refusal::{Refusal, require};
use crate::leases::plus;
use crate::roster::{DeadMan, Island};
use crate::timers::Timer;
use crate::{EndReason, Event, LeaseEnd, LeaseEnded, LoseSessions, RejectReason, SetDeadMan};

impl Engine {
    pub(super) fn open_session(&mut self, events: &mut Vec<Event>) {
        let session = SessionId::of_sequence(self.sequence);
        self.roster.open_session(session);
        events.push(Event::SessionOpened { session });
    }

    pub(super) fn lose_sessions(
        &mut self,
        lost: &LoseSessions,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        match lost {
            LoseSessions::All => {
                let sessions: Vec<Handle> = self.roster.sessions().map(|(handle, _)| handle).collect();
                for session in sessions {
                    self.lose_session(session, events);
                }
            }
            LoseSessions::One(session) => {
                let session = self
                    .roster
                    .find_session(*session)
                    .ok_or(RejectReason::UnknownSession)?;
                self.lose_session(session, events);
            }
        }
        Ok(())
    }

    pub(super) fn set_dead_man(&mut self, set: &SetDeadMan, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let session = self
            .roster
            .find_session(set.session)
            .ok_or(RejectReason::UnknownSession)?;
        require(
            set.deadline.is_none_or(|deadline| deadline > self.now),
            RejectReason::DeadlinePassed,
        )?;
        self.disarm_dead_man(session);
        if let Some(deadline) = set.deadline {
            let armed_by = self.sequence;
            let timer = self.timers.arm(deadline, armed_by, Timer::DeadMan(session));
            self.roster.sessions[session].dead_man = Some(DeadMan {
                deadline,
                armed_by,
                timer,
            });
        }
        events.push(Event::DeadManSet {
            session: set.session,
            deadline: set.deadline,
        });
        Ok(())
    }

    /// Ends a session's bids and the asks of its Islands, oldest first.
    pub(super) fn end_orders_of_session(
        &mut self,
        session: Handle,
        reason: EndReason,
        events: &mut Vec<Event>,
    ) {
        let mut orders = Vec::new();
        for account in self.roster.visitors(session) {
            let bids = self.accounts.get(account).bids.iter(&self.orders, Chain::Owner);
            orders.extend(bids.filter(|bid| self.orders[*bid].bid().session == session));
        }
        for island in &self.roster.sessions[session].islands {
            let asks = &self.roster.islands[*island].asks;
            orders.extend(asks.iter(&self.orders, Chain::Owner));
        }
        self.orders.sort(&mut orders);
        for order in orders {
            self.end_order(order, reason, events);
        }
    }

    fn lose_session(&mut self, handle: Handle, events: &mut Vec<Event>) {
        let session = self.roster.sessions[handle].id;
        self.end_orders_of_session(handle, EndReason::SessionLost, events);
        self.lose_leases(session, events);
        self.disarm_dead_man(handle);
        self.close_session(handle);
        events.push(Event::SessionEnded { session });
    }

    /// Takes a session and its Islands off the roster, and out of the accounts that know them.
    fn close_session(&mut self, handle: Handle) {
        for account in self.roster.visitors(handle) {
            let account = self.accounts.get_mut(account);
            account.session = account.session.filter(|session| *session != handle);
        }
        for island in &self.roster.sessions[handle].islands {
            let Island { owner, held, .. } = self.roster.islands[*island];
            if held > 0 {
                self.leases.release_all(*island);
            }
            self.accounts.remove_island(owner, *island);
        }
        self.roster.close_session(handle);
    }

    /// Ends the open leases of a bid's session: the consumer pays nothing, the exchange owes what was signed for.
    ///
    /// This looks at every open lease, for sessions are lost rarely and most leases belong to few gateways.
    fn lose_leases(&mut self, session: SessionId, events: &mut Vec<Event>) {
        let lost: Vec<(LeaseId, u32)> = self
            .leases
            .runs()
            .filter(|run| run.session == session)
            .map(|run| (run.first, run.count))
            .collect();
        for (first, count) in lost {
            for offset in 0..count {
                let lease = plus(first, offset);
                let run = self.leases.remove(lease);
                self.accounts.release(run.account, run.reserved);
                let compensation = run
                    .price
                    .cost_of(run.checkpointed)
                    .expect("a checkpoint is no more than what was reserved");
                let account = self.accounts.get(run.account).id;
                let ended = LeaseEnded {
                    bill: Bill::FREE,
                    compensation,
                    released: run.reserved,
                    ..run.ended(lease, account, LeaseEnd::Lost)
                };
                self.note_lease(&run, &ended, Some(end_of_lost(&run)));
                events.push(Event::LeaseEnded(ended));
            }
        }
    }

    fn disarm_dead_man(&mut self, session: Handle) {
        if let Some(dead_man) = self.roster.sessions[session].dead_man.take() {
            self.timers.disarm(dead_man.timer);
        }
    }
}

impl crate::leases::Run {
    /// The end of a lease by itself, before anything is billed or released.
    pub(super) fn ended(&self, lease: LeaseId, account: domain::AccountId, end: LeaseEnd) -> LeaseEnded {
        LeaseEnded {
            lease,
            job: self.job,
            trade: self.trade,
            epoch: self.epoch,
            account,
            island: self.island,
            owner: self.owner,
            instrument: self.cell.instrument,
            price: self.price,
            end,
            bill: Bill::FREE,
            billed_before: self.billed,
            compensation: Credits::ZERO,
            released: Credits::ZERO,
        }
    }
}
