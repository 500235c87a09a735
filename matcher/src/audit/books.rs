//! The books: levels, best prices, and that nothing is crossed.

use domain::{InstrumentId, SelfTradeMode, Side};

use crate::audit::{AuditError, check};
use crate::book::arena::Handle;
use crate::book::cells::Cell;
use crate::book::classes::Class;
use crate::book::ladder::{Ladder, Level};
use crate::book::queue::Chain;
use crate::book::tops::Top;
use crate::book::{Book, Trading};
use crate::engine::Engine;
use crate::order::{Order, Part, Standing};

/// Which ladder is looked at.
#[derive(Clone, Copy)]
enum Shelf {
    Displayed,
    Busy,
}

impl Engine {
    pub(super) fn audit_books(&self) -> Result<(), AuditError> {
        let mut resting = 0;
        for (instrument, book) in (0u32..).map(InstrumentId::new).zip(&self.books) {
            let mut tops = Vec::new();
            for cell in book.cells.iter() {
                for (shelf, ladder) in [(Shelf::Displayed, &cell.displayed), (Shelf::Busy, &cell.busy)] {
                    resting += self.audit_ladder(Side::Ask, shelf, ladder, |order| {
                        order.instrument == instrument
                            && order
                                .as_ask()
                                .is_some_and(|ask| std::ptr::eq(book.cells.cell(ask.cell), cell))
                            && self.is_in_profile(order, cell)
                    })?;
                }
                tops.extend(cell.displayed.best().map(|best| (cell.place, best.ticks.price())));
                check(
                    cell.covered_by == book.classes.covering(cell.place),
                    "a cell knows the classes that cover it",
                    || instrument.to_string(),
                )?;
            }
            let mut shown: Vec<_> = book
                .cells
                .tops()
                .iter()
                .map(|top| (top.place, top.price))
                .collect();
            shown.sort_unstable();
            check(
                tops == shown,
                "the best asks are those of the occupied cells",
                || instrument.to_string(),
            )?;
            resting += self.audit_classes(instrument, book)?;
        }
        check(
            resting == self.orders.len(),
            "every order rests in one ladder",
            || format!("{resting} of {}", self.orders.len()),
        )
    }

    fn audit_classes(&self, instrument: InstrumentId, book: &Book) -> Result<usize, AuditError> {
        let mut resting = 0;
        for (number, class) in book.classes.iter() {
            resting += self.audit_ladder(Side::Bid, Shelf::Displayed, &class.ladder, |order| {
                order.instrument == instrument && order.as_bid().is_some_and(|bid| bid.class == number)
            })?;
            check(
                book.classes.best(number) == class.ladder.best().map(|best| best.ticks),
                "the best bids are those of the occupied classes",
                || instrument.to_string(),
            )?;
        }
        Ok(resting)
    }

    /// Checks one ladder and returns how many orders rest in it.
    fn audit_ladder(
        &self,
        side: Side,
        shelf: Shelf,
        ladder: &Ladder,
        belongs: impl Fn(&Order) -> bool,
    ) -> Result<usize, AuditError> {
        let levels: Vec<&Level> = ladder.iter(&self.levels).collect();
        let worsens = levels.windows(2).all(|pair| match side {
            Side::Ask => pair[0].ticks < pair[1].ticks,
            Side::Bid => pair[0].ticks > pair[1].ticks,
        });
        check(worsens, "levels are sorted, the best first", || side.to_string())?;
        let mut resting = 0;
        for level in levels {
            let mut jobs = 0;
            let mut last = None;
            for handle in level.queue.iter(&self.orders, Chain::Level) {
                resting += 1;
                let order = &self.orders[handle];
                let name = || order.id.to_string();
                check(
                    belongs(order) && order.ticks == level.ticks,
                    "an order rests where it belongs",
                    name,
                )?;
                match (shelf, order.standing()) {
                    (Shelf::Displayed, Standing::Displayed(shown)) => {
                        jobs += u64::from(shown.get());
                        check(
                            last < Some(order.priority) && order.priority < self.next_priority,
                            "a level is in order of priority",
                            name,
                        )?;
                        last = Some(order.priority);
                    }
                    (Shelf::Busy, Standing::Busy) => {}
                    (Shelf::Displayed | Shelf::Busy, _) => {
                        return check(false, "an order stands on its shelf", name).map(|()| 0);
                    }
                }
            }
            check(!level.queue.is_empty(), "no level is empty", || {
                level.ticks.price().to_string()
            })?;
            check(level.jobs == jobs, "depth is the sum of its orders", || {
                format!("{} shows {}, its orders {jobs}", level.ticks.price(), level.jobs)
            })?;
        }
        Ok(resting)
    }

    fn is_in_profile(&self, order: &Order, cell: &Cell) -> bool {
        let Part::Ask(ask) = order.part() else {
            return false;
        };
        let island = &self.roster.islands[ask.island];
        let tier = island.tiers.get(order.instrument);
        (island.region, tier, island.band) == (cell.place.region, Some(cell.place.tier), cell.place.band)
    }

    /// No bid rests that could trade with a displayed ask, unless the instrument is halted.
    pub(super) fn audit_crossing(&self) -> Result<(), AuditError> {
        for book in self.books.iter().filter(|book| book.trading == Trading::Open) {
            for (_, class) in book.classes.iter() {
                let Some(best) = class.ladder.best() else {
                    continue;
                };
                for top in book.cells.tops().covered(&class.eligibility) {
                    if best.ticks.price() >= top.price {
                        self.audit_pair(book, class, top)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn audit_pair(&self, book: &Book, class: &Class, top: &Top) -> Result<(), AuditError> {
        let asks: Vec<Handle> = self.orders_in(&book.cells.cell(top.cell).displayed).collect();
        for bid in self.orders_in(&class.ladder) {
            for ask in &asks {
                let (limit, price) = (self.orders[bid].ticks, self.orders[*ask].ticks);
                check(
                    price > limit || self.pass_each_other(bid, *ask),
                    "the book is not crossed",
                    || format!("{} and {}", self.orders[bid].id, self.orders[*ask].id),
                )?;
            }
        }
        Ok(())
    }

    fn orders_in<'a>(&'a self, ladder: &'a Ladder) -> impl Iterator<Item = Handle> + 'a {
        ladder
            .iter(&self.levels)
            .flat_map(|level| level.queue.iter(&self.orders, Chain::Level))
    }

    /// Whether a bid and an ask may cross in price and still not trade.
    fn pass_each_other(&self, bid: Handle, ask: Handle) -> bool {
        let special = self.orders.special(bid);
        let (bid, ask) = (&self.orders[bid], &self.orders[ask]);
        let Some(quote) = ask.as_ask() else {
            return false;
        };
        let island = &self.roster.islands[quote.island];
        let excluded = special.is_some_and(|special| special.excludes(island.id));
        let skipped = bid.account == ask.account
            && (bid.self_trade == SelfTradeMode::Skip || ask.self_trade == SelfTradeMode::Skip);
        excluded || skipped
    }
}
