//! What every store must do, whatever its database.

use std::sync::Arc;

use billing::maturing::mature_all;
use billing::store::key::{KeptSecret, KeyMade, NewKey};
use billing::store::merkle::Day;
use billing::store::{Change, LedgerStore, Maturing, Outcome, Rejection};
use billing::writer;
use domain::{AccountId, Credits, KeyId, Liquidity, Sequence, Standing, Timestamp, TransferId};
use ledger::{AccountKey, Applied, Mode, TransferKind};
use proto::convert::billing::KeyScope;
use service::shutdown::Shutdown;

use crate::support::{
    Books, SHARD, at, grant, nano, on_every_store, open_owner, owner, payout, reserve, settle, settlement,
    transfer,
};

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Rejected(rejection) => rejection.code(),
        Outcome::SettlementRefused(refusal) => &refusal.code,
        Outcome::Owner(_)
        | Outcome::Booked(_)
        | Outcome::Reserved(_)
        | Outcome::Key(_)
        | Outcome::Rotated { .. }
        | Outcome::SignedUp { .. }
        | Outcome::Revoked
        | Outcome::SpendingLimited
        | Outcome::SpendingNoted
        | Outcome::Settled
        | Outcome::Cursor(_)
        | Outcome::Payout(_)
        | Outcome::DestinationSet
        | Outcome::Refunded(_)
        | Outcome::ResetAnnounced(_)
        | Outcome::OwnerReset
        | Outcome::ResetEnded => "",
    }
}

