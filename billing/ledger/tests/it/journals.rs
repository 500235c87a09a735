//! Journals: what is booked, what is refused and why, what a repetition does.

use domain::TransferId;
use ledger::{AccountKey, Applied, LEGS_MAX, Mode, Refusal, TransferKind};

use crate::auditor::complaints;
use crate::books::{SHARD, balance, books, grant, nano, owner, payout, reserve, transfer};

#[test]
fn a_grant_comes_out_of_grants_which_may_owe() {
    let mut ledger = books(1);
    assert_eq!(ledger.apply(&[grant(1, 1, 100)]), Ok(Applied::Booked));
    assert_eq!(balance(&ledger, AccountKey::Available(owner(1))), 100);
    assert_eq!(balance(&ledger, AccountKey::Grants), -100);
    assert_eq!(complaints(&ledger), Vec::<String>::new());
}

#[test]
fn a_repeated_journal_changes_nothing() {
    let mut ledger = books(1);
    let legs = [grant(1, 1, 100), reserve(2, 1, 60)];
    assert_eq!(ledger.apply(&legs), Ok(Applied::Booked));
    assert_eq!(ledger.apply(&legs), Ok(Applied::Repeated));
    assert_eq!(balance(&ledger, AccountKey::Reserved(owner(1), SHARD)), 60);
}

#[test]
fn an_id_with_another_body_is_refused() {
    let mut ledger = books(2);
    ledger.apply(&[grant(1, 1, 100)]).unwrap();
    let id = TransferId::new(1);
    let mut other_memo = grant(1, 1, 100);
    other_memo.memo = "x".into();
    for other in [grant(1, 1, 99), grant(1, 2, 100), other_memo] {
        assert_eq!(ledger.apply(&[other]), Err(Refusal::TransferDiffers { id }));
    }
}

#[test]
fn a_journal_of_which_only_a_part_is_booked_is_refused() {
    let mut ledger = books(1);
    ledger.apply(&[grant(1, 1, 100)]).unwrap();
    let refusal = ledger.apply(&[grant(1, 1, 100), grant(2, 1, 5)]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::TransferDiffers {
            id: TransferId::new(2)
        }
    );
    assert_eq!(balance(&ledger, AccountKey::Available(owner(1))), 100);
}

#[test]
fn a_refused_leg_takes_its_whole_journal_with_it() {
    let mut ledger = books(1);
    let refusal = ledger.apply(&[grant(1, 1, 10), reserve(2, 1, 11)]).unwrap_err();
    assert_eq!(refusal.code(), "INSUFFICIENT_FUNDS");
    assert_eq!(balance(&ledger, AccountKey::Available(owner(1))), 0);
    assert_eq!(ledger.transfers().count(), 0);
}

#[test]
fn nobody_spends_more_than_he_has() {
    let mut ledger = books(1);
    ledger.apply(&[grant(1, 1, 10)]).unwrap();
    assert_eq!(
        ledger.apply(&[reserve(2, 1, 11)]),
        Err(Refusal::InsufficientFunds {
            account: AccountKey::Available(owner(1)),
            spendable: nano(10),
            wanted: nano(11),
        })
    );
    assert_eq!(ledger.apply(&[reserve(2, 1, 10)]), Ok(Applied::Booked));
}

#[test]
fn a_reservation_takes_what_is_there_down_to_its_minimum() {
    let mut ledger = books(1);
    ledger.apply(&[grant(1, 1, 10)]).unwrap();
    let order = reserve(2, 1, 0);
    let (applied, booked) = ledger.apply_up_to(&order, nano(5), nano(50)).unwrap();
    assert_eq!((applied, booked.amount), (Applied::Booked, nano(10)));
    let (applied, booked) = ledger.apply_up_to(&order, nano(5), nano(50)).unwrap();
    assert_eq!((applied, booked.amount), (Applied::Repeated, nano(10)));
    let id = TransferId::new(2);
    assert_eq!(
        ledger.apply_up_to(&order, nano(11), nano(50)),
        Err(Refusal::TransferDiffers { id })
    );
    let next = reserve(3, 1, 0);
    assert_eq!(
        ledger.apply_up_to(&next, nano(1), nano(1)).unwrap_err().code(),
        "INSUFFICIENT_FUNDS"
    );
    assert!(matches!(
        ledger.apply_up_to(&next, nano(2), nano(1)),
        Err(Refusal::EmptyRange { .. })
    ));
    assert!(matches!(
        ledger.apply_up_to(&next, nano(0), nano(1)),
        Err(Refusal::AmountNotPositive { .. })
    ));
}

