//! Refunds, corrections, and settlements that were refused first: in the same proportions, once, and proved by the audit.

use billing::store::merkle::Day;
use billing::store::refund::{Mending, NewRefund};
use billing::store::{Change, Durability, LedgerStore, Outcome, Rejection, Span};
use domain::{AccountId, Credits, IslandId, JobId, LeaseId, Standing};
use proto::billing::v1 as pb;
use sqlx::{AssertSqlSafe, Executor};
use tonic::Code;

use crate::support::{
    Books, SHARD, account, assert_clean, at, balances, books, code, field, grant, nano, on_demand,
    on_every_store, open_owner, postgres, reason, refund, reserve, served, settle, settlement, traded,
};

/// What came back, by lease: out of earnings, available, fees and pool.
fn parts(outcome: &Outcome) -> Vec<[i64; 4]> {
    let Outcome::Refunded(refunds) = outcome else {
        panic!("{outcome:?}")
    };
    let parts = refunds.iter().map(|refund| {
        let parts = [
            refund.from_earnings,
            refund.from_available,
            refund.from_fees,
            refund.from_pool,
        ];
        parts.map(Credits::as_nano)
    });
    parts.collect()
}

/// 150,000,000 to the Island, 2,400,000 to the exchange, 600,000 to the pool.
async fn settled(books: &Books<impl LedgerStore>) {
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
}

async fn of(books: &Books<impl LedgerStore>, owner: u64) -> [i64; 3] {
    let balances = books
        .store
        .balances(AccountId::new(owner))
        .await
        .unwrap()
        .unwrap();
    [balances.available, balances.reserved, balances.pending].map(Credits::as_nano)
}

async fn a_whole_refund_takes_from_each_what_he_got(books: Books<impl LedgerStore>) {
    settled(&books).await;
    let outcome = books.take(refund(1, &[1], None)).await;
    assert_eq!(parts(&outcome), [[150_000_000, 0, 2_400_000, 600_000]]);
    // Again: the same, and nothing moves.
    assert_eq!(books.take(refund(1, &[1], None)).await, outcome);
    assert_eq!(of(&books, 1).await, [500_153_000_000, 499_847_000_000, 0]);
    assert_eq!(of(&books, 2).await, [0, 0, 0]);
    let report = books.store.audit().await.unwrap();
    assert_eq!((report.fees, report.pool), (Credits::ZERO, Credits::ZERO));
    assert_eq!(code(&books.take(refund(2, &[1], None)).await), "REFUND_TOO_LARGE");
    // The request was used for something else.
    assert_eq!(
        code(&books.take(refund(1, &[1], Some(5))).await),
        "REQUEST_DIFFERS"
    );
    books.assert_clean().await;
}

async fn a_refund_asked_for_again_in_another_scope_is_another_request(books: Books<impl LedgerStore>) {
    settled(&books).await;
    let mut claim = settlement(6, 2, 1, 2, 1_500);
    claim.job = JobId::new(1);
    books.take(settle(claim)).await;
    let of_lease = |request, leases: &[u64], lease: Option<u64>| {
        let Change::Refund(new) = refund(request, leases, None) else {
            unreachable!("it is a refund")
        };
        let lease = lease.map(LeaseId::new);
        Change::Refund(NewRefund { lease, ..new })
    };
    let one = books.take(of_lease(1, &[1], Some(1))).await;
    assert_eq!(parts(&one).len(), 1);
    assert_eq!(books.take(of_lease(1, &[1], Some(1))).await, one);
    let before = of(&books, 1).await;
    // Wider, another, one that is none, and the whole job that had only this lease when it was asked for.
    for (leases, lease) in [
        (vec![1, 2], None),
        (vec![2], Some(2)),
        (vec![], Some(u64::MAX)),
        (vec![1], None),
    ] {
        let again = books.take(of_lease(1, &leases, lease)).await;
        assert_eq!(code(&again), "REQUEST_DIFFERS", "{leases:?}");
    }
    assert_eq!(of(&books, 1).await, before);
    // The whole job is not narrowed either.
    let whole = books.take(of_lease(2, &[1, 2], None)).await;
    assert_eq!(parts(&whole).len(), 1);
    assert_eq!(books.take(of_lease(2, &[1, 2], None)).await, whole);
    let again = books.take(of_lease(2, &[2], Some(2))).await;
    assert_eq!(code(&again), "REQUEST_DIFFERS");
    books.assert_clean().await;
}

