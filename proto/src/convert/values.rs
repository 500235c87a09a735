//! Single values.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use domain::{
    Digest, JobOutcome, KarmaBand, Liquidity, PrefixedId, Price, SelfTradeMode, Side, Task, Tier,
    TimeInForce, Timestamp,
};

use super::error::{FieldError, FieldResult};
use crate::types::v1 as wire;

/// The longest that a GTD order may stay: a year. Beyond it a deadline is a mistake.
const EXPIRY_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A message field that must be there.
///
/// # Errors
/// When it is not.
pub fn required<T>(field: &str, value: Option<T>) -> FieldResult<T> {
    value.ok_or_else(|| FieldError::new(field, "is required"))
}

/// A text of `1..=longest` characters, none of them a control character.
///
/// # Errors
/// When it is empty, longer or has control characters.
pub fn text_from_wire(field: &str, text: String, longest: usize) -> FieldResult<String> {
    if text.is_empty() || text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(FieldError::new(
            field,
            format!("must be 1 to {longest} printable characters"),
        ));
    }
    Ok(text)
}

/// An id of the kind that the caller expects.
///
/// # Errors
/// When the text is no id of that kind.
pub fn id_from_wire<I>(field: &str, text: &str) -> FieldResult<I>
where
    I: PrefixedId + FromStr,
    I::Err: Display,
{
    text.parse()
        .map_err(|error: I::Err| FieldError::new(field, error))
}

/// A price.
///
/// # Errors
/// When it is zero, off the tick or too high.
pub fn price_from_wire(field: &str, nano_per_thousand: u64) -> FieldResult<Price> {
    Price::new(nano_per_thousand).map_err(|error| FieldError::new(field, error))
}

/// A SHA-256 digest.
///
/// # Errors
/// When it is not 32 bytes.
pub fn digest_from_wire(field: &str, bytes: &[u8]) -> FieldResult<Digest> {
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| FieldError::new(field, "must be 32 bytes"))?;
    Ok(Digest::new(bytes))
}

fn known<E: TryFrom<i32>>(field: &str, number: i32) -> FieldResult<E> {
    E::try_from(number).map_err(|_| FieldError::new(field, format!("{number} is not a known value")))
}

/// A tier, or `None` if it is unspecified.
///
/// # Errors
/// When the number is unknown.
pub fn tier_from_wire(field: &str, number: i32) -> FieldResult<Option<Tier>> {
    Ok(match known(field, number)? {
        wire::Tier::Unspecified => None,
        wire::Tier::Phone => Some(Tier::Phone),
        wire::Tier::Laptop => Some(Tier::Laptop),
        wire::Tier::Desktop => Some(Tier::Desktop),
        wire::Tier::Workstation => Some(Tier::Workstation),
        wire::Tier::Server => Some(Tier::Server),
    })
}

/// A tier on the wire.
#[must_use]
pub const fn tier_to_wire(tier: Tier) -> wire::Tier {
    match tier {
        Tier::Phone => wire::Tier::Phone,
        Tier::Laptop => wire::Tier::Laptop,
        Tier::Desktop => wire::Tier::Desktop,
        Tier::Workstation => wire::Tier::Workstation,
        Tier::Server => wire::Tier::Server,
    }
}

/// A band, or `None` if it is unspecified.
///
/// # Errors
/// When the number is unknown.
pub fn band_from_wire(field: &str, number: i32) -> FieldResult<Option<KarmaBand>> {
    Ok(match known(field, number)? {
        wire::KarmaBand::Unspecified => None,
        wire::KarmaBand::D => Some(KarmaBand::D),
        wire::KarmaBand::C => Some(KarmaBand::C),
        wire::KarmaBand::B => Some(KarmaBand::B),
        wire::KarmaBand::A => Some(KarmaBand::A),
    })
}

/// A band on the wire.
#[must_use]
pub const fn band_to_wire(band: KarmaBand) -> wire::KarmaBand {
    match band {
        KarmaBand::D => wire::KarmaBand::D,
        KarmaBand::C => wire::KarmaBand::C,
        KarmaBand::B => wire::KarmaBand::B,
        KarmaBand::A => wire::KarmaBand::A,
    }
}

/// A cell on the wire, with the names that its ids stand for.
#[must_use]
pub fn cell_to_wire(model: &str, region: &str, tier: Tier, band: Option<KarmaBand>) -> wire::Cell {
    wire::Cell {
        model: model.to_owned(),
        region: region.to_owned(),
        tier: tier_to_wire(tier).into(),
        band: band.map_or(wire::KarmaBand::Unspecified, band_to_wire).into(),
    }
}

