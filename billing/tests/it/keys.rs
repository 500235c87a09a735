//! API keys: made once a request, rotated once, gone when they expire; on every store, over the wire, and attacked.

use billing::keys::sha256;
use billing::limits::KEYS_PER_OWNER_MAX;
use billing::store::key::{KeptSecret, KeyMade, KeyRecord, KeyRequest, KeyState, NewKey, Rotation};
use billing::store::plan::{Needs, Working};
use billing::store::{Change, Durability, LedgerStore, Outcome, Rejection};
use domain::{AccountId, Credits, KeyId};
use proto::billing::v1 as pb;
use proto::convert::billing::{KeyScope, ROTATION_GRACE_MAX, SpendingLimit, SpendingTotal};
use tonic::Code;

use crate::support::{self, Books, Client, account, at, field, on_every_store, reason, served};
use crate::{database, postgres_database};

fn secret(number: u64) -> KeptSecret {
    KeptSecret {
        prefix: "atoll_sk_abcd".into(),
        sha256: sha256(&number.to_be_bytes()),
    }
}

fn request(id: &str, body: u8) -> KeyRequest {
    KeyRequest {
        id: id.into(),
        body: [body; 32],
    }
}

fn new_key(number: u64) -> NewKey {
    NewKey {
        owner: AccountId::new(1),
        name: "laptop".into(),
        scope: KeyScope::Consumer,
        secret: secret(number),
        request: None,
        expires_at: None,
    }
}

fn rotation(key: u64, number: u64, ends: u64) -> Rotation {
    Rotation {
        key: KeyId::new(key),
        request: request("turn", 1),
        secret: secret(number),
        old_expires_at: at(ends),
        expires_at: None,
    }
}

fn made(id: u64) -> Outcome {
    Outcome::Key(KeyMade::Now(KeyId::new(id)))
}

fn rotated(successor: KeyMade, ends: u64) -> Outcome {
    Outcome::Rotated {
        successor,
        old_expires_at: at(ends),
    }
}

async fn take_at(books: &Books<impl LedgerStore>, change: Change, now: u64) -> Outcome {
    let outcomes = books.store.commit(&[change], at(now)).await.unwrap();
    outcomes.into_iter().next().unwrap()
}

async fn key(books: &Books<impl LedgerStore>, number: u64) -> KeyRecord {
    let found = books.store.key_by_hash(secret(number).sha256).await;
    found.unwrap().unwrap()
}

async fn a_key_is_made_once_a_request_of_its_owner(books: Books<impl LedgerStore>) {
    books.fund().await;
    let asked = |owner, secret_of, body| {
        Change::CreateKey(NewKey {
            owner: AccountId::new(owner),
            secret: secret(secret_of),
            request: Some(request("mine", body)),
            ..new_key(0)
        })
    };
    assert_eq!(books.take(asked(1, 1, 1)).await, made(1));
    // The second one's secret is nobody's.
    let before = Outcome::Key(KeyMade::Before(KeyId::new(1)));
    assert_eq!(books.take(asked(1, 2, 1)).await, before);
    assert_eq!(books.store.key_by_hash(secret(2).sha256).await.unwrap(), None);
    assert_eq!(
        books.take(asked(1, 3, 2)).await,
        Outcome::Rejected(Rejection::RequestDiffers)
    );
    // Another owner may well call his request the same.
    assert_eq!(books.take(asked(2, 4, 2)).await, made(2));
    // Twice in one batch is once too.
    let twice = |secret_of| {
        Change::CreateKey(NewKey {
            secret: secret(secret_of),
            request: Some(request("batch", 1)),
            ..new_key(0)
        })
    };
    let outcomes = books.store.commit(&[twice(5), twice(6)], at(1)).await.unwrap();
    assert_eq!(outcomes, [made(3), Outcome::Key(KeyMade::Before(KeyId::new(3)))]);
    assert_eq!(
        books
            .store
            .keys_of(AccountId::new(1))
            .await
            .unwrap()
            .unwrap()
            .len(),
        2
    );
}

