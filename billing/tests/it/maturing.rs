//! Maturity that was worked out, and what left the account before it was booked.

use billing::store::{Change, LedgerStore, Maturing, Outcome, Rejection};
use domain::{JobId, Standing};
use ledger::Applied;

use crate::support::{Books, at, nano, on_every_store, refund, settle, settlement};

/// Twenty credits for owner 2 on probation, as job 1.
fn earned(lease: u64) -> Change {
    let mut claim = settlement(lease, lease, 1, 2, 200_000);
    claim.job = JobId::new(1);
    claim.standing = Standing::Probation;
    settle(claim)
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
    let changes = [earned(2), refund(2, &[2], None), Change::Mature(stale), earned(3)];
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
    books.take(refund(3, &[3], None)).await;
    books.assert_clean().await;
}

on_every_store!(a_refund_ahead_of_a_maturity_in_one_batch_has_it_worked_out_anew);
