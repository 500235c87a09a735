//! Chooses the next token id from logits.
//!
//! Counter-based: the only random number that a choice uses is [`draw`]`(seed, position)`, the
//! value that SplitMix64 yields at that index. So a stream that another Island resumes at position
//! `n` draws what the first one would have drawn, and needs no state but the two numbers.
//!
//! Invariants: the same logits, parameters and position give the same id, whatever was drawn
//! before; equal logits rank by id, lowest first; sums run in that rank's order. Logits that are not
//! numbers are an error and never an id.
#![expect(
    clippy::float_arithmetic,
    reason = "probabilities are a numeric kernel; no money or time passes through here"
)]

use std::cmp::Ordering;

use crate::kernels::exp;

/// The step between two SplitMix64 states: 2^64 divided by the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Ids less likely than the best one by a factor of 2^32 are never drawn: 32 × ln 2.
const LOG_RATIO_MAX: f32 = 22.180_71;

/// The highest temperature: twice what chat interfaces offer; above it text is noise.
pub const TEMPERATURE_MAX: f32 = 4.0;

/// How to choose among the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 always takes the most likely id; above, logits are divided by it.
    pub temperature: f32,
    /// Keeps the most likely ids whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the most likely ids; `None` keeps all.
    pub top_k: Option<u32>,
    /// Names the stream of random numbers.
    pub seed: u64,
}

/// What is wrong with a [`Sampling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// The temperature is negative, too high or not a number.
    #[error("the temperature is not between 0 and {TEMPERATURE_MAX}")]
    Temperature,
    /// `top_p` is not a probability above zero.
    #[error("top_p is not above 0 and at most 1")]
    TopP,
    /// `top_k` keeps nothing.
    #[error("top_k is 0")]
    TopK,
}

/// Why no id could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The model gave no logits.
    #[error("there are no logits")]
    Empty,
    /// The model gave something that is not a finite number.
    #[error("the logit of token {id} is not a finite number")]
    NotFinite {
        /// Whose logit it is.
        id: u32,
    },
}

impl Sampling {
    /// Always the most likely id.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
        seed: 0,
    };

    /// Checks every parameter, in the order of [`SamplingError`].
    ///
    /// # Errors
    ///
    /// The first parameter that is out of range.
    pub fn check(&self) -> Result<(), SamplingError> {
        if !(0.0..=TEMPERATURE_MAX).contains(&self.temperature) {
            return Err(SamplingError::Temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(SamplingError::TopP);
        }
        if self.top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        Ok(())
    }

    /// The id to emit at `position` of the output.
    ///
    /// # Errors
    ///
    /// When the logits are missing or not finite.
    pub fn choose(&self, logits: &[f32], position: u32) -> Result<u32, SampleError> {
        let best = most_likely(logits)?;
        if self.temperature == 0.0 {
            return Ok(best.id);
        }
        let candidates = self.candidates(logits, best);
        Ok(pick(&candidates, uniform(self.seed, position)))
    }

    /// The ids that may be drawn, most likely first, with weights relative to the best one.
    fn candidates(&self, logits: &[f32], best: Candidate) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = (0..)
            .zip(logits)
            .filter_map(|(id, &logit)| {
                let distance = (best.weight - logit) / self.temperature;
                (distance <= LOG_RATIO_MAX).then_some(Candidate {
                    id,
                    weight: -distance,
                })
            })
            .collect();
        candidates.sort_unstable_by(by_rank);
        if let Some(top_k) = self.top_k {
            candidates.truncate(usize::try_from(top_k).unwrap_or(usize::MAX));
        }
        for candidate in &mut candidates {
            candidate.weight = exp(candidate.weight);
        }
        let floor = f64::from(self.top_p) * total(&candidates);
        let mut sum = 0.0;
        let kept = candidates.iter().position(|candidate| {
            sum += f64::from(candidate.weight);
            sum >= floor
        });
        candidates.truncate(kept.map_or(candidates.len(), |index| index.saturating_add(1)));
        candidates
    }
}

