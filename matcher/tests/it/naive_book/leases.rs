//! Trades, leases and money.

use domain::{
    Bill, Credits, EndCause, InstrumentId, JobEnd, JobId, JobOutcome, Jobs, LeaseEpoch, LeaseId, Liquidity,
    OrderId, Price, RunningBill, SessionId, TimeInForce, TradeId, Units,
};
use matcher::{
    BidAccepted, Checkpoint, CloseLease, Defund, EndReason, Event, FailOver, Fund, LeaseEnd, LeaseEnded,
    RejectReason, SetPriceBand, Traded,
};

use crate::naive_book::{NaiveAsk, NaiveBid, NaiveBook, NaiveLease, Refused};

impl NaiveBook {
    pub(super) fn trade(
        &mut self,
        bid: &mut NaiveBid,
        ask: &mut NaiveAsk,
        price: Price,
        jobs: u32,
        bid_liquidity: Liquidity,
    ) {
        let cell = self.cell(&ask.body);
        let (first_job, epoch, billed) = match bid.resumes {
            Some(resumes) => resumes,
            None => (JobId::of_order(bid.id, bid.filled), 0, RunningBill::default()),
        };
        self.trades += 1;
        let first_lease = LeaseId::new(self.lease_count + 1);
        for index in 0..jobs {
            self.lease_count += 1;
            let lease = LeaseId::new(self.lease_count);
            let job = match bid.resumes {
                Some((job, _, _)) => job,
                None => JobId::of_order(bid.id, bid.filled + index),
            };
            self.leases.push(NaiveLease {
                id: lease,
                trade: self.trades,
                job,
                epoch,
                bid: bid.clone(),
                island: ask.body.island,
                owner: ask.owner,
                price,
                liquidity: bid_liquidity,
                billed,
                checkpointed: Units::ZERO,
            });
            let island = self
                .islands
                .iter_mut()
                .find(|island| island.id == ask.body.island);
            island.unwrap().held.push(lease);
        }
        bid.leaves -= jobs;
        bid.filled += jobs;
        ask.leaves -= jobs;
        self.events.push(Event::Traded(Traded {
            trade: TradeId::new(self.trades),
            bid: bid.id,
            account: bid.body.account,
            bid_session: bid.body.session,
            ask: ask.id,
            island: ask.body.island,
            owner: ask.owner,
            ask_session: ask.body.session,
            cell,
            price,
            jobs: Jobs::new(jobs),
            bid_liquidity,
            bid_leaves: Jobs::new(bid.leaves),
            ask_leaves: Jobs::new(ask.leaves),
            first_lease,
            first_job,
            epoch: LeaseEpoch::new(epoch),
            units_max: bid.body.units_max,
        }));
    }

    fn position(&self, lease: LeaseId) -> Result<usize, Refused> {
        let position = self.leases.iter().position(|open| open.id == lease);
        position.ok_or_else(|| RejectReason::UnknownLease.into())
    }

    pub(super) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Refused> {
        let position = self.position(checkpoint.lease)?;
        let lease = &mut self.leases[position];
        if checkpoint.units > lease.bid.body.units_max {
            return Err(RejectReason::OverBilled.into());
        }
        lease.checkpointed = lease.checkpointed.max(checkpoint.units);
        self.events.push(Event::Checkpointed {
            lease: checkpoint.lease,
            units: lease.checkpointed,
        });
        Ok(())
    }

    /// What a segment is billed, and the job's running bill with it.
    fn bill(lease: &NaiveLease, units: Units, reread: Units) -> Result<(Bill, RunningBill), Refused> {
        let mut billed = lease.billed;
        let charge = billed.bill(lease.price, units);
        let subsidy = u128::from(lease.price.get()) * u128::from(reread.get());
        let subsidy = i64::try_from(subsidy.div_ceil(1_000));
        let (Ok(charge), Ok(subsidy)) = (charge, subsidy) else {
            return Err(RejectReason::OverBilled.into());
        };
        let fee = charge.as_nano().div_euclid(50);
        let pays = match lease.liquidity {
            Liquidity::Taker => charge.as_nano().checked_add(fee),
            Liquidity::Maker => Some(charge.as_nano()),
        };
        if units > lease.bid.body.units_max || pays.is_none_or(|pays| pays > lease.bid.reserved_each) {
            return Err(RejectReason::OverBilled.into());
        }
        let bill = Bill {
            units,
            charge,
            fee: Credits::from_nano(fee),
            bid_liquidity: lease.liquidity,
            pool_subsidy: Credits::from_nano(subsidy),
        };
        Ok((bill, billed))
    }

