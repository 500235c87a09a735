//! Days are closed when they are over: a Merkle root over their settlements is kept, and exported as a file that anybody
//! may be given. Who has it can tell later whether a settlement of that day was changed, added or taken away, and, by the
//! head of the chain in it, whether any transfer up to then was.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use domain::Timestamp;
use serde_json::json;
use service::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::dates::date;
use crate::limits::{CLOSING_GRACE, CLOSING_INTERVAL, DAYS_PAGE_MAX};
use crate::store::merkle::Day;
use crate::store::{ClosedDay, LedgerStore, StoreError};

/// Where the roots are exported, in the data folder.
pub const EXPORT_FOLDER: &str = "settlement-roots";

/// Why days could not be closed or exported.
#[derive(Debug, thiserror::Error)]
pub enum ClosingError {
    /// The store failed.
    #[error("could not close a day")]
    Store(#[from] StoreError),
    /// The file could not be written.
    #[error("could not write {}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Closes days and exports their roots into `folder`, until the shutdown.
pub async fn run<S: LedgerStore>(
    store: Arc<S>,
    folder: PathBuf,
    now: impl Fn() -> Timestamp + Send,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(CLOSING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = close_and_export(&*store, &folder, now()).await {
            // A day that is over stays so: the next tick finds it again.
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "a day could not be closed");
        }
    }
}

/// Closes every day that is over, and writes the file of every closed day that has none.
///
/// # Errors
/// When the store fails or a file cannot be written. What was done stays done.
pub async fn close_and_export<S: LedgerStore>(
    store: &S,
    folder: &Path,
    now: Timestamp,
) -> Result<(), ClosingError> {
    while let Some(day) = store.first_open_day().await? {
        if !is_over(day, now) {
            break;
        }
        let closed = store.close_day(day, now).await?;
        tracing::info!(day = %date(closed.day), settlements = closed.settlements, "a day is closed");
    }
    let mut after = None;
    loop {
        let days = store.closed_days(after, DAYS_PAGE_MAX).await?;
        let Some(last) = days.last() else { return Ok(()) };
        after = Some(last.day);
        for day in &days {
            export(folder, day)?;
        }
    }
}

/// A day is over a moment late: a batch that took its time before midnight may be committed after it.
fn is_over(day: Day, now: Timestamp) -> bool {
    let grace = u64::try_from(Duration::as_micros(&CLOSING_GRACE)).unwrap_or(u64::MAX);
    day.end().as_micros().saturating_add(grace) <= now.as_micros()
}

fn export(folder: &Path, closed: &ClosedDay) -> Result<(), ClosingError> {
    let date = date(closed.day);
    let path = folder.join(format!("{date}.json"));
    if path.exists() {
        return Ok(());
    }
    let chain = closed.chain.map(|head| {
        json!({
            "through": head.through,
            "hash": data_encoding::HEXLOWER.encode(&head.hash),
        })
    });
    let text = json!({
        "date": date,
        "settlements": closed.settlements,
        "root": data_encoding::HEXLOWER.encode(&closed.root),
        "tree": "RFC 6962, SHA-256, leaves by shard and lease",
        // Where the chain over all transfers ended with the day: from outside it vouches for everything before.
        "chain": chain,
    });
    write_whole(folder, &path, &format!("{text:#}\n")).map_err(|source| ClosingError::Export { path, source })
}

/// Writes a file that is there whole or not at all.
fn write_whole(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let draft = path.with_extension("draft");
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_date_and_is_over_a_moment_after_midnight() {
        let day = Day::new(20_000);
        assert_eq!(date(day), "2024-10-04");
        let later = |seconds: u64| Timestamp::from_micros(day.end().as_micros() + seconds * 1_000_000);
        assert!(!is_over(day, later(0)));
        assert!(is_over(day, later(CLOSING_GRACE.as_secs())));
    }
}
