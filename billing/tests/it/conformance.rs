//! What every store must do, whatever its database: scripts by hand, and random ones against the same plan in memory.

use billing::store::plan::Working;
use billing::store::{Change, LedgerStore, Maturing, NewKey, Outcome, Rejection};
use domain::{AccountId, Credits, KeyId, Liquidity, Sequence, TransferId};
use ledger::{AccountKey, Applied, Mode, TransferKind};
use proptest::prelude::*;
use proto::convert::billing::KeyScope;

use crate::support::{
    Books, SHARD, at, books, grant, nano, open_owner, owner, payout, reserve, settle, settlement, transfer,
};

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Rejected(rejection) => rejection.code(),
        Outcome::SettlementRefused(refusal) => &refusal.code,
        Outcome::Owner(_)
        | Outcome::Booked(_)
        | Outcome::Reserved(_)
        | Outcome::Key(_)
        | Outcome::Revoked
        | Outcome::Settled
        | Outcome::Cursor(_) => "",
    }
}

#[tokio::test]
async fn an_account_is_made_once_per_request() {
    let books = books().await;
    assert_eq!(
        books.take(open_owner("a")).await,
        Outcome::Owner(AccountId::new(1))
    );
    assert_eq!(
        books.take(open_owner("b")).await,
        Outcome::Owner(AccountId::new(2))
    );
    assert_eq!(
        books.take(open_owner("a")).await,
        Outcome::Owner(AccountId::new(1))
    );
    let other_body = Change::OpenOwner {
        request_id: "a".into(),
        display_name: "somebody else".into(),
    };
    assert_eq!(
        books.take(other_body).await,
        Outcome::Rejected(Rejection::RequestDiffers)
    );
    books.assert_clean().await;
}

#[tokio::test]
async fn what_one_batch_makes_the_next_change_in_it_can_use() {
    let books = books().await;
    books.fund().await;
    let balances = books.store.balances(AccountId::new(1)).await.unwrap().unwrap();
    assert_eq!(balances.available, nano(500_000_000_000));
    assert_eq!(balances.reserved, nano(500_000_000_000));
    books.assert_clean().await;
}

#[tokio::test]
async fn a_refused_change_leaves_the_others_of_its_batch_alone() {
    let books = books().await;
    books.fund().await;
    let changes = [
        grant(10, 2, 5),
        grant(11, 99, 5),
        reserve(12, 2, 6, 6),
        grant(13, 2, 7),
    ];
    let outcomes = books.store.commit(&changes, at(1)).await.unwrap();
    let codes: Vec<&str> = outcomes.iter().map(code).collect();
    assert_eq!(codes, ["", "UNKNOWN_ACCOUNT", "INSUFFICIENT_FUNDS", ""]);
    let balances = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(balances.available, nano(12));
    books.assert_clean().await;
}

#[tokio::test]
async fn nobody_reserves_or_returns_more_than_there_is() {
    let books = books().await;
    books.fund().await;
    assert_eq!(
        code(&books.take(reserve(10, 1, 500_000_000_001, i64::MAX)).await),
        "INSUFFICIENT_FUNDS"
    );
    let back = |id, amount| {
        let (debit, credit) = (
            AccountKey::Reserved(owner(1), SHARD),
            AccountKey::Available(owner(1)),
        );
        Change::Book(vec![transfer(id, TransferKind::Return, debit, credit, amount)])
    };
    assert_eq!(
        code(&books.take(back(11, 500_000_000_001)).await),
        "INSUFFICIENT_FUNDS"
    );
    assert_eq!(
        books.take(back(11, 500_000_000_000)).await,
        Outcome::Booked(Applied::Booked)
    );
    assert_eq!(
        books.take(back(11, 500_000_000_000)).await,
        Outcome::Booked(Applied::Repeated)
    );
    assert_eq!(code(&books.take(back(11, 1)).await), "TRANSFER_DIFFERS");
    books.assert_clean().await;
}