async fn a_key_that_would_have_expired_already_is_not_made(books: Books<impl LedgerStore>) {
    books.fund().await;
    let until = |expires, secret_of| {
        Change::CreateKey(NewKey {
            secret: secret(secret_of),
            request: Some(request("until", 1)),
            expires_at: Some(at(expires)),
            ..new_key(0)
        })
    };
    let passed = Outcome::Rejected(Rejection::ExpiryPassed);
    assert_eq!(take_at(&books, until(100, 1), 100).await, passed);
    assert_eq!(take_at(&books, until(0, 1), 100).await, passed);
    assert_eq!(take_at(&books, until(101, 1), 100).await, made(1));
    assert_eq!(key(&books, 1).await.expires_at, Some(at(101)));
    // The same request is answered alike when the key has expired.
    assert_eq!(
        take_at(&books, until(101, 2), 500).await,
        Outcome::Key(KeyMade::Before(KeyId::new(1)))
    );
}

async fn a_rotated_key_is_followed_by_one_like_it_and_ends(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.take(Change::CreateKey(new_key(1))).await;
    let turn = |secret_of| Change::RotateKey(rotation(1, secret_of, 50));
    let now = KeyMade::Now(KeyId::new(2));
    assert_eq!(take_at(&books, turn(2), 10).await, rotated(now, 50));
    let (old, new) = (key(&books, 1).await, key(&books, 2).await);
    assert_eq!(
        (old.expires_at, old.rotated_to, old.line),
        (Some(at(50)), Some(KeyId::new(2)), KeyId::new(1))
    );
    assert_eq!(
        (new.owner, new.name, new.scope, new.expires_at),
        (old.owner, old.name, old.scope, None)
    );
    assert_eq!((new.rotated_from, new.line), (Some(old.id), KeyId::new(1)));
    // Again, also when the key has ended: the same successor, and no new secret.
    let before = KeyMade::Before(KeyId::new(2));
    assert_eq!(take_at(&books, turn(3), 90).await, rotated(before, 50));
    assert_eq!(books.store.key_by_hash(secret(3).sha256).await.unwrap(), None);
    let mut other = rotation(1, 4, 50);
    other.request.body = [9; 32];
    assert_eq!(
        take_at(&books, Change::RotateKey(other), 90).await,
        Outcome::Rejected(Rejection::RequestDiffers)
    );
    let mut other = rotation(1, 4, 50);
    other.request.id = "turn again".into();
    assert_eq!(
        take_at(&books, Change::RotateKey(other), 90).await,
        Outcome::Rejected(Rejection::AlreadyRotated {
            successor: KeyId::new(2)
        })
    );
    // The successor is of the same line, and so is its own. A request's id may be that of the rotation before.
    let third = take_at(&books, Change::RotateKey(rotation(2, 5, 70)), 60).await;
    assert_eq!(third, rotated(KeyMade::Now(KeyId::new(3)), 70));
    assert_eq!(key(&books, 5).await.line, KeyId::new(1));
}

async fn a_rotation_never_lengthens_a_life(books: Books<impl LedgerStore>) {
    books.fund().await;
    let short = NewKey {
        expires_at: Some(at(40)),
        ..new_key(1)
    };
    take_at(&books, Change::CreateKey(short), 5).await;
    let outcome = take_at(&books, Change::RotateKey(rotation(1, 2, 900)), 10).await;
    assert_eq!(outcome, rotated(KeyMade::Now(KeyId::new(2)), 40));
    // Without a word on it the successor ends when the key would have.
    assert_eq!(key(&books, 2).await.expires_at, Some(at(40)));
    // A grace of nothing ends the key in the same moment.
    let outcome = take_at(&books, Change::RotateKey(rotation(2, 3, 12)), 12).await;
    assert_eq!(outcome, rotated(KeyMade::Now(KeyId::new(3)), 12));
}

async fn what_has_ended_is_not_rotated(books: Books<impl LedgerStore>) {
    books.fund().await;
    let short = NewKey {
        expires_at: Some(at(40)),
        ..new_key(1)
    };
    take_at(&books, Change::CreateKey(short), 5).await;
    books.take(Change::CreateKey(new_key(2))).await;
    books.take(Change::RevokeKey(KeyId::new(2))).await;
    let turn = |key| Change::RotateKey(rotation(key, 9, 100));
    for (key, rejection) in [
        (1, Rejection::KeyExpired(KeyId::new(1))),
        (2, Rejection::KeyRevoked(KeyId::new(2))),
        (3, Rejection::UnknownKey(KeyId::new(3))),
        (u64::MAX, Rejection::UnknownKey(KeyId::new(u64::MAX))),
    ] {
        assert_eq!(
            take_at(&books, turn(key), 40).await,
            Outcome::Rejected(rejection),
            "{key}"
        );
    }
    let mut late = rotation(1, 9, 100);
    late.expires_at = Some(at(30));
    assert_eq!(
        take_at(&books, Change::RotateKey(late), 30).await,
        Outcome::Rejected(Rejection::ExpiryPassed)
    );
}

