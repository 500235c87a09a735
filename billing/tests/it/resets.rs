//! Announced resets: seen before they happen, carried out once, whatever crashes in between.

use std::sync::Arc;

use billing::Maturity;
use billing::resetting::reset_due;
use billing::store::merkle::Day;
use billing::store::payout::{NewPayout, PayoutState, PayoutStep};
use billing::store::reset::{NewReset, OwnerReset, Participation};
use billing::store::sqlite::SqliteStore;
use billing::store::{Change, Durability, LedgerStore, Outcome};
use billing::writer;
use domain::{AccountId, Credits, Standing, TransferId};
use ledger::{AccountKey, Applied, TransferKind, TransferSource};
use proto::billing::v1 as pb;
use service::shutdown::Shutdown;
use tonic::Code;

use crate::support::{
    Books, SHARD, account, assert_clean, at, balances, books, code, field, grant, nano, on_demand,
    on_every_store, open_owner, owner, payout_id, postgres, reason, reserve, serve_in, settle, settlement,
    transfer,
};

fn id(request: u8) -> TransferId {
    let request_digest = [request; 32];
    TransferSource::Correction { request_digest }.id()
}

fn announcement(request: u8, time: u64) -> NewReset {
    NewReset {
        id: id(request),
        at: at(time),
        starter: nano(10),
        bonus: nano(5),
        author: "grace".into(),
        reason: "season two".into(),
    }
}

fn announce(request: u8, time: u64) -> Change {
    Change::AnnounceReset(announcement(request, time))
}

async fn of<S: LedgerStore>(store: &S, owner: u64) -> [i64; 3] {
    let balances = store.balances(AccountId::new(owner)).await.unwrap().unwrap();
    [balances.available, balances.reserved, balances.pending].map(Credits::as_nano)
}

/// Carries out what is due at a moment, one owner at a time.
async fn reset_at<S: LedgerStore>(store: &Arc<S>, time: u64) -> u64 {
    let (writer, writing) = writer::start(Arc::clone(store), move || at(time), Shutdown::manual());
    let done = reset_due(&**store, &writer, at(time), 1).await.unwrap();
    drop(writer);
    writing.await.unwrap();
    done
}

/// Owner 1 buys of owner 2; owner 3 has 70 and looks on.
async fn trade(books: &Books<impl LedgerStore>) {
    books.fund().await;
    books.take(open_owner("third")).await;
    books.take(grant(30, 3, 70)).await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
}

async fn a_reset_empties_everybody_once_and_gives_to_who_took_part(books: Books<impl LedgerStore>) {
    trade(&books).await;
    let announced = books.take(announce(1, 100)).await;
    assert!(matches!(announced, Outcome::ResetAnnounced(_)), "{announced:?}");
    assert_eq!(books.take(announce(1, 100)).await, announced);
    assert_eq!(code(&books.take(announce(1, 101)).await), "REQUEST_DIFFERS");
    assert_eq!(code(&books.take(announce(2, 200)).await), "RESET_ANNOUNCED");
    let open = books.store.open_reset().await.unwrap().unwrap();
    assert_eq!((open.number, open.announced), (1, announcement(1, 100)));
    assert_eq!(reset_at(&books.store, 99).await, 0);
    assert_eq!(of(&*books.store, 3).await, [70, 0, 0]);
    assert_eq!(reset_at(&books.store, 100).await, 3);
    // What is reserved stays for now, for the exchange has sold it as buying power.
    assert_eq!(of(&*books.store, 1).await, [15, 499_847_000_000, 0]);
    assert_eq!(of(&*books.store, 2).await, [15, 0, 0]);
    assert_eq!(of(&*books.store, 3).await, [0, 0, 0]);
    assert_eq!(books.store.open_reset().await.unwrap(), None);
    assert_eq!(reset_at(&books.store, 101).await, 0);
    books.assert_clean().await;
    // Nobody has done anything since: the next one gives nothing.
    let late = open_owner("came after it was due");
    books.take(announce(2, 200)).await;
    books
        .store
        .commit(&[late, grant(31, 4, 9)], at(201))
        .await
        .unwrap();
    assert_eq!(reset_at(&books.store, 202).await, 3);
    assert_eq!(of(&*books.store, 2).await, [0, 0, 0]);
    assert_eq!(of(&*books.store, 4).await, [9, 0, 0]);
    books.assert_clean().await;
}

/// Credits that come back out of what owner 1 has reserved.
fn back(id: u128, amount: i64) -> Change {
    let (debit, credit) = (
        AccountKey::Reserved(owner(1), SHARD),
        AccountKey::Available(owner(1)),
    );
    Change::Book(vec![transfer(id, TransferKind::Return, debit, credit, amount)])
}

