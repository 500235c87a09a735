//! Which levels a command changed, so that each is published once, at its end, if it differs.

use domain::{InstrumentId, Side};

use crate::book::ticks::Ticks;

/// A price level, as briefly as it can be named while the books stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LevelKey {
    pub(crate) instrument: InstrumentId,
    pub(crate) ticks: Ticks,
    /// The number of the cell or the class.
    pub(crate) shelf: u16,
    pub(crate) side: Side,
}

/// A change of a level's displayed jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) level: LevelKey,
    position: u32,
    pub(crate) jobs_before: u64,
    pub(crate) jobs: u64,
}

/// The levels that the command in hand has touched. Empty between commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct DepthLog {
    touches: Vec<Touch>,
}

impl DepthLog {
    /// Notes that a level has changed, and what it showed before and shows now.
    #[inline]
    pub(crate) fn touch(&mut self, level: LevelKey, jobs_before: u64, jobs: u64) {
        if let Some(last) = self.touches.last_mut()
            && last.level == level
        {
            last.jobs = jobs;
            return;
        }
        let position = u32::try_from(self.touches.len()).expect("a command touches fewer than 2^32 levels");
        self.touches.push(Touch {
            level,
            position,
            jobs_before,
            jobs,
        });
    }

    /// Brings the touches in the order of `rank`, and makes one of those of one level.
    #[inline]
    pub(crate) fn settle<R: Ord>(&mut self, rank: impl Fn(LevelKey) -> R) {
        if self.touches.len() < 2 {
            return;
        }
        self.touches
            .sort_unstable_by_key(|touch| (rank(touch.level), touch.position));
        self.touches.dedup_by(|later, first| {
            let is_same = later.level == first.level;
            if is_same {
                first.jobs = later.jobs;
            }
            is_same
        });
    }

    pub(crate) fn touches(&self) -> &[Touch] {
        &self.touches
    }

    pub(crate) fn clear(&mut self) {
        self.touches.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.touches.is_empty()
    }
}
