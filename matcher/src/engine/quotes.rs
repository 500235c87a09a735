//! Who quotes: whether a bid could ever be filled, and what could have been had instead.
//!
//! An ask counts while its Island's session lives, busy or too dear included, unless the bid passes it over: its
//! Island is excluded, or it is the buyer's own under self-trade mode `Skip`.

use std::cmp::Reverse;

use domain::{Eligibility, Price};

use crate::Alternative;
use crate::book::arena::Handle;
use crate::book::cells::{Cell, Cells, Place};
use crate::book::ladder::Ladder;
use crate::book::queue::Chain;
use crate::crossing::Wish;
use crate::engine::Engine;
use crate::engine::resting::cell_key;

impl Engine {
    /// Whether somebody quotes whom the bid would take.
    #[inline]
    pub(super) fn is_servable(&self, wish: &Wish<'_>) -> bool {
        let cells = &self.book(wish.instrument).cells;
        let mut covered = cells.tops().covered(wish.eligibility);
        // Nearly always a best ask will do, and nothing else needs to be looked at.
        let will_do = if self.passes_over_none(wish) {
            covered.next().is_some()
        } else {
            covered.any(|top| self.is_head_admitted(wish, cells.cell(top.cell)))
        };
        will_do || self.is_anyone_admitted(wish, cells)
    }

    fn is_head_admitted(&self, wish: &Wish<'_>, cell: &Cell) -> bool {
        let best = cell.displayed.best();
        let head = best.and_then(|best| self.levels[best.level].queue.head());
        head.is_some_and(|ask| self.admits(wish, &self.orders[ask]))
    }

    #[cold]
    fn is_anyone_admitted(&self, wish: &Wish<'_>, cells: &Cells) -> bool {
        let mut covered = cells
            .iter()
            .filter(|cell| cell.place.is_covered_by(wish.eligibility));
        covered.any(|cell| self.quote_in(wish, cell).is_some())
    }

    /// Whether there is no Island whose ask the bid would pass over: it names none, and the buyer has none.
    fn passes_over_none(&self, wish: &Wish<'_>) -> bool {
        let owns_none = |account| !self.accounts.get(account).owns_islands();
        wish.special.is_none() && wish.account.is_none_or(owns_none)
    }

    /// The lowest price at which somebody quotes whom the bid would take.
    pub(super) fn best_quote(&self, wish: &Wish<'_>) -> Option<Price> {
        self.book(wish.instrument)
            .cells
            .iter()
            .filter(|cell| cell.place.is_covered_by(wish.eligibility))
            .filter_map(|cell| self.quote_in(wish, cell))
            .min()
    }

    /// The nearest cell that quotes, where the bid covers none: the one for which it would have to give up the
    /// fewest of region, tier and band; among equals rather region than tier, rather tier than band; then the nearest
    /// to home, the smallest step down in tier, then in band, the lowest price, and the cell's order.
    pub(super) fn alternative(&self, wish: &Wish<'_>) -> Option<Alternative> {
        let (cell, price) = self
            .book(wish.instrument)
            .cells
            .iter()
            .filter_map(|cell| Some((cell, self.quote_in(wish, cell)?)))
            .min_by_key(|(cell, price)| {
                let given_up = GivenUp::between(wish.eligibility, cell.place);
                let distance = self.distance(wish.eligibility.home, cell.place.region);
                (
                    given_up.count(),
                    Reverse(given_up.kept()),
                    distance,
                    given_up.tier_steps,
                    given_up.band_steps,
                    *price,
                    cell.place,
                )
            })?;
        Some(Alternative {
            cell: cell_key(wish.instrument, cell.place),
            price,
        })
    }

    /// The ask with the lowest price that the bid would take, busy ones included; among equals that of the first cell.
    pub(super) fn cheapest_ask(&self, wish: &Wish<'_>) -> Option<Handle> {
        self.book(wish.instrument)
            .cells
            .iter()
            .filter(|cell| cell.place.is_covered_by(wish.eligibility))
            .flat_map(|cell| [&cell.displayed, &cell.busy])
            .filter_map(|ladder| self.first_admitted(wish, ladder))
            .min_by_key(|ask| self.orders[*ask].price())
    }

    /// The lowest price in a cell, busy asks included, of an ask that the bid would take.
    fn quote_in(&self, wish: &Wish<'_>, cell: &Cell) -> Option<Price> {
        let displayed = self.first_admitted(wish, &cell.displayed);
        let busy = self.first_admitted(wish, &cell.busy);
        let asks = displayed.into_iter().chain(busy);
        asks.map(|ask| self.orders[ask].price()).min()
    }

    /// The first ask of a ladder that the bid would take.
    pub(super) fn first_admitted(&self, wish: &Wish<'_>, ladder: &Ladder) -> Option<Handle> {
        ladder
            .iter(&self.levels)
            .flat_map(|level| level.queue.iter(&self.orders, Chain::Level))
            .find(|ask| self.admits(wish, &self.orders[*ask]))
    }
}

/// What a bid would have to give up for a cell.
#[derive(Clone, Copy, Debug)]
struct GivenUp {
    region: u8,
    tier_steps: usize,
    band_steps: usize,
}

impl GivenUp {
    fn between(eligibility: &Eligibility, place: Place) -> Self {
        Self {
            region: u8::from(!eligibility.regions.contains(place.region)),
            tier_steps: eligibility.min_tier.index().saturating_sub(place.tier.index()),
            band_steps: eligibility.min_band.index().saturating_sub(place.band.index()),
        }
    }

    fn count(self) -> u8 {
        self.region + u8::from(self.tier_steps > 0) + u8::from(self.band_steps > 0)
    }

    /// What is kept, the dearest first: band, then tier, then region.
    fn kept(self) -> (bool, bool, bool) {
        (self.band_steps == 0, self.tier_steps == 0, self.region == 0)
    }
}
