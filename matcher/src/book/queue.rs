//! Doubly linked lists of orders whose links live in the orders themselves.
//!
//! An order is in up to two of them: its level's, and its owner's (a bid's account, an ask's Island).

use crate::book::arena::Handle;
use crate::orders::Orders;

/// Which of an order's links a list uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// The orders at one price of one ladder, first to trade first.
    Level,
    /// The bids of an account, or the asks of an Island, oldest first.
    Owner,
}

/// An order's neighbours in one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) previous: Option<Handle>,
    pub(crate) next: Option<Handle>,
}

/// The ends of one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    head: Option<Handle>,
    tail: Option<Handle>,
}

impl Queue {
    pub(crate) fn head(&self) -> Option<Handle> {
        self.head
    }

    pub(crate) fn tail(&self) -> Option<Handle> {
        self.tail
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    #[inline(always)]
    pub(crate) fn push_back(&mut self, orders: &mut Orders, chain: Chain, order: Handle) {
        self.insert_after(orders, chain, self.tail, order);
    }

    /// Puts the order where its priority belongs: before all that came later.
    pub(crate) fn insert_by_priority(&mut self, orders: &mut Orders, chain: Chain, order: Handle) {
        let priority = orders[order].priority;
        let mut before = self.tail;
        while let Some(other) = before.filter(|other| orders[*other].priority > priority) {
            before = orders[other].links(chain).previous;
        }
        self.insert_after(orders, chain, before, order);
    }

    /// Takes out the order that had these links.
    #[inline(always)]
    pub(crate) fn unlink(&mut self, orders: &mut Orders, chain: Chain, links: Links) {
        let Links { previous, next } = links;
        match previous {
            Some(previous) => orders[previous].links_mut(chain).next = next,
            None => self.head = next,
        }
        match next {
            Some(next) => orders[next].links_mut(chain).previous = previous,
            None => self.tail = previous,
        }
    }

    /// The orders, first to last.
    pub(crate) fn iter<'a>(
        &self,
        orders: &'a Orders,
        chain: Chain,
    ) -> impl Iterator<Item = Handle> + use<'a> {
        std::iter::successors(self.head, move |order| orders[*order].links(chain).next)
    }

    #[inline(always)]
    fn insert_after(&mut self, orders: &mut Orders, chain: Chain, previous: Option<Handle>, order: Handle) {
        let next = match previous {
            Some(previous) => orders[previous].links_mut(chain).next.replace(order),
            None => self.head.replace(order),
        };
        match next {
            Some(next) => orders[next].links_mut(chain).previous = Some(order),
            None => self.tail = Some(order),
        }
        *orders[order].links_mut(chain) = Links { previous, next };
    }
}
