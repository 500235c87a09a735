//! When to try again: exponential with full jitter, so that a thousand Islands do not come back at once.
//!
//! Deterministic: the jitter is a function of (seed, attempt).

use std::time::Duration;

use runner::sampler::draw;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffRule {
    /// The longest first wait.
    pub first: Duration,
    /// The longest wait of all.
    pub longest: Duration,
}

/// Counts attempts and draws waits.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    rule: BackoffRule,
    seed: u64,
    failures: u32,
    draws: u32,
}

impl Backoff {
    pub(super) fn new(rule: BackoffRule, seed: u64) -> Self {
        Self {
            rule,
            seed,
            failures: 0,
            draws: 0,
        }
    }

    /// The wait after one more failure.
    pub(super) fn fail(&mut self) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let widest = self
            .rule
            .first
            .saturating_mul(1 << doublings)
            .min(self.rule.longest);
        self.jitter(widest)
    }

    /// A wait of at least `least`, and up to the rule's first wait more.
    pub(super) fn after(&mut self, least: Duration) -> Duration {
        let jitter = self.jitter(self.rule.first);
        least.saturating_add(jitter)
    }

    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    fn jitter(&mut self, widest: Duration) -> Duration {
        let drawn = draw(self.seed, self.draws);
        self.draws = self.draws.wrapping_add(1);
        let widest = u64::try_from(widest.as_micros()).unwrap_or(u64::MAX);
        let micros = drawn.checked_rem(widest.saturating_add(1)).unwrap_or(widest);
        Duration::from_micros(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        let rule = BackoffRule {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        };
        Backoff::new(rule, seed)
    }

    #[test]
    fn waits_grow_to_the_longest_and_start_afresh_after_a_reset() {
        let widest = |failures: u32| {
            (0..200)
                .map(|seed| {
                    let mut backoff = backoff(seed);
                    (0..failures).map(|_| backoff.fail()).last().unwrap()
                })
                .max()
                .unwrap()
        };
        assert!(widest(1) <= Duration::from_millis(500));
        assert!(widest(4) > Duration::from_secs(2) && widest(4) <= Duration::from_secs(4));
        assert!(widest(100) > Duration::from_secs(25) && widest(100) <= Duration::from_secs(30));
        let mut backoff = backoff(1);
        for _ in 0..100 {
            backoff.fail();
        }
        backoff.reset();
        assert!(backoff.fail() <= Duration::from_millis(500));
    }

    #[test]
    fn two_islands_do_not_wait_alike() {
        assert_ne!(backoff(1).fail(), backoff(2).fail());
        let asked = Duration::from_secs(7);
        assert!(backoff(1).after(asked) >= asked);
    }
}
