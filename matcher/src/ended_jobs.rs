//! How jobs ended and what they cost, remembered as long as their order's client order id: what a repeat of the order
//! is answered with, after a restart as before it.
//!
//! Only sums are kept, in some 64 bytes a job; what was said in a job never comes here. A job is entered with the first
//! of its leases that ends. Invariant: every job here is one of an order whose client order id is remembered.

use std::collections::BTreeMap;

use domain::{Credits, InstrumentId, JobEnd, JobId, LeaseEpoch, OrderId, Price, Timestamp, Units};
use serde::{Deserialize, Serialize};

use crate::LeaseEnded;

/// A job of which at least one lease has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) instrument: InstrumentId,
    /// The last execution price.
    pub(crate) price: Price,
    /// The last attempt.
    pub(crate) epoch: LeaseEpoch,
    pub(crate) units: Units,
    pub(crate) charge: Credits,
    /// What the consumer paid on top of the charge.
    pub(crate) fee: Credits,
    /// How it ended and when, unless it still goes on.
    pub(crate) end: Option<(JobEnd, Timestamp)>,
}

/// All such jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndedJobs {
    tallies: BTreeMap<JobId, Tally>,
}

impl EndedJobs {
    /// Adds what a lease that ended was billed.
    pub(crate) fn add(&mut self, ended: &LeaseEnded) {
        let fitting = "all segments of a job fit its reservation";
        let fee = ended
            .bill
            .consumer_pays()
            .checked_sub(ended.bill.charge)
            .expect(fitting);
        let tally = self.tallies.entry(ended.job).or_insert(Tally {
            instrument: ended.instrument,
            price: ended.price,
            epoch: ended.epoch,
            units: Units::ZERO,
            charge: Credits::ZERO,
            fee: Credits::ZERO,
            end: None,
        });
        tally.price = ended.price;
        tally.epoch = ended.epoch;
        tally.units = tally.units.checked_add(ended.bill.units).expect(fitting);
        tally.charge = tally.charge.checked_add(ended.bill.charge).expect(fitting);
        tally.fee = tally.fee.checked_add(fee).expect(fitting);
    }

    /// Notes how a job ended, if it was entered.
    pub(crate) fn end(&mut self, job: JobId, end: JobEnd, at: Timestamp) {
        if let Some(tally) = self.tallies.get_mut(&job) {
            tally.end = Some((end, at));
        }
    }

    /// What is remembered of an order's jobs, in order.
    pub(crate) fn of_order(&self, order: OrderId) -> impl Iterator<Item = (JobId, &Tally)> {
        let (first, last) = (JobId::of_order(order, 0), JobId::of_order(order, u32::MAX));
        self.tallies.range(first..=last).map(|(job, tally)| (*job, tally))
    }

    /// Forgets an order's jobs.
    pub(crate) fn forget(&mut self, order: OrderId) {
        loop {
            let Some((job, _)) = self.of_order(order).next() else {
                return;
            };
            self.tallies.remove(&job);
        }
    }

    /// Every job, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, Tally)> {
        self.tallies.iter().map(|(job, tally)| (*job, *tally))
    }

    /// Puts back what a snapshot held.
    pub(crate) fn restore(&mut self, job: JobId, tally: Tally) {
        self.tallies.insert(job, tally);
    }
}
