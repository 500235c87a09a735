//! What an account bought and its Islands sold, summed up by day, model and side.

use domain::AccountId;
use proto::billing::v1 as wire;
use proto::convert::billing::MODEL_LENGTH_MAX;
use proto::convert::{FieldError, FieldResult, id_from_wire, text_from_wire};

use super::Api;
use super::money::{is_full, page_size};
use super::statements::span;
use crate::dates::date;
use crate::error::ApiError;
use crate::limits::{USAGE_PAGE, USAGE_PAGE_MAX, USAGE_SPAN_MAX};
use crate::pages::{self, Listing};
use crate::store::usage::{UsageQuestion, UsageSide, UsageSum};
use crate::store::{LedgerStore, Rejection};

impl<S: LedgerStore> Api<S> {
    pub(super) async fn usage(
        &self,
        request: wire::ListUsageRequest,
    ) -> Result<wire::ListUsageResponse, ApiError> {
        let account: AccountId = id_from_wire("account_id", &request.account_id)?;
        let asked = format!(
            "{account} {} {} {} {}",
            request.from_us, request.until_us, request.side, request.model
        );
        let listing = Listing::Usage(pages::digest(&asked));
        let offset = pages::number(listing, &request.page_token)?.unwrap_or(0);
        let size = page_size(request.page_size, USAGE_PAGE, USAGE_PAGE_MAX);
        let question = question(request)?;
        let sums = self.store.usage(account, &question, offset, size).await?;
        let sums = sums.ok_or(Rejection::UnknownAccount(account))?;
        let next_page_token = if is_full(sums.len(), size) {
            pages::token(listing, offset.saturating_add(u64::from(size)))
        } else {
            String::new()
        };
        Ok(wire::ListUsageResponse {
            usage: sums.into_iter().map(usage_to_wire).collect(),
            next_page_token,
        })
    }
}

fn question(request: wire::ListUsageRequest) -> FieldResult<UsageQuestion> {
    let span = span(request.from_us, request.until_us)?;
    if span.until.since(span.from) > USAGE_SPAN_MAX {
        return Err(FieldError::new(
            "until_us",
            "must be at most 366 days after from_us",
        ));
    }
    let side = wire::UsageSide::try_from(request.side)
        .map_err(|_| FieldError::new("side", format!("{} is not a known value", request.side)))?;
    let model = match request.model {
        model if model.is_empty() => None,
        model => Some(text_from_wire("model", model, MODEL_LENGTH_MAX)?),
    };
    Ok(UsageQuestion {
        span,
        model,
        side: match side {
            wire::UsageSide::Unspecified => None,
            wire::UsageSide::Consumer => Some(UsageSide::Consumer),
            wire::UsageSide::IslandOwner => Some(UsageSide::IslandOwner),
        },
    })
}

fn usage_to_wire(sum: UsageSum) -> wire::Usage {
    let side = match sum.side {
        UsageSide::Consumer => wire::UsageSide::Consumer,
        UsageSide::IslandOwner => wire::UsageSide::IslandOwner,
    };
    wire::Usage {
        date: date(sum.day),
        model: sum.model,
        side: side.into(),
        jobs: sum.jobs,
        segments: sum.segments,
        units: sum.units,
        charge_nano: sum.charge.as_nano(),
        fee_nano: sum.fee.as_nano(),
        pool_subsidy_nano: sum.pool_subsidy.as_nano(),
        compensation_nano: sum.compensation.as_nano(),
    }
}
