//! Regions and instruments.

use domain::{InstrumentId, RegionTable};

use crate::book::Book;
use crate::engine::Engine;
use crate::engine::refusal::{Refusal, require};
use crate::{Event, ListInstrument, RejectReason};

impl Engine {
    /// Replaces the region table. Round trips may change and regions may be added at the end; a region that was once
    /// named keeps its index, whether or not anything stands there now.
    pub(super) fn set_regions(
        &mut self,
        table: &RegionTable,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        if let Some(former) = &self.regions {
            let keeps = former
                .regions()
                .all(|region| table.code(region) == former.code(region));
            require(keeps, RejectReason::RegionsConflict)?;
        }
        self.regions = Some(table.clone());
        events.push(Event::RegionsSet);
        Ok(())
    }

    pub(super) fn list_instrument(
        &mut self,
        listing: &ListInstrument,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let next = u32::try_from(self.books.len()).expect("instruments are bounded by a u32");
        require(
            listing.instrument == InstrumentId::new(next) && next < self.limits.instruments_max,
            RejectReason::InstrumentOutOfOrder,
        )?;
        self.books.push(Book::new(listing.specification.clone()));
        events.push(Event::InstrumentListed {
            instrument: listing.instrument,
        });
        Ok(())
    }
}
