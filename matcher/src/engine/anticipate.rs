//! Reading ahead: what a batch of commands will touch is asked for before the first of them is applied.
//!
//! One command after another waits for memory again and again: for the slot of a name, then for the order that the
//! slot names, then for the order's neighbours. Over a batch the waits of one kind do not depend on each other, so
//! they are gone through kind by kind, and memory answers many at once. Nothing is changed and nothing is decided
//! here: a batch that was not read ahead, or that the commands before it made stale, is applied to the same events.

use arrayvec::ArrayVec;
use domain::{InstrumentId, OrderId};

use crate::book::arena::Handle;
use crate::book::ladder::Ladder;
use crate::book::queue::Chain;
use crate::engine::Engine;
use crate::order::Part;
use crate::prefetch::prefetch;
use crate::{Command, PlaceAsk, PlaceBid, Stamped};

/// Commands that are read ahead together: what stays in the nearest cache until it is used.
const WINDOW: usize = 32;

/// What is known so far of what a command touches.
#[derive(Clone, Copy, Debug)]
enum Lead {
    /// Nothing that is worth a wait.
    None,
    /// An order that is there.
    Order(Handle),
    /// The account of a new bid, and its instrument.
    Bidder(Handle, InstrumentId),
    /// The Island of a new ask, and its instrument.
    Seller(Handle, InstrumentId),
}

/// What a command names. Those that come seldom are not read ahead for.
#[derive(Clone, Copy, Debug)]
enum Names<'a> {
    None,
    Bid(&'a PlaceBid),
    Ask(&'a PlaceAsk),
    Order(OrderId),
}

impl<'a> Names<'a> {
    #[inline]
    fn of(command: &'a Command) -> Self {
        match command {
            Command::PlaceBid(bid) => Self::Bid(bid),
            Command::PlaceAsk(ask) => Self::Ask(ask),
            Command::Cancel(cancel) => Self::Order(cancel.order),
            Command::Amend(amend) => Self::Order(amend.order),
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
            | Command::Tick => Self::None,
        }
    }
}

impl Engine {
    /// Reads ahead for the commands of a batch. Worth calling before a batch of more than a few.
    pub fn anticipate<'a>(&self, batch: impl IntoIterator<Item = &'a Stamped>) {
        let mut batch = batch.into_iter();
        let mut leads = [Lead::None; WINDOW];
        loop {
            let window: ArrayVec<&Stamped, WINDOW> = batch.by_ref().take(WINDOW).collect();
            if window.is_empty() {
                return;
            }
            for stamped in &window {
                self.ask_for_slots(stamped);
            }
            for (stamped, lead) in window.iter().zip(&mut leads) {
                *lead = self.lead_of(stamped);
            }
            let leads = &leads[..window.len()];
            for lead in leads {
                self.ask_for_neighbours(*lead);
            }
            for lead in leads {
                self.ask_for_tails(*lead);
            }
        }
    }

    /// The slots in which the names are found that a command gives.
    #[inline]
    fn ask_for_slots(&self, stamped: &Stamped) {
        match Names::of(&stamped.command) {
            Names::Bid(bid) => {
                self.ask_for_book(bid.instrument);
                self.orders.prefetch_slot(OrderId::of_sequence(stamped.sequence));
                self.accounts.prefetch_slot(bid.account);
            }
            Names::Ask(ask) => {
                self.ask_for_book(ask.instrument);
                self.orders.prefetch_slot(OrderId::of_sequence(stamped.sequence));
                self.roster.prefetch_slot(ask.island);
            }
            Names::Order(order) => self.orders.prefetch_slot(order),
            Names::None => {}
        }
    }

    /// What the slots name. Who it is shows when the command is applied; a guess is good enough here.
    #[inline]
    fn lead_of(&self, stamped: &Stamped) -> Lead {
        match Names::of(&stamped.command) {
            Names::Bid(bid) => self.accounts.guess(bid.account).map_or(Lead::None, |account| {
                self.accounts.prefetch(account);
                if let Some(book) = self.find_book(bid.instrument) {
                    book.cells.prefetch();
                    book.classes.prefetch();
                    book.classes.prefetch_slot(&bid.eligibility);
                }
                self.client_ids.prefetch_slot(account, bid.client_order_id);
                Lead::Bidder(account, bid.instrument)
            }),
            Names::Ask(ask) => self.roster.guess_island(ask.island).map_or(Lead::None, |island| {
                let owner = self.roster.islands[island].owner;
                self.accounts.prefetch(owner);
                if let Some(book) = self.find_book(ask.instrument) {
                    book.cells.prefetch();
                    book.classes.prefetch();
                }
                self.client_ids.prefetch_slot(owner, ask.client_order_id);
                Lead::Seller(island, ask.instrument)
            }),
            Names::Order(order) => self.lead_to(order),
            Names::None => Lead::None,
        }
    }

    #[inline]
    fn lead_to(&self, order: OrderId) -> Lead {
        self.orders.guess(order).map_or(Lead::None, |order| {
            self.orders.prefetch(order);
            Lead::Order(order)
        })
    }

    /// What is linked to an order: its level, its owner, and the orders next to it.
    #[inline]
    fn ask_for_neighbours(&self, lead: Lead) {
        let handle = match lead {
            Lead::Order(handle) => handle,
            Lead::Bidder(_, instrument) | Lead::Seller(_, instrument) => {
                self.ladders_of(instrument)
                    .for_each(|ladder| ladder.prefetch(&self.levels));
                return;
            }
            Lead::None => return,
        };
        let order = &self.orders[handle];
        if let Some(level) = order.level() {
            self.levels.prefetch(level);
        }
        for links in [order.links(Chain::Level), order.links(Chain::Owner)] {
            for neighbour in [links.previous, links.next].into_iter().flatten() {
                self.orders.prefetch(neighbour);
            }
        }
        self.accounts.prefetch(order.account);
        if let Part::Ask(ask) = order.part() {
            self.roster.islands.prefetch(ask.island);
        }
    }

    /// What a new order reads first of its book.
    #[inline]
    fn ask_for_book(&self, instrument: InstrumentId) {
        if let Some(book) = self.find_book(instrument) {
            prefetch(&book.trading);
            prefetch(&book.cells);
            prefetch(&book.classes);
        }
    }

    /// The first ladder of either side of a book.
    #[inline]
    fn ladders_of(&self, instrument: InstrumentId) -> impl Iterator<Item = &Ladder> {
        let book = self.find_book(instrument);
        let ladders = book.map(|book| [book.cells.first_ladder(), book.classes.first_ladder()]);
        ladders.into_iter().flatten().flatten()
    }

    /// The order behind which a new one is listed among those of its owner.
    #[inline]
    fn ask_for_tails(&self, lead: Lead) {
        let (owned, instrument) = match lead {
            Lead::Bidder(account, instrument) => (&self.accounts.get(account).bids, instrument),
            Lead::Seller(island, instrument) => (&self.roster.islands[island].asks, instrument),
            Lead::None | Lead::Order(_) => return,
        };
        self.ladders_of(instrument)
            .for_each(|ladder| ladder.prefetch_more(&self.levels, &self.orders));
        if let Some(tail) = owned.tail() {
            self.orders.prefetch(tail);
        }
    }
}
