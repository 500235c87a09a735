//! How long to wait before asking again: longer each time, never the same for two who fail together.

use std::time::Duration;

/// Delays that double from `first` to `longest`, each cut by up to half at random.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The next delay.
    pub(crate) fn delay(&mut self) -> Duration {
        let full = self.next.min(self.longest);
        self.next = full.saturating_mul(2);
        let half = full.checked_div(2).unwrap_or_default();
        let cut = half.checked_mul(dice()).and_then(|cut| cut.checked_div(256));
        full.saturating_sub(cut.unwrap_or_default())
    }
}

/// 0 to 255. Without a random source everybody waits the full time, which is no harm.
fn dice() -> u32 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => u32::from(byte[0]),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_lose_half_at_most() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for (half, full) in [(50, 100), (100, 200), (150, 300), (150, 300)] {
            let range = Duration::from_millis(half)..=Duration::from_millis(full);
            let delay = backoff.delay();
            assert!(range.contains(&delay), "{delay:?}");
        }
    }
}
