//! The asks of one instrument, by cell.
//!
//! The best displayed price of each occupied cell stands in one small array in the cells' order: an incoming bid
//! reads that array, not the cells. Asks that display nothing, because their Island is busy, keep a ladder of their
//! own: they cannot trade, but they show that somebody quotes.

use domain::{Eligibility, KarmaBand, Price, Region, Side, Tier};

use crate::book::ladder::Ladder;
use crate::prefetch::prefetch;

/// A cell's place within its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) region: Region,
    pub(crate) tier: Tier,
    pub(crate) band: KarmaBand,
}

impl Place {
    pub(crate) fn is_covered_by(self, eligibility: &Eligibility) -> bool {
        eligibility.covers(self.region, self.tier, self.band)
    }
}

/// The asks of one cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) place: Place,
    /// Asks that display something.
    pub(crate) displayed: Ladder,
    /// Asks whose Island is busy.
    pub(crate) busy: Ladder,
}

/// The best displayed ask of an occupied cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) place: Place,
    pub(crate) cell: u16,
    pub(crate) price: Price,
}

/// The cells of one instrument. At most 64 regions × 5 tiers × 4 bands, so an emptied one is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells {
    /// By the cell's number.
    cells: Vec<Cell>,
    directory: Vec<(Place, u16)>,
    tops: Vec<Top>,
}

impl Cells {
    pub(crate) fn tops(&self) -> &[Top] {
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
        if let Some(top) = self.tops.first() {
            prefetch(top);
        }
    }

    /// The asks of the first cell, if there is one.
    #[inline]
    pub(crate) fn first_ladder(&self) -> Option<&Ladder> {
        self.cells.first().map(|cell| &cell.displayed)
    }

    /// Every cell that ever held an ask, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.directory.iter().map(|(_, cell)| self.cell(*cell))
    }

    pub(crate) fn find_or_new(&mut self, place: Place) -> u16 {
        match self.directory.binary_search_by_key(&place, |entry| entry.0) {
            Ok(position) => self.directory[position].1,
            Err(position) => {
                let cell = u16::try_from(self.cells.len()).expect("a book has 1,280 cells at most");
                self.cells.push(Cell {
                    place,
                    displayed: Ladder::new(Side::Ask),
                    busy: Ladder::new(Side::Ask),
                });
                self.directory.insert(position, (place, cell));
                cell
            }
        }
    }

    /// Brings the array of best prices up to date after a level of the cell came or went.
    pub(crate) fn refresh_top(&mut self, cell: u16) {
        let place = self.cell(cell).place;
        let best = self.cell(cell).displayed.best().map(|best| best.ticks.price());
        let position = self.tops.binary_search_by_key(&place, |top| top.place);
        match (position, best) {
            (Ok(position), Some(price)) => self.tops[position].price = price,
            (Ok(position), None) => {
                self.tops.remove(position);
            }
            (Err(position), Some(price)) => self.tops.insert(position, Top { place, cell, price }),
            (Err(_), None) => {}
        }
    }
}
