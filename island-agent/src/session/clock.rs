//! The shell's clock: wall time that never runs backwards while the agent lives.

use std::time::Instant;

use domain::Timestamp;
use service::clock::unix_micros;

/// Wall time at some moment, carried on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    anchor: Instant,
    anchored_at: Timestamp,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            anchor: Instant::now(),
            anchored_at: Timestamp::from_micros(unix_micros()),
        }
    }

    /// Catches up with a wall clock that was put forward, or with a machine that slept.
    pub(super) fn catch_up(&mut self) {
        let now = self.now();
        self.anchor = Instant::now();
        self.anchored_at = now.max(Timestamp::from_micros(unix_micros()));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.anchored_at.after(self.anchor.elapsed())
    }

    pub(super) fn instant_of(&self, at: Timestamp) -> Instant {
        // Beyond what an instant can hold, a day is as good as never: the loop asks again.
        let until = at
            .since(self.anchored_at)
            .min(self.anchor.elapsed() + std::time::Duration::from_secs(86_400));
        self.anchor + until
    }
}