async fn parts_come_to_no_more_than_the_whole(books: Books<impl LedgerStore>) {
    settled(&books).await;
    assert_eq!(
        code(&books.take(refund(1, &[1], Some(153_000_001))).await),
        "REFUND_TOO_LARGE"
    );
    let first = books.take(refund(2, &[1], Some(1))).await;
    // Rounding is the exchange's.
    assert_eq!(parts(&first), [[0, 0, 1, 0]]);
    let second = books.take(refund(3, &[1], Some(100_000_000))).await;
    assert_eq!(parts(&second)[0].iter().sum::<i64>(), 100_000_000);
    let over = books.take(refund(4, &[1], Some(53_000_000))).await;
    let Outcome::Rejected(Rejection::RefundTooLarge { left }) = over else {
        panic!("{over:?}")
    };
    assert_eq!(left, nano(52_999_999));
    books.take(refund(5, &[1], None)).await;
    assert_eq!(of(&books, 2).await, [0, 0, 0]);
    let report = books.store.audit().await.unwrap();
    assert_eq!((report.fees, report.pool), (Credits::ZERO, Credits::ZERO));
    books.assert_clean().await;
}

async fn what_the_island_no_longer_has_the_exchange_bears(books: Books<impl LedgerStore>) {
    settled(&books).await;
    let due = books
        .store
        .due(Standing::Established, at(1), None, 10)
        .await
        .unwrap();
    books.take(Change::Mature(due[0])).await;
    // All but 50,000,000 is buying power by now.
    books.take(reserve(30, 2, 100_000_000, 100_000_000)).await;
    let outcome = books.take(refund(1, &[1], None)).await;
    assert_eq!(parts(&outcome), [[0, 50_000_000, 102_400_000, 600_000]]);
    assert_eq!(of(&books, 2).await, [0, 100_000_000, 0]);
    let report = books.store.audit().await.unwrap();
    assert_eq!(report.fees, nano(-100_000_000));
    books.assert_clean().await;
}

async fn a_refund_before_maturity_matures_no_more_and_is_not_paid_out(books: Books<impl LedgerStore>) {
    books.fund().await;
    let settle_at = async |lease: u64, time: u64| {
        let mut claim = settlement(lease, lease, 1, 2, 200_000);
        claim.job = JobId::new(1);
        books.store.commit(&[settle(claim)], at(time)).await.unwrap();
    };
    // Twenty credits each.
    settle_at(1, 100).await;
    settle_at(2, 200).await;
    books
        .store
        .commit(&[refund(1, &[1], None)], at(250))
        .await
        .unwrap();
    // The first has matured, and is gone; the second one's time has not come.
    assert_eq!(
        books
            .store
            .due(Standing::Established, at(100), None, 10)
            .await
            .unwrap(),
        []
    );
    settle_at(3, 300).await;
    let due = books
        .store
        .due(Standing::Established, at(200), None, 10)
        .await
        .unwrap();
    assert_eq!(due[0].amount, nano(20_000_000_000));
    books.take(Change::Mature(due[0])).await;
    books.assert_clean().await;
    // What was worked out before a refund is not booked after it.
    settle_at(4, 301).await;
    let stale = books
        .store
        .due(Standing::Established, at(300), None, 10)
        .await
        .unwrap()[0];
    books
        .store
        .commit(&[refund(9, &[4], None)], at(302))
        .await
        .unwrap();
    let refused = books.take(Change::Mature(stale)).await;
    assert_eq!(code(&refused), "NOT_NEXT_TO_MATURE");
    // Half of the second, which is available by now.
    let share = 10_200_000_000;
    books
        .store
        .commit(&[refund(2, &[2], Some(share))], at(350))
        .await
        .unwrap();
    let due = books
        .store
        .due(Standing::Established, at(301), None, 10)
        .await
        .unwrap();
    let pending = of(&books, 2).await[2];
    assert_eq!(due[0].amount.as_nano(), pending);
    books.take(Change::Mature(due[0])).await;
    // Sixty earned, thirty given back: thirty may be paid out.
    let payout = |number: u8, credits: i64| Change::RequestPayout(on_demand(number, credits, Day::new(1)));
    books.take(grant(77, 2, 1_000_000_000_000)).await;
    let refused = books.take(payout(1, 31)).await;
    assert_eq!(code(&refused), "NOT_EARNED");
    assert!(matches!(books.take(payout(2, 30)).await, Outcome::Payout(_)));
    books.assert_clean().await;
}

