//! Virtual credits, in nano-credits. They have no cash value.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Nano-credits in one credit.
pub const NANO_PER_CREDIT: i64 = 1_000_000_000;

/// An amount of virtual credits: whole nano-credits, possibly negative (a balance may owe).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credits(i64);

/// A text that is not an amount of credits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditsError {
    /// Not a decimal number.
    #[error("`{found}` is not a decimal number of credits such as 1.25")]
    Malformed {
        /// The text, cut to 40 characters.
        found: String,
    },
    /// Finer than a nano-credit.
    #[error("credits have at most nine decimals")]
    TooFine,
    /// Does not fit 64 bits of nano-credits.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// Wraps a count of nano-credits.
    #[must_use]
    pub const fn from_nano(nano: i64) -> Self {
        Self(nano)
    }

    /// The amount, if it fits.
    #[must_use]
    pub fn try_from_nano(nano: u128) -> Option<Self> {
        i64::try_from(nano).ok().map(Self)
    }

    /// Whole credits, if they fit.
    #[must_use]
    pub const fn from_whole(credits: i64) -> Option<Self> {
        match credits.checked_mul(NANO_PER_CREDIT) {
            Some(nano) => Some(Self(nano)),
            None => None,
        }
    }

    /// Nano-credits.
    #[must_use]
    pub const fn as_nano(self) -> i64 {
        self.0
    }

    /// The sum, if it fits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(nano) => Some(Self(nano)),
            None => None,
        }
    }

    /// The difference, if it fits.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(nano) => Some(Self(nano)),
            None => None,
        }
    }

    /// This amount for each of `count`, if it fits.
    #[must_use]
    pub fn times(self, count: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(count)).map(Self)
    }

    /// Whether this is less than nothing.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Credits {
    /// A plain decimal without trailing zeros: `1.25`, `0.000000001`, `-3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let nano_per_credit = NANO_PER_CREDIT.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (
            magnitude.div_euclid(nano_per_credit),
            magnitude.rem_euclid(nano_per_credit),
        );
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Credits {
    type Err = CreditsError;

    fn from_str(text: &str) -> Result<Self, CreditsError> {
        let malformed = || CreditsError::Malformed {
            found: text.chars().take(40).collect(),
        };
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return Err(malformed());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 9 {
            return Err(CreditsError::TooFine);
        }
        let whole: i64 = whole.parse().map_err(|_| CreditsError::OutOfRange)?;
        let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| malformed())?;
        let nano = whole
            .checked_mul(NANO_PER_CREDIT)
            .and_then(|nano| nano.checked_add(fraction))
            .ok_or(CreditsError::OutOfRange)?;
        Ok(Self(if negative { -nano } else { nano }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_print_without_trailing_zeros() {
        let shown = |nano| Credits::from_nano(nano).to_string();
        assert_eq!(shown(1_250_000_000), "1.25");
        assert_eq!(shown(1), "0.000000001");
        assert_eq!(shown(-3_000_000_000), "-3");
        assert_eq!(shown(0), "0");
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "-", ".5", "1.", "1e9", "+1", "1,5", "0x1", " 1", "NaN"] {
            assert!(
                matches!(text.parse::<Credits>(), Err(CreditsError::Malformed { .. })),
                "{text}"
            );
        }
        assert_eq!("0.0000000001".parse::<Credits>(), Err(CreditsError::TooFine));
        assert_eq!("9223372037".parse::<Credits>(), Err(CreditsError::OutOfRange));
    }

    proptest! {
        #[test]
        fn an_amount_reads_back_as_it_was_written(nano in (i64::MIN + 1)..) {
            let credits = Credits::from_nano(nano);
            prop_assert_eq!(credits.to_string().parse(), Ok(credits));
        }
    }
}