async fn what_was_reserved_over_a_reset_is_taken_when_it_comes_back(books: Books<impl LedgerStore>) {
    trade(&books).await;
    books.take(announce(1, 100)).await;
    assert_eq!(reset_at(&books.store, 100).await, 3);
    books.take(reserve(50, 1, 10, 10)).await;
    assert_eq!(of(&*books.store, 1).await, [5, 499_847_000_010, 0]);
    let booked = |applied| Outcome::Booked(applied);
    assert_eq!(books.take(back(51, 100)).await, booked(Applied::Booked));
    assert_eq!(of(&*books.store, 1).await, [5, 499_846_999_910, 0]);
    // Again, otherwise, too much, nothing and less than nothing: none of them moves anything.
    assert_eq!(books.take(back(51, 100)).await, booked(Applied::Repeated));
    for (id, amount, refusal) in [
        (51, 101, "TRANSFER_DIFFERS"),
        (52, 499_846_999_911, "INSUFFICIENT_FUNDS"),
        (52, i64::MAX, "INSUFFICIENT_FUNDS"),
        (52, 0, "INVALID_AMOUNT"),
        (52, i64::MIN, "INVALID_AMOUNT"),
    ] {
        assert_eq!(code(&books.take(back(id, amount)).await), refusal, "{amount}");
    }
    // What is spent is of the old, too: all but the ten that were reserved afterwards goes, across one return.
    books.take(settle(settlement(6, 2, 1, 2, 1_500))).await;
    assert_eq!(of(&*books.store, 1).await, [5, 499_693_999_910, 0]);
    books.take(back(52, 499_693_999_904)).await;
    assert_eq!(of(&*books.store, 1).await, [9, 6, 0]);
    books.take(back(53, 6)).await;
    assert_eq!(of(&*books.store, 1).await, [15, 0, 0]);
    books.assert_clean().await;
    // A turn and a return in one batch; and the new economy's own come back whole.
    books.take(reserve(54, 1, 15, 15)).await;
    books.take(announce(2, 200)).await;
    let turn = Change::ResetOwner(OwnerReset {
        reset: 2,
        owner: owner(1),
        participation: Participation::TookPart,
    });
    let batch = [
        back(55, 4),
        turn,
        back(56, 5),
        reserve(57, 1, 15, 15),
        back(58, 20),
    ];
    books.store.commit(&batch, at(200)).await.unwrap();
    assert_eq!(of(&*books.store, 1).await, [14, 1, 0]);
    books.take(back(59, 1)).await;
    assert_eq!(of(&*books.store, 1).await, [15, 0, 0]);
    books.assert_clean().await;
}

async fn a_step_of_a_reset_that_is_none_is_refused(books: Books<impl LedgerStore>) {
    trade(&books).await;
    let turn = |reset, number| {
        Change::ResetOwner(OwnerReset {
            reset,
            owner: owner(number),
            participation: Participation::TookPart,
        })
    };
    assert_eq!(code(&books.take(turn(1, 1)).await), "UNKNOWN_RESET");
    assert_eq!(code(&books.take(Change::EndReset(1)).await), "UNKNOWN_RESET");
    books.take(announce(1, 100)).await;
    assert_eq!(code(&books.take(turn(1, 99)).await), "UNKNOWN_ACCOUNT");
    for _ in 0..2 {
        assert_eq!(books.take(turn(1, 3)).await, Outcome::OwnerReset);
    }
    assert_eq!(of(&*books.store, 3).await, [15, 0, 0]);
    for _ in 0..2 {
        assert_eq!(books.take(Change::EndReset(1)).await, Outcome::ResetEnded);
    }
    assert_eq!(code(&books.take(turn(1, 2)).await), "UNKNOWN_RESET");
    books.assert_clean().await;
}

