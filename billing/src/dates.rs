//! Days as people write them.

use crate::store::merkle::Day;

/// A day as people write it.
#[must_use]
pub fn date(day: Day) -> String {
    let seconds = i64::try_from(day.start().as_micros())
        .ok()
        .map(jiff::Timestamp::from_microsecond);
    match seconds {
        Some(Ok(midnight)) => midnight.strftime("%Y-%m-%d").to_string(),
        Some(Err(_)) | None => format!("day-{}", day.get()),
    }
}
