//! Random scripts: whatever is asked, the books stay right.

use domain::{Bill, Credits, JobId, LeaseId, Liquidity, Price, Standing, TransferId, Units, fee_on};
use ledger::{AccountKey, Applied, Ledger, Mode, Refusal, Settlement, Transfer, TransferKind};
use proptest::prelude::*;

use crate::auditor::complaints;
use crate::books::{SHARD, books, grant, nano, owner, payout, transfer};

/// What a script does. Ids come from a small range, so that they collide.
#[derive(Clone, Debug)]
enum Step {
    Journal(Vec<Transfer>),
    UpTo(Transfer, Credits, Credits),
}

/// Owners 1 to 3 exist, 4 does not.
fn any_owner() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1u64..=3, 1 => Just(4u64)]
}

fn any_amount() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 1i64..1_000, 1 => Just(0), 1 => Just(-5), 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        2 => Just(Mode::Plain),
        3 => Just(Mode::Pending),
        3 => (0u128..40).prop_map(|id| Mode::Post(TransferId::new(id))),
        2 => (0u128..40).prop_map(|id| Mode::Void(TransferId::new(id))),
    ]
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    let id = 0u128..40;
    prop_oneof![
        (id.clone(), any_owner(), any_amount()).prop_map(|(id, to, amount)| grant(id, to, amount)),
        (id.clone(), any_owner(), any_owner(), any_amount()).prop_map(|(id, from, to, amount)| {
            let (debit, credit) = (
                AccountKey::Available(owner(from)),
                AccountKey::Reserved(owner(to), SHARD),
            );
            transfer(id, TransferKind::Reserve, debit, credit, amount)
        }),
        (id.clone(), any_owner(), any_amount()).prop_map(|(id, of, amount)| {
            let (debit, credit) = (
                AccountKey::Reserved(owner(of), SHARD),
                AccountKey::Available(owner(of)),
            );
            transfer(id, TransferKind::Return, debit, credit, amount)
        }),
        (id.clone(), any_owner(), any_amount()).prop_map(|(id, of, amount)| {
            let (debit, credit) = (AccountKey::Pending(owner(of)), AccountKey::Available(owner(of)));
            transfer(id, TransferKind::Maturity, debit, credit, amount)
        }),
        (id, any_owner(), 1i64..4, any_mode())
            .prop_map(|(id, of, amount, mode)| payout(id, of, amount, mode)),
    ]
}

fn any_settlement() -> impl Strategy<Value = Vec<Transfer>> {
    let settlement = (
        0u64..20,
        any_owner(),
        any_owner(),
        1u64..900,
        0i64..50,
        any::<bool>(),
    );
    settlement.prop_map(|(lease, consumer, island_owner, units, subsidy, taker)| {
        let price = Price::new(1_000_000).unwrap();
        let charge = price.cost_of(Units::new(units)).unwrap();
        let bid_liquidity = if taker { Liquidity::Taker } else { Liquidity::Maker };
        let settlement = Settlement {
            shard: SHARD,
            lease: LeaseId::new(lease),
            job: JobId::new(1),
            consumer: owner(consumer),
            island_owner: owner(island_owner),
            standing: if lease.is_multiple_of(3) {
                Standing::Probation
            } else {
                Standing::Established
            },
            price,
            bill: Bill {
                units: Units::new(units),
                charge,
                fee: fee_on(charge),
                bid_liquidity,
                pool_subsidy: nano(subsidy),
            },
            billed_before_thousandths: 0,
            compensation: Credits::ZERO,
            memo: String::new(),
        };
        settlement.legs().unwrap()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any_transfer(), 1..3).prop_map(Step::Journal),
        2 => any_settlement().prop_map(Step::Journal),
        2 => (any_transfer(), any_amount(), any_amount())
            .prop_map(|(order, minimum, wanted)| Step::UpTo(order, nano(minimum), nano(wanted))),
    ]
}

fn take(ledger: &mut Ledger, step: &Step) -> Result<Applied, Refusal> {
    match step {
        Step::Journal(legs) => ledger.apply(legs),
        Step::UpTo(order, minimum, wanted) => ledger
            .apply_up_to(order, *minimum, *wanted)
            .map(|(applied, _)| applied),
    }
}

fn fingerprint(ledger: &Ledger) -> String {
    let transfers: Vec<&Transfer> = ledger.transfers().collect();
    format!("{:?} {transfers:?}", ledger.accounts().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_script_breaks_the_books(steps in prop::collection::vec(any_step(), 1..80)) {
        let mut ledger = books(3);
        for step in &steps {
            let before = fingerprint(&ledger);
            let outcome = take(&mut ledger, step);
            prop_assert_eq!(complaints(&ledger), Vec::<String>::new(), "after {:?}", step);
            match outcome {
                Ok(Applied::Booked) => {
                    prop_assert_ne!(&before, &fingerprint(&ledger));
                    // The same again changes nothing.
                    let after = fingerprint(&ledger);
                    prop_assert_eq!(take(&mut ledger, step), Ok(Applied::Repeated));
                    prop_assert_eq!(after, fingerprint(&ledger));
                }
                Ok(Applied::Repeated) | Err(_) => prop_assert_eq!(&before, &fingerprint(&ledger)),
            }
        }
    }

    #[test]
    fn a_ledger_that_loads_only_what_a_journal_names_decides_the_same(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut whole = books(3);
        for step in &steps {
            let legs = match step {
                Step::Journal(legs) => legs.clone(),
                Step::UpTo(order, ..) => vec![order.clone()],
            };
            let mut part = Ledger::new();
            for leg in &legs {
                for account in [leg.debit, leg.credit] {
                    if let Some(counters) = whole.counters(account) {
                        part.load_account(account, counters);
                    }
                }
                // A resolved transfer comes with what resolved it.
                let named = [Some(leg.id), leg.mode.resolves()].into_iter().flatten();
                for id in named {
                    let resolved = whole.transfers().filter(|other| other.mode.resolves() == Some(id));
                    let wanted: Vec<Transfer> = whole.transfer(id).into_iter().chain(resolved).cloned().collect();
                    for transfer in wanted {
                        part.load_transfer(transfer);
                    }
                }
            }
            prop_assert_eq!(take(&mut part, step), take(&mut whole, step));
            for leg in &legs {
                prop_assert_eq!(part.counters(leg.debit), whole.counters(leg.debit));
                prop_assert_eq!(part.counters(leg.credit), whole.counters(leg.credit));
            }
        }
    }
}