#[tokio::test]
async fn a_held_transfer_resolves_once() {
    let books = books().await;
    books.fund().await;
    let (first, second) = (TransferId::new(10), TransferId::new(11));
    books.take(payout(10, 1, 40, Mode::Pending)).await;
    books.take(payout(11, 1, 50, Mode::Pending)).await;
    let available = books
        .store
        .balances(AccountId::new(1))
        .await
        .unwrap()
        .unwrap()
        .available;
    assert_eq!(available, nano(500_000_000_000 - 90));
    assert_eq!(
        books.take(payout(12, 1, 40, Mode::Post(first))).await,
        Outcome::Booked(Applied::Booked)
    );
    assert_eq!(
        code(&books.take(payout(13, 1, 40, Mode::Post(first))).await),
        "ALREADY_POSTED"
    );
    assert_eq!(
        code(&books.take(payout(13, 1, 40, Mode::Void(first))).await),
        "ALREADY_POSTED"
    );
    assert_eq!(
        books.take(payout(14, 1, 50, Mode::Void(second))).await,
        Outcome::Booked(Applied::Booked)
    );
    assert_eq!(
        code(&books.take(payout(15, 1, 50, Mode::Post(second))).await),
        "ALREADY_VOIDED"
    );
    let available = books
        .store
        .balances(AccountId::new(1))
        .await
        .unwrap()
        .unwrap()
        .available;
    assert_eq!(available, nano(500_000_000_000 - 40));
    books.assert_clean().await;
}

#[tokio::test]
async fn a_settlement_is_booked_once_and_its_cursor_only_moves_forward() {
    let books = books().await;
    books.fund().await;
    let one = settlement(5, 1, 1, 2, 1_500);
    let changes = [settle(one.clone()), Change::MoveCursor(SHARD, Sequence::new(5))];
    for _ in 0..3 {
        let outcomes = books.store.commit(&changes, at(1)).await.unwrap();
        assert_eq!(outcomes, [Outcome::Settled, Outcome::Cursor(Sequence::new(5))]);
    }
    let back = Change::MoveCursor(SHARD, Sequence::new(3));
    assert_eq!(books.take(back).await, Outcome::Cursor(Sequence::new(5)));
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(island.pending, nano(150_000_000));
    let mut other = one;
    other.bill.bid_liquidity = Liquidity::Maker;
    assert_eq!(code(&books.take(settle(other)).await), "SETTLEMENT_DIFFERS");
    books.assert_clean().await;
}

#[tokio::test]
async fn a_settlement_that_never_came_is_not_booked_behind_the_cursor() {
    let books = books().await;
    books.fund().await;
    books.take(Change::MoveCursor(SHARD, Sequence::new(10))).await;
    let late = settle(settlement(10, 1, 1, 2, 1_500));
    assert_eq!(code(&books.take(late.clone()).await), "BEHIND_CURSOR");
    assert_eq!(code(&books.take(late).await), "BEHIND_CURSOR");
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(island.pending, Credits::ZERO);
    books.assert_clean().await;
}

#[tokio::test]
async fn a_refused_settlement_stays_refused_when_it_is_sent_again() {
    let books = books().await;
    books.fund().await;
    let poor = settle(settlement(5, 1, 2, 1, 1_500));
    assert_eq!(code(&books.take(poor.clone()).await), "UNKNOWN_ACCOUNT");
    books.take(grant(20, 2, 1_000_000_000_000)).await;
    books.take(reserve(21, 2, 1, 1_000_000_000)).await;
    assert_eq!(code(&books.take(poor).await), "UNKNOWN_ACCOUNT");
    books.assert_clean().await;
}

#[tokio::test]
async fn keys_are_known_by_their_hash_until_they_are_revoked() {
    let books = books().await;
    books.fund().await;
    let new_key = |owner: u64, byte| {
        Change::CreateKey(NewKey {
            owner: AccountId::new(owner),
            name: "laptop".into(),
            scope: KeyScope::Consumer,
            prefix: "atoll_sk_abcd".into(),
            secret_sha256: [byte; 32],
        })
    };
    assert_eq!(books.take(new_key(1, 1)).await, Outcome::Key(KeyId::new(1)));
    assert_eq!(books.take(new_key(1, 2)).await, Outcome::Key(KeyId::new(2)));
    assert_eq!(code(&books.take(new_key(99, 3)).await), "UNKNOWN_ACCOUNT");
    let known = books.store.key_by_hash([1; 32]).await.unwrap().unwrap();
    assert_eq!(
        (known.owner, known.scope),
        (AccountId::new(1), KeyScope::Consumer)
    );
    assert_eq!(books.store.key_by_hash([9; 32]).await.unwrap(), None);
    for _ in 0..2 {
        assert_eq!(
            books.take(Change::RevokeKey(KeyId::new(1))).await,
            Outcome::Revoked
        );
    }
    let revoked = books.store.key_by_hash([1; 32]).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(
        code(&books.take(Change::RevokeKey(KeyId::new(7))).await),
        "UNKNOWN_KEY"
    );
    let keys = books.store.keys_of(AccountId::new(1)).await.unwrap().unwrap();
    let listed: Vec<(u64, bool)> = keys
        .iter()
        .map(|key| (key.id.get(), key.revoked_at.is_some()))
        .collect();
    assert_eq!(listed, [(1, true), (2, false)]);
    assert_eq!(books.store.keys_of(AccountId::new(99)).await.unwrap(), None);
}

