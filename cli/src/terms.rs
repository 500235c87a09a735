//! A buyer's terms on the command line.

use clap::Args;
use domain::Price;
use proto::exchange::v1::BidTerms;
use proto::types::v1 as wire;

use crate::bid::TierArgument;

/// Where an Island may be, how fast and how reputed, and what may be paid.
#[derive(Args, Clone, Debug)]
pub(crate) struct Terms {
    /// Pay at most this, in credits per 1,000 work units such as 0.05.
    #[arg(long, value_name = "CREDITS", allow_hyphen_values = true)]
    pub(crate) limit: Option<Price>,
    /// The buyer's own region; distances are measured from it. The exchange's unless given.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Islands no farther than this round trip.
    #[arg(long, value_name = "MS")]
    pub(crate) max_rtt_ms: Option<u32>,
    /// The slowest tier that will do.
    #[arg(long, value_enum)]
    pub(crate) min_tier: Option<TierArgument>,
    /// The least karma that will do, 0 to 100.
    #[arg(long)]
    pub(crate) min_karma: Option<u32>,
    /// Nano-credits per 1,000 work units given up per 10 ms of round trip less.
    #[arg(long)]
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
