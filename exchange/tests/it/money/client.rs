//! The client's promises: an end to every call, repetition only where it is safe, two kinds of failure.

use std::time::Duration;

use domain::{AccountId, Credits, KeyId, TransferId};
use exchange::billing_client::{
    ATTEMPTS_MAX, BillingClient, BillingClientError, BillingConfig, BillingError, KeyScope, Reserve,
};
use proto::billing::v1::{self as wire, CreateApiKeyRequest};
use service::secret::Secret;
use tonic::Code;

use super::billing::{Billing, Fault, SHARD, TOKEN, client_of, client_with};

fn reserve(transfer: u128) -> Reserve {
    Reserve {
        transfer: TransferId::new(transfer),
        account: AccountId::new(1),
        shard: SHARD,
        minimum: Credits::from_nano(10),
        wanted: Credits::from_nano(100),
    }
}

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, BillingError>) -> bool {
    matches!(answer, Err(BillingError::Unavailable { .. }))
}

#[tokio::test]
async fn a_key_tells_account_and_scope_and_an_unknown_one_is_refused_at_once() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    let authenticated = client.authenticate_key([1; 32]).await.unwrap();
    assert_eq!(authenticated.account, AccountId::new(5));
    assert_eq!(authenticated.key, KeyId::new(7));
    assert_eq!(authenticated.scope, KeyScope::Consumer);
    let refused = client.authenticate_key([0; 32]).await.unwrap_err();
    assert!(
        matches!(&refused, BillingError::Refused { code, .. } if code == "UNKNOWN_KEY"),
        "{refused}"
    );
    assert_eq!(billing.calls("authenticate_api_key"), 2);
    let malformed = client.authenticate_key([2; 32]).await.unwrap_err();
    assert!(matches!(malformed, BillingError::Malformed { .. }), "{malformed}");
}

#[tokio::test]
async fn accounts_and_grants_are_made_once_however_often_they_are_asked_for() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.fault("create_account", Fault::Lost);
    billing.fault("grant_credits", Fault::Lost);
    let account = client.create_account("first", "Ada").await.unwrap();
    assert_eq!(client.create_account("first", "Ada").await.unwrap(), account);
    let granted = client
        .grant("welcome", account, Credits::from_nano(7), "welcome")
        .await
        .unwrap();
    assert_eq!(granted, Credits::from_nano(7));
    let balance = client.balance(account).await.unwrap();
    assert_eq!(
        (balance.available, balance.reserved),
        (Credits::from_nano(7), Credits::ZERO)
    );
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_books_once() {
    let billing = Billing::default();
    let server = billing.serve().await;
    billing.give(AccountId::new(1), 1_000);
    for _ in 1..ATTEMPTS_MAX {
        billing.fault("reserve", Fault::Lost);
    }
    let amount = client_of(server.address).reserve(reserve(1)).await.unwrap();
    assert_eq!(amount, Credits::from_nano(100));
    assert_eq!(billing.reserved_of(AccountId::new(1)), 100);
}

#[tokio::test]
async fn attempts_have_an_end() {
    let billing = Billing::default();
    let server = billing.serve().await;
    for _ in 0..100 {
        billing.fault("reserve", Fault::Before(Code::Unavailable));
    }
    let answer = client_of(server.address).reserve(reserve(1)).await;
    assert!(is_unavailable(&answer), "{answer:?}");
    assert_eq!(billing.calls("reserve"), usize::try_from(ATTEMPTS_MAX).unwrap());
}

#[tokio::test]
async fn a_new_key_is_never_asked_for_twice() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    billing.fault("create_api_key", Fault::Lost);
    let request = || CreateApiKeyRequest {
        name: "laptop".to_owned(),
        scope: wire::KeyScope::Full.into(),
        ..CreateApiKeyRequest::default()
    };
    assert!(is_unavailable(
        &client.create_api_key(AccountId::new(1), request()).await
    ));
    assert_eq!(billing.calls("create_api_key"), 1);
    let key = client.create_api_key(AccountId::new(1), request()).await.unwrap();
    assert_eq!(key.secret.as_ref().unwrap().expose(), "atoll_sk_2");
    assert!(!format!("{key:?}").contains("atoll_sk"));
}

#[tokio::test]
async fn a_billing_that_never_answers_is_not_waited_for() {
    let billing = Billing::default();
    let server = billing.serve().await;
    for _ in 0..ATTEMPTS_MAX {
        billing.fault("get_balance", Fault::Silent);
    }
    let client = client_with(server.address, TOKEN, Duration::from_millis(20));
    assert!(is_unavailable(&client.balance(AccountId::new(1)).await));
}

#[tokio::test]
async fn a_billing_that_is_not_there_is_found_when_it_comes() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let address = server.address;
    let client = client_of(address);
    server.stop().await;
    assert!(is_unavailable(&client.cursor(SHARD).await));
    let _server = billing.serve_on(address).await;
    assert_eq!(client.cursor(SHARD).await.unwrap().get(), 0);
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_a_breakdown_is() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_of(server.address);
    for code in [
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::Unimplemented,
    ] {
        billing.fault("get_settlement_cursor", Fault::Before(code));
        let refused = client.cursor(SHARD).await.unwrap_err();
        assert!(
            matches!(&refused, BillingError::Refused { code: told, .. } if *told == format!("{code:?}")),
            "{refused}"
        );
    }
    for code in [
        Code::Internal,
        Code::Unknown,
        Code::ResourceExhausted,
        Code::Aborted,
    ] {
        billing.fault("get_settlement_cursor", Fault::Before(code));
        client.cursor(SHARD).await.unwrap();
    }
}

#[tokio::test]
async fn another_token_is_refused_and_no_token_is_ever_shown() {
    let billing = Billing::default();
    let server = billing.serve().await;
    let client = client_with(server.address, "wrong-token", Duration::from_secs(5));
    let refused = client.cursor(SHARD).await.unwrap_err();
    assert!(
        matches!(&refused, BillingError::Refused { code, .. } if code == "Unauthenticated"),
        "{refused}"
    );
    let shown = format!("{client:?} {refused:?} {refused}");
    assert!(!shown.contains("wrong-token"), "{shown}");
}

#[tokio::test]
async fn a_reservation_outside_what_was_asked_makes_no_sense() {
    let billing = Billing::default();
    let server = billing.serve().await;
    billing.give(AccountId::new(1), 1_000);
    let client = client_of(server.address);
    client.reserve(reserve(1)).await.unwrap();
    let other = Reserve {
        minimum: Credits::from_nano(500),
        wanted: Credits::from_nano(500),
        ..reserve(1)
    };
    let answer = client.reserve(other).await.unwrap_err();
    assert!(matches!(answer, BillingError::Malformed { .. }), "{answer}");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_any_call() {
    let config = |address: &str, token: &str| BillingConfig {
        address: address.to_owned(),
        token: Secret::new(token),
        timeout: Duration::from_secs(1),
    };
    assert!(matches!(
        BillingClient::new(&config("not an address", "t")),
        Err(BillingClientError::Address(_))
    ));
    assert!(matches!(
        BillingClient::new(&config("http://h", "a\nb")),
        Err(BillingClientError::Token)
    ));
}
