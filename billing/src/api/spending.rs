//! What may be spent with keys, and what was.

use domain::KeyId;
use proto::billing::v1 as wire;
use proto::convert::billing::{
    day_from_wire, spending_limit_from_wire, spending_report_from_wire, spending_to_wire,
};
use proto::convert::id_from_wire;

use super::money::{is_full, page_size};
use super::{Api, unexpected};
use crate::error::ApiError;
use crate::limits::SPENDING_PAGE_MAX;
use crate::pages::{self, Listing};
use crate::store::{Change, LedgerStore, Outcome, Rejection};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn limit_spending(
        &self,
        request: &wire::SetSpendingLimitRequest,
    ) -> Result<wire::SetSpendingLimitResponse, ApiError> {
        let key = id_from_wire("key_id", &request.key_id)?;
        let limit = spending_limit_from_wire("spending_limit", request.spending_limit.as_ref())?;
        let outcome = self.writer.write_one(Change::LimitSpending(key, limit)).await?;
        let Outcome::SpendingLimited = outcome else {
            return Err(unexpected(outcome));
        };
        Ok(wire::SetSpendingLimitResponse {})
    }

    pub(super) async fn note_spending(
        &self,
        request: &wire::ReportSpendingRequest,
    ) -> Result<wire::ReportSpendingResponse, ApiError> {
        let totals = spending_report_from_wire(request)?;
        let changes = totals.into_iter().map(Change::NoteSpending);
        for outcome in self.writer.write(changes.collect()).await? {
            let Outcome::SpendingNoted = outcome else {
                return Err(unexpected(outcome));
            };
        }
        Ok(wire::ReportSpendingResponse {})
    }

    pub(super) async fn spending(
        &self,
        request: &wire::ListSpendingRequest,
    ) -> Result<wire::ListSpendingResponse, ApiError> {
        let id: KeyId = id_from_wire("key_id", &request.key_id)?;
        let day = day_from_wire("day", request.day)?;
        let key = self.store.key(id).await?.ok_or(Rejection::UnknownKey(id))?;
        let listing = Listing::Spending(pages::digest(&format!("{} {day}", key.line)));
        let after = pages::number(listing, &request.page_token)?.unwrap_or(0);
        let size = page_size(request.page_size, SPENDING_PAGE_MAX, SPENDING_PAGE_MAX);
        let totals = self.store.spending(key.line, day, after, size).await?;
        let next_page_token = match totals.last() {
            Some((last, _)) if is_full(totals.len(), size) => pages::token(listing, *last),
            Some(_) | None => String::new(),
        };
        Ok(wire::ListSpendingResponse {
            totals: totals.iter().map(|(_, total)| spending_to_wire(total)).collect(),
            next_page_token,
        })
    }
}
