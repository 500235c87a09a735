//! Which levels a command changed, so that each is published once, at its end, if it differs.

use domain::{InstrumentId, Price};

use crate::CellKey;

/// A price level, in the order in which changes are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LevelKey {
    Ask(CellKey, Price),
    Bid(InstrumentId, u16, Price),
}

/// A level's displayed jobs when the command first touched it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub(crate) level: LevelKey,
    position: usize,
    pub(crate) jobs_before: u64,
}

/// The levels that the command in hand has touched. Empty between commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct DepthLog {
    touches: Vec<Touch>,
}

impl DepthLog {
    /// Notes that a level is about to change, and what it shows until then.
    pub(crate) fn touch(&mut self, level: LevelKey, jobs_before: u64) {
        if self.touches.last().is_some_and(|last| last.level == level) {
            return;
        }
        self.touches.push(Touch {
            level,
            position: self.touches.len(),
            jobs_before,
        });
    }

    /// The touched levels, each once with what it showed first, in order; the log is empty afterwards. The vector
    /// comes back through [`Self::recycle`].
    pub(crate) fn take(&mut self) -> Vec<Touch> {
        let mut touches = std::mem::take(&mut self.touches);
        touches.sort_unstable_by_key(|touch| (touch.level, touch.position));
        touches.dedup_by_key(|touch| touch.level);
        touches
    }

    /// Forgets what was touched: a restored book was published by the engine that was saved.
    pub(crate) fn forget(&mut self) {
        self.touches.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.touches.is_empty()
    }

    pub(crate) fn recycle(&mut self, mut touches: Vec<Touch>) {
        touches.clear();
        self.touches = touches;
    }
}