async fn an_owner_makes_so_many_keys_and_no_more(books: Books<impl LedgerStore>) {
    books.fund().await;
    let mut number = 0;
    while number < KEYS_PER_OWNER_MAX {
        let until = KEYS_PER_OWNER_MAX.min(number + 500);
        let keys = (number..until).map(|number| Change::CreateKey(new_key(number.into())));
        books
            .store
            .commit(&keys.collect::<Vec<_>>(), at(1))
            .await
            .unwrap();
        number = until;
    }
    let more = u64::from(KEYS_PER_OWNER_MAX);
    let too_many = Outcome::Rejected(Rejection::TooManyKeys);
    assert_eq!(books.take(Change::CreateKey(new_key(more))).await, too_many);
    assert_eq!(
        books.take(Change::RotateKey(rotation(1, more, 90))).await,
        too_many
    );
    // Others are not kept from theirs.
    let other = NewKey {
        owner: AccountId::new(2),
        ..new_key(more)
    };
    assert_eq!(books.take(Change::CreateKey(other)).await, made(more + 1));
}

on_every_store!(
    a_key_is_made_once_a_request_of_its_owner,
    a_key_that_would_have_expired_already_is_not_made,
    a_rotated_key_is_followed_by_one_like_it_and_ends,
    a_rotation_never_lengthens_a_life,
    what_has_ended_is_not_rotated,
    an_owner_makes_so_many_keys_and_no_more,
);

#[test]
fn keys_are_counted_for_those_who_make_some() {
    let mut working = Working::default();
    for key in [1, 2] {
        let state = KeyState {
            owner: AccountId::new(key),
            name: "laptop".into(),
            scope: KeyScope::Consumer,
            line: KeyId::new(key),
            expires_at: None,
            revoked_at: None,
            successor: None,
        };
        working.keys.insert(KeyId::new(key), state);
    }
    let makers = |changes: &[Change]| -> Vec<AccountId> {
        let needs = Needs::of(changes);
        needs.makers_of_keys(&working).collect()
    };
    let spent = Change::NoteSpending(SpendingTotal {
        line: KeyId::new(1),
        user: None,
        day: 1,
        spent: Credits::from_nano(5),
    });
    let limit = Change::LimitSpending(KeyId::new(1), SpendingLimit::default());
    let revoke = Change::RevokeKey(KeyId::new(1));
    let noted = [spent, limit, revoke];
    assert_eq!(makers(&noted), []);
    let rotate = Change::RotateKey(rotation(2, 9, 90));
    assert_eq!(
        makers(&[noted.as_slice(), &[rotate]].concat()),
        [AccountId::new(2)]
    );
    assert_eq!(makers(&[Change::CreateKey(new_key(3))]), [AccountId::new(1)]);
}

