//! Settlement over gRPC: exactly once in effect, whatever is repeated, lost or wrong.

use domain::{Bill, Liquidity, Sequence};
use ledger::UNCOVERED_MAX;
use proto::billing::v1 as pb;
use proto::convert::billing::{SETTLEMENTS_MAX, Settlement};

use crate::support::{
    Client, Served, account, assert_clean, balances, batch, client_of, nano, reserve_request, served,
    settlement,
};

/// A service with a consumer (1) who has 1 credit reserved, and an Island's owner (2).
async fn market() -> (Served, String, String) {
    let mut served = served().await;
    let consumer = account(&mut served.client, "consumer", 1_000_000_000).await;
    let island = account(&mut served.client, "island", 0).await;
    served
        .client
        .reserve(reserve_request(1, &consumer, 1_000_000_000, 1_000_000_000))
        .await
        .unwrap();
    (served, consumer, island)
}

async fn settle(client: &mut Client, request: pb::SettleRequest) -> (u64, Vec<(String, String)>) {
    let answer = client.settle(request).await.unwrap().into_inner();
    let refusals = answer
        .refusals
        .into_iter()
        .map(|refusal| (refusal.lease_id, refusal.code));
    (answer.through_sequence, refusals.collect())
}

async fn cursor(client: &mut Client) -> u64 {
    let request = pb::GetSettlementCursorRequest { shard: 0 };
    client
        .get_settlement_cursor(request)
        .await
        .unwrap()
        .into_inner()
        .through_sequence
}

#[tokio::test]
async fn a_settlement_moves_charge_fee_and_pool_share() {
    let (mut served, consumer, island) = market().await;
    let client = &mut served.client;
    assert_eq!(
        settle(client, batch(5, vec![settlement(5, 1, 1, 2, 1_500)])).await,
        (5, vec![])
    );
    // 0.15 credits and 2 % on top; a fifth of the fee is the pool's.
    assert_eq!(balances(client, &consumer).await, [0, 847_000_000, 0]);
    assert_eq!(balances(client, &island).await, [0, 0, 150_000_000]);
    let report = assert_clean(client).await;
    assert_eq!((report.fees_nano, report.pool_nano), (2_400_000, 600_000));
    assert_eq!(report.reserved_nano, 847_000_000);
    let request = pb::ListReservedBalancesRequest::default();
    let held = client.list_reserved_balances(request).await.unwrap().into_inner();
    let held: Vec<(&str, i64)> = held
        .balances
        .iter()
        .map(|held| (held.account_id.as_str(), held.amount_nano))
        .collect();
    assert_eq!(held, [(consumer.as_str(), 847_000_000)]);
    served.stop().await;
}

