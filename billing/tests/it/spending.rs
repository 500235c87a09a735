//! Spending limits and what was spent: on every store, over the wire, and attacked.

use billing::keys::sha256;
use billing::store::key::{KeptSecret, KeyMade, KeyRequest, NewKey, Rotation};
use billing::store::{Change, Durability, LedgerStore, Outcome, Rejection};
use domain::{AccountId, KeyId};
use proto::billing::v1 as pb;
use proto::convert::billing::{KeyScope, SpendingLimit, SpendingTotal};
use tonic::Code;

use crate::support::{self, Books, account, at, field, nano, on_every_store, reason, served};
use crate::{database, postgres_database};

fn secret(number: u8) -> KeptSecret {
    KeptSecret {
        prefix: "atoll_sk_abcd".into(),
        sha256: sha256(&[number]),
    }
}

async fn with_a_key(books: &Books<impl LedgerStore>) -> KeyId {
    books.fund().await;
    let key = NewKey {
        owner: AccountId::new(1),
        name: "app".into(),
        scope: KeyScope::Full,
        secret: secret(1),
        request: None,
        expires_at: None,
    };
    let Outcome::Key(KeyMade::Now(id)) = books.take(Change::CreateKey(key)).await else {
        panic!("no key");
    };
    id
}

fn limit(key: i64, user: i64) -> SpendingLimit {
    let amount = |amount: i64| (amount > 0).then(|| nano(amount));
    SpendingLimit {
        key_per_day: amount(key),
        user_per_day: amount(user),
    }
}

fn total(line: KeyId, user: Option<u8>, day: u32, spent: i64) -> SpendingTotal {
    SpendingTotal {
        line,
        user: user.map(|user| [user; 32]),
        day,
        spent: nano(spent),
    }
}

async fn rotate(books: &Books<impl LedgerStore>, key: KeyId) -> KeyId {
    let rotation = Rotation {
        key,
        request: KeyRequest {
            id: "turn".into(),
            body: [1; 32],
        },
        secret: secret(2),
        old_expires_at: at(1_000),
        expires_at: None,
    };
    let Outcome::Rotated { successor, .. } = books.take(Change::RotateKey(rotation)).await else {
        panic!("not rotated");
    };
    successor.id()
}

async fn a_limit_holds_for_a_key_and_its_successors(books: Books<impl LedgerStore>) {
    let key = with_a_key(&books).await;
    let of = async |id| books.store.key(id).await.unwrap().unwrap().limit;
    assert_eq!(of(key).await, limit(0, 0));
    books.take(Change::LimitSpending(key, limit(5, 3))).await;
    let successor = rotate(&books, key).await;
    assert_eq!((of(key).await, of(successor).await), (limit(5, 3), limit(5, 3)));
    // Said of one, it is said of all; the last word counts, also that there is no limit.
    books
        .take(Change::LimitSpending(successor, limit(i64::MAX, 0)))
        .await;
    assert_eq!(of(key).await, limit(i64::MAX, 0));
    books.take(Change::LimitSpending(key, limit(0, 0))).await;
    assert_eq!(of(successor).await, limit(0, 0));
    let nobody = KeyId::new(77);
    assert_eq!(
        books.take(Change::LimitSpending(nobody, limit(1, 1))).await,
        Outcome::Rejected(Rejection::UnknownKey(nobody))
    );
    assert_eq!(books.store.key(nobody).await.unwrap(), None);
}