async fn what_was_earned_before_a_reset_neither_matures_nor_is_paid_out(books: Books<impl LedgerStore>) {
    books.fund().await;
    let settle_at = async |lease: u64, time: u64| {
        let change = settle(settlement(lease, lease, 1, 2, 200_000));
        books.store.commit(&[change], at(time)).await.unwrap();
    };
    settle_at(1, 10).await;
    let due = books
        .store
        .due(Standing::Established, at(10), None, 9)
        .await
        .unwrap();
    books.take(Change::Mature(due[0])).await;
    settle_at(2, 20).await;
    books.take(announce(1, 100)).await;
    assert_eq!(reset_at(&books.store, 100).await, 2);
    settle_at(3, 110).await;
    // Twenty credits that are gone, and twenty that are not ripe.
    assert_eq!(
        books
            .store
            .due(Standing::Established, at(109), None, 9)
            .await
            .unwrap(),
        []
    );
    let due = books
        .store
        .due(Standing::Established, at(110), None, 9)
        .await
        .unwrap();
    assert_eq!(due[0].amount, nano(20_000_000_000));
    books.take(grant(40, 2, 90_000_000_000)).await;
    let payout = |number: u8, credits: i64| Change::RequestPayout(on_demand(number, credits, Day::new(1)));
    assert_eq!(code(&books.take(payout(1, 10)).await), "NOT_EARNED");
    books.take(Change::Mature(due[0])).await;
    assert_eq!(code(&books.take(payout(2, 21)).await), "NOT_EARNED");
    assert!(matches!(books.take(payout(3, 20)).await, Outcome::Payout(_)));
    books.assert_clean().await;
}

async fn a_payout_that_was_held_over_a_reset_and_fails_gives_nothing_back(books: Books<impl LedgerStore>) {
    books.fund().await;
    // Sixty credits are earned, and twenty each are held for three payouts.
    let claim = settlement(1, 1, 1, 2, 600_000);
    books.store.commit(&[settle(claim)], at(10)).await.unwrap();
    let due = books.store.due(Standing::Established, at(10), None, 9).await;
    books.take(Change::Mature(due.unwrap()[0])).await;
    let ids = [1, 2, 3].map(payout_id);
    let ask = |number: u8, state| {
        let asked = on_demand(number, 20, Day::new(number.into()));
        Change::RequestPayout(NewPayout { state, ..asked })
    };
    for (number, state) in [
        (1, PayoutState::Approved),
        (2, PayoutState::Held),
        (3, PayoutState::Approved),
    ] {
        assert!(matches!(books.take(ask(number, state)).await, Outcome::Payout(_)));
    }
    for (reset, time) in [(1, 100), (2, 200)] {
        books.take(announce(reset, time)).await;
        assert_eq!(reset_at(&books.store, time).await, 2);
    }
    assert_eq!(of(&*books.store, 2).await, [0, 0, 0]);
    let fail = PayoutStep::Fail {
        reason: "no such account".into(),
    };
    let reject = PayoutStep::Reject {
        author: "grace".into(),
        reason: "not theirs".into(),
    };
    for (id, step) in [(ids[0], fail), (ids[1], reject)] {
        let step = Change::StepPayout(id, step);
        assert!(matches!(books.take(step).await, Outcome::Payout(_)));
        assert_eq!(of(&*books.store, 2).await, [0, 0, 0]);
    }
    let pay = PayoutStep::Pay {
        reference: "paid".into(),
    };
    let paid = books.take(Change::StepPayout(ids[2], pay)).await;
    assert!(matches!(paid, Outcome::Payout(_)));
    // What he is granted now is not earned.
    books.take(grant(40, 2, 90_000_000_000)).await;
    let refused = books.take(ask(9, PayoutState::Approved)).await;
    assert_eq!(code(&refused), "NOT_EARNED");
    books.assert_clean().await;
    // One of the new economy gives back what it held, and may be asked for again.
    let claim = settlement(2, 2, 1, 2, 200_000);
    books.store.commit(&[settle(claim)], at(210)).await.unwrap();
    let due = books.store.due(Standing::Established, at(210), None, 9).await;
    books.take(Change::Mature(due.unwrap()[0])).await;
    let request = ask(10, PayoutState::Approved);
    let Outcome::Payout(payout) = books.take(request).await else {
        panic!("it is earned")
    };
    let fail = PayoutStep::Fail {
        reason: "not today".into(),
    };
    books.take(Change::StepPayout(payout.transfer, fail)).await;
    assert_eq!(of(&*books.store, 2).await, [110_000_000_000, 0, 0]);
    let again = books.take(ask(11, PayoutState::Approved)).await;
    assert!(matches!(again, Outcome::Payout(_)), "{again:?}");
    books.assert_clean().await;
}

async fn a_reset_that_has_passed_cannot_be_announced(books: Books<impl LedgerStore>) {
    // The books are at 500, whatever the clock says later.
    let changes = [open_owner("first"), grant(30, 1, 70)];
    books.store.commit(&changes, at(500)).await.unwrap();
    for passed in [0, 499, 500] {
        let refused = books.take(announce(1, passed)).await;
        assert_eq!(code(&refused), "RESET_PASSED");
    }
    assert_eq!(books.store.open_reset().await.unwrap(), None);
    let announced = books.take(announce(1, 501)).await;
    assert!(matches!(announced, Outcome::ResetAnnounced(_)), "{announced:?}");
    // Asked again when it is past, it is the one that was announced.
    books.store.commit(&[grant(31, 1, 70)], at(600)).await.unwrap();
    assert_eq!(books.take(announce(1, 501)).await, announced);
    books.assert_clean().await;
}

