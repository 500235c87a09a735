//! Resets: announced by operators, seen by everybody.

use domain::{Credits, Timestamp};
use ledger::TransferSource;
use proto::billing::v1 as wire;
use proto::convert::FieldError;

use super::corrections::{Decision, digest_of};
use super::{Api, now, unexpected};
use crate::error::ApiError;
use crate::limits::{RESET_AHEAD_MAX, RESET_GRANT_MAX};
use crate::store::reset::{NewReset, Reset};
use crate::store::{Change, LedgerStore, Outcome};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn announce(
        &self,
        request: wire::AnnounceResetRequest,
    ) -> Result<wire::AnnounceResetResponse, ApiError> {
        let request_digest = digest_of(request.request_id)?;
        let Decision { author, reason } = Decision::from_wire(request.author, request.reason)?;
        let reset = NewReset {
            // No transfer has this id: it only names the request.
            id: TransferSource::Correction { request_digest }.id(),
            at: moment(request.at_us)?,
            starter: grant("starter_nano", request.starter_nano)?,
            bonus: grant("bonus_nano", request.bonus_nano)?,
            author,
            reason,
        };
        let outcome = self.writer.write_one(Change::AnnounceReset(reset)).await?;
        let Outcome::ResetAnnounced(reset) = outcome else {
            return Err(unexpected(outcome));
        };
        tracing::warn!(
            author = reset.announced.author,
            at_us = reset.announced.at.as_micros(),
            "a reset is announced"
        );
        Ok(wire::AnnounceResetResponse {
            announced_reset: Some(reset_to_wire(reset)),
        })
    }

    /// The reset that everybody is to see.
    pub(super) async fn announced_reset(&self) -> Result<Option<wire::AnnouncedReset>, ApiError> {
        Ok(self.store.open_reset().await?.map(reset_to_wire))
    }
}

fn moment(at_us: u64) -> Result<Timestamp, FieldError> {
    let at = Timestamp::from_micros(at_us);
    let now = now();
    if at <= now || at > now.after(RESET_AHEAD_MAX) {
        return Err(FieldError::new(
            "at_us",
            "must be in the future, and within a year",
        ));
    }
    Ok(at)
}

fn grant(field: &str, nano: i64) -> Result<Credits, FieldError> {
    let credits = Credits::from_nano(nano);
    if credits.is_negative() || credits > RESET_GRANT_MAX {
        let most = format!("must be 0 or more, and at most {RESET_GRANT_MAX} credits");
        return Err(FieldError::new(field, most));
    }
    Ok(credits)
}

fn reset_to_wire(reset: Reset) -> wire::AnnouncedReset {
    let announced = reset.announced;
    wire::AnnouncedReset {
        at_us: announced.at.as_micros(),
        starter_nano: announced.starter.as_nano(),
        bonus_nano: announced.bonus.as_nano(),
        reason: announced.reason,
    }
}
