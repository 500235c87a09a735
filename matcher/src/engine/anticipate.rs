//! Reading ahead: what a batch of commands will touch is brought into the cache before the first of them is applied.
//!
//! One command after another waits for memory again and again: for the slot of a name, then for the order that the
//! slot names, then for the order's neighbours. Over a batch the reads of one kind do not depend on each other, so
//! the processor has many of them under way at once. Nothing is changed and nothing is decided here; a batch that was
//! not read ahead, or that the commands before it made stale, is applied to the same events.

use std::hint::black_box;

use crate::Command;
use crate::book::arena::Handle;
use crate::book::queue::Chain;
use crate::engine::Engine;
use crate::order::Part;

/// Commands that are read ahead together: what one core has memory reads for, and what stays in its nearest cache.
const WINDOW: usize = 32;

impl Engine {
    /// Reads ahead for the commands of a batch, some of them or all. Worth calling before a batch of more than a few.
    pub fn anticipate<'a>(&self, commands: impl IntoIterator<Item = &'a Command>) {
        let mut orders: [Option<Handle>; WINDOW] = [None; WINDOW];
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let mut touched = 0;
            for (command, order) in commands.by_ref().zip(&mut orders) {
                *order = None;
                touched ^= self.touch_names(command, order);
            }
            for order in orders.iter().flatten() {
                touched ^= self.touch_order(*order);
            }
            for order in orders.iter().flatten() {
                touched ^= self.touch_neighbours(*order);
            }
            black_box(touched);
            if commands.peek().is_none() {
                break;
            }
        }
    }

    /// The slots of the names that a command gives, and the order that it is about.
    #[inline]
    fn touch_names(&self, command: &Command, order: &mut Option<Handle>) -> u64 {
        match command {
            Command::PlaceBid(bid) => {
                let account = self.accounts.find(bid.account);
                account.map_or(0, |account| self.client_ids.touch(account, bid.client_order_id))
            }
            Command::PlaceAsk(ask) => {
                let island = self.roster.find_island(ask.island);
                island.map_or(0, |island| {
                    let owner = self.roster.islands[island].owner;
                    self.client_ids.touch(owner, ask.client_order_id)
                })
            }
            Command::Cancel(cancel) => {
                *order = self.orders.guess(cancel.order);
                0
            }
            Command::Amend(amend) => {
                *order = self.orders.guess(amend.order);
                0
            }
            Command::SetRegions(_)
            | Command::ListInstrument(_)
            | Command::OpenSession
            | Command::LoseSessions(_)
            | Command::Fund(_)
            | Command::Defund(_)
            | Command::JoinIsland(_)
            | Command::SetTier(_)
            | Command::SetBand(_)
            | Command::SetSlots(_)
            | Command::CancelAll(_)
            | Command::SetDeadMan(_)
            | Command::ReleaseSlot(_)
            | Command::Checkpoint(_)
            | Command::CloseLease(_)
            | Command::FailOver(_)
            | Command::Halt(_)
            | Command::Resume(_)
            | Command::SetPriceBand(_)
            | Command::Tick => 0,
        }
    }

    /// An order and its terms.
    #[inline]
    fn touch_order(&self, order: Handle) -> u64 {
        self.orders[order].priority ^ self.orders.terms(order).units_max.get()
    }

    /// What is linked to an order: its level, its owner, and the orders next to it.
    #[inline]
    fn touch_neighbours(&self, order: Handle) -> u64 {
        let order = &self.orders[order];
        let level = order.level().map_or(0, |level| self.levels[level].jobs);
        let links = [order.links(Chain::Level), order.links(Chain::Owner)];
        let neighbours = links.iter().flat_map(|links| [links.previous, links.next]);
        let neighbours = neighbours
            .flatten()
            .fold(0, |sum, neighbour| sum ^ self.orders[neighbour].priority);
        let holder = match order.part() {
            Part::Bid(_) => 0,
            Part::Ask(ask) => self.roster.islands[ask.island].id.get(),
        };
        level ^ neighbours ^ holder ^ self.accounts.get(order.account).id.get()
    }
}
