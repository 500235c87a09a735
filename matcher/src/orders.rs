//! Every order that the engine has, found by handle or by id.

use std::ops;

use domain::{Jobs, OrderId};

use crate::book::arena::{Arena, Handle};
use crate::index::{Index, Tag};
use crate::order::{Entry, Order, Terms};
use crate::prefetch::prefetch;

/// The orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    orders: Arena<Order>,
    /// By the place of the order.
    terms: Vec<Option<Terms>>,
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
        match self.terms.get_mut(handle.position()) {
            Some(place) => *place = Some(entry.terms),
            None => self.terms.push(Some(entry.terms)),
        }
        handle
    }

    /// Takes an order out, which nothing links to any more.
    #[inline(always)]
    pub(crate) fn remove(&mut self, order: Handle) {
        self.by_id.remove(tag(self.orders[order].id), order);
        self.orders.drop_at(order);
        self.terms[order.position()] = None;
    }

    #[inline]
    pub(crate) fn terms(&self, order: Handle) -> &Terms {
        self.terms[order.position()]
            .as_ref()
            .expect("an order has terms until it is removed")
    }

    #[inline]
    pub(crate) fn terms_mut(&mut self, order: Handle) -> &mut Terms {
        self.terms[order.position()]
            .as_mut()
            .expect("an order has terms until it is removed")
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
            self.terms.resize_with(count, || None);
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
        if let Some(terms) = self.terms.get(order.position()) {
            prefetch(terms);
        }
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
fn tag(id: OrderId) -> Tag {
    Tag::of_sequence(id.get())
}
