//! The book of one instrument: its asks by cell and its bids by class.
//!
//! Owns where orders rest; the orders themselves live in the engine's arena, and so do the levels. Deliberately absent: who may trade with
//! whom (`crossing`) and what anybody can afford (`risk`).

pub(crate) mod arena;
pub(crate) mod cells;
pub(crate) mod classes;
pub(crate) mod ladder;
pub(crate) mod queue;
pub(crate) mod ticks;

use domain::{Instrument, PriceBand};

use crate::book::cells::Cells;
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
}
