//! Settlements: the claim is computed again, and its legs add up.

use domain::{Bill, Credits, JobId, LeaseId, Liquidity, Price, Standing, Units, fee_on};
use ledger::{AccountKey, Applied, Ledger, Settlement, SettlementRefusal, UNCOVERED_MAX};
use proptest::prelude::*;

use crate::auditor::complaints;
use crate::books::{SHARD, balance, books, grant, nano, owner, reserve};

/// 1,500 units at 0.1 credits per 1,000: 0.15 credits, a fee of 0.003, of which the pool gets 0.0006.
fn claim(bid_liquidity: Liquidity) -> Settlement {
    Settlement {
        shard: SHARD,
        lease: LeaseId::new(7),
        job: JobId::new(70),
        consumer: owner(1),
        island_owner: owner(2),
        standing: Standing::Established,
        price: Price::new(100_000_000).unwrap(),
        bill: Bill {
            units: Units::new(1_500),
            charge: nano(150_000_000),
            fee: nano(3_000_000),
            bid_liquidity,
            pool_subsidy: Credits::ZERO,
        },
        billed_before_thousandths: 0,
        compensation: Credits::ZERO,
        memo: "m".into(),
    }
}

fn funded() -> Ledger {
    let mut ledger = books(2);
    ledger
        .apply(&[grant(1, 1, 1_000_000_000), reserve(2, 1, 1_000_000_000)])
        .unwrap();
    ledger
}

/// What the consumer has left, the Island earned, the exchange and the pool got.
fn outcome(ledger: &Ledger) -> [i64; 4] {
    [
        AccountKey::Reserved(owner(1), SHARD),
        AccountKey::Pending(owner(2)),
        AccountKey::Fees,
        AccountKey::Pool,
    ]
    .map(|account| balance(ledger, account))
}

#[test]
fn a_taking_bid_pays_the_fee_on_top() {
    let mut ledger = funded();
    let legs = claim(Liquidity::Taker).legs().unwrap();
    assert_eq!(ledger.apply(&legs), Ok(Applied::Booked));
    assert_eq!(outcome(&ledger), [847_000_000, 150_000_000, 2_400_000, 600_000]);
    assert_eq!(complaints(&ledger), Vec::<String>::new());
}

#[test]
fn a_resting_bids_fee_comes_out_of_the_charge() {
    let mut ledger = funded();
    let legs = claim(Liquidity::Maker).legs().unwrap();
    assert_eq!(ledger.apply(&legs), Ok(Applied::Booked));
    assert_eq!(outcome(&ledger), [850_000_000, 147_000_000, 2_400_000, 600_000]);
}

#[test]
fn the_pool_pays_a_subsidy_even_when_it_is_empty() {
    let mut ledger = funded();
    let mut settlement = claim(Liquidity::Maker);
    settlement.bill.pool_subsidy = nano(5_000_000);
    ledger.apply(&settlement.legs().unwrap()).unwrap();
    assert_eq!(
        outcome(&ledger),
        [850_000_000, 152_000_000, 2_400_000, -4_400_000]
    );
    assert_eq!(complaints(&ledger), Vec::<String>::new());
}

#[test]
fn a_lost_job_is_compensated_by_the_exchange_and_free_for_the_consumer() {
    let mut ledger = funded();
    let mut settlement = claim(Liquidity::Taker);
    settlement.bill = Bill::FREE;
    settlement.compensation = nano(42);
    ledger.apply(&settlement.legs().unwrap()).unwrap();
    assert_eq!(outcome(&ledger), [1_000_000_000, 42, -42, 0]);
}

#[test]
fn a_settlement_that_moves_nothing_has_no_legs() {
    let mut settlement = claim(Liquidity::Taker);
    settlement.bill = Bill::FREE;
    assert_eq!(settlement.legs(), Ok(vec![]));
}

#[test]
fn segments_round_once_over_the_job() {
    // One unit at the lowest price costs one nano-credit, whatever fraction was left over from the segment before.
    let mut settlement = claim(Liquidity::Taker);
    settlement.price = Price::new(1_000).unwrap();
    settlement.bill.units = Units::new(1);
    settlement.bill.charge = nano(1);
    settlement.bill.fee = nano(0);
    settlement.billed_before_thousandths = 999;
    assert!(matches!(
        settlement.legs(),
        Ok(legs) if legs.len() == 1
    ));
    // 999 thousandths were rounded up to 1 before, 1,999 make 2: one more. At 1,000 before, 2,000 make 2.
    settlement.billed_before_thousandths = 1;
    assert!(settlement.legs().is_ok());
    settlement.bill.charge = nano(2);
    assert_eq!(
        settlement.legs(),
        Err(SettlementRefusal::ChargeMismatch {
            claimed: nano(2),
            computed: nano(1)
        })
    );
}

