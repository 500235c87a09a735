//! Buying power in and out.

use domain::Credits;

use crate::engine::Engine;
use crate::engine::refusal::{Refusal, require};
use crate::{Defund, Event, Fund, RejectReason};

impl Engine {
    /// Adds buying power, once a transfer.
    pub(super) fn fund(&mut self, fund: &Fund, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if self.has_transfer(fund.account, fund.transfer) {
            return Ok(());
        }
        require(fund.amount > Credits::ZERO, RejectReason::InvalidAmount)?;
        require(
            self.accounts.total().checked_add(fund.amount).is_some(),
            RejectReason::InvalidAmount,
        )?;
        let account = self.accounts.find_or_new(fund.account);
        let available = self
            .accounts
            .fund(account, fund.amount)
            .expect("the sum was checked");
        self.accounts
            .remember_transfer(account, fund.transfer, self.limits.transfers_per_account_max);
        events.push(Event::Funded {
            transfer: fund.transfer,
            account: fund.account,
            amount: fund.amount,
            available,
        });
        Ok(())
    }

    /// Takes back what no order has reserved, once a transfer.
    pub(super) fn defund(&mut self, defund: &Defund, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if self.has_transfer(defund.account, defund.transfer) {
            return Ok(());
        }
        // Buying power is checked before the amount: reasons are checked in the order of `RejectReason`.
        let free = self.buying_power(defund.account).available;
        if defund.amount > free {
            let shortfall = defund
                .amount
                .checked_sub(free)
                .expect("the difference of two sums that are not negative fits");
            return Err(Refusal::insufficient(shortfall));
        }
        require(defund.amount > Credits::ZERO, RejectReason::InvalidAmount)?;
        let account = self
            .accounts
            .find(defund.account)
            .expect("an account with buying power is known");
        let available = self
            .accounts
            .defund(account, defund.amount)
            .expect("what is free was checked");
        self.accounts
            .remember_transfer(account, defund.transfer, self.limits.transfers_per_account_max);
        events.push(Event::Defunded {
            transfer: defund.transfer,
            account: defund.account,
            amount: defund.amount,
            available,
        });
        Ok(())
    }
}
