//! Keys: what a batch needs of them, and what it writes.

use domain::{Credits, KeyId, Timestamp};

use super::plan::{Needs, Rows, Working};
use super::rows::{self, stored};
use super::session::{Session, Value, Wanted};
use super::{StoreError, statements};

/// Loads the keys that a batch touches, what others were asked for under, and how many their owners have.
pub(super) async fn load<S: Session>(
    session: &mut S,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    let keys = needs.keys.iter().filter_map(|key| i64::try_from(key.get()).ok());
    let keys = Wanted::Numbers(keys.collect());
    for row in session.find(S::OWN.keys, keys).await? {
        let (id, state) = rows::key_state(&row)?;
        working.keys.insert(id, state);
    }
    let requests = Wanted::KeyRequests(needs.key_requests.iter().cloned().collect());
    for row in session.find(S::OWN.key_requests, requests).await? {
        let (request, made) = rows::key_request(&row)?;
        working.key_requests.insert(request, made);
    }
    let owners = needs.makers_of_keys(working);
    let owners = Wanted::Numbers(owners.map(|owner| stored(owner.get())).collect());
    for row in session.find(S::OWN.key_counts, owners).await? {
        let (owner, count) = rows::key_count(&row)?;
        working.key_counts.insert(owner, count);
    }
    Ok(())
}

/// Writes the keys that a batch made, revoked, or brought to a sooner end.
pub(super) async fn write<S: Session>(session: &mut S, rows: &Rows, at: i64) -> Result<(), StoreError> {
    let number = |id: KeyId| stored(id.get());
    let time = |at: Timestamp| stored(at.as_micros());
    for made in &rows.keys {
        let (key, request) = (&made.key, made.key.request.as_ref());
        let values: Vec<Value> = vec![
            number(made.id).into(),
            stored(key.owner.get()).into(),
            key.name.as_str().into(),
            rows::scope_name(key.scope).into(),
            key.secret.prefix.as_str().into(),
            key.secret.sha256.as_slice().into(),
            at.into(),
            Value::OptionalInt(key.expires_at.map(time)),
            Value::OptionalText(request.map(|request| request.id.clone())),
            Value::OptionalBytes(request.map(|request| request.body.to_vec())),
            Value::OptionalInt(made.rotated_from.map(number)),
            Value::OptionalInt(made.line.map(number)),
        ];
        let doing = "make a key";
        session.execute(statements::INSERT_KEY, values, doing).await?;
    }
    for (id, ends) in &rows.expiries {
        let values = vec![number(*id).into(), time(*ends).into()];
        let doing = "end a key";
        session.execute(statements::EXPIRE_KEY, values, doing).await?;
    }
    for (line, limit) in &rows.limits {
        let values = vec![
            number(*line).into(),
            Value::OptionalInt(limit.key_per_day.map(Credits::as_nano)),
            Value::OptionalInt(limit.user_per_day.map(Credits::as_nano)),
        ];
        let doing = "limit spending";
        session.execute(statements::LIMIT_SPENDING, values, doing).await?;
    }
    for total in &rows.spending {
        let user = total.user.unwrap_or_default();
        let user: &[u8] = if total.user.is_some() { &user } else { &[] };
        let values = vec![
            number(total.line).into(),
            i64::from(total.day).into(),
            user.into(),
            total.spent.as_nano().into(),
        ];
        let doing = "note what was spent";
        session.execute(statements::NOTE_SPENDING, values, doing).await?;
    }
    for id in &rows.revoked {
        let values = vec![number(*id).into(), at.into()];
        let doing = "revoke a key";
        session.execute(statements::REVOKE_KEY, values, doing).await?;
    }
    Ok(())
}