fn create(account_id: &str, request_id: &str) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest {
        account_id: account_id.into(),
        name: "laptop".into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

fn rotate(key_id: &str, grace_ms: u64) -> pb::RotateApiKeyRequest {
    pb::RotateApiKeyRequest {
        key_id: key_id.into(),
        request_id: "turn".into(),
        grace_ms,
        expire_time_us: 0,
    }
}

async fn authenticate(client: &mut Client, secret: &str) -> Result<String, (Code, String)> {
    let request = pb::AuthenticateApiKeyRequest {
        secret_sha256: sha256(secret.as_bytes()).to_vec(),
    };
    let answer = client.authenticate_api_key(request).await;
    answer
        .map(|answer| answer.into_inner().key_id)
        .map_err(|status| reason(&status))
}

#[tokio::test]
async fn a_lost_answer_gives_the_key_again_without_its_secret() {
    let mut served = served().await;
    let client = &mut served.client;
    let owner = account(client, "ada", 0).await;
    let first = client
        .create_api_key(create(&owner, "mine"))
        .await
        .unwrap()
        .into_inner();
    assert!(!first.made_before && first.secret.starts_with("atoll_sk_"));
    let again = client
        .create_api_key(create(&owner, "mine"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.key_id, again.secret.as_str(), again.made_before),
        (first.key_id.clone(), "", true)
    );
    let mut other = create(&owner, "mine");
    other.scope = pb::KeyScope::Island.into();
    let refused = client.create_api_key(other).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::AlreadyExists, "REQUEST_DIFFERS".into()));
    // What was lost is rotated: the lost secret ends at once.
    let turned = client
        .rotate_api_key(rotate(&first.key_id, 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        authenticate(client, &first.secret).await,
        Err((Code::PermissionDenied, "EXPIRED_API_KEY".into()))
    );
    assert_eq!(
        authenticate(client, &turned.secret).await,
        Ok(turned.key_id.clone())
    );
    let again = client
        .rotate_api_key(rotate(&first.key_id, 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.key_id, again.secret.as_str(), again.made_before),
        (turned.key_id, "", true)
    );
    assert_eq!(again.old_expire_time_us, turned.old_expire_time_us);
    served.stop().await;
}

#[tokio::test]
async fn both_secrets_work_for_the_time_of_grace_and_the_list_tells() {
    let mut served = served().await;
    let client = &mut served.client;
    let owner = account(client, "ada", 0).await;
    let old = client
        .create_api_key(create(&owner, ""))
        .await
        .unwrap()
        .into_inner();
    let new = client
        .rotate_api_key(rotate(&old.key_id, 3_600_000))
        .await
        .unwrap()
        .into_inner();
    for key in [(&old.secret, &old.key_id), (&new.secret, &new.key_id)] {
        assert_eq!(authenticate(client, key.0).await.as_ref(), Ok(key.1));
    }
    let list = pb::ListApiKeysRequest { account_id: owner };
    let keys = client.list_api_keys(list).await.unwrap().into_inner().keys;
    let [first, second] = &keys[..] else {
        panic!("{keys:?}")
    };
    assert_eq!(
        (first.expire_time_us, first.rotated_to_key_id.as_str()),
        (new.old_expire_time_us, second.key_id.as_str())
    );
    assert_eq!(
        (second.expire_time_us, second.rotated_from_key_id.as_str()),
        (0, first.key_id.as_str())
    );
    // Both are revoked each by itself.
    client
        .revoke_api_key(pb::RevokeApiKeyRequest { key_id: old.key_id })
        .await
        .unwrap();
    assert_eq!(
        authenticate(client, &old.secret).await,
        Err((Code::PermissionDenied, "REVOKED_API_KEY".into()))
    );
    assert_eq!(authenticate(client, &new.secret).await, Ok(new.key_id));
    served.stop().await;
}

#[tokio::test]
async fn hostile_requests_for_keys_are_refused_by_field() {
    let mut served = served().await;
    let client = &mut served.client;
    let owner = account(client, "ada", 0).await;
    let key = client
        .create_api_key(create(&owner, ""))
        .await
        .unwrap()
        .into_inner();
    let long = "x".repeat(65);
    for (wrong, expected) in [
        (create(&owner, &long), "request_id"),
        (create(&owner, "a\nb"), "request_id"),
        (
            pb::CreateApiKeyRequest {
                expire_time_us: u64::MAX,
                ..create(&owner, "")
            },
            "expire_time_us",
        ),
        (
            pb::CreateApiKeyRequest {
                name: "\u{0}".into(),
                ..create(&owner, "")
            },
            "name",
        ),
        (
            pb::CreateApiKeyRequest {
                scope: 77,
                ..create(&owner, "")
            },
            "scope",
        ),
    ] {
        let refused = client.create_api_key(wrong).await.unwrap_err();
        assert_eq!(field(&refused), expected);
    }
    let past = pb::CreateApiKeyRequest {
        expire_time_us: 1,
        ..create(&owner, "")
    };
    let refused = client.create_api_key(past).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::InvalidArgument, "EXPIRY_PASSED".into()));
    let grace_max = u64::try_from(ROTATION_GRACE_MAX.as_millis()).unwrap();
    for (wrong, expected) in [
        (rotate(&key.key_id, grace_max + 1), "grace_ms"),
        (rotate(&key.key_id, u64::MAX), "grace_ms"),
        (rotate("key_", 0), "key_id"),
        (rotate(&owner, 0), "key_id"),
        (
            pb::RotateApiKeyRequest {
                request_id: String::new(),
                ..rotate(&key.key_id, 0)
            },
            "request_id",
        ),
    ] {
        let refused = client.rotate_api_key(wrong).await.unwrap_err();
        assert_eq!(field(&refused), expected);
    }
    let last = rotate(&key.key_id, grace_max);
    assert!(client.rotate_api_key(last).await.is_ok());
    served.stop().await;
}