async fn of_two_totals_of_a_day_the_greater_stays(books: Books<impl LedgerStore>) {
    let key = with_a_key(&books).await;
    let successor = rotate(&books, key).await;
    for told in [
        total(key, None, 7, 10),
        total(key, Some(1), 7, 4),
        // Late, twice, and out of order.
        total(key, None, 7, 3),
        total(key, Some(1), 7, 4),
        // What is said of a successor counts for the line.
        total(successor, Some(1), 7, 6),
        total(key, None, 8, 1),
        total(key, Some(2), 7, i64::MAX),
        total(key, Some(3), 7, 0),
    ] {
        assert_eq!(
            books.take(Change::NoteSpending(told)).await,
            Outcome::SpendingNoted
        );
    }
    let mut listed = Vec::new();
    let mut after = 0;
    loop {
        let page = books.store.spending(key, 7, after, 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = *last;
        listed.extend(page.into_iter().map(|(_, total)| total));
    }
    assert_eq!(
        listed,
        [
            total(key, None, 7, 10),
            total(key, Some(1), 7, 6),
            total(key, Some(2), 7, i64::MAX),
            total(key, Some(3), 7, 0),
        ]
    );
    assert_eq!(books.store.spending(key, 9, 0, 10).await.unwrap(), []);
    let nobody = KeyId::new(77);
    assert_eq!(
        books.take(Change::NoteSpending(total(nobody, None, 7, 1))).await,
        Outcome::Rejected(Rejection::UnknownKey(nobody))
    );
}

on_every_store!(
    a_limit_holds_for_a_key_and_its_successors,
    of_two_totals_of_a_day_the_greater_stays,
);

#[tokio::test]
async fn limits_and_totals_over_the_wire() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 0).await;
    let create = pb::CreateApiKeyRequest {
        account_id: account_id.clone(),
        name: "app".into(),
        ..Default::default()
    };
    let key = client.create_api_key(create).await.unwrap().into_inner();
    let set = |key_nano_per_day, user_nano_per_day| pb::SetSpendingLimitRequest {
        key_id: key.key_id.clone(),
        spending_limit: Some(pb::SpendingLimit {
            key_nano_per_day,
            user_nano_per_day,
        }),
    };
    client.set_spending_limit(set(50, i64::MAX)).await.unwrap();
    let hash = sha256(key.secret.as_bytes()).to_vec();
    let authenticate = pb::AuthenticateApiKeyRequest { secret_sha256: hash };
    let known = client
        .authenticate_api_key(authenticate)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(known.line_key_id, key.key_id);
    assert_eq!(known.spending_limit, set(50, i64::MAX).spending_limit);
    let list = pb::ListApiKeysRequest { account_id };
    let keys = client.list_api_keys(list).await.unwrap().into_inner().keys;
    assert_eq!(keys[0].spending_limit, set(50, i64::MAX).spending_limit);
    for (wrong, expected) in [
        (set(-1, 0), "spending_limit.key_nano_per_day"),
        (set(0, i64::MIN), "spending_limit.user_nano_per_day"),
    ] {
        let refused = client.set_spending_limit(wrong).await.unwrap_err();
        assert_eq!(field(&refused), expected);
    }

    let total = |user: usize, day, spent_nano| pb::Spending {
        line_key_id: key.key_id.clone(),
        user_sha256: vec![7; user],
        day,
        spent_nano,
    };
    for (wrong, expected) in [
        (total(31, 1, 1), "totals[1].user_sha256"),
        (total(0, u32::MAX, 1), "totals[1].day"),
        (total(0, 1, -1), "totals[1].spent_nano"),
    ] {
        let totals = vec![total(0, 1, 1), wrong];
        let refused = client
            .report_spending(pb::ReportSpendingRequest { totals })
            .await
            .unwrap_err();
        assert_eq!(field(&refused), expected);
    }
    let totals = vec![total(0, 1, 1); 1_001];
    let refused = client
        .report_spending(pb::ReportSpendingRequest { totals })
        .await
        .unwrap_err();
    assert_eq!(field(&refused), "totals");
    // Nothing of a report with a mistake in it was kept.
    let list = |day, page_token: &str| pb::ListSpendingRequest {
        key_id: key.key_id.clone(),
        day,
        page_size: 1,
        page_token: page_token.to_owned(),
    };
    assert_eq!(
        client
            .list_spending(list(1, ""))
            .await
            .unwrap()
            .into_inner()
            .totals,
        []
    );
    let totals = vec![total(0, 1, 9), total(32, 1, 4)];
    client
        .report_spending(pb::ReportSpendingRequest { totals })
        .await
        .unwrap();
    let first = client.list_spending(list(1, "")).await.unwrap().into_inner();
    assert_eq!(first.totals, [total(0, 1, 9)]);
    let second = client
        .list_spending(list(1, &first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second.totals, [total(32, 1, 4)]);
    let refused = client
        .list_spending(list(2, &first.next_page_token))
        .await
        .unwrap_err();
    assert_eq!(field(&refused), "page_token");
    let nobody = pb::ListSpendingRequest {
        key_id: KeyId::new(99).to_string(),
        ..list(1, "")
    };
    let refused = client.list_spending(nobody).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_KEY".into()));
    served.stop().await;
}

const GROWS: &str = "what was spent on a day only grows";

#[tokio::test]
async fn the_databases_themselves_let_no_total_shrink() {
    let attacks = [
        "UPDATE spending SET spent = 9",
        "UPDATE spending SET day = 8",
        "UPDATE spending SET line = 2",
    ];
    let books = support::books().await;
    let key = with_a_key(&books).await;
    books.take(Change::NoteSpending(total(key, None, 7, 10))).await;
    let mut db = database::direct(&books.folder.path().join("billing.sqlite")).await;
    for attack in attacks {
        assert_eq!(database::objection(&mut db, attack).await, GROWS, "{attack}");
    }
    let books = support::postgres(Durability::Synced).await;
    let key = with_a_key(&books).await;
    books.take(Change::NoteSpending(total(key, None, 7, 10))).await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    for attack in attacks {
        assert_eq!(
            postgres_database::objection(&mut db, attack).await,
            GROWS,
            "{attack}"
        );
    }
}
