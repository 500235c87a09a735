//! Buying power: none appears, none is lost.

use std::collections::BTreeMap;

use domain::AccountId;
use matcher::{Engine, Event, OrderDetail};
use proptest::prelude::*;

use crate::properties::script::{config, play, script};

proptest! {
    #![proptest_config(config(200))]

    /// Available and reserved are what was funded, less what was taken back, less what was paid.
    #[test]
    fn buying_power_is_conserved_in_each_account(script in script()) {
        let mut owed: BTreeMap<AccountId, i64> = BTreeMap::new();
        play(&script, |step| {
            for event in step.events {
                match event {
                    Event::Funded { account, amount, .. } => {
                        *owed.entry(*account).or_default() += amount.as_nano();
                    }
                    Event::Defunded { account, amount, .. } => {
                        *owed.entry(*account).or_default() -= amount.as_nano();
                    }
                    Event::LeaseEnded(ended) => {
                        *owed.entry(ended.account).or_default() -= ended.bill.consumer_pays().as_nano();
                    }
                    _ => {}
                }
            }
            for (account, power) in step.after.accounts() {
                let has = power.available.as_nano() + power.reserved.as_nano();
                assert_eq!(has, owed.get(&account).copied().unwrap_or_default(), "{account}");
                assert!(power.available.as_nano() >= 0 && power.reserved.as_nano() >= 0, "{account}");
            }
            assert_eq!(step.after.buying_power_total().as_nano(), owed.values().sum::<i64>());
        });
    }

    #[test]
    fn what_is_reserved_is_reserved_for_orders_and_leases(script in script()) {
        play(&script, |step| {
            let reserved = reservations(step.after);
            for (account, power) in step.after.accounts() {
                let expected = reserved.get(&account).copied().unwrap_or_default();
                assert_eq!(power.reserved.as_nano(), expected, "{account}");
            }
        });
    }
}

fn reservations(engine: &Engine) -> BTreeMap<AccountId, i64> {
    let mut reserved: BTreeMap<AccountId, i64> = BTreeMap::new();
    for order in engine.orders() {
        if let OrderDetail::Bid(bid) = order.detail {
            *reserved.entry(order.account).or_default() += bid.reserved.as_nano();
        }
    }
    for lease in engine.leases() {
        *reserved.entry(lease.account).or_default() += lease.reserved.as_nano();
    }
    reserved
}