#[tokio::test]
async fn earnings_mature_once_and_only_when_they_are_old_enough() {
    let books = books().await;
    books.fund().await;
    books
        .store
        .commit(&[settle(settlement(5, 1, 1, 2, 1_000))], at(100))
        .await
        .unwrap();
    books
        .store
        .commit(&[settle(settlement(6, 2, 1, 2, 2_000))], at(200))
        .await
        .unwrap();
    assert_eq!(books.store.due(at(99), 10).await.unwrap(), []);
    let due = books.store.due(at(100), 10).await.unwrap();
    let [first] = due[..] else { panic!("{due:?}") };
    assert_eq!(
        (first.owner, first.after, first.amount),
        (owner(2), 0, nano(100_000_000))
    );
    assert_eq!(
        books.take(Change::Mature(first)).await,
        Outcome::Booked(Applied::Booked)
    );
    assert_eq!(
        books.take(Change::Mature(first)).await,
        Outcome::Rejected(Rejection::NotNextToMature)
    );
    assert_eq!(books.store.due(at(199), 10).await.unwrap(), []);
    let due = books.store.due(at(200), 10).await.unwrap();
    assert_eq!((due[0].after, due[0].amount), (first.through, nano(200_000_000)));
    books.take(Change::Mature(due[0])).await;
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(
        (island.available, island.pending),
        (nano(300_000_000), Credits::ZERO)
    );
    assert_eq!(books.store.due(at(u64::MAX), 10).await.unwrap(), []);
    books.assert_clean().await;
}

#[tokio::test]
async fn a_claim_of_maturity_that_skips_or_invents_is_refused() {
    let books = books().await;
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_000))).await;
    let due = books.store.due(at(u64::MAX), 10).await.unwrap()[0];
    for wrong in [
        Maturing { after: 1, ..due },
        Maturing { through: 0, ..due },
        Maturing {
            owner: owner(1),
            ..due
        },
    ] {
        assert!(
            matches!(books.take(Change::Mature(wrong)).await, Outcome::Rejected(_)),
            "{wrong:?}"
        );
    }
    books.assert_clean().await;
}

#[tokio::test]
async fn time_in_the_books_never_runs_backwards() {
    let books = books().await;
    books.take(open_owner("a")).await;
    books.store.commit(&[grant(1, 1, 5)], at(500)).await.unwrap();
    books.store.commit(&[grant(2, 1, 5)], at(300)).await.unwrap();
    let history = books
        .store
        .history(AccountId::new(1), None, 10)
        .await
        .unwrap()
        .unwrap();
    let times: Vec<u64> = history.iter().map(|booked| booked.at.as_micros()).collect();
    assert_eq!(times, [500, 500]);
    books.assert_clean().await;
}