const STAYS: &str = "a key is revoked once, its end only comes nearer, and otherwise it never changes";
const FOLLOWS: &str = "a successor has the owner, the name and the scope of the key that it follows";

/// What the databases refuse by themselves. Key 1 was rotated into key 2 and ends at 50; key 3 was revoked.
const ATTACKS: [(&str, &str); 11] = [
    ("UPDATE api_keys SET name = 'mine' WHERE id = 2", STAYS),
    ("UPDATE api_keys SET scope = 'full' WHERE id = 2", STAYS),
    ("UPDATE api_keys SET owner = 2 WHERE id = 2", STAYS),
    ("UPDATE api_keys SET expires_at = NULL WHERE id = 1", STAYS),
    ("UPDATE api_keys SET expires_at = 51 WHERE id = 1", STAYS),
    ("UPDATE api_keys SET revoked_at = NULL WHERE id = 3", STAYS),
    ("UPDATE api_keys SET revoked_at = 9 WHERE id = 3", STAYS),
    (
        "UPDATE api_keys SET line = NULL, rotated_from = NULL WHERE id = 2",
        STAYS,
    ),
    ("DELETE FROM api_keys", "a key is never deleted"),
    (
        "INSERT INTO api_keys (id, owner, name, scope, prefix, secret_sha256, created_at, rotated_from, line)
            SELECT 9, 2, name, scope, prefix, secret_sha256, 1, 3, 3 FROM api_keys WHERE id = 3",
        FOLLOWS,
    ),
    (
        "INSERT INTO api_keys (id, owner, name, scope, prefix, secret_sha256, created_at, rotated_from, line)
            SELECT 9, owner, name, 'full', prefix, secret_sha256, 1, 3, 3 FROM api_keys WHERE id = 3",
        FOLLOWS,
    ),
];

async fn keys_to_attack(books: &Books<impl LedgerStore>) {
    books.fund().await;
    books.take(Change::CreateKey(new_key(1))).await;
    books.take(Change::RotateKey(rotation(1, 2, 50))).await;
    books.take(Change::CreateKey(new_key(3))).await;
    books.take(Change::RevokeKey(KeyId::new(3))).await;
}

#[tokio::test]
async fn sqlite_itself_refuses_to_change_a_key() {
    let books = support::books().await;
    keys_to_attack(&books).await;
    let mut db = database::direct(&books.folder.path().join("billing.sqlite")).await;
    for (attack, expected) in ATTACKS {
        let refused = database::objection(&mut db, attack).await;
        // A second row of one secret is refused before it is looked at whom it follows.
        let once = expected == FOLLOWS && refused == "a key is made once";
        assert!(refused == expected || once, "{attack}: {refused}");
    }
    let sooner = "UPDATE api_keys SET expires_at = 49 WHERE id = 1";
    assert_eq!(database::objection(&mut db, sooner).await, "accepted, 1 rows");
}

#[tokio::test]
async fn postgres_itself_refuses_to_change_a_key() {
    let books = support::postgres(Durability::Synced).await;
    keys_to_attack(&books).await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    for (attack, expected) in ATTACKS {
        let refused = postgres_database::objection(&mut db, attack).await;
        assert_eq!(refused, expected, "{attack}");
    }
    let sooner = "UPDATE api_keys SET expires_at = 49 WHERE id = 1";
    assert_eq!(
        postgres_database::objection(&mut db, sooner).await,
        "accepted, 1 rows"
    );
}
