//! Reading ahead: what a batch of commands will touch is asked for before the first of them is applied.
//!
//! One command after another waits for memory again and again: for the slot of a name, then for the order that the
//! slot names, then for the order's neighbours. Over a batch the waits of one kind do not depend on each other, so
//! they are gone through kind by kind, and memory answers many at once. Nothing is changed and nothing is decided
//! here: a batch that was not read ahead, or that the commands before it made stale, is applied to the same events.

use arrayvec::ArrayVec;
use domain::{InstrumentId, OrderId};

use crate::book::Book;
use crate::book::arena::Handle;
use crate::book::ladder::Ladder;
use crate::book::queue::Chain;
use crate::engine::Engine;
use crate::order::Part;
use crate::prefetch::prefetch;
use crate::{Command, PlaceAsk, PlaceBid, Stamped};

/// Commands that are read ahead together: what stays in the nearest cache until it is used.
const WINDOW: usize = 32;

/// What a command names. Those that come seldom are not read ahead for.
#[derive(Clone, Copy, Debug)]
enum Names<'a> {
    Bid(OrderId, &'a PlaceBid),
    Ask(OrderId, &'a PlaceAsk),
    Order(OrderId),
}

impl<'a> Names<'a> {
    #[inline]
    fn of(stamped: &'a Stamped) -> Option<Self> {
        let new = OrderId::of_sequence(stamped.sequence);
        match &stamped.command {
            Command::PlaceBid(bid) => Some(Self::Bid(new, bid)),
            Command::PlaceAsk(ask) => Some(Self::Ask(new, ask)),
            Command::Cancel(cancel) => Some(Self::Order(cancel.order)),
            Command::Amend(amend) => Some(Self::Order(amend.order)),
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
            | Command::Tick => None,
        }
    }

    /// The instrument of a new order.
    #[inline]
    fn instrument(self) -> Option<InstrumentId> {
        match self {
            Names::Bid(_, bid) => Some(bid.instrument),
            Names::Ask(_, ask) => Some(ask.instrument),
            Names::Order(_) => None,
        }
    }
}

/// What is known so far of what a command touches.
#[derive(Clone, Copy, Debug)]
struct Lead<'a> {
    names: Names<'a>,
    /// The book of a new order, unless the new order before it is for the same one: a book that is in demand is asked
    /// for once.
    book: Option<&'a Book>,
    party: Party,
}

/// Where what a command names was found.
#[derive(Clone, Copy, Debug)]
enum Party {
    /// Nowhere yet.
    Unknown,
    /// An order that is there.
    Order(Handle),
    /// The account of a new bid.
    Bidder(Handle),
    /// The Island of a new ask.
    Seller(Handle),
}