async fn an_account_is_made_once_per_request(books: Books<impl LedgerStore>) {
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

async fn what_one_batch_makes_the_next_change_in_it_can_use(books: Books<impl LedgerStore>) {
    books.fund().await;
    let balances = books.store.balances(AccountId::new(1)).await.unwrap().unwrap();
    assert_eq!(balances.available, nano(500_000_000_000));
    assert_eq!(balances.reserved, nano(500_000_000_000));
    books.assert_clean().await;
}

async fn a_refused_change_leaves_the_others_of_its_batch_alone(books: Books<impl LedgerStore>) {
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

async fn nobody_reserves_or_returns_more_than_there_is(books: Books<impl LedgerStore>) {
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

async fn a_held_transfer_resolves_once(books: Books<impl LedgerStore>) {
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

async fn a_settlement_is_booked_once_and_its_cursor_only_moves_forward(books: Books<impl LedgerStore>) {
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

async fn a_settlement_that_never_came_is_not_booked_behind_the_cursor(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.take(Change::MoveCursor(SHARD, Sequence::new(10))).await;
    let late = settle(settlement(10, 1, 1, 2, 1_500));
    assert_eq!(code(&books.take(late.clone()).await), "BEHIND_CURSOR");
    assert_eq!(code(&books.take(late).await), "BEHIND_CURSOR");
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(island.pending, Credits::ZERO);
    books.assert_clean().await;
}

async fn a_refused_settlement_stays_refused_when_it_is_sent_again(books: Books<impl LedgerStore>) {
    books.fund().await;
    let poor = settle(settlement(5, 1, 2, 1, 1_500));
    assert_eq!(code(&books.take(poor.clone()).await), "UNKNOWN_ACCOUNT");
    books.take(grant(20, 2, 1_000_000_000_000)).await;
    books.take(reserve(21, 2, 1, 1_000_000_000)).await;
    assert_eq!(code(&books.take(poor).await), "UNKNOWN_ACCOUNT");
    books.assert_clean().await;
}

async fn keys_are_known_by_their_hash_until_they_are_revoked(books: Books<impl LedgerStore>) {
    books.fund().await;
    let new_key = |owner: u64, byte| {
        Change::CreateKey(NewKey {
            owner: AccountId::new(owner),
            name: "laptop".into(),
            scope: KeyScope::Consumer,
            secret: KeptSecret {
                prefix: "atoll_sk_abcd".into(),
                sha256: [byte; 32],
            },
            request: None,
            expires_at: None,
        })
    };
    assert_eq!(
        books.take(new_key(1, 1)).await,
        Outcome::Key(KeyMade::Now(KeyId::new(1)))
    );
    assert_eq!(
        books.take(new_key(1, 2)).await,
        Outcome::Key(KeyMade::Now(KeyId::new(2)))
    );
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

async fn earnings_mature_once_and_only_when_they_are_old_enough(books: Books<impl LedgerStore>) {
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
    assert_eq!(
        books
            .store
            .due(Standing::Established, at(99), None, 10)
            .await
            .unwrap(),
        []
    );
    let due = books
        .store
        .due(Standing::Established, at(100), None, 10)
        .await
        .unwrap();
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
    assert_eq!(
        books
            .store
            .due(Standing::Established, at(199), None, 10)
            .await
            .unwrap(),
        []
    );
    let due = books
        .store
        .due(Standing::Established, at(200), None, 10)
        .await
        .unwrap();
    assert_eq!((due[0].after, due[0].amount), (first.through, nano(200_000_000)));
    books.take(Change::Mature(due[0])).await;
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(
        (island.available, island.pending),
        (nano(300_000_000), Credits::ZERO)
    );
    assert_eq!(
        books
            .store
            .due(Standing::Established, at(u64::MAX), None, 10)
            .await
            .unwrap(),
        []
    );
    books.assert_clean().await;
}

async fn a_claim_of_maturity_that_skips_or_invents_is_refused(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_000))).await;
    let due = books
        .store
        .due(Standing::Established, at(u64::MAX), None, 10)
        .await
        .unwrap()[0];
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

async fn time_in_the_books_never_runs_backwards(books: Books<impl LedgerStore>) {
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

async fn history_is_newest_first_without_gaps_over_pages(books: Books<impl LedgerStore>) {
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

async fn reservations_are_listed_oldest_first_by_shard(books: Books<impl LedgerStore>) {
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

async fn earnings_on_probation_wait_apart(books: Books<impl LedgerStore>) {
    books.fund().await;
    let mut young = settlement(5, 1, 1, 2, 1_000);
    young.standing = Standing::Probation;
    let commit = |change, time| {
        let store = &books.store;
        async move { store.commit(&[change], at(time)).await.unwrap() }
    };
    commit(settle(young.clone()), 100).await;
    commit(settle(settlement(6, 2, 1, 2, 2_000)), 200).await;
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(island.pending, nano(300_000_000));
    // The established ones mature first, although they came later.
    let established = books
        .store
        .due(Standing::Established, at(200), None, 10)
        .await
        .unwrap();
    assert_eq!(established.len(), 1);
    assert_eq!(established[0].amount, nano(200_000_000));
    books.take(Change::Mature(established[0])).await;
    assert_eq!(
        books
            .store
            .due(Standing::Probation, at(99), None, 10)
            .await
            .unwrap(),
        []
    );
    let probation = books
        .store
        .due(Standing::Probation, at(100), None, 10)
        .await
        .unwrap();
    assert_eq!(probation[0].amount, nano(100_000_000));
    assert_eq!(
        books.take(Change::Mature(probation[0])).await,
        Outcome::Booked(Applied::Booked)
    );
    let island = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(
        (island.available, island.pending),
        (nano(300_000_000), Credits::ZERO)
    );
    // What the exchange thinks of the Island by now is no other claim.
    young.standing = Standing::Established;
    assert_eq!(books.take(settle(young)).await, Outcome::Settled);
    books.assert_clean().await;
}

async fn reserved_balances_come_by_account_and_page(books: Books<impl LedgerStore>) {
    for name in ["a", "b", "c", "d"] {
        books.take(open_owner(name)).await;
    }
    for owner in 1..=4u64 {
        books.take(grant(u128::from(owner), owner, 100)).await;
    }
    for owner in [1, 2, 4] {
        let amount = i64::try_from(owner).unwrap();
        books
            .take(reserve(10 + u128::from(owner), owner, amount, amount))
            .await;
    }
    let (debit, credit) = (
        AccountKey::Reserved(owner(2), SHARD),
        AccountKey::Available(owner(2)),
    );
    let back = transfer(20, TransferKind::Return, debit, credit, 2);
    books.take(Change::Book(vec![back])).await;
    let held = |owner: u64, amount| (AccountId::new(owner), nano(amount));
    let page = |after: Option<u64>, limit| {
        books
            .store
            .reserved_balances(SHARD, after.map(AccountId::new), limit)
    };
    assert_eq!(page(None, 10).await.unwrap(), [held(1, 1), held(4, 4)]);
    assert_eq!(page(None, 1).await.unwrap(), [held(1, 1)]);
    assert_eq!(page(Some(1), 1).await.unwrap(), [held(4, 4)]);
    assert_eq!(page(Some(4), 1).await.unwrap(), []);
    let other = domain::ShardId::new(7);
    assert_eq!(books.store.reserved_balances(other, None, 10).await.unwrap(), []);
}

async fn a_day_that_is_closed_stays_as_it_is(books: Books<impl LedgerStore>) {
    books.fund().await;
    let day = Day::new(20_000);
    let noon = Timestamp::from_micros(day.start().as_micros() + 43_200_000_000);
    assert_eq!(books.store.first_open_day().await.unwrap(), None);
    let changes = [1, 2, 3].map(|lease| settle(settlement(lease, lease, 1, 2, 1_000)));
    books.store.commit(&changes, noon).await.unwrap();
    assert_eq!(books.store.first_open_day().await.unwrap(), Some(day));
    let closed = books.store.close_day(day, day.end()).await.unwrap();
    assert_eq!((closed.day, closed.settlements), (day, 3));
    assert_eq!(books.store.close_day(day, day.end()).await.unwrap(), closed);
    // A clock that is behind books on the next day, not on the closed one.
    let late = settle(settlement(4, 4, 1, 2, 1_000));
    assert_eq!(
        books.store.commit(&[late], noon).await.unwrap(),
        [Outcome::Settled]
    );
    assert_eq!(books.store.first_open_day().await.unwrap(), Some(day.next()));
    assert_eq!(books.store.closed_days(None, 10).await.unwrap(), [closed]);
    assert_eq!(books.store.closed_days(Some(day), 10).await.unwrap(), []);
    books.assert_clean().await;
}

async fn the_chain_names_everything_that_was_booked(books: Books<impl LedgerStore>) {
    assert_eq!(books.store.audit().await.unwrap().chain_head, None);
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
    // Refused changes and repeated ones book nothing.
    books.take(grant(1, 1, 1_000_000_000_000)).await;
    books.take(grant(1, 1, 7)).await;
    let head = books.store.audit().await.unwrap().chain_head.unwrap();
    // The same facts make the same chain in every store.
    let head = data_encoding::HEXLOWER.encode(&head);
    assert_eq!(
        head,
        "cb96cd9c0fed6339b492d306174a6a35604cd6f6c5cdd7f6e21fe57e291ce18a"
    );
}

async fn an_owner_whose_earnings_are_refused_holds_nobody_up(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.take(open_owner("third")).await;
    // Owner 2's available account has nearly counted to the end of its range: nothing more comes into it.
    let most = i64::MAX - 1_000_000_000_000;
    books.take(grant(30, 2, most)).await;
    books.take(reserve(31, 2, 999_900_000_000, 999_900_000_000)).await;
    let (debit, credit) = (
        AccountKey::Reserved(owner(2), SHARD),
        AccountKey::Available(owner(2)),
    );
    let back = transfer(32, TransferKind::Return, debit, credit, 999_900_000_000);
    assert_eq!(
        books.take(Change::Book(vec![back])).await,
        Outcome::Booked(Applied::Booked)
    );
    books.take(settle(settlement(5, 1, 1, 2, 2_000))).await;
    books.take(settle(settlement(6, 2, 1, 3, 2_000))).await;
    let (writer, writing) = writer::start(Arc::clone(&books.store), || at(9), Shutdown::manual());
    mature_all(&*books.store, &writer, Standing::Established, at(9), 1)
        .await
        .unwrap();
    drop(writer);
    writing.await.unwrap();
    let third = books.store.balances(AccountId::new(3)).await.unwrap().unwrap();
    assert_eq!(
        (third.available, third.pending),
        (nano(200_000_000), Credits::ZERO)
    );
    let second = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    assert_eq!(second.pending, nano(200_000_000));
    books.assert_clean().await;
}

on_every_store!(
    an_owner_whose_earnings_are_refused_holds_nobody_up,
    an_account_is_made_once_per_request,
    what_one_batch_makes_the_next_change_in_it_can_use,
    a_refused_change_leaves_the_others_of_its_batch_alone,
    nobody_reserves_or_returns_more_than_there_is,
    a_held_transfer_resolves_once,
    a_settlement_is_booked_once_and_its_cursor_only_moves_forward,
    a_settlement_that_never_came_is_not_booked_behind_the_cursor,
    a_refused_settlement_stays_refused_when_it_is_sent_again,
    keys_are_known_by_their_hash_until_they_are_revoked,
    earnings_mature_once_and_only_when_they_are_old_enough,
    a_claim_of_maturity_that_skips_or_invents_is_refused,
    time_in_the_books_never_runs_backwards,
    history_is_newest_first_without_gaps_over_pages,
    reservations_are_listed_oldest_first_by_shard,
    earnings_on_probation_wait_apart,
    reserved_balances_come_by_account_and_page,
    a_day_that_is_closed_stays_as_it_is,
    the_chain_names_everything_that_was_booked,
);