async fn a_job_of_several_segments_is_refunded_in_their_order(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.take(open_owner("second island")).await;
    for (lease, owner, standing) in [(1, 2, Standing::Established), (2, 3, Standing::Probation)] {
        let mut claim = settlement(lease, lease, 1, owner, 1_000);
        claim.job = JobId::new(1);
        claim.standing = standing;
        claim.island = IslandId::new(owner);
        books.take(settle(claim)).await;
    }
    assert_eq!(
        books.store.leases_of_job(JobId::new(1)).await.unwrap(),
        [1, 2].map(|lease| (SHARD, LeaseId::new(lease)))
    );
    assert_eq!(books.store.leases_of_job(JobId::new(9)).await.unwrap(), []);
    assert_eq!(code(&books.take(refund(8, &[], None)).await), "UNKNOWN_JOB");
    assert_eq!(code(&books.take(refund(8, &[7], None)).await), "UNKNOWN_JOB");
    let outcome = books.take(refund(1, &[1, 2], Some(102_000_001))).await;
    assert_eq!(
        parts(&outcome),
        [[100_000_000, 0, 1_600_000, 400_000], [0, 0, 1, 0]]
    );
    books.take(refund(2, &[1, 2], None)).await;
    assert_eq!((of(&books, 2).await[2], of(&books, 3).await[2]), (0, 0));
    let span = Span {
        from: at(0),
        until: at(9),
    };
    let of_island = |island| {
        books
            .store
            .refunds_of_island(AccountId::new(3), IslandId::new(island), span, 10)
    };
    assert_eq!(of_island(3).await.unwrap().len(), 2);
    assert_eq!(of_island(2).await.unwrap(), []);
    assert_eq!(
        books
            .store
            .earned_before(AccountId::new(3), IslandId::new(3), at(9))
            .await
            .unwrap(),
        Credits::ZERO
    );
    books.assert_clean().await;
}

async fn who_sold_to_himself_gives_himself_back_what_others_got(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 1, 1_500))).await;
    let due = books
        .store
        .due(Standing::Established, at(1), None, 10)
        .await
        .unwrap();
    books.take(Change::Mature(due[0])).await;
    books.take(refund(1, &[1], None)).await;
    assert_eq!(of(&books, 1).await.iter().sum::<i64>(), 1_000_000_000_000);
    books.assert_clean().await;
}

async fn a_refused_settlement_is_booked_once_when_its_cause_is_mended(books: Books<impl LedgerStore>) {
    books.fund().await;
    let mending = |lease| {
        Change::BookRefused(Mending {
            shard: SHARD,
            lease: LeaseId::new(lease),
            author: "grace".into(),
            reason: "the consumer has credits now".into(),
        })
    };
    let poor = settle(settlement(5, 1, 2, 1, 1_500));
    books.take(poor.clone()).await;
    books
        .take(Change::MoveCursor(SHARD, domain::Sequence::new(9)))
        .await;
    assert_eq!(code(&books.take(mending(1)).await), "UNKNOWN_ACCOUNT");
    assert_eq!(code(&books.take(mending(7)).await), "UNKNOWN_SETTLEMENT");
    assert_eq!(code(&books.take(refund(1, &[1], None)).await), "UNKNOWN_JOB");
    books.take(grant(20, 2, 1_000_000_000_000)).await;
    books.take(reserve(21, 2, 1, 1_000_000_000)).await;
    let day = books.store.first_open_day().await.unwrap().unwrap();
    books.store.close_day(day, day.end()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(books.take(mending(1)).await, Outcome::Settled);
    }
    assert_eq!(of(&books, 1).await[2], 150_000_000);
    // The exchange hears what is so now, and what was closed stays as it was.
    assert_eq!(books.take(poor).await, Outcome::Settled);
    books.assert_clean().await;
    // It counts on the day on which it was booked.
    let span = |from, until| Span { from, until };
    let settled = |span| books.store.settled_between(AccountId::new(1), span, 10);
    assert_eq!(settled(span(at(0), day.end())).await.unwrap().len(), 0);
    assert_eq!(settled(span(day.end(), day.next().end())).await.unwrap().len(), 1);
    books.take(refund(2, &[1], None)).await;
    assert_eq!(of(&books, 1).await[2], 0);
    books.assert_clean().await;
}