#[test]
fn a_held_payout_is_posted_or_voided_once() {
    let mut ledger = books(1);
    ledger.apply(&[grant(1, 1, 100)]).unwrap();
    for id in [2, 3] {
        ledger.apply(&[payout(id, 1, 40, Mode::Pending)]).unwrap();
    }
    let spendable = ledger
        .counters(AccountKey::Available(owner(1)))
        .unwrap()
        .spendable();
    assert_eq!(spendable, Some(nano(20)));
    assert_eq!(
        ledger.apply(&[reserve(4, 1, 21)]).unwrap_err().code(),
        "INSUFFICIENT_FUNDS"
    );

    let (first, second) = (TransferId::new(2), TransferId::new(3));
    let post = payout(5, 1, 40, Mode::Post(first));
    assert_eq!(ledger.apply(std::slice::from_ref(&post)), Ok(Applied::Booked));
    assert_eq!(ledger.apply(&[post]), Ok(Applied::Repeated));
    ledger.apply(&[payout(6, 1, 40, Mode::Void(second))]).unwrap();

    let codes = [
        payout(7, 1, 40, Mode::Post(first)),
        payout(7, 1, 40, Mode::Void(first)),
        payout(7, 1, 40, Mode::Post(second)),
        payout(7, 1, 40, Mode::Void(second)),
        payout(7, 1, 40, Mode::Post(TransferId::new(99))),
        payout(7, 1, 40, Mode::Post(TransferId::new(6))),
    ]
    .map(|leg| ledger.apply(&[leg]).unwrap_err().code());
    assert_eq!(
        codes,
        [
            "ALREADY_POSTED",
            "ALREADY_POSTED",
            "ALREADY_VOIDED",
            "ALREADY_VOIDED",
            "UNKNOWN_PENDING_TRANSFER",
            "TRANSFER_NOT_PENDING"
        ]
    );
    assert_eq!(balance(&ledger, AccountKey::Available(owner(1))), 60);
    assert_eq!(balance(&ledger, AccountKey::Payouts), 40);
    assert_eq!(complaints(&ledger), Vec::<String>::new());
}

#[test]
fn a_post_must_resolve_the_very_transfer() {
    let mut ledger = books(2);
    ledger.apply(&[grant(1, 1, 100), grant(2, 2, 100)]).unwrap();
    ledger.apply(&[payout(3, 1, 40, Mode::Pending)]).unwrap();
    let pending = TransferId::new(3);
    for other in [
        payout(4, 1, 39, Mode::Post(pending)),
        payout(4, 2, 40, Mode::Post(pending)),
    ] {
        assert_eq!(ledger.apply(&[other]), Err(Refusal::PendingDiffers { pending }));
    }
}

#[test]
fn a_counter_never_overflows() {
    let mut ledger = books(2);
    ledger.apply(&[grant(1, 1, i64::MAX)]).unwrap();
    assert_eq!(
        ledger.apply(&[grant(2, 2, 1)]),
        Err(Refusal::CounterOverflow {
            account: AccountKey::Grants
        })
    );
    assert_eq!(complaints(&ledger), Vec::<String>::new());
}

#[test]
fn a_refusal_is_the_first_that_applies() {
    let mut ledger = books(1);
    ledger.apply(&[grant(1, 1, 10)]).unwrap();
    let stranger = AccountKey::Available(owner(9));
    let to_stranger = |id| transfer(id, TransferKind::Grant, AccountKey::Grants, stranger, 1);
    let backwards = |id| {
        transfer(
            id,
            TransferKind::Grant,
            AccountKey::Available(owner(1)),
            AccountKey::Grants,
            1,
        )
    };
    // Each script adds one more fault that is checked earlier than those before it.
    let scripts = [
        vec![reserve(5, 1, 11)],
        vec![reserve(5, 1, 11), to_stranger(6)],
        vec![reserve(5, 1, 11), to_stranger(6), grant(1, 1, 9)],
        vec![
            reserve(5, 1, 11),
            to_stranger(6),
            grant(1, 1, 9),
            reserve(5, 1, 1),
        ],
        vec![reserve(5, 1, 11), to_stranger(6), grant(1, 1, 9), backwards(7)],
        vec![
            reserve(5, 1, 11),
            to_stranger(6),
            grant(1, 1, 9),
            backwards(7),
            grant(8, 1, 0),
        ],
        vec![grant(8, 1, 0); LEGS_MAX + 1],
        vec![],
    ];
    let refusals: Vec<Refusal> = scripts
        .iter()
        .map(|legs| ledger.apply(legs).unwrap_err())
        .collect();
    assert!(
        refusals.is_sorted_by(|later, earlier| later > earlier),
        "{refusals:?}"
    );
}

#[test]
fn credits_of_one_owner_do_not_become_anothers_reservation() {
    let mut ledger = books(2);
    ledger.apply(&[grant(1, 1, 10)]).unwrap();
    let (debit, credit) = (
        AccountKey::Available(owner(1)),
        AccountKey::Reserved(owner(2), SHARD),
    );
    let theft = transfer(2, TransferKind::Reserve, debit, credit, 5);
    assert_eq!(ledger.apply(&[theft]).unwrap_err().code(), "WRONG_ACCOUNTS");
}
