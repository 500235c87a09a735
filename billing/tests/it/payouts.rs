//! Payouts: what every store must do with them, and that nothing is paid twice whatever dies when.

use billing::config::Payouts;
use billing::payouts::provider::{
    PaymentAnswer, PaymentOrder, PayoutProvider, ProviderError, VIRTUAL_FILE, VirtualProvider,
};
use billing::payouts::{Sent, request_weekly, send_due};
use billing::store::merkle::Day;
use billing::store::payout::{NewPayout, Payout, PayoutFilter, PayoutState, PayoutStep};
use billing::store::sqlite::SqliteStore;
use billing::store::{Change, Durability, LedgerStore, Outcome};
use billing::writer;
use domain::{AccountId, Standing, Timestamp};
use proto::billing::v1 as pb;
use service::shutdown::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Code;

use crate::support::{
    Books, account, assert_clean, at, balances, books, nano, on_demand, on_every_store, owner, payout_id,
    postgres, reason, served, settle, settlement,
};

const CREDIT: i64 = 1_000_000_000;
const DAY: Day = Day::new(20_458);

/// Lets owner 2 earn 100 credits, and have them available.
async fn earn(books: &Books<impl LedgerStore>) {
    books.fund().await;
    // At 0.1 credits per 1,000 units.
    books.take(settle(settlement(1, 1, 1, 2, 1_000_000))).await;
    let due = books
        .store
        .due(Standing::Established, at(1), None, 10)
        .await
        .unwrap();
    for maturing in due {
        books.take(Change::Mature(maturing)).await;
    }
    assert_eq!(available(books).await, 100 * CREDIT);
}

async fn available(books: &Books<impl LedgerStore>) -> i64 {
    let balances = books.store.balances(AccountId::new(2)).await.unwrap().unwrap();
    balances.available.as_nano()
}

fn request(payout: NewPayout) -> Change {
    Change::RequestPayout(payout)
}

fn attempt(number: u8, attempt: u32) -> Change {
    let retry_at = at(u64::from(attempt) * 1_000);
    Change::StepPayout(payout_id(number), PayoutStep::Attempt { attempt, retry_at })
}

fn pay(number: u8) -> Change {
    let reference = "virtual-1".to_owned();
    Change::StepPayout(payout_id(number), PayoutStep::Pay { reference })
}

fn fail(number: u8) -> Change {
    let reason = "closed".to_owned();
    Change::StepPayout(payout_id(number), PayoutStep::Fail { reason })
}

fn said(outcome: &Outcome) -> String {
    if let Outcome::Payout(payout) = outcome {
        return payout.state.name().to_owned();
    }
    let Outcome::Rejected(rejection) = outcome else {
        panic!("{outcome:?}");
    };
    rejection.code().to_owned()
}

async fn a_payout_is_held_then_paid_once(books: Books<impl LedgerStore>) {
    earn(&books).await;
    let script = [
        (request(on_demand(1, 40, DAY)), "approved"),
        (request(on_demand(1, 40, DAY)), "approved"),
        (request(on_demand(1, 41, DAY)), "REQUEST_DIFFERS"),
        (attempt(1, 2), "PAYOUT_STATE"),
        (attempt(1, 1), "approved"),
        (attempt(1, 1), "PAYOUT_STATE"),
        (attempt(1, 2), "approved"),
    ];
    for (change, expected) in script {
        assert_eq!(said(&books.take(change.clone()).await), expected, "{change:?}");
    }
    assert_eq!(available(&books).await, 60 * CREDIT);
    assert_eq!(books.store.audit().await.unwrap().held, 1);
    assert_eq!(books.store.payouts_to_send(at(1_999), 10).await.unwrap(), []);
    let due = books.store.payouts_to_send(at(2_000), 10).await.unwrap();
    assert_eq!(due, [books.store.payout(payout_id(1)).await.unwrap().unwrap()]);
    for (change, expected) in [(pay(1), "paid"), (pay(1), "paid"), (fail(1), "PAYOUT_STATE")] {
        assert_eq!(said(&books.take(change.clone()).await), expected, "{change:?}");
    }
    assert_eq!(available(&books).await, 60 * CREDIT);
    let report = books.store.audit().await.unwrap();
    assert_eq!((report.held, report.sum), (0, 0));
    books.assert_clean().await;
}