impl Engine {
    /// Reads ahead for the commands of a batch. Worth calling before a batch of more than a few.
    pub fn anticipate<'a>(&self, batch: impl IntoIterator<Item = &'a Stamped>) {
        let mut named = batch.into_iter().filter_map(Names::of);
        let mut latest = None;
        let mut leads: ArrayVec<Lead<'_>, WINDOW> = ArrayVec::new();
        loop {
            leads.clear();
            for names in named.by_ref().take(WINDOW) {
                let instrument = names.instrument().filter(|new| latest != Some(*new));
                latest = instrument.or(latest);
                leads.push(Lead {
                    names,
                    book: instrument.and_then(|instrument| self.find_book(instrument)),
                    party: Party::Unknown,
                });
            }
            if leads.is_empty() {
                return;
            }
            for lead in &leads {
                self.ask_for_slots(lead);
            }
            for lead in &mut leads {
                lead.party = self.ask_for_party(lead);
            }
            for lead in &leads {
                self.ask_for_neighbours(lead);
            }
            for lead in &leads {
                self.ask_for_tails(lead);
            }
        }
    }

    /// The slots in which the names are found that a command gives, and what a new order reads first of its book.
    #[inline]
    fn ask_for_slots(&self, lead: &Lead<'_>) {
        match lead.names {
            Names::Bid(order, bid) => {
                self.orders.prefetch_slot(order);
                self.accounts.prefetch_slot(bid.account);
            }
            Names::Ask(order, ask) => {
                self.orders.prefetch_slot(order);
                self.roster.prefetch_slot(ask.island);
            }
            Names::Order(order) => self.orders.prefetch_slot(order),
        }
        if let Some(book) = lead.book {
            prefetch(&book.trading);
            prefetch(&book.cells);
            prefetch(&book.classes);
        }
    }

    /// What the slots name. Who it is shows when the command is applied; a guess is good enough here.
    #[inline]
    fn ask_for_party(&self, lead: &Lead<'_>) -> Party {
        if let Some(book) = lead.book {
            book.cells.prefetch();
            book.classes.prefetch();
        }
        let found = match lead.names {
            Names::Bid(_, bid) => self.accounts.guess(bid.account).map(|account| {
                if let Some(book) = lead.book {
                    book.classes.prefetch_slot(&bid.eligibility);
                }
                self.accounts.prefetch(account);
                self.client_ids.prefetch_slot(account, bid.client_order_id);
                Party::Bidder(account)
            }),
            Names::Ask(_, ask) => self.roster.guess_island(ask.island).map(|island| {
                let owner = self.roster.islands[island].owner;
                self.accounts.prefetch(owner);
                self.client_ids.prefetch_slot(owner, ask.client_order_id);
                Party::Seller(island)
            }),
            Names::Order(order) => self.orders.guess(order).map(|order| {
                self.orders.prefetch(order);
                Party::Order(order)
            }),
        };
        found.unwrap_or(Party::Unknown)
    }

    /// What is linked to an order, and the ladders of a book.
    #[inline]
    fn ask_for_neighbours(&self, lead: &Lead<'_>) {
        if let Party::Order(order) = lead.party {
            self.ask_for_linked(order);
        }
        ladders_of(lead.book).for_each(|ladder| ladder.prefetch(&self.levels));
    }

    /// An order's level, its owner, the orders next to it, and the record of its name, in which its end is noted.
    #[inline]
    fn ask_for_linked(&self, handle: Handle) {
        let order = &self.orders[handle];
        if let Some(level) = order.level() {
            self.levels.prefetch(level);
        }
        for links in [order.links(Chain::Level), order.links(Chain::Owner)] {
            for neighbour in [links.previous, links.next].into_iter().flatten() {
                self.orders.prefetch_links(neighbour);
            }
        }
        self.accounts.prefetch(order.account);
        if let Part::Ask(ask) = order.part() {
            self.roster.islands.prefetch(ask.island);
        } else if let Some(record) = self.orders.terms(handle).record {
            self.client_ids.prefetch_outcome(record);
        }
    }

    /// The order behind which a new one is listed among those of its owner.
    #[inline]
    fn ask_for_tails(&self, lead: &Lead<'_>) {
        let owned = match lead.party {
            Party::Bidder(account) => &self.accounts.get(account).bids,
            Party::Seller(island) => {
                let island = &self.roster.islands[island];
                if let Some(instrument) = lead.names.instrument() {
                    island.tiers.prefetch(instrument);
                }
                &island.asks
            }
            Party::Unknown | Party::Order(_) => return,
        };
        ladders_of(lead.book).for_each(|ladder| ladder.prefetch_more(&self.levels, &self.orders));
        if let Some(tail) = owned.tail() {
            self.orders.prefetch_links(tail);
        }
    }
}

/// The first ladder of either side of a book.
#[inline]
fn ladders_of(book: Option<&Book>) -> impl Iterator<Item = &Ladder> {
    let ladders = book.map(|book| [book.cells.first_ladder(), book.classes.first_ladder()]);
    ladders.into_iter().flatten().flatten()
}