    fn ended(lease: &NaiveLease, end: LeaseEnd, bill: Bill) -> LeaseEnded {
        LeaseEnded {
            lease: lease.id,
            job: lease.job,
            trade: TradeId::new(lease.trade),
            epoch: LeaseEpoch::new(lease.epoch),
            account: lease.bid.body.account,
            island: lease.island,
            owner: lease.owner,
            instrument: lease.bid.body.instrument,
            price: lease.price,
            end,
            bill,
            billed_before: lease.billed,
            compensation: Credits::ZERO,
            released: Credits::ZERO,
        }
    }

    pub(super) fn close_lease(&mut self, close: &CloseLease) -> Result<(), Refused> {
        let position = self.position(close.lease)?;
        let (bill, _) = Self::bill(&self.leases[position], close.units, close.reread_units)?;
        let lease = self.leases.remove(position);
        let left = lease.bid.reserved_each - bill.consumer_pays().as_nano();
        let account = self.accounts.get_mut(&lease.bid.body.account).unwrap();
        account.reserved -= lease.bid.reserved_each;
        account.available += left;
        let ended = LeaseEnded {
            released: Credits::from_nano(left),
            ..Self::ended(&lease, LeaseEnd::Closed(close.end.outcome), bill)
        };
        self.note_segment(&ended);
        self.note_end(lease.job, close.end);
        self.events.push(Event::LeaseEnded(ended));
        Ok(())
    }

    pub(super) fn fail_over(&mut self, failover: &FailOver) -> Result<(), Refused> {
        let units = failover.units_max.get();
        if units == 0 || units > domain::UNITS_MAX {
            return Err(RejectReason::InvalidUnits.into());
        }
        if let TimeInForce::Gtd(deadline) = failover.time_in_force
            && deadline <= self.now
        {
            return Err(RejectReason::DeadlinePassed.into());
        }
        let position = self.position(failover.lease)?;
        let (bill, billed) = Self::bill(&self.leases[position], failover.units, Self::units(0))?;
        let lease = &self.leases[position];
        if units + failover.units.get() > lease.bid.body.units_max.get() {
            return Err(RejectReason::OverBilled.into());
        }
        if lease.epoch >= self.limits.failovers_per_job_max {
            return Err(RejectReason::TooManyFailovers.into());
        }
        let lease = self.leases.remove(position);
        let id = OrderId::new(self.sequence.get());
        let left = lease.bid.reserved_each - bill.consumer_pays().as_nano();
        let account = self.accounts.get_mut(&lease.bid.body.account).unwrap();
        account.reserved -= bill.consumer_pays().as_nano();
        let ended = Self::ended(&lease, LeaseEnd::FailedOver(id), bill);
        self.note_segment(&ended);
        self.events.push(Event::LeaseEnded(ended));
        let mut bid = lease.bid.clone();
        bid.id = id;
        bid.body.jobs = Jobs::ONE;
        bid.body.units_max = failover.units_max;
        bid.body.time_in_force = failover.time_in_force;
        bid.leaves = 1;
        bid.filled = 0;
        bid.reserved_each = left;
        bid.failed.push(lease.island);
        bid.resumes = Some((lease.job, lease.epoch + 1, billed));
        bid.otherwise = Some(failover.otherwise);
        self.events.push(Event::BidAccepted(BidAccepted {
            order: id,
            account: bid.body.account,
            session: bid.body.session,
            client_order_id: bid.body.client_order_id,
            instrument: bid.body.instrument,
            limit: bid.limit,
            jobs: Jobs::ONE,
            units_max: bid.body.units_max,
            reserved: Credits::from_nano(left),
            time_in_force: bid.body.time_in_force,
            resumes: Some(lease.job),
        }));
        if !self.is_servable(&bid) {
            self.bids.push(bid);
            self.end(id, EndReason::NotQuotable);
            return Ok(());
        }
        self.match_and_rest(bid);
        Ok(())
    }