async fn a_payout_that_fails_gives_its_credits_and_its_day_back(books: Books<impl LedgerStore>) {
    earn(&books).await;
    let script = [
        (request(on_demand(1, 40, DAY)), "approved"),
        (request(on_demand(2, 40, DAY)), "PAYOUT_TODAY"),
        (attempt(1, 1), "approved"),
        (fail(1), "failed"),
        (fail(1), "failed"),
        (pay(1), "PAYOUT_STATE"),
        (request(on_demand(2, 40, DAY)), "approved"),
        (request(on_demand(3, 40, DAY.next())), "approved"),
        (request(on_demand(4, 21, DAY.next().next())), "NOT_EARNED"),
        (request(on_demand(4, 9, DAY.next().next())), "PAYOUT_TOO_SMALL"),
        (request(on_demand(4, 20, DAY.next().next())), "approved"),
        (pay(9), "UNKNOWN_PAYOUT"),
    ];
    for (change, expected) in script {
        assert_eq!(said(&books.take(change.clone()).await), expected, "{change:?}");
    }
    assert_eq!(available(&books).await, 0);
    books.assert_clean().await;
}

async fn grants_are_not_paid_out(books: Books<impl LedgerStore>) {
    earn(&books).await;
    let consumer = NewPayout {
        owner: AccountId::new(1),
        ..on_demand(1, 10, DAY)
    };
    assert_eq!(said(&books.take(request(consumer)).await), "NOT_EARNED");
    let nobody = NewPayout {
        owner: AccountId::new(99),
        ..on_demand(1, 10, DAY)
    };
    assert_eq!(said(&books.take(request(nobody)).await), "UNKNOWN_ACCOUNT");
    books.assert_clean().await;
}

async fn a_large_payout_waits_for_an_operator(books: Books<impl LedgerStore>) {
    earn(&books).await;
    let held = |number, day| NewPayout {
        state: PayoutState::Held,
        ..on_demand(number, 20, day)
    };
    let approve = |number| {
        let author = "grace".to_owned();
        Change::StepPayout(payout_id(number), PayoutStep::Approve { author })
    };
    let reject = |number| {
        let (author, reason) = ("grace".to_owned(), "too soon".to_owned());
        Change::StepPayout(payout_id(number), PayoutStep::Reject { author, reason })
    };
    let script = [
        (request(held(1, DAY)), "held"),
        (pay(1), "PAYOUT_STATE"),
        (attempt(1, 1), "PAYOUT_STATE"),
        (approve(1), "approved"),
        (reject(1), "PAYOUT_STATE"),
        (request(held(2, DAY.next())), "held"),
        (reject(2), "failed"),
        (approve(2), "PAYOUT_STATE"),
    ];
    for (change, expected) in script {
        assert_eq!(said(&books.take(change.clone()).await), expected, "{change:?}");
    }
    let listed = |filter, before| books.store.payouts(filter, before, 10);
    let all = listed(PayoutFilter::default(), None).await.unwrap();
    let notes: Vec<(&str, &str)> = all
        .iter()
        .map(|(_, payout)| (payout.approved_by.as_str(), payout.note.as_str()))
        .collect();
    assert_eq!(notes, [("", "rejected by grace: too soon"), ("grace", "")]);
    let filter = PayoutFilter {
        owner: Some(AccountId::new(2)),
        state: Some(PayoutState::Approved),
    };
    assert_eq!(listed(filter, None).await.unwrap(), all[1..]);
    assert_eq!(
        listed(PayoutFilter::default(), Some(all[0].0)).await.unwrap(),
        all[1..]
    );
    let others = PayoutFilter {
        owner: Some(AccountId::new(1)),
        state: None,
    };
    assert_eq!(listed(others, None).await.unwrap(), []);
    books.assert_clean().await;
}

