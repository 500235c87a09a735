//! One batch, one transaction: load what it touches, decide, write.

use domain::{Sequence, Timestamp, TransferId};
use ledger::{AccountKey, Owner};

use super::payout::PayoutState;
use super::plan::{Needs, OwnerRow, Rows, Working};
use super::refund::Refund;
use super::reset::Reset;
use super::rows::{self, stored};
use super::seal::Seal;
use super::session::{self, Session, Value, Wanted};
use super::{Change, Outcome, StoreError, Written, keys, sign_ups, statements};

pub(super) async fn commit<S: Session>(
    session: &mut S,
    changes: &[Change],
    now: Timestamp,
) -> Result<(Vec<Outcome>, Written), StoreError> {
    let mut transaction = session.begin_writing().await?;
    let mut working = load(&mut *transaction, Needs::of(changes), now).await?;
    let outcomes = changes.iter().map(|change| working.apply(change)).collect();
    write(&mut *transaction, &working).await?;
    session::commit::<S>(transaction).await?;
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    let written = Written {
        transfers: count(working.rows.transfers.len()),
        settlements: count(working.rows.settlements.len()),
    };
    Ok((outcomes, written))
}

async fn load<S: Session>(session: &mut S, mut needs: Needs, now: Timestamp) -> Result<Working, StoreError> {
    let counts = session::row(session, statements::COUNTS, vec![], "read the books").await?;
    let head = rows::head(&counts)?;
    let mut working = Working {
        // Time never runs backwards in the books, whatever the clock does.
        now: now.max(head.at),
        head,
        ..Working::default()
    };
    load_settlements(session, &mut needs, &mut working).await?;
    load_payouts(session, &mut needs, &mut working).await?;
    load_resets(session, &needs, &mut working).await?;
    let accounts = needs.accounts.iter().map(|account| account.number());
    let accounts = Wanted::Numbers(accounts.collect());
    for row in session.find(S::OWN.accounts, accounts).await? {
        let (account, counters) = rows::account(&row)?;
        working.ledger.load_account(account, counters);
    }
    let transfers = Wanted::Ids(needs.transfers.iter().copied().collect());
    for row in session.find(S::OWN.transfers, transfers).await? {
        working.ledger.load_transfer(rows::transfer(&row)?.transfer);
    }
    let shards = needs.shards.iter().map(|shard| i64::from(shard.get()));
    let shards = Wanted::Numbers(shards.collect());
    for row in session.find(S::OWN.cursors, shards).await? {
        let sequence = Sequence::new(rows::unsigned(&row, 1)?);
        working.cursors.insert(rows::shard(&row, 0)?, sequence);
    }
    load_people(session, &needs, &mut working).await?;
    Ok(working)
}

/// Loads settlements, and of those that are refunded or booked after all, what else they touch.
async fn load_settlements<S: Session>(
    session: &mut S,
    needs: &mut Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let settlements = Wanted::Leases(needs.settlements.iter().copied().collect());
    for row in session.find(S::OWN.settlements, settlements).await? {
        let kept = rows::kept_settlement(&row)?;
        needs.add_mended(&kept.settlement);
        let key = (kept.settlement.shard, kept.settlement.settlement.lease);
        if kept.mended {
            working.mended.insert(key);
        }
        working.settlements.insert(key, (kept.settlement, kept.refusal));
    }
    let requests = Wanted::Ids(needs.refunds.iter().copied().collect());
    let mut refunds = session.find(S::OWN.refunds, requests).await?;
    let leases = Wanted::Leases(needs.mending.iter().copied().collect());
    refunds.extend(session.find(S::OWN.refunds_of_leases, leases).await?);
    for row in &refunds {
        let refund = rows::refund(row)?;
        working.refunds.insert((refund.id, refund.place), refund);
    }
    Ok(())
}

async fn load_people<S: Session>(
    session: &mut S,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    keys::load(session, needs, working).await?;
    sign_ups::load(session, needs, working).await?;
    let requests = Wanted::Texts(needs.requests.iter().cloned().collect());
    for row in session.find(S::OWN.owners_by_request, requests).await? {
        let owner = OwnerRow {
            id: rows::owner(&row, 0)?.id(),
            request_id: rows::text(&row, 1)?,
            display_name: rows::text(&row, 2)?,
        };
        working.owners.insert(owner.request_id.clone(), owner);
    }
    let maturing = needs.maturing.iter().map(|account| account.number());
    let maturing = Wanted::Numbers(maturing.collect());
    for row in session.find(S::OWN.matured, maturing).await? {
        let account = rows::account_key(&row, 0)?;
        working.matured.insert(account, rows::unsigned(&row, 1)?);
    }
    Ok(())
}