/// A task on the wire.
#[must_use]
pub const fn task_to_wire(task: Task) -> wire::Task {
    match task {
        Task::Chat => wire::Task::Chat,
        Task::Embedding => wire::Task::Embedding,
        Task::Image => wire::Task::Image,
        Task::Transcription => wire::Task::Transcription,
        Task::Classification => wire::Task::Classification,
    }
}

/// A side on the wire.
#[must_use]
pub const fn side_to_wire(side: Side) -> wire::Side {
    match side {
        Side::Bid => wire::Side::Bid,
        Side::Ask => wire::Side::Ask,
    }
}

/// A time in force, its deadline counted from `now`; `None` if it is unspecified.
///
/// # Errors
/// When the kind is unknown, or a GTD order's time is zero or beyond a year, or another has one.
pub fn time_in_force_from_wire(
    field: &str,
    value: Option<wire::TimeInForce>,
    now: Timestamp,
) -> FieldResult<Option<TimeInForce>> {
    let Some(value) = value else { return Ok(None) };
    let kind = known(&format!("{field}.kind"), value.kind)?;
    let expiry = Duration::from_millis(value.expires_in_ms);
    let expiry_field = format!("{field}.expires_in_ms");
    if kind == wire::TimeInForceKind::Gtd {
        if expiry.is_zero() || expiry > EXPIRY_MAX {
            return Err(FieldError::new(expiry_field, "must be 1 ms to a year"));
        }
    } else if !expiry.is_zero() {
        return Err(FieldError::new(expiry_field, "is for GTD only"));
    }
    Ok(match kind {
        wire::TimeInForceKind::Unspecified => None,
        wire::TimeInForceKind::Ioc => Some(TimeInForce::Ioc),
        wire::TimeInForceKind::Fok => Some(TimeInForce::Fok),
        wire::TimeInForceKind::Gtc => Some(TimeInForce::Gtc),
        wire::TimeInForceKind::Gtd => Some(TimeInForce::Gtd(now.after(expiry))),
    })
}

/// A time in force on the wire, its deadline counted from `now`.
#[must_use]
pub fn time_in_force_to_wire(time_in_force: TimeInForce, now: Timestamp) -> wire::TimeInForce {
    let (kind, expires_in_ms) = match time_in_force {
        TimeInForce::Ioc => (wire::TimeInForceKind::Ioc, 0),
        TimeInForce::Fok => (wire::TimeInForceKind::Fok, 0),
        TimeInForce::Gtc => (wire::TimeInForceKind::Gtc, 0),
        TimeInForce::Gtd(deadline) => (
            wire::TimeInForceKind::Gtd,
            u64::try_from(deadline.since(now).as_millis()).unwrap_or(u64::MAX),
        ),
    };
    wire::TimeInForce {
        kind: kind.into(),
        expires_in_ms,
    }
}

/// A self-trade mode; skip if it is unspecified.
///
/// # Errors
/// When the number is unknown.
pub fn self_trade_from_wire(field: &str, number: i32) -> FieldResult<SelfTradeMode> {
    Ok(match known(field, number)? {
        wire::SelfTradeMode::Unspecified | wire::SelfTradeMode::Skip => SelfTradeMode::Skip,
        wire::SelfTradeMode::CancelNewest => SelfTradeMode::CancelNewest,
        wire::SelfTradeMode::CancelOldest => SelfTradeMode::CancelOldest,
        wire::SelfTradeMode::CancelBoth => SelfTradeMode::CancelBoth,
        wire::SelfTradeMode::Allow => SelfTradeMode::Allow,
    })
}

/// A self-trade mode on the wire.
#[must_use]
pub const fn self_trade_to_wire(mode: SelfTradeMode) -> wire::SelfTradeMode {
    match mode {
        SelfTradeMode::Skip => wire::SelfTradeMode::Skip,
        SelfTradeMode::CancelNewest => wire::SelfTradeMode::CancelNewest,
        SelfTradeMode::CancelOldest => wire::SelfTradeMode::CancelOldest,
        SelfTradeMode::CancelBoth => wire::SelfTradeMode::CancelBoth,
        SelfTradeMode::Allow => wire::SelfTradeMode::Allow,
    }
}

