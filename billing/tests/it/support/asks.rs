//! What several tests ask of the books, said once.

use billing::store::merkle::Day;
use billing::store::payout::{NewPayout, PayoutCause, PayoutState};
use billing::store::refund::NewRefund;
use billing::store::{Change, Outcome};
use domain::{AccountId, JobId, LeaseId, TransferId};
use ledger::TransferSource;

use super::{Client, SHARD, account, batch, nano, reserve_request, settlement};

/// Why it was refused.
pub(crate) fn code(outcome: &Outcome) -> &str {
    if let Outcome::SettlementRefused(refusal) = outcome {
        return &refusal.code;
    }
    let Outcome::Rejected(rejection) = outcome else {
        panic!("{outcome:?}")
    };
    rejection.code()
}

/// The id of a payout.
pub(crate) fn payout_id(number: u8) -> TransferId {
    let request_digest = [number; 32];
    TransferSource::Payout { request_digest }.id()
}

/// So many whole credits to owner 2, who asks for them himself.
pub(crate) fn on_demand(number: u8, credits: i64, day: Day) -> NewPayout {
    NewPayout {
        transfer: payout_id(number),
        owner: AccountId::new(2),
        destination: "virtual:ada".into(),
        amount: nano(credits * 1_000_000_000),
        cause: PayoutCause::OnDemand,
        day,
        state: PayoutState::Approved,
    }
}

/// A refund of leases of job 1; of all that is left, unless an amount is given.
pub(crate) fn refund(request: u8, leases: &[u64], amount: Option<i64>) -> Change {
    let request_digest = [request; 32];
    Change::Refund(NewRefund {
        id: TransferSource::Refund {
            request_digest,
            leg: 0,
        }
        .id(),
        job: JobId::new(1),
        leases: leases.iter().map(|lease| (SHARD, LeaseId::new(*lease))).collect(),
        lease: None,
        amount: amount.map(nano),
        author: "grace".into(),
        reason: "the answer was empty".into(),
    })
}

/// A consumer with a credit of which so much is reserved, and an owner of Islands who sold him 1,500 units.
pub(crate) async fn traded(client: &mut Client, reserved_nano: i64) -> (String, String) {
    let consumer = account(client, "consumer", 1_000_000_000).await;
    let island = account(client, "island", 0).await;
    client
        .reserve(reserve_request(1, &consumer, reserved_nano, reserved_nano))
        .await
        .unwrap();
    client
        .settle(batch(5, vec![settlement(5, 1, 1, 2, 1_500)]))
        .await
        .unwrap();
    (consumer, island)
}
