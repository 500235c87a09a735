//! Sign-ups: what a batch needs of them, and what it writes.

use super::merkle::Day;
use super::plan::{Needs, Rows, Working};
use super::rows::{self, stored};
use super::session::{self, Session, Wanted};
use super::{StoreError, statements};

/// Loads the sign-ups that a batch asks for again, and how many there were today.
pub(super) async fn load<S: Session>(
    session: &mut S,
    needs: &Needs,
    working: &mut Working,
) -> Result<(), StoreError> {
    if needs.sign_ups.is_empty() {
        return Ok(());
    }
    let wanted = Wanted::Texts(needs.sign_ups.iter().cloned().collect());
    for row in session.find(S::OWN.sign_ups, wanted).await? {
        let made = rows::sign_up(&row)?;
        working.sign_ups.insert(made.request_id.clone(), made);
    }
    let today = Day::of(working.now);
    let values = vec![i64::from(today.get()).into()];
    let counted = session::row(session, statements::SIGN_UPS_OF_DAY, values, "count sign-ups").await?;
    let count = u32::try_from(rows::unsigned(&counted, 0)?).unwrap_or(u32::MAX);
    working.sign_up_counts.insert(today, count);
    Ok(())
}

/// Writes the sign-ups of a batch, behind their owners and keys.
pub(super) async fn write<S: Session>(session: &mut S, rows: &Rows) -> Result<(), StoreError> {
    for made in &rows.sign_ups {
        let values = vec![
            made.request_id.as_str().into(),
            stored(made.owner.get()).into(),
            stored(made.key.get()).into(),
            i64::from(made.day.get()).into(),
            made.granted.as_nano().into(),
        ];
        let doing = "keep a sign-up";
        session.execute(statements::INSERT_SIGN_UP, values, doing).await?;
    }
    Ok(())
}
