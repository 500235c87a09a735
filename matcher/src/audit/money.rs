//! Buying power, leases and client order ids.

use std::collections::BTreeMap;

use domain::{Credits, Liquidity, Price, RunningBill, UNITS_MAX, Units, fee_on};

use crate::audit::{AuditError, check};
use crate::book::arena::Handle;
use crate::engine::Engine;

impl Engine {
    pub(super) fn audit_money(&self) -> Result<(), AuditError> {
        let mut reserved: BTreeMap<Handle, i128> = BTreeMap::new();
        for handle in self.orders.in_order() {
            let (order, terms) = (&self.orders[handle], self.orders.terms(handle));
            if order.as_bid().is_none() {
                continue;
            }
            let reservation = self.orders.reserved_per_job(handle);
            let each = i128::from(reservation.as_nano());
            *reserved.entry(order.account).or_default() += each * i128::from(order.leaves.get());
            let resumed = self.orders.resumed(handle);
            let billed = resumed.map(|resumed| resumed.billed).unwrap_or_default();
            check(
                covers(reservation, order.price(), terms.units_max(), billed),
                "a bid's reservation covers its limit",
                || order.id.to_string(),
            )?;
        }
        for run in self.leases.runs() {
            let each = i128::from(run.reserved.as_nano());
            *reserved.entry(run.account).or_default() += each * i128::from(run.count);
        }
        let mut total = 0;
        for (handle, account) in self.accounts.in_order() {
            let name = || account.id.to_string();
            let power = account.power;
            total += i128::from(power.available.as_nano()) + i128::from(power.reserved.as_nano());
            check(
                !power.available.is_negative(),
                "no buying power is overspent",
                name,
            )?;
            check(
                i128::from(power.reserved.as_nano()) == reserved.get(&handle).copied().unwrap_or_default(),
                "what is reserved is what bids and leases hold",
                name,
            )?;
            let mut count = 0;
            for order in self.orders_owned_by(handle) {
                count += 1;
                check(
                    self.orders[order].account == handle,
                    "an account's orders are its own",
                    name,
                )?;
            }
            check(
                account.order_count == count,
                "an account's orders are counted",
                name,
            )?;
        }
        check(
            total == i128::from(self.accounts.total().as_nano()),
            "the sum of buying power is kept",
            || total.to_string(),
        )
    }

    pub(super) fn audit_leases(&self) -> Result<(), AuditError> {
        for run in self.leases.runs() {
            let first = run.first;
            let name = || first.to_string();
            check(
                self.roster.find_session(run.session).is_some(),
                "a lease ends with its bid's session",
                name,
            )?;
            check(
                run.price <= run.limit,
                "no execution is worse than the limit",
                name,
            )?;
            check(
                run.checkpointed <= run.units_max,
                "no checkpoint is beyond the lease",
                name,
            )?;
            check(
                covers(run.reserved, run.limit, run.units_max, run.billed),
                "a lease's reservation covers its limit",
                name,
            )?;
        }
        Ok(())
    }

    pub(super) fn audit_client_ids(&self) -> Result<(), AuditError> {
        let mut known = 0;
        for handle in self.orders.in_order() {
            let (order, terms) = (&self.orders[handle], self.orders.terms(handle));
            if self.orders.resumed(handle).is_some() {
                continue;
            }
            known += 1;
            let record = self.client_ids.find(order.account, self.client_order_id(handle));
            check(
                record.is_some_and(|record| self.client_ids.get(record).remembered.order == order.id)
                    && record == terms.record,
                "a resting order's client order id is remembered",
                || order.id.to_string(),
            )?;
        }
        let mut ended_ids = std::collections::BTreeSet::new();
        for ended in self.client_ids.ended() {
            known += 1;
            let record = self.client_ids.get(ended.record);
            let has_ended = self.orders.find(record.remembered.order).is_none();
            check(
                has_ended && ended_ids.insert(ended.record),
                "an ended id is that of an order that ended",
                || record.client_order_id.to_string(),
            )?;
        }
        check(
            known == self.client_ids.len(),
            "every remembered id will be forgotten",
            || format!("{known} of {}", self.client_ids.len()),
        )?;
        let mut counts: BTreeMap<Handle, u32> = BTreeMap::new();
        let mut remembered_orders = std::collections::BTreeSet::new();
        for record in self.client_ids.in_order() {
            remembered_orders.insert(record.remembered.order);
            *counts.entry(record.account).or_default() += 1;
        }
        for (handle, account) in self.accounts.in_order() {
            check(
                account.client_id_count == counts.get(&handle).copied().unwrap_or_default(),
                "an account's client order ids are counted",
                || account.id.to_string(),
            )?;
        }
        for (job, _) in self.ended_jobs.iter() {
            check(
                remembered_orders.contains(&job.order()),
                "an ended job is one of an order that is remembered",
                || job.to_string(),
            )?;
        }
        Ok(())
    }
}

/// Whether a reservation pays for `units` more at `limit`, after what was billed before.
fn covers(reserved: Credits, limit: Price, units: Units, mut billed: RunningBill) -> bool {
    if units == Units::ZERO || units > Units::new(UNITS_MAX) {
        return false;
    }
    let Ok(charge) = billed.bill(limit, units) else {
        return false;
    };
    let bill = domain::Bill {
        units,
        charge,
        fee: fee_on(charge),
        bid_liquidity: Liquidity::Taker,
        pool_subsidy: Credits::ZERO,
    };
    charge.checked_add(bill.fee).is_some_and(|pays| pays <= reserved)
}