on_every_store!(
    a_whole_refund_takes_from_each_what_he_got,
    a_refund_asked_for_again_in_another_scope_is_another_request,
    parts_come_to_no_more_than_the_whole,
    what_the_island_no_longer_has_the_exchange_bears,
    a_refund_before_maturity_matures_no_more_and_is_not_paid_out,
    a_job_of_several_segments_is_refunded_in_their_order,
    who_sold_to_himself_gives_himself_back_what_others_got,
    a_refused_settlement_is_booked_once_when_its_cause_is_mended,
);

/// What neither database takes, whoever asks; each leaves a settled, refunded lease behind.
const ATTACKS: [(&str, &str); 7] = [
    ("UPDATE refunds SET from_fees = 0", "a refund never changes"),
    ("DELETE FROM refunds", "a refund is never deleted"),
    (
        "INSERT INTO refunds SELECT id, place + 1, shard, lease, job, consumer, island_owner, asked, from_earnings,
            from_available, from_fees, from_pool, standing, author, reason, created_at, asked_lease FROM refunds",
        "no more is refunded than was paid",
    ),
    (
        "INSERT INTO mended_settlements SELECT shard, lease, 'x', 'y', 1 FROM settlements",
        "a refused settlement is mended once",
    ),
    ("UPDATE earnings_taken SET amount = 1", "what was taken stays so"),
    ("DELETE FROM earnings_taken", "what was taken stays so"),
    ("DELETE FROM mended_settlements", ""),
];

#[tokio::test]
async fn the_databases_refuse_what_makes_refunds_lie_and_the_audit_finds_it() {
    let (sqlite, postgres) = (books().await, postgres(Durability::Synced).await);
    settled(&sqlite).await;
    settled(&postgres).await;
    sqlite.take(refund(1, &[1], None)).await;
    postgres.take(refund(1, &[1], None)).await;
    let address = format!("sqlite:{}", sqlite.folder.path().join("billing.sqlite").display());
    let mut file = <sqlx::SqliteConnection as sqlx::Connection>::connect(&address)
        .await
        .unwrap();
    let mut server = postgres.database.as_ref().unwrap().direct().await;
    for (attack, expected) in ATTACKS {
        let said = [
            file.execute(attack).await.map(|_| ()),
            server.execute(attack).await.map(|_| ()),
        ];
        for said in said {
            let said = said.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(
                said.contains(expected) && expected.is_empty() == said.is_empty(),
                "{attack}: {said}"
            );
        }
    }
    sqlite.assert_clean().await;
    postgres.assert_clean().await;
    let tampering = [
        "UPDATE refunds SET from_fees = from_fees - 1, from_pool = from_pool + 1",
        "UPDATE refunds SET from_earnings = from_earnings + 1",
        "DELETE FROM refunds",
    ];
    for change in tampering {
        server
            .execute("BEGIN; SET session_replication_role = replica")
            .await
            .unwrap();
        server.execute(AssertSqlSafe(change.to_owned())).await.unwrap();
        server.execute("COMMIT").await.unwrap();
        assert!(!postgres.store.audit().await.unwrap().is_clean(), "{change}");
    }
}

fn correction(request_id: &str, account_id: &str, amount_nano: i64) -> pb::CorrectBalanceRequest {
    pb::CorrectBalanceRequest {
        request_id: request_id.into(),
        account_id: account_id.into(),
        amount_nano,
        author: "grace".into(),
        reason: "a grant was forgotten".into(),
    }
}

