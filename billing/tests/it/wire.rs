//! Every call over gRPC: what it answers, and what it says when it does not.

use billing::Maturity;
use billing::keys::sha256;
use proto::billing::v1 as pb;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{
    Bearer, account, assert_clean, balances, batch, connect, field, reason, reserve_request, serve_in,
    served, traded,
};

#[tokio::test]
async fn an_account_a_grant_and_a_key_are_made_and_used() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 5_000).await;
    assert_eq!(account_id, "acc_1");
    assert_eq!(account(client, "ada", 5_000).await, account_id);
    assert_eq!(balances(client, &account_id).await, [5_000, 0, 0]);

    let request = pb::CreateApiKeyRequest {
        account_id: account_id.clone(),
        name: "laptop".into(),
        scope: pb::KeyScope::Consumer.into(),
        ..Default::default()
    };
    let key = client.create_api_key(request).await.unwrap().into_inner();
    assert!(key.secret.starts_with("atoll_sk_"), "{}", key.key_id);
    let authenticate = pb::AuthenticateApiKeyRequest {
        secret_sha256: sha256(key.secret.as_bytes()).to_vec(),
    };
    let known = client
        .authenticate_api_key(authenticate.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (known.scope(), known.account_id, known.key_id),
        (pb::KeyScope::Consumer, account_id.clone(), key.key_id.clone())
    );
    let list = pb::ListApiKeysRequest { account_id };
    let keys = client
        .list_api_keys(list.clone())
        .await
        .unwrap()
        .into_inner()
        .keys;
    assert_eq!((keys[0].name.as_str(), keys[0].revoked_at_us), ("laptop", 0));
    assert!(!format!("{keys:?}").contains(&key.secret));

    let revoke = pb::RevokeApiKeyRequest { key_id: key.key_id };
    client.revoke_api_key(revoke.clone()).await.unwrap();
    client.revoke_api_key(revoke).await.unwrap();
    let refused = client.authenticate_api_key(authenticate).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::PermissionDenied, "REVOKED_API_KEY".into())
    );
    let nobody = pb::AuthenticateApiKeyRequest {
        secret_sha256: vec![9; 32],
    };
    let refused = client.authenticate_api_key(nobody).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "UNKNOWN_KEY".into()));
    let keys = client.list_api_keys(list).await.unwrap().into_inner().keys;
    assert!(keys[0].revoked_at_us > 0);
    served.stop().await;
}

#[tokio::test]
async fn the_secret_is_nowhere_in_the_data_folder() {
    let mut served = served().await;
    let account_id = account(&mut served.client, "ada", 0).await;
    let request = pb::CreateApiKeyRequest {
        account_id,
        name: "k".into(),
        ..Default::default()
    };
    let secret = served
        .client
        .create_api_key(request)
        .await
        .unwrap()
        .into_inner()
        .secret;
    let folder = served.stop().await;
    let rest = secret.strip_prefix("atoll_sk_").unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // SQLite takes its log away when the last connection has gone, which may be just now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let found = bytes.windows(rest.len()).any(|window| window == rest.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

#[tokio::test]
async fn every_call_needs_the_service_token() {
    let mut served = served().await;
    let channel = connect(served.running.address).await;
    let mut stranger = BillingServiceClient::new(channel.clone());
    let refused = stranger.audit(pb::AuditRequest {}).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::Unauthenticated, "SERVICE_TOKEN_REQUIRED".into())
    );
    let mut guesser = BillingServiceClient::with_interceptor(channel, Bearer("another-token-of-length"));
    let account = pb::CreateAccountRequest {
        request_id: "x".into(),
        display_name: "x".into(),
    };
    assert_eq!(
        guesser.create_account(account).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    let grant = pb::GrantCreditsRequest::default();
    assert_eq!(
        guesser.grant_credits(grant).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(
        guesser.settle(batch(1, vec![])).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(assert_clean(&mut served.client).await.accounts, 4);
    served.stop().await;
}

#[tokio::test]
async fn a_request_id_with_another_body_is_refused() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 5_000).await;
    let other = pb::CreateAccountRequest {
        request_id: "account-ada".into(),
        display_name: "eve".into(),
    };
    let refused = client.create_account(other).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::AlreadyExists, "REQUEST_DIFFERS".into()));
    let more = pb::GrantCreditsRequest {
        request_id: "grant-ada".into(),
        account_id: account_id.clone(),
        amount_nano: 5_001,
        reason: "for a test".into(),
    };
    let refused = client.grant_credits(more).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::AlreadyExists, "TRANSFER_DIFFERS".into()));
    assert_eq!(balances(client, &account_id).await, [5_000, 0, 0]);
    served.stop().await;
}

