//! Sign-ups: an owner, a key and a grant at once, so many a day; on every store, over the wire, and attacked.

use billing::config::SignUps;
use billing::keys::sha256;
use billing::store::key::{KeptSecret, KeyMade};
use billing::store::sign_up::NewSignUp;
use billing::store::{Change, Durability, LedgerStore, Outcome, Rejection};
use domain::{AccountId, Credits, KeyId};
use ledger::{AccountKey, Refusal};
use proto::billing::v1 as pb;
use tonic::Code;

use crate::support::{
    self, Books, assert_clean, balances, client_of, config, field, nano, on_every_store, reason,
};
use crate::{database, postgres_database};

const DAY: u64 = 86_400_000_000;

fn stranger(request: &str, number: u8) -> NewSignUp {
    NewSignUp {
        request_id: request.into(),
        display_name: "a stranger".into(),
        secret: KeptSecret {
            prefix: "atoll_sk_abcd".into(),
            sha256: sha256(&[number]),
        },
        grant: nano(500),
        per_day_max: 2,
    }
}

async fn sign_up(books: &Books<impl LedgerStore>, asked: NewSignUp, now: u64) -> Outcome {
    let outcomes = books
        .store
        .commit(&[Change::SignUp(asked)], support::at(now))
        .await
        .unwrap();
    outcomes.into_iter().next().unwrap()
}

fn signed_up(owner: u64, key: KeyMade) -> Outcome {
    Outcome::SignedUp {
        owner: AccountId::new(owner),
        key,
        granted: nano(500),
    }
}

async fn a_stranger_gets_an_account_a_key_and_a_grant_once(books: Books<impl LedgerStore>) {
    let key = KeyId::new(1);
    assert_eq!(
        sign_up(&books, stranger("a", 1), 5).await,
        signed_up(1, KeyMade::Now(key))
    );
    // Again, with another secret that is nobody's, on another day, when all is taken.
    let mut again = stranger("a", 2);
    again.per_day_max = 0;
    assert_eq!(
        sign_up(&books, again, 9 * DAY).await,
        signed_up(1, KeyMade::Before(key))
    );
    assert_eq!(books.store.key_by_hash(sha256(&[2])).await.unwrap(), None);
    let known = books.store.key_by_hash(sha256(&[1])).await.unwrap().unwrap();
    assert_eq!(known.owner, AccountId::new(1));
    let had = books.store.balances(AccountId::new(1)).await.unwrap().unwrap();
    assert_eq!(had.available, nano(500));
    let mut other = stranger("a", 3);
    other.display_name = "another stranger".into();
    assert_eq!(
        sign_up(&books, other, 9 * DAY).await,
        Outcome::Rejected(Rejection::RequestDiffers)
    );
    // An operator's request of that name is another one.
    assert_eq!(
        books.take(support::open_owner("a")).await,
        Outcome::Owner(AccountId::new(2))
    );
    // Without a grant there is none.
    let mut poor = stranger("poor", 4);
    poor.grant = Credits::ZERO;
    sign_up(&books, poor, 9 * DAY).await;
    let had = books.store.balances(AccountId::new(3)).await.unwrap().unwrap();
    assert_eq!(had.available, Credits::ZERO);
    books.assert_clean().await;
}

async fn so_many_sign_up_in_a_day_and_the_next_day_begins_anew(books: Books<impl LedgerStore>) {
    let full = Outcome::Rejected(Rejection::SignUpsToday);
    let last = DAY - 1;
    // Three in one batch: the third is one too many.
    let changes = ["a", "b", "c"].map(|name| Change::SignUp(stranger(name, name.as_bytes()[0])));
    let outcomes = books.store.commit(&changes, support::at(5)).await.unwrap();
    assert_eq!(outcomes[2], full);
    assert_eq!(sign_up(&books, stranger("c", 3), last).await, full);
    // Who is in stays in.
    assert_eq!(
        sign_up(&books, stranger("a", 9), last).await,
        signed_up(1, KeyMade::Before(KeyId::new(1)))
    );
    assert_eq!(
        sign_up(&books, stranger("c", 3), DAY).await,
        signed_up(3, KeyMade::Now(KeyId::new(3)))
    );
    // A clock that is set back opens no day again: the books' time has gone on.
    assert!(matches!(
        sign_up(&books, stranger("d", 4), 1).await,
        Outcome::SignedUp { .. }
    ));
    assert_eq!(sign_up(&books, stranger("e", 5), 1).await, full);
    books.assert_clean().await;
}