/// The random number for `position` of the stream that `seed` names.
///
/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
/// 2014) is a counter with a mixing function: output `n` is `mix(state + (n + 1) × gamma)`, so any
/// of them can be had directly. The seed is mixed first, so that near seeds are not near streams.
#[must_use]
pub fn draw(seed: u64, position: u32) -> u64 {
    let count = u64::from(position).wrapping_add(1);
    mix(mix(seed).wrapping_add(count.wrapping_mul(GOLDEN_GAMMA)))
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number in [0, 1) with 32 random bits.
fn uniform(seed: u64, position: u32) -> f64 {
    let bits = u32::try_from(draw(seed, position) >> 32).expect("32 bits are left");
    f64::from(bits) / 4_294_967_296.0
}

#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    weight: f32,
}

/// Most likely first, then lowest id.
fn by_rank(left: &Candidate, right: &Candidate) -> Ordering {
    right.weight.total_cmp(&left.weight).then(left.id.cmp(&right.id))
}

fn most_likely(logits: &[f32]) -> Result<Candidate, SampleError> {
    let mut best: Option<Candidate> = None;
    for (id, &weight) in (0..).zip(logits) {
        if !weight.is_finite() {
            return Err(SampleError::NotFinite { id });
        }
        if best.is_none_or(|best| weight > best.weight) {
            best = Some(Candidate { id, weight });
        }
    }
    best.ok_or(SampleError::Empty)
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates
        .iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum()
}

/// The candidate at which the running sum passes the drawn share of the total.
fn pick(candidates: &[Candidate], share: f64) -> u32 {
    let target = share * total(candidates);
    let mut sum = 0.0;
    for candidate in candidates {
        sum += f64::from(candidate.weight);
        if sum > target {
            return candidate.id;
        }
    }
    let last = candidates.last().expect("the most likely id is a candidate");
    last.id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_published_splitmix64_values() {
        // mix(gamma) and mix(2 gamma): what SplitMix64 yields first and second from state 0, which
        // seed 0 mixes to.
        assert_eq!(draw(0, 0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(draw(0, 1), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_equals() {
        assert_eq!(Sampling::GREEDY.choose(&[1.0, 3.0, 3.0], 0), Ok(1));
    }

    #[test]
    fn logits_that_are_not_numbers_are_refused() {
        let refused = Sampling::GREEDY.choose(&[1.0, f32::NAN], 0);
        assert_eq!(refused, Err(SampleError::NotFinite { id: 1 }));
        assert_eq!(Sampling::GREEDY.choose(&[], 0), Err(SampleError::Empty));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let base = Sampling::GREEDY;
        let check = |sampling: Sampling| sampling.check();
        for temperature in [-0.1, f32::NAN, f32::INFINITY, 4.1] {
            let sampling = Sampling { temperature, ..base };
            assert_eq!(check(sampling), Err(SamplingError::Temperature));
        }
        for top_p in [0.0, 1.1, f32::NAN, -1.0] {
            assert_eq!(check(Sampling { top_p, ..base }), Err(SamplingError::TopP));
        }
        let top_k = Some(0);
        assert_eq!(check(Sampling { top_k, ..base }), Err(SamplingError::TopK));
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let sampling = Sampling {
            temperature: 1.0,
            seed: 7,
            ..Sampling::GREEDY
        };
        let logits = [1.0_f32.ln(), 2.0_f32.ln(), 5.0_f32.ln()];
        let mut counts = [0_u32; 3];
        for position in 0..8_000 {
            let id = sampling.choose(&logits, position).unwrap();
            counts[usize::try_from(id).unwrap()] += 1;
        }
        let near = |count: u32, expected: u32| count.abs_diff(expected) < 200;
        assert!(
            near(counts[0], 1_000) && near(counts[1], 2_000) && near(counts[2], 5_000),
            "{counts:?}"
        );
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0, 1.0, 2.0, 3.0];
        let all = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        let top_k = Sampling {
            top_k: Some(1),
            ..all
        };
        let top_p = Sampling { top_p: 0.8, ..all };
        for position in 0..200 {
            assert_eq!(top_k.choose(&logits, position), Ok(3));
            assert!(top_p.choose(&logits, position).unwrap() >= 2);
        }
    }
}