/// Loads the payouts and what their owners were paid, and notes which accounts are needed with them.
async fn load_payouts<S: Session>(
    session: &mut S,
    needs: &mut Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let ids = Wanted::Ids(needs.payouts.iter().copied().collect());
    for row in session.find(S::OWN.payouts, ids).await? {
        let (_, payout) = rows::payout(&row)?;
        working.payouts.insert(payout.transfer, payout);
    }
    needs.add_payees(working.payouts.values().map(|payout| payout.owner));
    let payees = needs.payees.iter().map(|owner| stored(owner.id().get()));
    let payees = Wanted::Numbers(payees.collect());
    for row in session.find(S::OWN.paid_out, payees).await? {
        let (owner, paid_out) = rows::paid_out(&row)?;
        working.paid_out.insert(owner, paid_out);
    }
    Ok(())
}

async fn write<S: Session>(session: &mut S, working: &Working) -> Result<(), StoreError> {
    let (rows, moment) = (&working.rows, working.now);
    let at = stored(moment.as_micros());
    if !rows.owners.is_empty() {
        session.insert_owners(&rows.owners, at).await?;
    }
    if !rows.accounts.is_empty() {
        session.insert_accounts(&rows.accounts).await?;
    }
    let (transfers, seal) = rows.booked(&working.head, moment);
    if let Some(seal) = seal {
        session.insert_transfers(&transfers, at).await?;
        insert_seal(session, seal).await?;
    }
    if !rows.settlements.is_empty() {
        session.insert_settlements(&rows.settlements, at).await?;
    }
    write_marks(session, rows).await?;
    write_refunds(session, rows, at).await?;
    write_payouts(session, rows).await?;
    write_resets(session, rows, at).await?;
    keys::write(session, rows, at).await?;
    sign_ups::write(session, rows).await
}

/// Keeps a seal.
pub(super) async fn insert_seal<S: Session>(session: &mut S, seal: Seal) -> Result<(), StoreError> {
    let values = vec![
        stored(seal.first).into(),
        stored(seal.through).into(),
        seal.hash.as_slice().into(),
    ];
    let doing = "seal transfers";
    session.execute(statements::INSERT_SEAL, values, doing).await
}

/// Loads all resets, which are few, if they are spoken of.
async fn load_resets<S: Session>(
    session: &mut S,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let returning = needs.returning.iter().map(|account| account.number());
    let returning = Wanted::Numbers(returning.collect());
    for row in session.find(S::OWN.reserved_before, returning).await? {
        let (account, ever) = rows::reserved_before(&row)?;
        working.reserved_before.insert(account, ever);
    }
    for payout in &needs.payouts {
        load_held_before(session, *payout, working).await?;
    }
    if !needs.resets {
        return Ok(());
    }
    for row in session
        .rows(statements::RESETS, vec![], "read the resets")
        .await?
    {
        let reset = rows::reset(&row)?;
        if rows::int(&row, 7)? > 0 {
            working.resets_ended.insert(reset.number);
        }
        working.resets.insert(reset.number, reset);
    }
    let owners = needs.reset_owners.iter();
    let owners = Wanted::Numbers(owners.map(|owner| stored(owner.id().get())).collect());
    for row in session.find(S::OWN.reset_owners, owners).await? {
        let number = rows::number(&row, 0)?;
        working.reset_owners.insert((number, rows::owner(&row, 1)?));
    }
    for owner in &needs.reset_owners {
        let (first, last) = AccountKey::range_of(*owner);
        let range = vec![first.into(), last.into()];
        let doing = "read what is reserved";
        for row in session.rows(statements::ACCOUNTS_OF_OWNER, range, doing).await? {
            let (account, counters) = rows::account(&row)?;
            working.ledger.load_account(account, counters);
        }
        load_held(session, *owner, working).await?;
    }
    Ok(())
}

/// Loads an owner's payouts that are held, and which of them were so in a reset before.
async fn load_held<S: Session>(
    session: &mut S,
    owner: Owner,
    working: &mut Working,
) -> Result<(), StoreError> {
    for state in PayoutState::OPEN {
        let values = vec![
            i64::MAX.into(),
            i64::MAX.into(),
            stored(owner.id().get()).into(),
            state.name().into(),
        ];
        let doing = "look for payouts that are held";
        let held = session.rows(statements::PAYOUTS_OF_OWNER_IN_STATE, values, doing);
        for row in held.await? {
            let (_, payout) = rows::payout(&row)?;
            load_held_before(session, payout.transfer, working).await?;
            working.payouts.insert(payout.transfer, payout);
        }
    }
    Ok(())
}

/// Loads whether a payout was held over a reset.
async fn load_held_before<S: Session>(
    session: &mut S,
    payout: TransferId,
    working: &mut Working,
) -> Result<(), StoreError> {
    let doing = "look whether a payout was held over a reset";
    let noted = session.rows(statements::HELD_BEFORE, vec![payout.into()], doing);
    if !noted.await?.is_empty() {
        working.held_before.insert(payout);
    }
    Ok(())
}

