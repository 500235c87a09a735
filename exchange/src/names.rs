//! What the engine's dense ids are called outside.

use std::collections::BTreeMap;

use domain::{InstrumentId, Region, RegionTable};

/// Names of instruments and regions, fixed when the exchange starts; shared behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Names {
    models: Vec<String>,
    instruments: BTreeMap<String, InstrumentId>,
    regions: RegionTable,
}

/// Instruments that cannot be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Ids are dense, from 0.
    #[error("instrument {found} is named where {expected} is next")]
    OutOfOrder {
        /// The id that is next.
        expected: InstrumentId,
        /// The id that was given.
        found: InstrumentId,
    },
}

impl Names {
    /// The names of `models`, in the order of their ids from 0, and of the table's regions. Where a model was listed
    /// again, with other weights or another context, its name means the last.
    ///
    /// # Errors
    /// When ids are not dense.
    pub fn new(
        models: impl IntoIterator<Item = (InstrumentId, String)>,
        regions: RegionTable,
    ) -> Result<Self, NamesError> {
        let mut names = Self {
            models: Vec::new(),
            instruments: BTreeMap::new(),
            regions,
        };
        for (instrument, model) in models {
            let expected = names.next_instrument();
            if instrument != expected {
                return Err(NamesError::OutOfOrder {
                    expected,
                    found: instrument,
                });
            }
            names.instruments.insert(model.clone(), instrument);
            names.models.push(model);
        }
        Ok(names)
    }

    /// The model's id, or `None` for an unknown instrument.
    #[must_use]
    pub fn model(&self, instrument: InstrumentId) -> Option<&str> {
        let index = usize::try_from(instrument.get()).ok()?;
        self.models.get(index).map(String::as_str)
    }

    /// The model's instrument, or `None` for an unknown model.
    #[must_use]
    pub fn instrument(&self, model: &str) -> Option<InstrumentId> {
        self.instruments.get(model).copied()
    }

    /// Every instrument with its model, in order.
    pub fn instruments(&self) -> impl Iterator<Item = (InstrumentId, &str)> + '_ {
        (0u32..)
            .map(InstrumentId::new)
            .zip(self.models.iter().map(String::as_str))
    }

    /// The region's code, or `None` for an unknown region.
    #[must_use]
    pub fn region(&self, region: Region) -> Option<&str> {
        self.regions.code(region)
    }

    /// The region table.
    #[must_use]
    pub fn regions(&self) -> &RegionTable {
        &self.regions
    }

    fn next_instrument(&self) -> InstrumentId {
        let count = u32::try_from(self.models.len()).expect("instruments are counted in 32 bits");
        InstrumentId::new(count)
    }
}
