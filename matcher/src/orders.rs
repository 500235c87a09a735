//! Every order that the engine has, found by handle or by id.

use std::ops;

use domain::OrderId;

use crate::book::arena::{Arena, Handle};
use crate::index::{Index, Tag};
use crate::order::Order;

/// The orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    orders: Arena<Order>,
    by_id: Index,
}

impl Orders {
    #[inline]
    pub(crate) fn find(&self, id: OrderId) -> Option<Handle> {
        self.by_id.find(tag(id), |order| self.orders[order].id == id)
    }

    #[inline]
    pub(crate) fn insert(&mut self, order: Order) -> Handle {
        let tag = tag(order.id);
        let handle = self.orders.insert(order);
        self.by_id.insert(tag, handle);
        handle
    }

    #[inline]
    pub(crate) fn remove(&mut self, order: Handle) -> Order {
        let removed = self.orders.remove(order);
        self.by_id.remove(tag(removed.id), order);
        removed
    }

    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Every order, in order of its id.
    pub(crate) fn in_order(&self) -> Vec<Handle> {
        let mut handles: Vec<Handle> = self.orders.handles().collect();
        handles.sort_unstable_by_key(|order| self.orders[*order].id);
        handles
    }
}

impl ops::Index<Handle> for Orders {
    type Output = Order;

    #[inline]
    fn index(&self, order: Handle) -> &Order {
        &self.orders[order]
    }
}

impl ops::IndexMut<Handle> for Orders {
    #[inline]
    fn index_mut(&mut self, order: Handle) -> &mut Order {
        &mut self.orders[order]
    }
}

fn tag(id: OrderId) -> Tag {
    Tag::of_sequence(id.get())
}
