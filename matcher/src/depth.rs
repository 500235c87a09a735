//! Which levels a command changed, so that each is published once, at its end, if it differs.

use domain::{InstrumentId, Price};

use crate::CellKey;

/// A price level, in the order in which changes are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LevelKey {
    Ask(CellKey, Price),
    Bid(InstrumentId, u16, Price),
}

/// A change of a level's displayed jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) level: LevelKey,
    position: usize,
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
        let position = self.touches.len();
        self.touches.push(Touch {
            level,
            position,
            jobs_before,
            jobs,
        });
    }

    /// Brings the touches in order and makes one of those of one level.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.touches.len() < 2 {
            return;
        }
        self.touches
            .sort_unstable_by_key(|touch| (touch.level, touch.position));
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
