//! What no caller should send: each is refused with the field or code that says why, and the books stay clean.

use proto::billing::v1 as pb;
use tonic::{Code, Status};

use crate::support::{
    account, assert_clean, balances, batch, field, reason, reserve_request, served, settlement,
};

fn grant(request_id: &str, account_id: &str, amount_nano: i64) -> pb::GrantCreditsRequest {
    pb::GrantCreditsRequest {
        request_id: request_id.into(),
        account_id: account_id.into(),
        amount_nano,
        reason: "r".into(),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>) -> (Code, String) {
    reason(&answer.unwrap_err())
}

fn bad<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>) -> String {
    field(&answer.unwrap_err())
}

#[tokio::test]
async fn amounts_that_are_none_name_their_field() {
    let mut served = served().await;
    let client = &mut served.client;
    let id = account(client, "ada", 100).await;
    for amount in [0, -1, i64::MIN] {
        assert_eq!(
            bad(client.grant_credits(grant("g", &id, amount)).await),
            "amount_nano"
        );
        assert_eq!(
            bad(client.reserve(reserve_request(1, &id, amount, 5)).await),
            "minimum_nano"
        );
        assert_eq!(
            bad(client.reserve(reserve_request(1, &id, 1, amount)).await),
            "wanted_nano"
        );
        let back = pb::ReturnReservedRequest {
            transfer_id: "trf_1".into(),
            account_id: id.clone(),
            shard: 0,
            amount_nano: amount,
        };
        assert_eq!(bad(client.return_reserved(back).await), "amount_nano");
    }
    assert_eq!(balances(client, &id).await, [100, 0, 0]);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn the_largest_amounts_overflow_nothing() {
    let mut served = served().await;
    let client = &mut served.client;
    let [rich, poor] = [account(client, "rich", 0).await, account(client, "poor", 0).await];
    client.grant_credits(grant("all", &rich, i64::MAX)).await.unwrap();
    let over = (Code::OutOfRange, "COUNTER_OVERFLOW".to_owned());
    assert_eq!(code(client.grant_credits(grant("one", &poor, 1)).await), over);
    assert_eq!(
        code(client.grant_credits(grant("more", &rich, i64::MAX)).await),
        over
    );
    let reserve = reserve_request(1, &rich, i64::MAX, i64::MAX);
    assert_eq!(
        client.reserve(reserve).await.unwrap().into_inner().amount_nano,
        i64::MAX
    );
    assert_eq!(balances(client, &rich).await, [0, i64::MAX, 0]);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn ids_that_are_none_name_their_field_and_ids_of_nobody_are_not_found() {
    let mut served = served().await;
    let client = &mut served.client;
    let id = account(client, "ada", 100).await;
    let long = format!("acc_{}", "Z".repeat(100_000));
    for wrong in [
        "",
        "acc_",
        "1",
        "key_1",
        "acc_!",
        "acc_ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
        &long,
    ] {
        assert_eq!(
            bad(client.grant_credits(grant("g", wrong, 1)).await),
            "account_id",
            "{wrong:.40}"
        );
    }
    let unknown = (Code::NotFound, "UNKNOWN_ACCOUNT".to_owned());
    // Zero, the first that does not exist, and the largest number.
    for nobody in ["acc_0", "acc_2", "acc_FZZZZZZZZZZZZ"] {
        assert_eq!(
            code(client.grant_credits(grant("g", nobody, 1)).await),
            unknown,
            "{nobody}"
        );
        assert_eq!(
            code(client.reserve(reserve_request(1, nobody, 1, 1)).await),
            unknown
        );
        let balance = pb::GetBalanceRequest {
            account_id: nobody.into(),
        };
        assert_eq!(code(client.get_balance(balance).await), unknown);
        let keys = pb::ListApiKeysRequest {
            account_id: nobody.into(),
        };
        assert_eq!(code(client.list_api_keys(keys).await), unknown);
        let history = pb::ListTransfersRequest {
            account_id: nobody.into(),
            ..Default::default()
        };
        assert_eq!(code(client.list_transfers(history).await), unknown);
        let key = pb::CreateApiKeyRequest {
            account_id: nobody.into(),
            name: "k".into(),
            ..Default::default()
        };
        assert_eq!(code(client.create_api_key(key).await), unknown);
    }
    let mut billings = reserve_request(1, &id, 1, 1);
    billings.transfer_id = domain::TransferId::new(u128::MAX).to_string();
    assert_eq!(bad(client.reserve(billings).await), "transfer_id");
    let revoke = pb::RevokeApiKeyRequest {
        key_id: "key_FZZZZZZZZZZZZ".into(),
    };
    assert_eq!(
        code(client.revoke_api_key(revoke).await),
        (Code::NotFound, "UNKNOWN_KEY".into())
    );
    for length in [0, 31, 33] {
        let authenticate = pb::AuthenticateApiKeyRequest {
            secret_sha256: vec![0; length],
        };
        assert_eq!(
            bad(client.authenticate_api_key(authenticate).await),
            "secret_sha256"
        );
    }
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn texts_have_bounds() {
    let mut served = served().await;
    let client = &mut served.client;
    let id = account(client, "ada", 0).await;
    let make = |request_id: &str, display_name: &str| pb::CreateAccountRequest {
        request_id: request_id.into(),
        display_name: display_name.into(),
    };
    assert_eq!(bad(client.create_account(make("", "x")).await), "request_id");
    assert_eq!(
        bad(client.create_account(make(&"x".repeat(65), "x")).await),
        "request_id"
    );
    assert_eq!(bad(client.create_account(make("x", "")).await), "display_name");
    assert_eq!(
        bad(client.create_account(make("x", &"x".repeat(101))).await),
        "display_name"
    );
    assert_eq!(
        bad(client.create_account(make("x", "a\0b")).await),
        "display_name"
    );
    // What looks like SQL or JSON is a name like any other.
    let name = r#"'); DROP TABLE transfers;-- "],["#;
    client.create_account(make(name, name)).await.unwrap();
    let mut memo = grant(name, &id, 5);
    memo.reason = name.into();
    client.grant_credits(memo.clone()).await.unwrap();
    client.grant_credits(memo.clone()).await.unwrap();
    memo.reason = "x".repeat(201);
    assert_eq!(bad(client.grant_credits(memo).await), "reason");
    let history = pb::ListTransfersRequest {
        account_id: id,
        ..Default::default()
    };
    let transfers = client
        .list_transfers(history)
        .await
        .unwrap()
        .into_inner()
        .transfers;
    assert_eq!((transfers.len(), transfers[0].memo.as_str()), (1, name));
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn settlements_that_are_none_name_their_place() {
    let mut served = served().await;
    let client = &mut served.client;
    let broken = |change: fn(&mut pb::SettleRequest)| {
        let mut request = batch(5, vec![settlement(4, 1, 1, 2, 10), settlement(5, 2, 1, 2, 10)]);
        change(&mut request);
        let mut client = client.clone();
        async move { bad(client.settle(request).await) }
    };
    assert_eq!(
        broken(|r| r.settlements[1].lease_id = "x".into()).await,
        "settlements[1].lease_id"
    );
    assert_eq!(
        broken(|r| r.settlements[1].price = 0).await,
        "settlements[1].price"
    );
    assert_eq!(
        broken(|r| r.settlements[0].units = 1 << 63).await,
        "settlements[0].units"
    );
    assert_eq!(
        broken(|r| r.settlements[0].bid_liquidity = 9).await,
        "settlements[0].bid_liquidity"
    );
    assert_eq!(
        broken(|r| r.settlements[0].sequence = u64::MAX).await,
        "settlements[0].sequence"
    );
    assert_eq!(
        broken(|r| r.through_sequence = u64::MAX).await,
        "through_sequence"
    );
    assert_eq!(broken(|r| r.shard = 1 << 16).await, "shard");
    let request = pb::GetSettlementCursorRequest { shard: 0 };
    let cursor = client.get_settlement_cursor(request).await.unwrap().into_inner();
    assert_eq!(cursor.through_sequence, 0);
    served.stop().await;
}

#[tokio::test]
async fn page_sizes_are_cut_and_page_tokens_checked() {
    let mut served = served().await;
    let client = &mut served.client;
    let id = account(client, "ada", 100).await;
    let mut request = pb::ListTransfersRequest {
        account_id: id,
        page_size: u32::MAX,
        page_token: String::new(),
        filter: String::new(),
    };
    let page = client.list_transfers(request.clone()).await.unwrap().into_inner();
    assert_eq!((page.transfers.len(), page.next_page_token.as_str()), (1, ""));
    for token in ["x", "0", "aaaaaaaaaaaaaaaa", "\u{1F980}"] {
        request.page_token = token.into();
        assert_eq!(bad(client.list_transfers(request.clone()).await), "page_token");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_bound_is_refused() {
    let mut served = served().await;
    let client = &mut served.client;
    let request = pb::CreateAccountRequest {
        request_id: "x".into(),
        display_name: "x".repeat(5 << 20),
    };
    let refused = client.create_account(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert_clean(client).await;
    served.stop().await;
}