#[test]
fn a_claim_that_does_not_follow_from_price_and_units_is_refused() {
    let refused = |change: fn(&mut Settlement)| {
        let mut settlement = claim(Liquidity::Taker);
        change(&mut settlement);
        settlement.legs().unwrap_err().code()
    };
    assert_eq!(refused(|s| s.bill.charge = nano(150_000_001)), "CHARGE_MISMATCH");
    assert_eq!(refused(|s| s.bill.charge = nano(149_999_999)), "CHARGE_MISMATCH");
    assert_eq!(refused(|s| s.bill.charge = Credits::MAX), "CHARGE_MISMATCH");
    assert_eq!(refused(|s| s.bill.units = Units::new(1_501)), "CHARGE_MISMATCH");
    assert_eq!(
        refused(|s| s.billed_before_thousandths = u128::MAX),
        "BILL_OUT_OF_RANGE"
    );
    assert_eq!(
        refused(|s| s.bill.units = Units::new(u64::MAX)),
        "BILL_OUT_OF_RANGE"
    );
    assert_eq!(refused(|s| s.bill.fee = nano(0)), "FEE_MISMATCH");
    assert_eq!(refused(|s| s.bill.fee = nano(3_000_001)), "FEE_MISMATCH");
    assert_eq!(refused(|s| s.bill.charge = nano(-1)), "INVALID_AMOUNT");
    assert_eq!(
        refused(|s| s.bill.pool_subsidy = nano(i64::MIN)),
        "INVALID_AMOUNT"
    );
    assert_eq!(refused(|s| s.compensation = nano(-1)), "INVALID_AMOUNT");
    assert_eq!(refused(|s| s.compensation = nano(1)), "BILLED_AND_COMPENSATED");
    let too_much = |s: &mut Settlement| {
        s.bill = Bill::FREE;
        s.compensation = UNCOVERED_MAX.checked_add(nano(1)).unwrap();
    };
    assert_eq!(refused(too_much), "UNCOVERED_TOO_LARGE");
    assert_eq!(
        refused(|s| s.bill.pool_subsidy = Credits::MAX),
        "UNCOVERED_TOO_LARGE"
    );
}

#[test]
fn a_consumer_without_enough_reserved_settles_nothing_at_all() {
    let mut ledger = books(2);
    ledger
        .apply(&[grant(1, 1, 150_000_000), reserve(2, 1, 150_000_000)])
        .unwrap();
    // The charge is covered, the fee on top is not.
    let refusal = ledger
        .apply(&claim(Liquidity::Taker).legs().unwrap())
        .unwrap_err();
    assert_eq!(refusal.code(), "INSUFFICIENT_FUNDS");
    assert_eq!(outcome(&ledger), [150_000_000, 0, 0, 0]);
}

#[test]
fn one_may_buy_from_oneself() {
    let mut ledger = funded();
    let mut settlement = claim(Liquidity::Taker);
    settlement.island_owner = owner(1);
    ledger.apply(&settlement.legs().unwrap()).unwrap();
    assert_eq!(balance(&ledger, AccountKey::Pending(owner(1))), 150_000_000);
    assert_eq!(complaints(&ledger), Vec::<String>::new());
}

proptest! {
    #[test]
    fn legs_add_up_to_the_bill(
        ticks in 1u64..10_000_000,
        units in 0u64..100_000_000,
        before in 0u128..1 << 60,
        subsidy in 0i64..1_000_000_000,
        taker: bool,
    ) {
        let price = Price::from_ticks(ticks).unwrap();
        let exact = |thousandths: u128| i64::try_from(thousandths.div_ceil(1_000)).unwrap();
        let charge = nano(exact(before + u128::from(units) * u128::from(price.get())) - exact(before));
        let bid_liquidity = if taker { Liquidity::Taker } else { Liquidity::Maker };
        let fee = fee_on(charge);
        let settlement = Settlement {
            price,
            bill: Bill { units: Units::new(units), charge, fee, bid_liquidity, pool_subsidy: nano(subsidy) },
            billed_before_thousandths: before,
            ..claim(bid_liquidity)
        };
        let legs = settlement.legs().unwrap();
        let of = |account: AccountKey| {
            let paid: i64 = legs.iter().filter(|leg| leg.debit == account).map(|leg| leg.amount.as_nano()).sum();
            let got: i64 = legs.iter().filter(|leg| leg.credit == account).map(|leg| leg.amount.as_nano()).sum();
            got - paid
        };
        let consumer = of(AccountKey::Reserved(owner(1), SHARD));
        let on_top = if taker { fee.as_nano() } else { 0 };
        prop_assert_eq!(consumer, -charge.as_nano() - on_top);
        prop_assert_eq!(of(AccountKey::Pool), fee.as_nano().div_euclid(5) - subsidy);
        prop_assert_eq!(
            consumer + of(AccountKey::Pending(owner(2))) + of(AccountKey::Fees) + of(AccountKey::Pool),
            0
        );
    }
}
