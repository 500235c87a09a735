//! Deadlines that follow the job's size: computed once, when the lease is granted.

use std::time::Duration;

use domain::{TierFloor, TokenCount};

use crate::limits::{FIRST_TOKEN_AT_LEAST, STALL_AT_LEAST, STALL_TOKENS, TOTAL_ALLOWANCE};

/// How fast an Island is taken to be, in tokens a second; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speeds {
    prefill: u32,
    decode: u32,
}

impl Speeds {
    /// What the exchange measured, or the tier's promise where that is faster or nothing was measured: a slow spell
    /// must not earn an Island more time than its tier allows.
    #[must_use]
    pub fn in_force(floor: TierFloor, measured: Option<TierFloor>) -> Self {
        let measured = measured.unwrap_or(floor);
        Self {
            prefill: measured.prefill_per_second.max(floor.prefill_per_second).max(1),
            decode: measured.decode_per_second.max(floor.decode_per_second).max(1),
        }
    }

    /// How long reading so many tokens takes.
    #[must_use]
    pub fn to_read(self, tokens: TokenCount) -> Duration {
        time_of(tokens.get(), self.prefill)
    }

    /// How long writing so many tokens takes.
    #[must_use]
    pub fn to_write(self, tokens: TokenCount) -> Duration {
        time_of(tokens.get(), self.decode)
    }
}

fn time_of(tokens: u32, per_second: u32) -> Duration {
    let micros = u64::from(tokens)
        .saturating_mul(1_000_000)
        .div_ceil(u64::from(per_second));
    Duration::from_micros(micros)
}

/// How long each step of a lease may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the grant to the first token.
    pub first_token: Duration,
    /// From one token to the next.
    pub stall: Duration,
    /// From the grant to the end.
    pub total: Duration,
}

impl Deadlines {
    /// Of a job that reads `prompt` tokens and writes at most `output`.
    #[must_use]
    pub fn of_job(speeds: Speeds, prompt: TokenCount, output: TokenCount) -> Self {
        let reading = speeds.to_read(prompt);
        let expected = reading.saturating_add(speeds.to_write(output));
        Self {
            first_token: FIRST_TOKEN_AT_LEAST.max(reading.saturating_mul(3)),
            stall: STALL_AT_LEAST.max(speeds.to_write(TokenCount::new(STALL_TOKENS))),
            total: expected.saturating_mul(2).saturating_add(TOTAL_ALLOWANCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(prefill_per_second: u32, decode_per_second: u32) -> TierFloor {
        TierFloor {
            decode_per_second,
            prefill_per_second,
        }
    }

    fn deadlines(speeds: Speeds, prompt: u32, output: u32) -> [u128; 3] {
        let deadlines = Deadlines::of_job(speeds, TokenCount::new(prompt), TokenCount::new(output));
        [deadlines.first_token, deadlines.stall, deadlines.total].map(|span| span.as_millis())
    }

    #[test]
    fn a_small_job_on_a_fast_machine_has_the_least_times() {
        let speeds = Speeds::in_force(floor(1_000, 100), None);
        assert_eq!(deadlines(speeds, 100, 100), [5_000, 3_000, 12_200]);
    }

    #[test]
    fn a_large_job_or_a_slow_machine_has_more_time() {
        let speeds = Speeds::in_force(floor(100, 2), None);
        // 2,000 tokens to read at 100/s are 20 s; 50 to write at 2/s are 25 s.
        assert_eq!(deadlines(speeds, 2_000, 50), [60_000, 10_000, 100_000]);
    }

    #[test]
    fn measured_speeds_count_but_never_below_the_tiers_floor() {
        let promised = floor(100, 10);
        assert_eq!(
            Speeds::in_force(promised, Some(floor(400, 40))),
            Speeds::in_force(floor(400, 40), None)
        );
        assert_eq!(
            Speeds::in_force(promised, Some(floor(1, 1))),
            Speeds::in_force(promised, None)
        );
        assert_eq!(
            Speeds::in_force(promised, Some(floor(400, 1))),
            Speeds::in_force(floor(400, 10), None)
        );
    }

    #[test]
    fn absurd_sizes_and_a_floor_of_nothing_stay_in_range() {
        let speeds = Speeds::in_force(floor(0, 0), None);
        let [first_token, stall, total] = deadlines(speeds, u32::MAX, u32::MAX);
        assert!(stall < first_token && first_token < total);
    }
}