async fn the_weekly_run_asks_once_a_week_for_all_that_was_earned(books: Books<impl LedgerStore>) {
    earn(&books).await;
    books.take(request(on_demand(1, 30, DAY))).await;
    let payable = |after| books.store.weekly_payable(DAY, after, 10);
    assert_eq!(payable(None).await.unwrap(), []);
    for account in [1, 2] {
        let set = Change::SetPayoutDestination(AccountId::new(account), "virtual:ada".into());
        assert_eq!(books.take(set).await, Outcome::DestinationSet);
    }
    let nobody = Change::SetPayoutDestination(AccountId::new(9), "virtual:ada".into());
    assert_eq!(said(&books.take(nobody).await), "UNKNOWN_ACCOUNT");
    let found = payable(None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].owner, found[0].amount), (owner(2), nano(70 * CREDIT)));
    assert_eq!(payable(Some(AccountId::new(2))).await.unwrap(), []);
    let now = Timestamp::from_micros(DAY.next().start().as_micros());
    let (writer, writing) = writer::start(Arc::clone(&books.store), move || now, Shutdown::manual());
    let run = |now| request_weekly(&*books.store, &writer, Payouts::default(), now);
    assert_eq!((run(now).await.unwrap(), run(now).await.unwrap()), (1, 0));
    assert_eq!(available(&books).await, 0);
    let stop = Change::SetPayoutDestination(AccountId::new(2), String::new());
    assert_eq!(writer.write_one(stop).await.unwrap(), Outcome::DestinationSet);
    drop(writer);
    writing.await.unwrap();
    books.assert_clean().await;
}

on_every_store!(
    a_payout_is_held_then_paid_once,
    a_payout_that_fails_gives_its_credits_and_its_day_back,
    grants_are_not_paid_out,
    a_large_payout_waits_for_an_operator,
    the_weekly_run_asks_once_a_week_for_all_that_was_earned,
);

/// Asks the virtual provider, and dies before it can say what he answered.
struct DiesAfterPaying(VirtualProvider, AtomicUsize);