    pub(super) fn lose_leases(&mut self, session: SessionId) {
        let lost: Vec<NaiveLease> = self
            .leases
            .iter()
            .filter(|lease| lease.bid.body.session == session)
            .cloned()
            .collect();
        self.leases.retain(|lease| lease.bid.body.session != session);
        for lease in lost {
            let account = self.accounts.get_mut(&lease.bid.body.account).unwrap();
            account.reserved -= lease.bid.reserved_each;
            account.available += lease.bid.reserved_each;
            let owed = u128::from(lease.price.get()) * u128::from(lease.checkpointed.get());
            let ended = LeaseEnded {
                compensation: Credits::from_nano(i64::try_from(owed.div_ceil(1_000)).unwrap()),
                released: Credits::from_nano(lease.bid.reserved_each),
                ..Self::ended(&lease, LeaseEnd::Lost, Bill::FREE)
            };
            let outcome = match lease.billed.billed().as_nano() {
                0 => JobOutcome::Failed,
                _ => JobOutcome::Incomplete,
            };
            self.note_segment(&ended);
            self.note_end(lease.job, JobEnd::because(outcome, EndCause::SessionLost));
            self.events.push(Event::LeaseEnded(ended));
        }
    }

    pub(super) fn fund(&mut self, fund: &Fund) -> Result<(), Refused> {
        let total: i128 = self
            .accounts
            .values()
            .map(|account| i128::from(account.available) + i128::from(account.reserved))
            .sum();
        let known = self
            .accounts
            .get(&fund.account)
            .is_some_and(|account| account.transfers.contains(&fund.transfer));
        if known {
            return Ok(());
        }
        let amount = fund.amount.as_nano();
        if amount <= 0 || total + i128::from(amount) > i128::from(i64::MAX) {
            return Err(RejectReason::InvalidAmount.into());
        }
        let account = self.accounts.entry(fund.account).or_default();
        account.available += amount;
        let available = Credits::from_nano(account.available);
        self.remember_transfer(fund.account, fund.transfer);
        self.events.push(Event::Funded {
            transfer: fund.transfer,
            account: fund.account,
            amount: fund.amount,
            available,
        });
        Ok(())
    }

    pub(super) fn defund(&mut self, defund: &Defund) -> Result<(), Refused> {
        let amount = defund.amount.as_nano();
        let account = self.accounts.get(&defund.account).cloned().unwrap_or_default();
        if account.transfers.contains(&defund.transfer) {
            return Ok(());
        }
        if amount > account.available {
            let mut refused = Refused::from(RejectReason::InsufficientBuyingPower);
            refused.0.shortfall = Credits::from_nano(amount - account.available);
            return Err(refused);
        }
        if amount <= 0 {
            return Err(RejectReason::InvalidAmount.into());
        }
        self.accounts.get_mut(&defund.account).unwrap().available -= amount;
        self.remember_transfer(defund.account, defund.transfer);
        self.events.push(Event::Defunded {
            transfer: defund.transfer,
            account: defund.account,
            amount: defund.amount,
            available: Credits::from_nano(account.available - amount),
        });
        Ok(())
    }

    fn remember_transfer(&mut self, account: domain::AccountId, transfer: domain::TransferId) {
        let max = usize::try_from(self.limits.transfers_per_account_max).unwrap();
        let transfers = &mut self.accounts.get_mut(&account).unwrap().transfers;
        transfers.push(transfer);
        if transfers.len() > max {
            transfers.remove(0);
        }
    }

    pub(super) fn halt(&mut self, instrument: InstrumentId) -> Result<(), Refused> {
        self.halted(instrument)?;
        self.instruments[usize::try_from(instrument.get()).unwrap()].halted = true;
        self.events.push(Event::Halted { instrument });
        Ok(())
    }

    pub(super) fn set_price_band(&mut self, set: &SetPriceBand) -> Result<(), Refused> {
        let SetPriceBand { instrument, band } = *set;
        self.halted(instrument)?;
        self.instruments[usize::try_from(instrument.get()).unwrap()].price_band = band;
        self.events.push(Event::PriceBandSet { instrument, band });
        Ok(())
    }

    pub(super) fn resume(&mut self, instrument: InstrumentId) -> Result<(), Refused> {
        self.halted(instrument)?;
        self.instruments[usize::try_from(instrument.get()).unwrap()].halted = false;
        self.events.push(Event::Resumed { instrument });
        self.uncross(instrument);
        Ok(())
    }
}