#[tokio::test]
async fn history_is_newest_first_without_gaps_over_pages() {
    let books = books().await;
    books.fund().await;
    for id in 10..20 {
        books.take(reserve(id, 1, 1, 1)).await;
    }
    books.take(settle(settlement(5, 1, 1, 1, 1_000))).await;
    let whole = books
        .store
        .history(AccountId::new(1), None, 100)
        .await
        .unwrap()
        .unwrap();
    // A grant, eleven reservations, charge, fee and the pool's share.
    assert_eq!(whole.len(), 15);
    assert!(whole.is_sorted_by(|newer, older| newer.number > older.number));
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = books
            .store
            .history(AccountId::new(1), before, 4)
            .await
            .unwrap()
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    assert_eq!(
        books.store.history(AccountId::new(99), None, 4).await.unwrap(),
        None
    );
    assert_eq!(
        books
            .store
            .history(AccountId::new(u64::MAX), None, 4)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn reservations_are_listed_oldest_first_by_shard() {
    let books = books().await;
    books.fund().await;
    let (debit, credit) = (
        AccountKey::Reserved(owner(1), SHARD),
        AccountKey::Available(owner(1)),
    );
    books
        .take(Change::Book(vec![transfer(
            9,
            TransferKind::Return,
            debit,
            credit,
            7,
        )]))
        .await;
    let other_shard = domain::ShardId::new(u16::MAX);
    let order = transfer(
        10,
        TransferKind::Reserve,
        AccountKey::Available(owner(1)),
        AccountKey::Reserved(owner(1), other_shard),
        0,
    );
    books
        .take(Change::Reserve {
            order,
            minimum: nano(3),
            wanted: nano(3),
        })
        .await;
    let listed = |records: Vec<billing::store::ReservationRecord>| -> Vec<(u128, i64)> {
        records
            .iter()
            .map(|record| (record.transfer.get(), record.amount.as_nano()))
            .collect()
    };
    let all = books.store.reservations(SHARD, 0, 10).await.unwrap();
    let first = all[0].number;
    assert_eq!(listed(all), [(2, 500_000_000_000), (9, -7)]);
    assert_eq!(
        listed(books.store.reservations(SHARD, first, 10).await.unwrap()),
        [(9, -7)]
    );
    assert_eq!(
        listed(books.store.reservations(other_shard, 0, 10).await.unwrap()),
        [(10, 3)]
    );
}

/// Owners 1 to 3 exist, 4 does not; ids collide on purpose.
fn any_change() -> impl Strategy<Value = Change> {
    let who = || prop_oneof![9 => 1u64..=3, 1 => Just(4u64)];
    let amount =
        || prop_oneof![9 => 1i64..2_000_000_000, 1 => Just(0i64), 1 => Just(i64::MAX), 1 => Just(-1i64)];
    let mode = prop_oneof![
        Just(Mode::Plain),
        Just(Mode::Pending),
        (0u128..30).prop_map(|id| Mode::Post(TransferId::new(id))),
        (0u128..30).prop_map(|id| Mode::Void(TransferId::new(id))),
    ];
    prop_oneof![
        1 => "[a-c]".prop_map(|name| open_owner(&name)),
        3 => (0u128..30, who(), amount()).prop_map(|(id, to, amount)| grant(id, to, amount)),
        3 => (0u128..30, who(), amount(), amount()).prop_map(|(id, of, low, high)| reserve(id, of, low, high)),
        2 => (0u128..30, who(), 1i64..3, mode).prop_map(|(id, of, amount, mode)| payout(id, of, amount, mode)),
        4 => (1u64..40, 1u64..25, who(), who(), 0u64..2_000, any::<bool>(), 0i64..3).prop_map(
            |(sequence, lease, consumer, island, units, maker, off)| {
                let mut claim = settlement(sequence, lease, consumer, island, units);
                if maker {
                    claim.bill.bid_liquidity = Liquidity::Maker;
                }
                claim.bill.pool_subsidy = nano(off);
                if off == 2 {
                    claim.bill.fee = nano(1);
                }
                settle(claim)
            }
        ),
        1 => (0u64..20).prop_map(|sequence| Change::MoveCursor(SHARD, Sequence::new(sequence))),
        1 => (0u64..3).prop_map(|key| Change::RevokeKey(KeyId::new(key))),
    ]
}

async fn compare(script: Vec<Vec<Change>>) -> Books {
    let books = books().await;
    let mut model = Working::default();
    AccountKey::OWN
        .into_iter()
        .for_each(|account| model.ledger.open(account));
    let opening: Vec<Change> = ["a", "b", "c"].map(open_owner).to_vec();
    for (time, changes) in std::iter::once(opening).chain(script).enumerate() {
        let expected: Vec<Outcome> = changes.iter().map(|change| model.apply(change)).collect();
        let outcomes = books
            .store
            .commit(&changes, at(u64::try_from(time).unwrap()))
            .await
            .unwrap();
        assert_eq!(outcomes, expected, "{changes:?}");
    }
    for number in 1..=3 {
        let kept = books
            .store
            .balances(AccountId::new(number))
            .await
            .unwrap()
            .unwrap();
        let spendable = |account| {
            let counters = model.ledger.counters(account).unwrap_or_default();
            counters.spendable().unwrap()
        };
        assert_eq!(kept.available, spendable(AccountKey::Available(owner(number))));
        assert_eq!(
            kept.reserved,
            spendable(AccountKey::Reserved(owner(number), SHARD))
        );
        assert_eq!(kept.pending, spendable(AccountKey::Pending(owner(number))));
    }
    books.assert_clean().await;
    books
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_store_decides_what_the_plan_in_memory_decides(
        script in prop::collection::vec(prop::collection::vec(any_change(), 1..12), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(script));
    }
}
