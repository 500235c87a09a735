//! Capacity groups: what an Island's asks show follows its free slots.
//!
//! Displayed = min(leaves, free slots of the Island), so a change of the free slots may change every ask of the
//! Island. Either all its asks display something or none does, for each has something left. Asks that come back
//! after none could be displayed join the back of their level and match as incoming; asks that only show more keep
//! their place.

use domain::Jobs;

use crate::Event;
use crate::book::Trading;
use crate::book::arena::Handle;
use crate::book::queue::Chain;
use crate::crossing::AskTaker;
use crate::engine::Engine;
use crate::engine::resting::Priority;
use crate::engine::trading::Fate;
use crate::order::Standing;

impl Engine {
    /// Brings what an Island's resting asks show in line with its free slots, when those did not come back from none.
    pub(crate) fn refresh_group(&mut self, island: Handle) {
        let free = self.roster.islands[island].free();
        let mut leaves_bound = Jobs::ZERO;
        let mut next = self.roster.islands[island].asks.head();
        while let Some(ask) = next {
            let order = &self.orders[ask];
            next = order.links(Chain::Owner).next;
            leaves_bound = leaves_bound.max(order.leaves);
            let Standing::Displayed(shown) = order.standing() else {
                continue;
            };
            let displayed = order.leaves.min(free);
            if displayed == shown || order.leaves.is_zero() {
                continue;
            }
            if displayed.is_zero() {
                self.lift(ask);
                self.rest_ask(ask, Priority::New);
            } else {
                self.show(ask, displayed);
            }
        }
        self.roster.islands[island].leaves_bound = leaves_bound;
    }

    /// Follows a change of an Island's free slots from `free_before`.
    pub(crate) fn follow_slots(&mut self, island: Handle, free_before: Jobs, events: &mut Vec<Event>) {
        if !free_before.is_zero() {
            self.refresh_group(island);
            return;
        }
        // Oldest first. One that trades takes slots from those after it, which then stay hidden.
        let mut next = self.roster.islands[island].asks.head();
        while let Some(ask) = next
            && !self.roster.islands[island].free().is_zero()
        {
            next = self.orders[ask].links(Chain::Owner).next;
            self.lift(ask);
            self.enter_ask(ask, Priority::New, events);
        }
    }

    /// Lets an ask that stands nowhere match as incoming, and rests what is left of it.
    pub(crate) fn enter_ask(&mut self, ask: Handle, priority: Priority, events: &mut Vec<Event>) {
        if self.match_ask(ask, events) == Fate::Open {
            self.rest_ask(ask, priority);
        }
    }

    /// Matches an ask that stands nowhere against the resting bids.
    #[inline]
    pub(crate) fn match_ask(&mut self, ask: Handle, events: &mut Vec<Event>) -> Fate {
        let order = &self.orders[ask];
        let book = self.book(order.instrument);
        if book.trading == Trading::Halted {
            return Fate::Open;
        }
        let taker = AskTaker {
            instrument: order.instrument,
            island: order.ask().island,
            covered_by: book.cells.cell(order.ask().cell).covered_by,
            price: order.price(),
            jobs: order.leaves.min(self.roster.islands[order.ask().island].free()),
            self_trade: order.self_trade,
        };
        if !self.ask_reaches_a_bid(&taker) {
            return Fate::Open;
        }
        let mut plan = self.take_plan();
        self.plan_ask(&taker, &mut plan);
        let fate = self.execute(ask, &plan, events);
        self.keep_plan(plan);
        fate
    }
}
