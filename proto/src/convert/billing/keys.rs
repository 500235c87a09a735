//! What is asked about API keys: made, rotated, bounded, and what was spent with them.

use std::time::Duration;

use domain::{AccountId, Credits, KeyId, Timestamp};

use super::{DISPLAY_NAME_LENGTH_MAX, REQUEST_ID_LENGTH_MAX, amount_from_wire, optional_time_from_wire};
use crate::billing::v1 as wire;
use crate::convert::error::{FieldError, FieldResult};
use crate::convert::values::{id_from_wire, text_from_wire};

/// The longest that a key goes on working after it was rotated: a week, for whoever is on holiday has it in his programs.
pub const ROTATION_GRACE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The most totals of spending in one report.
pub const SPENDING_TOTALS_MAX: usize = 1_000;

/// The last day that a total can be of: that of the last moment which can be stored.
const DAY_MAX: u32 = 106_751_991;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyScope {
    /// Everything an account may do.
    Full,
    /// Buying only.
    Consumer,
    /// Enrolling Islands only.
    Island,
}

/// Asks for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateKey {
    /// Whose.
    pub account: AccountId,
    /// A name for people.
    pub name: String,
    /// What it may be used for.
    pub scope: KeyScope,
    /// The key of idempotence; without one, every call makes another key.
    pub request_id: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// Asks for a key's successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotateKey {
    /// The key.
    pub key: KeyId,
    /// The key of idempotence.
    pub request_id: String,
    /// How long the key itself goes on working; at most [`ROTATION_GRACE_MAX`].
    pub grace: Duration,
    /// When the successor stops working; when the key would have, if not given.
    pub expires_at: Option<Timestamp>,
}

/// How much may be spent with a line of keys in a day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendingLimit {
    /// In all; none if there is no limit.
    pub key_per_day: Option<Credits>,
    /// By each end user; none if there is no limit.
    pub user_per_day: Option<Credits>,
}

/// What was spent with a line of keys on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendingTotal {
    /// The first key of the line.
    pub line: KeyId,
    /// What stands for the end user; none for the whole line.
    pub user: Option<[u8; 32]>,
    /// The day (UTC), counted from 1970.
    pub day: u32,
    /// How much.
    pub spent: Credits,
}

/// A key's scope; everything if it is unspecified.
///
/// # Errors
/// When the number is unknown.
pub fn scope_from_wire(field: &str, number: i32) -> FieldResult<KeyScope> {
    let scope = wire::KeyScope::try_from(number)
        .map_err(|_| FieldError::new(field, format!("{number} is not a known value")))?;
    Ok(match scope {
        wire::KeyScope::Unspecified | wire::KeyScope::Full => KeyScope::Full,
        wire::KeyScope::Consumer => KeyScope::Consumer,
        wire::KeyScope::Island => KeyScope::Island,
    })
}

/// A key's scope on the wire.
#[must_use]
pub const fn scope_to_wire(scope: KeyScope) -> wire::KeyScope {
    match scope {
        KeyScope::Full => wire::KeyScope::Full,
        KeyScope::Consumer => wire::KeyScope::Consumer,
        KeyScope::Island => wire::KeyScope::Island,
    }
}

/// See [`CreateKey`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn create_key_from_wire(request: wire::CreateApiKeyRequest) -> FieldResult<CreateKey> {
    Ok(CreateKey {
        account: id_from_wire("account_id", &request.account_id)?,
        name: text_from_wire("name", request.name, DISPLAY_NAME_LENGTH_MAX)?,
        scope: scope_from_wire("scope", request.scope)?,
        request_id: match request.request_id.is_empty() {
            true => None,
            false => Some(text_from_wire(
                "request_id",
                request.request_id,
                REQUEST_ID_LENGTH_MAX,
            )?),
        },
        expires_at: optional_time_from_wire("expire_time_us", request.expire_time_us)?,
    })
}