async fn what_cannot_be_granted_makes_nobody(books: Books<impl LedgerStore>) {
    books.take(support::open_owner("rich")).await;
    // As much as can be counted, but for 499.
    books.take(support::grant(1, 1, i64::MAX - 499)).await;
    let refused = Outcome::Rejected(Rejection::Ledger(Refusal::CounterOverflow {
        account: AccountKey::Grants,
    }));
    assert_eq!(sign_up(&books, stranger("a", 1), 5).await, refused);
    assert_eq!(books.store.key_by_hash(sha256(&[1])).await.unwrap(), None);
    assert_eq!(books.store.balances(AccountId::new(2)).await.unwrap(), None);
    // It is no part of the day's count, and the request may be asked again, for less.
    let mut less = stranger("a", 2);
    (less.grant, less.per_day_max) = (nano(499), 1);
    assert_eq!(
        sign_up(&books, less, 5).await,
        Outcome::SignedUp {
            owner: AccountId::new(2),
            key: KeyMade::Now(KeyId::new(1)),
            granted: nano(499),
        }
    );
    books.assert_clean().await;
}

on_every_store!(
    what_cannot_be_granted_makes_nobody,
    a_stranger_gets_an_account_a_key_and_a_grant_once,
    so_many_sign_up_in_a_day_and_the_next_day_begins_anew,
);

fn open(per_day_max: u32) -> SignUps {
    SignUps {
        enabled: true,
        per_day_max,
        ..SignUps::default()
    }
}

fn ask(request_id: &str, name: &str) -> pb::SignUpRequest {
    pb::SignUpRequest {
        request_id: request_id.into(),
        display_name: name.into(),
    }
}

#[tokio::test]
async fn the_days_count_survives_a_restart_and_hostile_names_do_not_come_in() {
    let folder = tempfile::tempdir().unwrap();
    for (round, expected) in [(0, 2), (1, 0)] {
        let shutdown = service::shutdown::Shutdown::manual();
        let config = billing::Config {
            sign_up: open(2),
            ..config(&folder)
        };
        let running = billing::start(config, shutdown.clone()).await.unwrap();
        let mut client = client_of(running.address).await;
        let long = "x".repeat(101);
        for (wrong, expected) in [
            (ask("", "ada"), "request_id"),
            (ask(&long, "ada"), "request_id"),
            (ask("r", ""), "display_name"),
            (ask("r", &long), "display_name"),
            (ask("r", "a\u{1b}[2J"), "display_name"),
        ] {
            assert_eq!(field(&client.sign_up(wrong).await.unwrap_err()), expected);
        }
        let mut made = 0;
        for number in 0..5 {
            let asked = ask(&format!("{round}-{number}"), "'; DROP TABLE owners; --");
            match client.sign_up(asked).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    assert!(answer.secret.starts_with("atoll_sk_") && !answer.made_before);
                    assert_eq!(
                        balances(&mut client, &answer.account_id).await[0],
                        answer.granted_nano
                    );
                    made += 1;
                }
                Err(status) => assert_eq!(
                    reason(&status),
                    (Code::ResourceExhausted, "SIGN_UPS_TODAY".into())
                ),
            }
        }
        assert_eq!(made, expected);
        let again = client
            .sign_up(ask("0-0", "'; DROP TABLE owners; --"))
            .await
            .unwrap()
            .into_inner();
        assert!(again.made_before && again.secret.is_empty());
        assert_clean(&mut client).await;
        shutdown.trigger();
        running.join.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn nobody_signs_up_unless_the_operator_lets_them() {
    let mut served = support::served().await;
    let refused = served.client.sign_up(ask("a", "ada")).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "SIGN_UP_OFF".into()));
    served.stop().await;
}

#[tokio::test]
async fn the_databases_themselves_keep_every_sign_up() {
    let attacks = [
        ("UPDATE sign_ups SET day = 9", "a sign-up never changes"),
        ("DELETE FROM sign_ups", "a sign-up is never deleted"),
    ];
    let books = support::books().await;
    sign_up(&books, stranger("a", 1), 5).await;
    let mut db = database::direct(&books.folder.path().join("billing.sqlite")).await;
    let replaced = "INSERT OR REPLACE INTO sign_ups SELECT request_id, owner, key, 9, granted FROM sign_ups";
    for (attack, expected) in attacks.into_iter().chain([(replaced, "a sign-up is once")]) {
        assert_eq!(database::objection(&mut db, attack).await, expected, "{attack}");
    }
    let books = support::postgres(Durability::Synced).await;
    sign_up(&books, stranger("a", 1), 5).await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    for (attack, expected) in attacks
        .into_iter()
        .chain([("TRUNCATE sign_ups", "a sign-up is never deleted")])
    {
        assert_eq!(
            postgres_database::objection(&mut db, attack).await,
            expected,
            "{attack}"
        );
    }
}