#[tokio::test]
async fn subsidy_and_compensation_may_put_pool_and_fees_in_debt() {
    let (mut served, _, island) = market().await;
    let client = &mut served.client;
    let mut subsidised = settlement(5, 1, 1, 2, 1_500);
    subsidised.bill.pool_subsidy = nano(10_000_000);
    let mut lost = settlement(6, 2, 1, 2, 0);
    lost.bill = Bill::FREE;
    lost.compensation = nano(7_000_000);
    assert_eq!(
        settle(client, batch(6, vec![subsidised, lost])).await,
        (6, vec![])
    );
    assert_eq!(balances(client, &island).await, [0, 0, 167_000_000]);
    let report = assert_clean(client).await;
    assert_eq!((report.fees_nano, report.pool_nano), (-4_600_000, -9_400_000));
    served.stop().await;
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_changes_nothing_when_it_comes_again() {
    let (mut served, consumer, _) = market().await;
    let request = batch(9, (1..=9).map(|n| settlement(n, n, 1, 2, 100)).collect());
    let mut poor = settlement(9, 10, 1, 2, 100_000_000);
    poor.job = domain::JobId::new(77);
    let mut request_with_refusal = request.clone();
    request_with_refusal
        .settlements
        .extend(batch(9, vec![poor]).settlements);
    let client = &mut served.client;
    let first = settle(client, request_with_refusal.clone()).await;
    assert_eq!(first, (9, vec![("lse_A".into(), "INSUFFICIENT_FUNDS".into())]));
    let after = balances(client, &consumer).await;
    for _ in 0..3 {
        // The refusal is told again as well: the first telling may be what was lost.
        assert_eq!(settle(client, request_with_refusal.clone()).await, first);
    }
    assert_eq!(balances(client, &consumer).await, after);
    // And again after a restart.
    let folder = served.stop().await;
    let mut served = crate::support::serve_in(folder, billing::Maturity::default()).await;
    assert_eq!(settle(&mut served.client, request_with_refusal).await, first);
    assert_eq!(balances(&mut served.client, &consumer).await, after);
    assert_clean(&mut served.client).await;
    served.stop().await;
}

#[tokio::test]
async fn overlapping_batches_book_what_is_new() {
    let (mut served, _, island) = market().await;
    let client = &mut served.client;
    let claims = |range: std::ops::RangeInclusive<u64>| range.map(|n| settlement(n, n, 1, 2, 100)).collect();
    assert_eq!(settle(client, batch(3, claims(1..=3))).await, (3, vec![]));
    assert_eq!(settle(client, batch(5, claims(2..=5))).await, (5, vec![]));
    assert_eq!(balances(client, &island).await[2], 5 * 10_000_000);
    served.stop().await;
}

#[tokio::test]
async fn a_cursor_moves_over_commands_without_settlements_and_never_back() {
    let (mut served, ..) = market().await;
    let client = &mut served.client;
    assert_eq!(cursor(client).await, 0);
    assert_eq!(settle(client, batch(100, vec![])).await, (100, vec![]));
    assert_eq!(settle(client, batch(50, vec![])).await, (100, vec![]));
    assert_eq!(cursor(client).await, 100);
    served.stop().await;
}

#[tokio::test]
async fn a_command_that_ends_many_leases_may_come_in_parts() {
    let (mut served, _, island) = market().await;
    let client = &mut served.client;
    // All of command 7; the first part covers the command before only.
    let part = |through, leases: std::ops::Range<u64>| {
        batch(
            through,
            leases.map(|lease| settlement(7, lease, 1, 2, 10)).collect(),
        )
    };
    assert_eq!(settle(client, part(6, 0..100)).await, (6, vec![]));
    assert_eq!(settle(client, part(6, 0..100)).await, (6, vec![]));
    assert_eq!(settle(client, part(7, 100..150)).await, (7, vec![]));
    assert_eq!(balances(client, &island).await[2], 150 * 1_000_000);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_claim_is_refused_and_the_rest_is_booked() {
    let (mut served, consumer, island) = market().await;
    let client = &mut served.client;
    let wrong = |lease, change: fn(&mut Settlement)| {
        let mut claim = settlement(5, lease, 1, 2, 1_500);
        change(&mut claim);
        claim
    };
    let claims = vec![
        settlement(5, 1, 1, 2, 1_500),
        wrong(2, |claim| claim.bill.charge = nano(1)),
        wrong(3, |claim| claim.bill.fee = nano(2_999_999)),
        wrong(4, |claim| claim.bill.charge = nano(i64::MIN)),
        wrong(5, |claim| claim.bill.pool_subsidy = nano(i64::MAX)),
        wrong(6, |claim| {
            claim.bill.pool_subsidy = UNCOVERED_MAX.checked_add(nano(1)).unwrap()
        }),
        wrong(7, |claim| claim.compensation = nano(1)),
        wrong(8, |claim| claim.billed_before_thousandths = u128::MAX),
        wrong(9, |claim| claim.consumer = domain::AccountId::new(u64::MAX)),
        wrong(10, |claim| claim.consumer = domain::AccountId::new(2)),
        wrong(11, |claim| claim.island_owner = domain::AccountId::new(77)),
        settlement(5, 12, 1, 2, 1_500),
    ];
    let (through, refusals) = settle(client, batch(5, claims)).await;
    assert_eq!(through, 5);
    let codes: Vec<&str> = refusals.iter().map(|(_, code)| code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "CHARGE_MISMATCH",
            "FEE_MISMATCH",
            "INVALID_AMOUNT",
            "UNCOVERED_TOO_LARGE",
            "UNCOVERED_TOO_LARGE",
            "BILLED_AND_COMPENSATED",
            "BILL_OUT_OF_RANGE",
            "UNKNOWN_ACCOUNT",
            "UNKNOWN_ACCOUNT",
            "UNKNOWN_ACCOUNT"
        ]
    );
    assert_eq!(balances(client, &island).await[2], 300_000_000);
    assert_eq!(balances(client, &consumer).await[1], 1_000_000_000 - 306_000_000);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn one_lease_claimed_twice_in_a_batch_is_settled_once() {
    let (mut served, _, island) = market().await;
    let client = &mut served.client;
    let mut other = settlement(5, 1, 1, 2, 1_500);
    other.bill.bid_liquidity = Liquidity::Maker;
    let claims = vec![
        settlement(5, 1, 1, 2, 1_500),
        settlement(5, 1, 1, 2, 1_500),
        other,
    ];
    let (_, refusals) = settle(client, batch(5, claims)).await;
    assert_eq!(refusals, [("lse_1".to_owned(), "SETTLEMENT_DIFFERS".to_owned())]);
    assert_eq!(balances(client, &island).await[2], 150_000_000);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn a_full_batch_is_booked_and_a_larger_one_is_refused_whole() {
    let (mut served, _, island) = market().await;
    let client = &mut served.client;
    let count = u64::try_from(SETTLEMENTS_MAX).unwrap();
    let full: Vec<Settlement> = (1..=count).map(|n| settlement(n, n, 1, 2, 1)).collect();
    assert_eq!(settle(client, batch(count, full)).await, (count, vec![]));
    assert_eq!(balances(client, &island).await[2], 1_000 * 100_000);
    let ten_times: Vec<Settlement> = (1..=10 * count).map(|n| settlement(n, n, 1, 2, 1)).collect();
    let refused = client.settle(batch(10 * count, ten_times)).await.unwrap_err();
    assert_eq!(crate::support::field(&refused), "settlements");
    assert_eq!(cursor(client).await, count);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn shards_settle_apart_from_one_another() {
    let (mut served, consumer, _) = market().await;
    let client = &mut served.client;
    // Shard 1 counts its own lease 1, and has nothing reserved.
    let mut elsewhere = batch(5, vec![settlement(5, 1, 1, 2, 1_500)]);
    elsewhere.shard = 1;
    assert_eq!(
        settle(client, elsewhere).await.1,
        [("lse_1".to_owned(), "UNKNOWN_ACCOUNT".to_owned())]
    );
    assert_eq!(cursor(client).await, 0);
    assert_eq!(
        settle(client, batch(5, vec![settlement(5, 1, 1, 2, 1_500)])).await,
        (5, vec![])
    );
    assert_eq!(balances(client, &consumer).await[1], 847_000_000);
    served.stop().await;
}

#[tokio::test]
async fn thirty_two_clients_at_once_break_nothing() {
    let (mut served, _, island) = market().await;
    let address = served.running.address;
    let clients: Vec<_> = (0..32u64)
        .map(|number| {
            tokio::spawn(async move {
                let mut client = client_of(address).await;
                let account_id = account(&mut client, &format!("c{number}"), 1_000).await;
                let base = 1_000 * (u128::from(number) + 1);
                let mut reserved = 0;
                for round in 0..20u128 {
                    // Everybody asks for more than he has in all; some of it must be refused.
                    let asked = client
                        .reserve(reserve_request(base + round, &account_id, 60, 90))
                        .await;
                    reserved += asked.map_or(0, |answer| answer.into_inner().amount_nano);
                    // And everybody sends the same settlements, as after lost answers.
                    let sequence = u64::try_from(round).unwrap() + 1;
                    let claims = vec![settlement(sequence, sequence, 1, 2, 10)];
                    client.settle(batch(sequence, claims)).await.unwrap();
                }
                // Some of twenty chunks of 60 to 90 were refused; the last one may have been partial.
                assert!((940..=1_000).contains(&reserved), "{reserved}");
                assert_eq!(
                    balances(&mut client, &account_id).await,
                    [1_000 - reserved, reserved, 0]
                );
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(balances(&mut served.client, &island).await[2], 20 * 1_000_000);
    assert_eq!(cursor(&mut served.client).await, Sequence::new(20).get());
    assert_clean(&mut served.client).await;
    served.stop().await;
}