/// See [`RotateKey`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn rotate_key_from_wire(request: wire::RotateApiKeyRequest) -> FieldResult<RotateKey> {
    let grace = Duration::from_millis(request.grace_ms);
    if grace > ROTATION_GRACE_MAX {
        return Err(FieldError::new("grace_ms", "must be at most seven days"));
    }
    Ok(RotateKey {
        key: id_from_wire("key_id", &request.key_id)?,
        request_id: text_from_wire("request_id", request.request_id, REQUEST_ID_LENGTH_MAX)?,
        grace,
        expires_at: optional_time_from_wire("expire_time_us", request.expire_time_us)?,
    })
}

/// See [`SpendingLimit`].
///
/// # Errors
/// When an amount is below zero.
pub fn spending_limit_from_wire(
    field: &str,
    limit: Option<&wire::SpendingLimit>,
) -> FieldResult<SpendingLimit> {
    let amount = |name: &str, nano: i64| match nano {
        0 => Ok(None),
        nano => amount_from_wire(&format!("{field}.{name}"), nano).map(Some),
    };
    let Some(limit) = limit else {
        return Ok(SpendingLimit::default());
    };
    Ok(SpendingLimit {
        key_per_day: amount("key_nano_per_day", limit.key_nano_per_day)?,
        user_per_day: amount("user_nano_per_day", limit.user_nano_per_day)?,
    })
}

/// A limit on the wire.
#[must_use]
pub fn spending_limit_to_wire(limit: SpendingLimit) -> wire::SpendingLimit {
    let nano = |amount: Option<Credits>| amount.map_or(0, Credits::as_nano);
    wire::SpendingLimit {
        key_nano_per_day: nano(limit.key_per_day),
        user_nano_per_day: nano(limit.user_per_day),
    }
}

/// A day (UTC), counted from 1970.
///
/// # Errors
/// When it is beyond what can be stored.
pub fn day_from_wire(field: &str, day: u32) -> FieldResult<u32> {
    if day > DAY_MAX {
        return Err(FieldError::new(field, "is beyond the end of time"));
    }
    Ok(day)
}

/// See [`SpendingTotal`].
///
/// # Errors
/// Names the field that is missing or malformed.
pub fn spending_from_wire(total: &wire::Spending) -> FieldResult<SpendingTotal> {
    let user = match total.user_sha256.as_slice() {
        [] => None,
        bytes => Some(
            <[u8; 32]>::try_from(bytes)
                .map_err(|_| FieldError::new("user_sha256", "must be 32 bytes or empty"))?,
        ),
    };
    if total.spent_nano < 0 {
        return Err(FieldError::new("spent_nano", "must not be below 0"));
    }
    Ok(SpendingTotal {
        line: id_from_wire("line_key_id", &total.line_key_id)?,
        user,
        day: day_from_wire("day", total.day)?,
        spent: Credits::from_nano(total.spent_nano),
    })
}

/// A total on the wire.
#[must_use]
pub fn spending_to_wire(total: &SpendingTotal) -> wire::Spending {
    wire::Spending {
        line_key_id: total.line.to_string(),
        user_sha256: total.user.map(Vec::from).unwrap_or_default(),
        day: total.day,
        spent_nano: total.spent.as_nano(),
    }
}

/// A report of totals.
///
/// # Errors
/// Names the total and the field that is missing or malformed, or says that there are more than [`SPENDING_TOTALS_MAX`].
pub fn spending_report_from_wire(request: &wire::ReportSpendingRequest) -> FieldResult<Vec<SpendingTotal>> {
    if request.totals.len() > SPENDING_TOTALS_MAX {
        let most = format!("must be at most {SPENDING_TOTALS_MAX} in one report");
        return Err(FieldError::new("totals", most));
    }
    let totals = request.totals.iter().enumerate();
    totals
        .map(|(index, total)| {
            spending_from_wire(total).map_err(|error| error.within(&format!("totals[{index}]")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_as_they_were_written() {
        for scope in [KeyScope::Full, KeyScope::Consumer, KeyScope::Island] {
            assert_eq!(scope_from_wire("scope", scope_to_wire(scope).into()), Ok(scope));
        }
        assert_eq!(scope_from_wire("scope", 0), Ok(KeyScope::Full));
        assert!(scope_from_wire("scope", 9).is_err());
    }
}
