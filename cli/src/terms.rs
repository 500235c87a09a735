//! A buyer's terms on the command line.

use clap::{Args, value_parser};
use domain::Price;
use proto::exchange::v1::BidTerms;
use proto::types::v1 as wire;

use crate::bid::TierArgument;

/// Where an Island may be, how fast and how reputed, and what may be paid.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Terms {
    /// Pay at most this, in credits per 1,000 work units such as 0.05; twice the best ask unless given.
    ///
    /// Whoever waited in the book sets the price: a bid that finds an ask pays the ask's price, a bid that an ask finds
    /// pays its own limit.
    #[arg(long, value_name = "CREDITS", value_parser = limit, allow_hyphen_values = true)]
    pub(crate) limit: Option<Price>,
    /// Your own region, such as eu-west; distances are measured from it.
    #[arg(long, value_name = "CODE")]
    pub(crate) region: Option<String>,
    /// Islands no farther than this round trip.
    #[arg(long, value_name = "MS", value_parser = value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub(crate) max_rtt_ms: Option<u32>,
    /// The slowest tier that will do.
    #[arg(long, value_name = "TIER", value_enum)]
    pub(crate) min_tier: Option<TierArgument>,
    /// The least karma that will do.
    #[arg(
        long,
        value_name = "0 TO 100",
        value_parser = value_parser!(u32).range(0..=100),
        allow_negative_numbers = true
    )]
    pub(crate) min_karma: Option<u32>,
    /// Nano-credits per 1,000 work units given up per 10 ms of round trip less.
    #[arg(long, value_name = "NANO-CREDITS", allow_negative_numbers = true)]
    pub(crate) latency_value: Option<u32>,
}

impl Terms {
    /// The terms as they travel.
    pub(crate) fn to_wire(&self) -> BidTerms {
        BidTerms {
            limit: self.limit.map(Price::get),
            home_region: self.region.clone().unwrap_or_default(),
            max_rtt_ms: self.max_rtt_ms.unwrap_or_default(),
            min_tier: self
                .min_tier
                .map_or(wire::Tier::Unspecified, TierArgument::to_wire)
                .into(),
            min_karma: self.min_karma.unwrap_or_default(),
            latency_value: self.latency_value.unwrap_or_default(),
            ..BidTerms::default()
        }
    }
}

pub(crate) fn limit(text: &str) -> Result<Price, String> {
    text.parse().map_err(|_| {
        format!(
            "a limit is a price in credits per 1,000 work units, {} to {} in steps of {}, such as 0.05",
            Price::MIN,
            Price::MAX,
            Price::MIN
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_no_price_is_told_its_unit_and_bounds() {
        assert_eq!(limit("0.05").unwrap().get(), 50_000_000);
        for text in ["-1", "0", "0.0000001", "2000", "cheap", ""] {
            let problem = limit(text).unwrap_err();
            assert!(
                problem.contains("credits per 1,000 work units, 0.000001 to 1099.511627"),
                "{text}: {problem}"
            );
        }
    }
}