impl PayoutProvider for DiesAfterPaying {
    async fn pay(&self, order: &PaymentOrder) -> Result<PaymentAnswer, ProviderError> {
        self.0.pay(order).await?;
        self.1.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_crash_between_the_payment_and_its_record_pays_once() {
    let books = books().await;
    earn(&books).await;
    books.take(request(on_demand(1, 40, DAY))).await;
    let file = books.folder.path().join(VIRTUAL_FILE);
    let start = || {
        let store = Arc::clone(&books.store);
        writer::start(store, || at(1), Shutdown::manual())
    };
    let provider = DiesAfterPaying(VirtualProvider::open(&file).unwrap(), AtomicUsize::new(0));
    let (writer, _writing) = start();
    let run = send_due(&*books.store, &writer, &provider, at(1));
    let paid = async {
        while provider.1.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = run => panic!("it went on after its death"),
        () = paid => {}
    }
    let Books { store, folder, .. } = books;
    store.close().await.unwrap();
    drop((writer, store));

    let path = folder.path().join("billing.sqlite");
    let store = Arc::new(SqliteStore::open(&path, Durability::Synced).await.unwrap());
    let before = store.payout(payout_id(1)).await.unwrap().unwrap();
    assert_eq!((before.state, before.attempts), (PayoutState::Approved, 1));
    let provider = VirtualProvider::open(&file).unwrap();
    let (writer, _writing) = writer::start(Arc::clone(&store), || at(1), Shutdown::manual());
    let sent = send_due(&*store, &writer, &provider, before.retry_at)
        .await
        .unwrap();
    assert_eq!((sent.paid, sent.unanswered), (1, 0));
    let after = store.payout(payout_id(1)).await.unwrap().unwrap();
    assert_eq!(
        (after.state, after.note.as_str()),
        (PayoutState::Paid, "virtual-1")
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    assert_eq!(store.audit().await.unwrap().findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_silent_provider_is_asked_later_and_a_refusal_is_final() {
    let books = books().await;
    earn(&books).await;
    let file = books.folder.path().join(VIRTUAL_FILE);
    let provider = VirtualProvider::open(&file).unwrap();
    let destinations = ["virtual:down", "virtual:lost", "virtual:closed", "elsewhere"];
    for (number, destination) in (1..).zip(destinations) {
        let payout = NewPayout {
            destination: destination.into(),
            ..on_demand(number, 20, Day::new(DAY.get() + u32::from(number)))
        };
        books.take(request(payout)).await;
    }
    let (writer, _writing) = writer::start(Arc::clone(&books.store), || at(1), Shutdown::manual());
    let minute = 60_000_000;
    let mut runs = Vec::new();
    for minutes in [0, 0, 1, 2, 3] {
        let now = at(1 + minutes * minute);
        let Sent {
            paid,
            failed,
            unanswered,
        } = send_due(&*books.store, &writer, &provider, now).await.unwrap();
        runs.push([paid, failed, unanswered]);
    }
    assert_eq!(runs, [[0, 2, 2], [0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0]]);
    assert_eq!(available(&books).await, 60 * CREDIT);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    books.assert_clean().await;
}

#[tokio::test]
async fn the_databases_refuse_a_payout_that_contradicts_its_transfer() {
    let sqlite = books().await;
    earn(&sqlite).await;
    sqlite.take(request(on_demand(1, 40, DAY))).await;
    let path = sqlite.folder.path().join("billing.sqlite");
    let address = format!("sqlite:{}", path.display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&address)
        .await
        .unwrap();
    let wrong = [
        "UPDATE payouts SET state = 'paid'",
        "UPDATE payouts SET state = 'failed'",
        "UPDATE payouts SET state = 'held'",
        "UPDATE payouts SET amount = 1",
        "UPDATE payouts SET destination = 'virtual:thief'",
        "DELETE FROM payouts",
        "INSERT INTO payouts (id, owner, destination, amount, cause, day, state, approved_by, attempts, retry_at, note)
            SELECT zeroblob(16), owner, 'x', amount, cause, day + 1, state, '', 0, 0, '' FROM payouts",
    ];
    for statement in wrong {
        let refused = sqlx::query(statement).execute(&mut connection).await;
        assert!(refused.is_err(), "{statement}");
    }
    let postgres = postgres(Durability::Synced).await;
    earn(&postgres).await;
    postgres.take(request(on_demand(1, 40, DAY))).await;
    let address = postgres.database.as_ref().unwrap().address();
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&address)
        .await
        .unwrap();
    for statement in wrong {
        let statement = statement.replace("zeroblob(16)", "'\\x00000000000000000000000000000000'::BYTEA");
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement.clone()))
            .execute(&mut connection)
            .await;
        assert!(refused.is_err(), "{statement}");
    }
    let kept: Payout = postgres.store.payout(payout_id(1)).await.unwrap().unwrap();
    assert_eq!(kept, sqlite.store.payout(payout_id(1)).await.unwrap().unwrap());
}

#[tokio::test]
async fn payouts_are_asked_for_listed_and_refused_over_the_wire() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 50 * CREDIT).await;
    let mut request = pb::RequestPayoutRequest {
        request_id: "payout-1".into(),
        account_id: account_id.clone(),
        destination: "virtual:ada".into(),
        amount_nano: 9 * CREDIT,
    };
    let refused = client.request_payout(request.clone()).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::InvalidArgument, "PAYOUT_TOO_SMALL".into())
    );
    request.amount_nano = 10 * CREDIT;
    let refused = client.request_payout(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "NOT_EARNED".into()));
    assert_eq!(balances(client, &account_id).await, [50 * CREDIT, 0, 0]);
    let approve = pb::ApprovePayoutRequest {
        payout_id: payout_id(1).to_string(),
        author: "grace".into(),
    };
    let refused = client.approve_payout(approve).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_PAYOUT".into()));
    let listed = client
        .list_payouts(pb::ListPayoutsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().payouts, []);
    assert_clean(client).await;
    served.stop().await;
}