/// A liquidity.
///
/// # Errors
/// When it is unspecified or unknown.
pub fn liquidity_from_wire(field: &str, number: i32) -> FieldResult<Liquidity> {
    match known(field, number)? {
        wire::Liquidity::Unspecified => Err(FieldError::new(field, "is required")),
        wire::Liquidity::Maker => Ok(Liquidity::Maker),
        wire::Liquidity::Taker => Ok(Liquidity::Taker),
    }
}

/// A liquidity on the wire.
#[must_use]
pub const fn liquidity_to_wire(liquidity: Liquidity) -> wire::Liquidity {
    match liquidity {
        Liquidity::Maker => wire::Liquidity::Maker,
        Liquidity::Taker => wire::Liquidity::Taker,
    }
}

/// How a job ended.
///
/// # Errors
/// When it is unspecified or unknown.
pub fn outcome_from_wire(field: &str, number: i32) -> FieldResult<JobOutcome> {
    match known(field, number)? {
        wire::JobOutcome::Unspecified => Err(FieldError::new(field, "is required")),
        wire::JobOutcome::Stopped => Ok(JobOutcome::Stopped),
        wire::JobOutcome::Length => Ok(JobOutcome::Length),
        wire::JobOutcome::Cancelled => Ok(JobOutcome::Cancelled),
        wire::JobOutcome::Incomplete => Ok(JobOutcome::Incomplete),
        wire::JobOutcome::Failed => Ok(JobOutcome::Failed),
    }
}

/// How a job ended, on the wire.
#[must_use]
pub const fn outcome_to_wire(outcome: JobOutcome) -> wire::JobOutcome {
    match outcome {
        JobOutcome::Stopped => wire::JobOutcome::Stopped,
        JobOutcome::Length => wire::JobOutcome::Length,
        JobOutcome::Cancelled => wire::JobOutcome::Cancelled,
        JobOutcome::Incomplete => wire::JobOutcome::Incomplete,
        JobOutcome::Failed => wire::JobOutcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::OrderId;

    #[test]
    fn a_value_that_does_not_convert_names_its_field() {
        assert_eq!(
            price_from_wire("terms.limit", 0).unwrap_err().field,
            "terms.limit"
        );
        assert_eq!(
            tier_from_wire("terms.min_tier", 77).unwrap_err().field,
            "terms.min_tier"
        );
        assert_eq!(
            id_from_wire::<OrderId>("order_id", "lse_1").unwrap_err().field,
            "order_id"
        );
        assert_eq!(
            digest_from_wire("offers[0].model_digest", &[0; 31])
                .unwrap_err()
                .field,
            "offers[0].model_digest"
        );
    }

    #[test]
    fn a_time_in_force_has_a_deadline_if_and_only_if_it_is_gtd() {
        let now = Timestamp::from_micros(5);
        let convert = |kind: wire::TimeInForceKind, expires_in_ms| {
            time_in_force_from_wire(
                "t",
                Some(wire::TimeInForce {
                    kind: kind.into(),
                    expires_in_ms,
                }),
                now,
            )
        };
        assert_eq!(
            convert(wire::TimeInForceKind::Gtd, 0).unwrap_err().field,
            "t.expires_in_ms"
        );
        assert_eq!(
            convert(wire::TimeInForceKind::Gtd, u64::MAX).unwrap_err().field,
            "t.expires_in_ms"
        );
        assert_eq!(
            convert(wire::TimeInForceKind::Ioc, 1).unwrap_err().field,
            "t.expires_in_ms"
        );
        assert_eq!(
            convert(wire::TimeInForceKind::Gtd, 2),
            Ok(Some(TimeInForce::Gtd(Timestamp::from_micros(2_005))))
        );
    }

    #[test]
    fn tiers_bands_and_outcomes_read_back_as_they_were_written() {
        for tier in Tier::ALL {
            assert_eq!(tier_from_wire("t", tier_to_wire(tier).into()), Ok(Some(tier)));
        }
        for band in KarmaBand::ALL {
            assert_eq!(band_from_wire("b", band_to_wire(band).into()), Ok(Some(band)));
        }
        for outcome in [
            JobOutcome::Stopped,
            JobOutcome::Length,
            JobOutcome::Cancelled,
            JobOutcome::Incomplete,
        ] {
            assert_eq!(
                outcome_from_wire("o", outcome_to_wire(outcome).into()),
                Ok(outcome)
            );
        }
    }
}