#[tokio::test]
async fn a_balance_is_corrected_once_with_author_and_reason() {
    let mut served = served().await;
    let client = &mut served.client;
    let ada = account(client, "ada", 100).await;
    for _ in 0..2 {
        let done = client.correct_balance(correction("one", &ada, 50)).await.unwrap();
        assert_eq!(done.into_inner().available_nano, 150);
    }
    let differs = client
        .correct_balance(correction("one", &ada, 51))
        .await
        .unwrap_err();
    assert_eq!(reason(&differs), (Code::AlreadyExists, "TRANSFER_DIFFERS".into()));
    client
        .correct_balance(correction("two", &ada, -150))
        .await
        .unwrap();
    let poor = client
        .correct_balance(correction("three", &ada, -1))
        .await
        .unwrap_err();
    assert_eq!(
        reason(&poor),
        (Code::FailedPrecondition, "INSUFFICIENT_FUNDS".into())
    );
    for wrong in [0, i64::MIN] {
        let refused = client.correct_balance(correction("four", &ada, wrong)).await;
        assert_eq!(field(&refused.unwrap_err()), "amount_nano");
    }
    let nameless = pb::CorrectBalanceRequest {
        author: String::new(),
        ..correction("five", &ada, 1)
    };
    assert_eq!(
        field(&client.correct_balance(nameless).await.unwrap_err()),
        "author"
    );
    let request = pb::ListTransfersRequest {
        account_id: ada,
        ..pb::ListTransfersRequest::default()
    };
    let history = client
        .list_transfers(request)
        .await
        .unwrap()
        .into_inner()
        .transfers;
    let shown: Vec<(&str, i64, &str)> = history
        .iter()
        .map(|transfer| (transfer.kind.as_str(), transfer.net_nano, transfer.memo.as_str()))
        .collect();
    let memo = "correction by grace: a grant was forgotten";
    assert_eq!(shown[..2], [("correction", -150, memo), ("correction", 50, memo)]);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn a_job_is_refunded_over_the_wire_and_shown_in_both_statements() {
    let mut served = served().await;
    let client = &mut served.client;
    let (consumer, island) = traded(client, 1_000_000_000).await;
    let ask = |request_id: &str, amount_nano: i64| pb::RefundJobRequest {
        request_id: request_id.into(),
        job_id: JobId::new(1).to_string(),
        lease_id: String::new(),
        amount_nano,
        author: "grace".into(),
        reason: "the answer was empty".into(),
    };
    let refunds = client
        .refund_job(ask("one", 0))
        .await
        .unwrap()
        .into_inner()
        .refunds;
    assert_eq!(
        client
            .refund_job(ask("one", 0))
            .await
            .unwrap()
            .into_inner()
            .refunds,
        refunds
    );
    let refund = &refunds[0];
    assert_eq!(
        (
            refund.amount_nano,
            refund.from_island_nano,
            refund.from_fees_nano,
            refund.from_pool_nano
        ),
        (153_000_000, 150_000_000, 2_400_000, 600_000)
    );
    assert_eq!(balances(client, &consumer).await, [153_000_000, 847_000_000, 0]);
    let refused = client.refund_job(ask("two", 1)).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::FailedPrecondition, "REFUND_TOO_LARGE".into())
    );
    assert_eq!(
        field(&client.refund_job(ask("three", -1)).await.unwrap_err()),
        "amount_nano"
    );
    let other = pb::RefundJobRequest {
        job_id: JobId::new(9).to_string(),
        ..ask("four", 0)
    };
    let refused = client.refund_job(other).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_JOB".into()));
    let statement = |account_id: &str, island_id: &str| pb::GetStatementRequest {
        account_id: account_id.into(),
        island_id: island_id.into(),
        ..pb::GetStatementRequest::default()
    };
    for (account_id, island_id, closing) in [
        (&consumer, String::new(), 1_000_000_000),
        (&island, String::new(), 0),
        (&island, IslandId::new(1).to_string(), 0),
    ] {
        let shown = client
            .get_statement(statement(account_id, &island_id))
            .await
            .unwrap();
        let shown = shown.into_inner();
        assert_eq!(shown.closing_nano, closing, "{account_id} {island_id}");
        let lines = shown.lines.iter().filter_map(|line| line.transfer.as_ref());
        let memo = "refund by grace: the answer was empty";
        assert!(
            lines
                .clone()
                .any(|line| line.kind == "refund" && line.memo == memo)
        );
    }
    let again = pb::BookRefusedSettlementRequest {
        shard: 0,
        lease_id: LeaseId::new(1).to_string(),
        author: "grace".into(),
        reason: "was booked".into(),
    };
    let booked = client
        .book_refused_settlement(again.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(booked.refusal, None);
    let unknown = pb::BookRefusedSettlementRequest {
        lease_id: LeaseId::new(2).to_string(),
        ..again
    };
    let refused = client.book_refused_settlement(unknown).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_SETTLEMENT".into()));
    assert_clean(client).await;
    served.stop().await;
}
