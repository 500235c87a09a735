//! When earnings become available: long enough after they were earned for an audit to find a cheat before he is paid.

use std::time::Duration;

use domain::{Standing, Timestamp};

/// How long earnings are held back, by the standing of the Island that earned them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaturityDelays {
    /// Of an Island that is trusted.
    pub established: Duration,
    /// Of an Island on probation.
    pub probation: Duration,
}

impl MaturityDelays {
    /// How long earnings of that standing are held back.
    #[must_use]
    pub const fn of(self, standing: Standing) -> Duration {
        match standing {
            Standing::Established => self.established,
            Standing::Probation => self.probation,
        }
    }

    /// The last moment whose earnings have matured at `now`; `None` if none can have.
    #[must_use]
    pub fn cutoff(self, standing: Standing, now: Timestamp) -> Option<Timestamp> {
        let delay = u64::try_from(self.of(standing).as_micros()).ok()?;
        now.as_micros().checked_sub(delay).map(Timestamp::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: MaturityDelays = MaturityDelays {
        established: Duration::from_micros(24),
        probation: Duration::from_micros(72),
    };

    #[test]
    fn earnings_on_probation_take_longer() {
        let at = Timestamp::from_micros;
        let cutoff = |standing, now| DELAYS.cutoff(standing, at(now));
        assert_eq!(cutoff(Standing::Established, 23), None);
        assert_eq!(cutoff(Standing::Established, 24), Some(at(0)));
        assert_eq!(cutoff(Standing::Established, 100), Some(at(76)));
        assert_eq!(cutoff(Standing::Probation, 71), None);
        assert_eq!(cutoff(Standing::Probation, 100), Some(at(28)));
    }
}