on_every_store!(
    a_reset_that_has_passed_cannot_be_announced,
    a_payout_that_was_held_over_a_reset_and_fails_gives_nothing_back,
    a_reset_empties_everybody_once_and_gives_to_who_took_part,
    what_was_reserved_over_a_reset_is_taken_when_it_comes_back,
    a_step_of_a_reset_that_is_none_is_refused,
    what_was_earned_before_a_reset_neither_matures_nor_is_paid_out,
);

/// The first owner's turn has come when billing dies.
async fn interrupt<S: LedgerStore>(books: &Books<S>) {
    trade(books).await;
    books.take(announce(1, 100)).await;
    let owners = books.store.owners_to_reset(1, None, 1).await.unwrap();
    let (owner, participation) = owners[0];
    let turn = OwnerReset {
        reset: 1,
        owner,
        participation,
    };
    books
        .store
        .commit(&[Change::ResetOwner(turn)], at(100))
        .await
        .unwrap();
}

async fn goes_on<S: LedgerStore>(store: Arc<S>) {
    assert_eq!(reset_at(&store, 100).await, 2);
    assert_eq!(of(&*store, 1).await, [15, 499_847_000_000, 0]);
    assert_eq!(of(&*store, 2).await, [15, 0, 0]);
    assert_eq!(store.open_reset().await.unwrap(), None);
    assert_eq!(store.audit().await.unwrap().findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_reset_gives_nobody_two_turns() {
    let file = books().await;
    interrupt(&file).await;
    let Books { store, folder, .. } = file;
    drop(store);
    let path = folder.path().join("billing.sqlite");
    goes_on(Arc::new(
        SqliteStore::open(&path, Durability::Synced).await.unwrap(),
    ))
    .await;

    let server = postgres(Durability::Synced).await;
    interrupt(&server).await;
    server.store.close().await.unwrap();
    let database = server.database.as_ref().unwrap();
    goes_on(Arc::new(database.open(Durability::Synced).await)).await;
}

#[tokio::test]
async fn a_reset_is_announced_shown_and_carried_out_by_the_service() {
    let maturity = Maturity {
        interval_ms: 3,
        ..Maturity::default()
    };
    let mut served = serve_in(tempfile::tempdir().unwrap(), maturity).await;
    let client = &mut served.client;
    let ada = account(client, "ada", 500).await;
    let now = service::clock::unix_micros();
    let ask = |request_id: &str, at_us: u64| pb::AnnounceResetRequest {
        request_id: request_id.into(),
        at_us,
        starter_nano: 10,
        bonus_nano: 5,
        author: "grace".into(),
        reason: "season two".into(),
    };
    let year = 366 * 24 * 3_600 * 1_000_000;
    for wrong in [0, now, now + year, u64::MAX] {
        let refused = client.announce_reset(ask("wrong", wrong)).await.unwrap_err();
        assert_eq!(field(&refused), "at_us");
    }
    let negative = pb::AnnounceResetRequest {
        bonus_nano: -1,
        ..ask("wrong", now + 60_000_000)
    };
    assert_eq!(
        field(&client.announce_reset(negative).await.unwrap_err()),
        "bonus_nano"
    );
    let soon = now + 3_000_000;
    let announced = client
        .announce_reset(ask("one", soon))
        .await
        .unwrap()
        .into_inner();
    let refused = client.announce_reset(ask("two", soon)).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::FailedPrecondition, "RESET_ANNOUNCED".into())
    );
    let request = pb::GetBalanceRequest {
        account_id: ada.clone(),
    };
    let shown = client.get_balance(request).await.unwrap().into_inner();
    assert_eq!(shown.announced_reset, announced.announced_reset);
    let request = pb::GetStatementRequest {
        account_id: ada.clone(),
        ..pb::GetStatementRequest::default()
    };
    let shown = client.get_statement(request).await.unwrap().into_inner();
    assert_eq!(shown.announced_reset, announced.announced_reset);
    // A restart in between forgets nothing.
    let folder = served.stop().await;
    let mut served = serve_in(folder, maturity).await;
    let client = &mut served.client;
    while balances(client, &ada).await != [0, 0, 0] {
        tokio::task::yield_now().await;
    }
    assert!(service::clock::unix_micros() >= soon);
    assert_clean(client).await;
    served.stop().await;
}