/// Resets: announced, an owner's turn, over.
async fn write_resets<S: Session>(session: &mut S, rows: &Rows, at: i64) -> Result<(), StoreError> {
    for Reset { number, announced } in &rows.resets {
        let values = vec![
            i64::from(*number).into(),
            announced.id.into(),
            stored(announced.at.as_micros()).into(),
            announced.starter.as_nano().into(),
            announced.bonus.as_nano().into(),
            announced.author.as_str().into(),
            announced.reason.as_str().into(),
            at.into(),
        ];
        let doing = "announce a reset";
        session.execute(statements::INSERT_RESET, values, doing).await?;
    }
    for (number, owner) in &rows.reset_owners {
        let values = vec![i64::from(*number).into(), stored(owner.id().get()).into()];
        let doing = "note an owner's turn";
        session
            .execute(statements::INSERT_RESET_OWNER, values, doing)
            .await?;
    }
    for (number, account, ever) in &rows.reserved_before {
        let values = vec![
            i64::from(*number).into(),
            account.number().into(),
            ever.as_nano().into(),
        ];
        let doing = "note what is reserved";
        session
            .execute(statements::INSERT_RESERVED_BEFORE, values, doing)
            .await?;
    }
    for (number, payout) in &rows.held_before {
        let values = vec![(*payout).into(), i64::from(*number).into()];
        let doing = "note what is held";
        session
            .execute(statements::INSERT_HELD_BEFORE, values, doing)
            .await?;
    }
    for number in &rows.resets_ended {
        let values = vec![i64::from(*number).into(), at.into()];
        let doing = "end a reset";
        session
            .execute(statements::INSERT_RESET_END, values, doing)
            .await?;
    }
    Ok(())
}

/// Cursors, and where maturity has come.
async fn write_marks<S: Session>(session: &mut S, rows: &Rows) -> Result<(), StoreError> {
    for (shard, sequence) in &rows.cursors {
        let values = vec![i64::from(shard.get()).into(), stored(sequence.get()).into()];
        let doing = "move a cursor";
        session.execute(statements::MOVE_CURSOR, values, doing).await?;
    }
    for (account, through) in &rows.matured {
        let values = vec![account.number().into(), stored(*through).into()];
        let doing = "note what matured";
        session.execute(statements::MOVE_MATURED, values, doing).await?;
    }
    Ok(())
}

/// Refunds, settlements that are booked after all, and what may no longer be paid out.
async fn write_refunds<S: Session>(session: &mut S, rows: &Rows, at: i64) -> Result<(), StoreError> {
    for mending in &rows.mended {
        let values = vec![
            i64::from(mending.shard.get()).into(),
            mending.lease.get().to_be_bytes().as_slice().into(),
            mending.author.as_str().into(),
            mending.reason.as_str().into(),
            at.into(),
        ];
        let doing = "book a refused settlement";
        session.execute(statements::INSERT_MENDED, values, doing).await?;
    }
    for refund in &rows.refunds {
        let values = refund_values(refund, at);
        session
            .execute(statements::INSERT_REFUND, values, "keep a refund")
            .await?;
    }
    for (owner, amount) in &rows.taken {
        let values = vec![stored(owner.id().get()).into(), amount.as_nano().into()];
        let doing = "note what may not be paid out";
        session.execute(statements::INSERT_TAKEN, values, doing).await?;
    }
    Ok(())
}

fn refund_values(refund: &Refund, at: i64) -> Vec<Value> {
    vec![
        refund.id.into(),
        i64::from(refund.place).into(),
        i64::from(refund.shard.get()).into(),
        refund.lease.get().to_be_bytes().as_slice().into(),
        refund.job.get().to_be_bytes().as_slice().into(),
        stored(refund.consumer.id().get()).into(),
        stored(refund.island_owner.id().get()).into(),
        // Nothing is asked for by zero: the statement makes it null.
        refund.asked.map_or(0, domain::Credits::as_nano).into(),
        refund.from_earnings.as_nano().into(),
        refund.from_available.as_nano().into(),
        refund.from_fees.as_nano().into(),
        refund.from_pool.as_nano().into(),
        refund.standing.name().into(),
        refund.author.as_str().into(),
        refund.reason.as_str().into(),
        at.into(),
        Value::OptionalBytes(refund.asked_lease.map(|lease| lease.get().to_be_bytes().to_vec())),
    ]
}

/// Payouts as they are now, behind their transfers.
async fn write_payouts<S: Session>(session: &mut S, rows: &Rows) -> Result<(), StoreError> {
    for payout in rows.payouts.values() {
        let values = vec![
            payout.transfer.into(),
            stored(payout.owner.id().get()).into(),
            payout.destination.as_str().into(),
            payout.amount.as_nano().into(),
            payout.cause.name().into(),
            i64::from(payout.day.get()).into(),
            payout.state.name().into(),
            payout.approved_by.as_str().into(),
            i64::from(payout.attempts).into(),
            stored(payout.retry_at.as_micros()).into(),
            payout.note.as_str().into(),
        ];
        let doing = "keep a payout";
        session.execute(statements::SAVE_PAYOUT, values, doing).await?;
    }
    for (owner, destination) in &rows.destinations {
        let values = vec![stored(owner.id().get()).into(), destination.as_str().into()];
        let doing = "keep a destination";
        session
            .execute(statements::SAVE_DESTINATION, values, doing)
            .await?;
    }
    Ok(())
}
