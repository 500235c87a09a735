//! Which models' trading is halted, followed through the engine's events, so that the end of an order is judged by how
//! things were at that end and not by how they are when somebody reads of it.

use std::collections::BTreeSet;

use domain::InstrumentId;
use matcher::{Engine, Event};

/// Whether a model trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trading {
    /// Orders meet.
    Open,
    /// Orders rest, and nothing trades.
    Halted,
}

/// The models whose trading is halted. Bounded by the models that are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Halts(BTreeSet<InstrumentId>);

impl Halts {
    /// Those of an engine.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let ids = engine.instruments().map(|(id, _)| id);
        Self(ids.filter(|id| engine.is_halted(*id)).collect())
    }

    /// Takes note of an event, if it is about a halt.
    pub fn note(&mut self, event: &Event) {
        if let Event::Halted { instrument } = event {
            self.0.insert(*instrument);
        } else if let Event::Resumed { instrument } = event {
            self.0.remove(instrument);
        }
    }

    /// Whether a model trades after the events so far.
    #[must_use]
    pub fn trading(&self, instrument: InstrumentId) -> Trading {
        if self.0.contains(&instrument) {
            Trading::Halted
        } else {
            Trading::Open
        }
    }
}
