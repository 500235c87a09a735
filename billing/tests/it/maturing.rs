//! Maturity that was worked out, and what left the account before it was booked.

use billing::store::refund::NewRefund;
use billing::store::{Change, LedgerStore, Maturing, Outcome, Rejection};
use domain::{JobId, LeaseId, Standing};
use ledger::{Applied, TransferSource};

use crate::support::{Books, SHARD, at, nano, on_every_store, settle, settlement};

/// Twenty credits for owner 2 on probation, as job 1.
fn earned(lease: u64) -> Change {
    let mut claim = settlement(lease, lease, 1, 2, 200_000);
    claim.job = JobId::new(1);
    claim.standing = Standing::Probation;
    settle(claim)
}

fn refunded(lease: u64) -> Change {
    let request_digest = [u8::try_from(lease).unwrap(); 32];
    Change::Refund(NewRefund {
        id: TransferSource::Refund {
            request_digest,
            leg: 0,
        }
        .id(),
        job: JobId::new(1),
        leases: vec![(SHARD, LeaseId::new(lease))],
        amount: None,
        author: "grace".into(),
        reason: "the answer was empty".into(),
    })
}

async fn due(books: &Books<impl LedgerStore>, cutoff: u64) -> Maturing {
    let due = books.store.due(Standing::Probation, at(cutoff), None, 2).await;
    let due = due.unwrap();
    assert_eq!(due.len(), 1);
    due[0]
}

/// Lease 1 is to mature; lease 2, which is too young, is settled, refunded and followed by that maturity in one batch.
async fn a_refund_ahead_of_a_maturity_in_one_batch_has_it_worked_out_anew(books: Books<impl LedgerStore>) {
    books.fund().await;
    books.store.commit(&[earned(1)], at(100)).await.unwrap();
    let stale = due(&books, 100).await;
    assert_eq!(stale.amount, nano(20_000_000_000));
    let changes = [earned(2), refunded(2), Change::Mature(stale), earned(3)];
    let outcomes = books.store.commit(&changes, at(200)).await.unwrap();
    assert!(matches!(outcomes[1], Outcome::Refunded(_)), "{:?}", outcomes[1]);
    assert_eq!(outcomes[2], Outcome::Rejected(Rejection::NotNextToMature));
    books.assert_clean().await;
    // What left is taken off all that was earned, so lease 1 pays for lease 2 until lease 3 is old enough.
    let none = books.store.due(Standing::Probation, at(100), None, 2).await;
    assert_eq!(none.unwrap(), []);
    let anew = due(&books, 200).await;
    assert_eq!(anew.amount, nano(40_000_000_000));
    let booked = Outcome::Booked(Applied::Booked);
    assert_eq!(books.take(Change::Mature(anew)).await, booked);
    // Nothing of it matures twice, and a refund after it leaves what matured alone.
    let refused = books.take(Change::Mature(anew)).await;
    assert_eq!(refused, Outcome::Rejected(Rejection::NotNextToMature));
    books.take(refunded(3)).await;
    books.assert_clean().await;
}

on_every_store!(a_refund_ahead_of_a_maturity_in_one_batch_has_it_worked_out_anew);
