//! The asks of one instrument, by cell.
//!
//! The best displayed price of each occupied cell stands in [`Tops`]: an incoming bid reads those, not the cells. Asks
//! that display nothing, because their Island is busy, keep a ladder of their own: they cannot trade, but they show
//! that somebody quotes. A cell knows which classes of bids cover it, so an incoming ask reads only those.

use domain::{Eligibility, KarmaBand, Region, Side, Tier};

use crate::book::class_set::ClassSet;
use crate::book::ladder::Ladder;
use crate::book::tops::Tops;
use crate::prefetch::prefetch;

/// A cell's place within its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) region: Region,
    pub(crate) tier: Tier,
    pub(crate) band: KarmaBand,
}

impl Place {
    /// One number for the three, in their order: a search compares it at once.
    #[inline]
    fn key(self) -> u32 {
        let key = (self.region.index() << 5) | (self.tier.index() << 2) | self.band.index();
        u32::try_from(key).expect("six bits, three and two fit 32")
    }

    pub(crate) fn is_covered_by(self, eligibility: &Eligibility) -> bool {
        eligibility.covers(self.region, self.tier, self.band)
    }
}

/// The asks of one cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) place: Place,
    /// The classes whose bids may be filled from here.
    pub(crate) covered_by: ClassSet,
    /// Asks that display something.
    pub(crate) displayed: Ladder,
    /// Asks whose Island is busy.
    pub(crate) busy: Ladder,
}

/// Where a place's cell is found.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    cell: u16,
}

/// The cells of one instrument. At most 64 regions × 5 tiers × 4 bands, so an emptied one is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells {
    /// By the cell's number.
    cells: Vec<Cell>,
    /// In order of the place.
    directory: Vec<Entry>,
    tops: Tops,
}

impl Cells {
    pub(crate) fn tops(&self) -> &Tops {
        &self.tops
    }

    pub(crate) fn cell(&self, cell: u16) -> &Cell {
        &self.cells[usize::from(cell)]
    }

    pub(crate) fn cell_mut(&mut self, cell: u16) -> &mut Cell {
        &mut self.cells[usize::from(cell)]
    }

    /// Asks for what a search begins with. Most books are thin: the first cell is the only one.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let (Some(cell), Some(entry)) = (self.cells.first(), self.directory.first()) {
            prefetch(&cell.displayed);
            prefetch(entry);
        }
        self.tops.prefetch();
    }

    /// The asks of the first cell, if there is one.
    #[inline]
    pub(crate) fn first_ladder(&self) -> Option<&Ladder> {
        self.cells.first().map(|cell| &cell.displayed)
    }

    /// Every cell that ever held an ask, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.directory.iter().map(|entry| self.cell(entry.cell))
    }

    /// The cell at a place, if it ever held an ask.
    #[inline]
    pub(crate) fn find(&self, place: Place) -> Option<u16> {
        let position = self
            .directory
            .binary_search_by_key(&place.key(), |entry| entry.key);
        position.ok().map(|position| self.directory[position].cell)
    }

    /// Makes the cell at a place that has none.
    pub(crate) fn add(&mut self, place: Place, covered_by: ClassSet) -> u16 {
        let cell = u16::try_from(self.cells.len()).expect("a book has 1,280 cells at most");
        self.cells.push(Cell {
            place,
            covered_by,
            displayed: Ladder::new(Side::Ask),
            busy: Ladder::new(Side::Ask),
        });
        let key = place.key();
        let position = self.directory.partition_point(|entry| entry.key < key);
        self.directory.insert(position, Entry { key, cell });
        cell
    }

    /// Notes which cells a class covers whose meaning is new.
    pub(crate) fn cover(&mut self, class: u16, eligibility: &Eligibility) {
        for cell in &mut self.cells {
            cell.covered_by.set(class, cell.place.is_covered_by(eligibility));
        }
    }

    /// Brings the best prices up to date after a level of the cell came or went.
    pub(crate) fn refresh_top(&mut self, cell: u16) {
        let Cell { place, displayed, .. } = self.cell(cell);
        let (place, best) = (*place, displayed.best());
        self.tops.set(place, cell, best.map(|best| best.ticks.price()));
    }
}