#[tokio::test]
async fn a_reservation_is_partial_atomic_and_idempotent() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 5_000).await;
    let request = reserve_request(7, &account_id, 1_000, 9_000);
    for _ in 0..2 {
        let answer = client.reserve(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.amount_nano, 5_000);
        assert_eq!(balances(client, &account_id).await, [0, 5_000, 0]);
    }
    let refused = client
        .reserve(reserve_request(8, &account_id, 1, 1))
        .await
        .unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::FailedPrecondition, "INSUFFICIENT_FUNDS".into())
    );
    let refused = client
        .reserve(reserve_request(7, &account_id, 5_001, 9_000))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), (Code::AlreadyExists, "TRANSFER_DIFFERS".into()));

    let back = pb::ReturnReservedRequest {
        transfer_id: "trf_9".into(),
        account_id: account_id.clone(),
        shard: 0,
        amount_nano: 2_000,
    };
    for _ in 0..2 {
        client.return_reserved(back.clone()).await.unwrap();
        assert_eq!(balances(client, &account_id).await, [2_000, 3_000, 0]);
    }
    let too_much = pb::ReturnReservedRequest {
        transfer_id: "trf_A".into(),
        amount_nano: 3_001,
        ..back
    };
    let refused = client.return_reserved(too_much).await.unwrap_err();
    assert_eq!(
        reason(&refused),
        (Code::FailedPrecondition, "INSUFFICIENT_FUNDS".into())
    );
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn reservations_come_in_pages_oldest_first() {
    let mut served = served().await;
    let client = &mut served.client;
    let account_id = account(client, "ada", 5_000).await;
    for id in 0..25 {
        client
            .reserve(reserve_request(100 - id, &account_id, 1, 1))
            .await
            .unwrap();
    }
    let mut listed = Vec::new();
    let mut request = pb::ListReservationsRequest {
        shard: 0,
        page_size: 10,
        page_token: String::new(),
    };
    let mut pages = 0;
    loop {
        let page = client
            .list_reservations(request.clone())
            .await
            .unwrap()
            .into_inner();
        listed.extend(
            page.reservations
                .into_iter()
                .map(|reservation| reservation.transfer_id),
        );
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<String> = (0..25)
        .map(|id| domain::TransferId::new(100 - id).to_string())
        .collect();
    assert_eq!((listed, pages), (expected, 3));
    // The token of one shard is none for another, and none for a history.
    request.shard = 1;
    assert_eq!(
        field(&client.list_reservations(request.clone()).await.unwrap_err()),
        "page_token"
    );
    let history = pb::ListTransfersRequest {
        account_id,
        page_size: 0,
        page_token: request.page_token,
        filter: String::new(),
    };
    assert_eq!(
        field(&client.list_transfers(history).await.unwrap_err()),
        "page_token"
    );
    served.stop().await;
}

#[tokio::test]
async fn a_history_tells_what_each_transfer_did_to_its_owner() {
    let mut served = served().await;
    let client = &mut served.client;
    let (consumer, island) = traded(client, 400_000_000).await;
    let mut seen_by = async |account_id: &str| {
        let request = pb::ListTransfersRequest {
            account_id: account_id.to_owned(),
            page_size: 0,
            page_token: String::new(),
            filter: String::new(),
        };
        let transfers = client
            .list_transfers(request)
            .await
            .unwrap()
            .into_inner()
            .transfers;
        let line = |transfer: pb::Transfer| {
            let pb::Transfer {
                kind,
                counterparty,
                net_nano,
                job_id,
                ..
            } = transfer;
            format!("{kind} {counterparty} {net_nano} {job_id}")
                .trim_end()
                .to_owned()
        };
        transfers.into_iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        seen_by(&consumer).await,
        [
            "pool_share pool -600000 job_1",
            "fee fees -2400000 job_1",
            "charge acc_2 -150000000 job_1",
            "reserve acc_1 0",
            "grant grants 1000000000",
        ]
    );
    assert_eq!(seen_by(&island).await, ["earning acc_1 150000000 job_1"]);
    // What is shown adds up to what is there.
    let shown: i64 = [1_000_000_000, -150_000_000, -2_400_000, -600_000].iter().sum();
    assert_eq!(balances(client, &consumer).await.iter().sum::<i64>(), shown);
    served.stop().await;
}

#[tokio::test]
async fn health_and_both_reflections_answer_without_a_token() {
    let served = served().await;
    let channel = connect(served.running.address).await;
    let request = HealthCheckRequest {
        service: "atoll.billing.v1.BillingService".into(),
    };
    let health = HealthClient::new(channel.clone())
        .check(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.status().as_str_name(), "SERVING");

    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut answers = client
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("atoll.billing.v1.BillingService"), "{answer}");

    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("atoll.billing.v1.BillingService"), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn a_page_of_reserved_balances_goes_on_after_a_restart() {
    let mut served = served().await;
    let mut accounts = Vec::new();
    for name in ["ada", "grace", "edsger"] {
        let account_id = account(&mut served.client, name, 100).await;
        let id = 1 + u128::try_from(accounts.len()).unwrap();
        let request = reserve_request(id, &account_id, 7, 7);
        served.client.reserve(request).await.unwrap();
        accounts.push(account_id);
    }
    let page = |page_token: String| pb::ListReservedBalancesRequest {
        shard: 0,
        page_size: 2,
        page_token,
    };
    let first = served
        .client
        .list_reserved_balances(page(String::new()))
        .await
        .unwrap();
    let first = first.into_inner();
    let folder = served.stop().await;
    let mut served = serve_in(folder, Maturity::default()).await;
    let second = served
        .client
        .list_reserved_balances(page(first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    let listed: Vec<String> = first
        .balances
        .into_iter()
        .chain(second.balances)
        .map(|held| held.account_id)
        .collect();
    assert_eq!(listed, accounts);
    assert_eq!(second.next_page_token, "");
    served.stop().await;
}
