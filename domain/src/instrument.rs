//! What is traded: one exact model, its task, its unit of work and its speed floor per tier.

use serde::{Deserialize, Serialize};

use crate::{Tier, TokenCount, Units};

/// What a model is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Task {
    /// Text in, text out, token by token.
    Chat,
    /// Text in, a vector out.
    Embedding,
    /// Text in, a picture out.
    Image,
    /// Sound in, text out.
    Transcription,
    /// Bytes in, a label out.
    Classification,
}

/// How much one prompt token weighs against one output token, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct InputWeight(u16);

/// A weight above one whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an input weight is 0 to 1000 thousandths")]
pub struct InputWeightError;

impl InputWeight {
    /// A quarter: reading costs an Island about a quarter of what writing does on the machines that were measured.
    pub const DEFAULT: Self = Self(250);

    /// A weight of so many thousandths.
    ///
    /// # Errors
    /// Above 1,000.
    pub const fn from_thousandths(thousandths: u16) -> Result<Self, InputWeightError> {
        if thousandths > 1_000 {
            return Err(InputWeightError);
        }
        Ok(Self(thousandths))
    }

    /// Thousandths.
    #[must_use]
    pub const fn as_thousandths(self) -> u16 {
        self.0
    }

    /// The work units of reading `prompt`, rounded up to a whole unit.
    ///
    /// Rounding happens here once, so every later product is of integers (decision 0001).
    #[must_use]
    pub fn units_of_prompt(self, prompt: TokenCount) -> Units {
        let thousandths = u64::from(prompt.get())
            .checked_mul(u64::from(self.0))
            .expect("32 bits times 16 bits fit 64");
        Units::new(thousandths.div_ceil(1_000))
    }

    /// The work units of a whole text job: its output and its weighted prompt.
    #[must_use]
    pub fn units_of_job(self, prompt: TokenCount, output: TokenCount) -> Units {
        self.units_of_prompt(prompt)
            .checked_add(Units::new(u64::from(output.get())))
            .expect("two 32-bit counts fit 64 bits")
    }
}

impl TryFrom<u16> for InputWeight {
    type Error = InputWeightError;

    fn try_from(thousandths: u16) -> Result<Self, InputWeightError> {
        Self::from_thousandths(thousandths)
    }
}

impl From<InputWeight> for u16 {
    fn from(weight: InputWeight) -> Self {
        weight.0
    }
}

/// The speed that a tier promises for one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierFloor {
    /// Output tokens a second, at least.
    pub decode_per_second: u32,
    /// Prompt tokens a second, at least.
    pub prefill_per_second: u32,
}

/// The floors of all tiers, slowest tier first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedFloors([TierFloor; 5]);

impl SpeedFloors {
    /// The floors, in the order of [`Tier::ALL`].
    #[must_use]
    pub const fn new(floors: [TierFloor; 5]) -> Self {
        Self(floors)
    }

    /// What `tier` promises.
    #[must_use]
    pub const fn of(&self, tier: Tier) -> TierFloor {
        self.0[tier.index()]
    }

    /// The fastest tier whose decode floor a measured speed reaches, or `None` below the slowest.
    #[must_use]
    pub fn tier_for(&self, decode_per_second: u32) -> Option<Tier> {
        Tier::ALL
            .into_iter()
            .rev()
            .find(|tier| self.of(*tier).decode_per_second <= decode_per_second)
    }
}

/// One exact model on the market. Another quantisation is another instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// The registry's id of the model, such as `smollm2-135m-instruct-q4_1`.
    pub model: String,
    /// What it does.
    pub task: Task,
    /// SHA-256 of the weights.
    pub digest: crate::Digest,
    /// How its prompt is billed.
    pub input_weight: InputWeight,
    /// Tokens that prompt and output may fill together.
    pub context_max: TokenCount,
    /// The speed promised per tier.
    pub floors: SpeedFloors,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_weighed_and_rounded_up_once() {
        let units = |prompt, output| {
            InputWeight::DEFAULT
                .units_of_job(TokenCount::new(prompt), TokenCount::new(output))
                .get()
        };
        assert_eq!([units(0, 7), units(1, 7), units(4, 7), units(5, 7)], [7, 8, 8, 9]);
    }

    #[test]
    fn a_speed_lands_in_the_fastest_tier_whose_floor_it_reaches() {
        let floor = |decode_per_second| TierFloor {
            decode_per_second,
            prefill_per_second: decode_per_second,
        };
        let floors = SpeedFloors::new([floor(2), floor(10), floor(30), floor(80), floor(200)]);
        assert_eq!(floors.tier_for(1), None);
        assert_eq!(floors.tier_for(79), Some(Tier::Desktop));
        assert_eq!(floors.tier_for(5_000), Some(Tier::Server));
    }
}
