//! Every order that the engine has, found by handle or by id.

use std::ops;

use domain::{Credits, Jobs, OrderId};

use crate::PostOnly;
use crate::book::arena::{Arena, Handle};
use crate::index::{Index, Tag};
use crate::order::{Entry, Order, Resumed, Special, Terms};
use crate::prefetch::prefetch_at;
use crate::risk::reservation;

/// An order that was taken out, with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) order: Order,
    pub(crate) terms: Terms,
    special: Option<Box<Special>>,
}

impl Whole {
    /// The job that goes on, for the bid of a failover.
    #[inline]
    pub(crate) fn resumed(&self) -> Option<Resumed> {
        self.special.as_ref()?.resumes
    }

    /// What is set aside for all that is left of a bid.
    #[inline]
    pub(crate) fn reserved(&self) -> Credits {
        let each = reserved_per_job(&self.order, &self.terms, self.special.as_deref());
        times(each, self.order.leaves)
    }
}

/// The orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    orders: Arena<Order>,
    /// By the place of the order. Those of a free place mean nothing.
    terms: Vec<Terms>,
    /// What few bids have, boxed so that a free place is small.
    specials: Arena<Box<Special>>,
    by_id: Index,
}

impl Orders {
    #[inline]
    pub(crate) fn find(&self, id: OrderId) -> Option<Handle> {
        self.by_id.find(tag(id), |order| self.orders[order].id == id)
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, entry: Entry) -> Handle {
        let handle = self.orders.insert(Order::new(&entry));
        self.by_id.insert(tag(entry.id), handle);
        let mut terms = entry.terms;
        if let Some(special) = entry.special {
            terms.special = Some(self.specials.insert(special));
        }
        match self.terms.get_mut(handle.position()) {
            Some(place) => *place = terms,
            None => self.terms.push(terms),
        }
        handle
    }

    /// Takes an order out. What still links to it is for the caller to bring in order.
    #[inline(always)]
    pub(crate) fn remove(&mut self, handle: Handle) -> Whole {
        let order = self.orders.remove(handle);
        let terms = *self.terms(handle);
        self.by_id.remove(tag(order.id), handle);
        let special = terms.special.map(|special| self.specials.remove(special));
        Whole {
            order,
            terms,
            special,
        }
    }

    #[inline]
    pub(crate) fn terms(&self, order: Handle) -> &Terms {
        &self.terms[order.position()]
    }

    #[inline]
    pub(crate) fn terms_mut(&mut self, order: Handle) -> &mut Terms {
        &mut self.terms[order.position()]
    }

    /// What few bids have.
    #[inline]
    pub(crate) fn special(&self, order: Handle) -> Option<&Special> {
        let special = self.terms(order).special?;
        Some(&self.specials[special])
    }

    /// The job that goes on, for the bid of a failover.
    #[inline]
    pub(crate) fn resumed(&self, order: Handle) -> Option<Resumed> {
        self.special(order)?.resumes
    }

    /// What is set aside for each job of a bid: all that it may come to, or what is left of it after a failover.
    #[inline]
    pub(crate) fn reserved_per_job(&self, bid: Handle) -> Credits {
        reserved_per_job(&self.orders[bid], self.terms(bid), self.special(bid))
    }

    /// What is set aside for all that is left of a bid.
    #[inline]
    pub(crate) fn reserved(&self, bid: Handle) -> Credits {
        self.reserved_for(bid, self.orders[bid].leaves)
    }

    /// What is set aside for some of a bid's jobs.
    #[inline]
    pub(crate) fn reserved_for(&self, bid: Handle, jobs: Jobs) -> Credits {
        times(self.reserved_per_job(bid), jobs)
    }

    /// Takes traded jobs off what is left.
    #[inline]
    pub(crate) fn fill(&mut self, order: Handle, jobs: Jobs) {
        let leaves = &mut self.orders[order].leaves;
        *leaves = leaves
            .checked_sub(jobs)
            .expect("a fill is no more than what is left");
        let filled = &mut self.terms_mut(order).filled;
        *filled = filled.checked_add(jobs).expect("an order's jobs fit 32 bits");
    }

    pub(crate) fn make_room(&mut self, count: usize) {
        self.orders.make_room(count);
        if self.terms.len() < count {
            let blank = Terms::of_ask(None, Jobs::ZERO, PostOnly::No);
            self.terms.resize(count, blank);
        }
        self.by_id.make_room(count);
    }

    /// The order that is likely to have an id.
    #[inline]
    pub(crate) fn guess(&self, id: OrderId) -> Option<Handle> {
        self.by_id.guess(tag(id))
    }

    /// Asks for the slot where the search for an id begins.
    #[inline]
    pub(crate) fn prefetch_slot(&self, id: OrderId) {
        self.by_id.prefetch(tag(id));
    }

    /// Asks for an order and its terms.
    #[inline]
    pub(crate) fn prefetch(&self, order: Handle) {
        self.orders.prefetch(order);
        prefetch_at(&self.terms, order.position());
    }

    /// Asks for an order that only its neighbours in a list are to change.
    #[inline]
    pub(crate) fn prefetch_links(&self, order: Handle) {
        self.orders.prefetch(order);
    }

    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Every order, in order of its id.
    pub(crate) fn in_order(&self) -> Vec<Handle> {
        let mut handles: Vec<Handle> = self.orders.handles().collect();
        self.sort(&mut handles);
        handles
    }

    /// Brings orders into the order of their ids: oldest first.
    pub(crate) fn sort(&self, handles: &mut [Handle]) {
        handles.sort_unstable_by_key(|order| self.orders[*order].id);
    }
}

impl ops::Index<Handle> for Orders {
    type Output = Order;

    #[inline(always)]
    fn index(&self, order: Handle) -> &Order {
        &self.orders[order]
    }
}

impl ops::IndexMut<Handle> for Orders {
    #[inline(always)]
    fn index_mut(&mut self, order: Handle) -> &mut Order {
        &mut self.orders[order]
    }
}

#[inline]
fn reserved_per_job(bid: &Order, terms: &Terms, special: Option<&Special>) -> Credits {
    match special.and_then(|special| special.resumes) {
        Some(resumed) => resumed.reserved,
        None => {
            reservation(bid.price(), terms.units_max()).expect("a bid's reservation fitted when it entered")
        }
    }
}

#[inline]
fn times(each: Credits, jobs: Jobs) -> Credits {
    each.times(jobs.get())
        .expect("the whole order's reservation fitted")
}

#[inline]
fn tag(id: OrderId) -> Tag {
    Tag::of_sequence(id.get())
}
