//! The price levels of one side of one cell or class.
//!
//! Most books are thin, so the levels are one sorted vector with the best price last: trading at the best price and
//! removing it touch the end, and a search is a few cache lines. Invariant: no level is empty.

use domain::{Price, Side};

use crate::book::queue::Queue;

/// The orders at one price.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) price: Price,
    /// The sum of what its orders display.
    pub(crate) jobs: u64,
    pub(crate) queue: Queue,
}

/// Levels, the best one last.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    side: Side,
    levels: Vec<Level>,
}

impl Ladder {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            levels: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The levels from worst to best.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    pub(crate) fn best(&self) -> Option<&Level> {
        self.levels.last()
    }

    pub(crate) fn level(&self, price: Price) -> Option<&Level> {
        self.find(price).ok().map(|position| &self.levels[position])
    }

    /// The level at a price, made if there is none.
    pub(crate) fn level_or_new(&mut self, price: Price) -> &mut Level {
        let position = self.find(price).unwrap_or_else(|position| {
            let level = Level {
                price,
                jobs: 0,
                queue: Queue::default(),
            };
            self.levels.insert(position, level);
            position
        });
        &mut self.levels[position]
    }

    /// Removes the level at a price if no order is left in it.
    pub(crate) fn drop_if_empty(&mut self, price: Price) {
        if let Ok(position) = self.find(price)
            && self.levels[position].queue.is_empty()
        {
            self.levels.remove(position);
        }
    }

    fn find(&self, price: Price) -> Result<usize, usize> {
        self.levels.binary_search_by(|level| match self.side {
            Side::Ask => price.cmp(&level.price),
            Side::Bid => level.price.cmp(&price),
        })
    }
}
