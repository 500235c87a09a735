//! The book of one instrument: its asks by cell and its bids by class.
//!
//! Owns where orders rest; the orders themselves live in the engine's arena, and so do the levels. Deliberately absent: who may trade with
//! whom (`crossing`) and what anybody can afford (`risk`).

pub(crate) mod arena;
pub(crate) mod cells;
pub(crate) mod class_set;
pub(crate) mod classes;
pub(crate) mod ladder;
pub(crate) mod queue;
pub(crate) mod ticks;
pub(crate) mod tops;

use domain::{Eligibility, Instrument, PriceBand};

use crate::book::cells::{Cells, Place};
use crate::book::class_set::ClassSet;
use crate::book::classes::Classes;

/// Whether an instrument trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trading {
    /// Orders match.
    Open,
    /// Orders rest, nothing trades.
    Halted,
}

/// One instrument's book.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) specification: Instrument,
    pub(crate) trading: Trading,
    pub(crate) price_band: Option<PriceBand>,
    pub(crate) cells: Cells,
    pub(crate) classes: Classes,
}

impl Book {
    pub(crate) fn new(specification: Instrument) -> Self {
        Self {
            specification,
            trading: Trading::Open,
            price_band: None,
            cells: Cells::default(),
            classes: Classes::default(),
        }
    }

    /// The cell at a place, made if there is none.
    #[inline]
    pub(crate) fn cell_or_new(&mut self, place: Place) -> u16 {
        match self.cells.find(place) {
            Some(cell) => cell,
            None => self.cells.add(place, self.classes.covering(place)),
        }
    }

    /// The classes whose bids may be filled from a place, whether or not it ever held an ask.
    pub(crate) fn classes_covering(&self, place: Place) -> ClassSet {
        match self.cells.find(place) {
            Some(cell) => self.cells.cell(cell).covered_by,
            None => self.classes.covering(place),
        }
    }

    /// Gives a number that [`Classes::room_for`] found to `eligibility`.
    pub(crate) fn define_class(&mut self, class: u16, eligibility: Eligibility) {
        self.classes.define(class, eligibility);
        self.cells.cover(class, &eligibility);
    }
}
