//! Giving orders their place in the book and taking it away. Every change of a level's displayed jobs passes here.

use domain::{Eligibility, InstrumentId, Jobs, OrderId, Sequence, Side, TimeInForce};

use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::book::classes::Room;
use crate::book::ladder::BestPrice;
use crate::book::queue::Chain;
use crate::depth::LevelKey;
use crate::engine::{Engine, book_at, emit};
use crate::order::{Entry, Order, Part};
use crate::orders::Whole;
use crate::timers::Timer;
use crate::{AskDepth, BidDepth, CellKey, ClassDefinition, EndReason, Event, OrderEnded};

/// Where an order that takes its place stands among those of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Behind all others.
    New,
    /// Where it stood before.
    Kept,
}

impl Engine {
    /// Takes an order into the engine, without a place in the book yet.
    #[inline(always)]
    pub(crate) fn insert_order(&mut self, entry: Entry) -> Handle {
        let (id, owner, part, time_in_force) = (entry.id, entry.account, entry.part, entry.time_in_force);
        let order = self.orders.insert(entry);
        let account = self.accounts.get_mut(owner);
        account.order_count += 1;
        match part {
            Part::Bid(bid) => {
                account.bids.push_back(&mut self.orders, Chain::Owner, order);
                if account.session != Some(bid.session) {
                    account.session = Some(bid.session);
                    self.roster.visit(bid.session, owner);
                }
            }
            Part::Ask(ask) => {
                let asks = &mut self.roster.islands[ask.island].asks;
                asks.push_back(&mut self.orders, Chain::Owner, order);
            }
        }
        if let TimeInForce::Gtd(deadline) = time_in_force {
            let timer = self.timers.arm(deadline, armed_by(id), Timer::Order(order));
            self.orders.terms_mut(order).timer = Some(timer);
        }
        order
    }

    /// Takes an order out of the engine, wherever it stands, and tells what it was.
    #[inline(always)]
    pub(crate) fn remove_order(&mut self, handle: Handle) -> Whole {
        // Taken out first: what is linked to it is brought in order from what it was, and its place is not read again.
        let whole = self.orders.remove(handle);
        let Whole { order, terms, .. } = &whole;
        self.unlink(order);
        let account = self.accounts.get_mut(order.account);
        account.order_count -= 1;
        let owned = match order.part() {
            Part::Bid(_) => &mut account.bids,
            Part::Ask(ask) => &mut self.roster.islands[ask.island].asks,
        };
        owned.unlink(&mut self.orders, Chain::Owner, order.links(Chain::Owner));
        if let Some(timer) = terms.timer {
            self.timers.disarm(timer);
        }
        if let Some(record) = terms.record {
            self.client_ids.end(record, self.now, self.limits.client_id_kept);
        }
        whole
    }

    /// Ends what is left of an order, and frees what was reserved for it.
    pub(crate) fn end_order(&mut self, handle: Handle, reason: EndReason, events: &mut Vec<Event>) {
        let whole = self.remove_order(handle);
        let order = &whole.order;
        let account = self.accounts.get(order.account).id;
        let (side, session) = match order.part() {
            Part::Bid(bid) => {
                self.note_bid(&whole, reason);
                self.accounts.release(order.account, whole.reserved());
                (Side::Bid, bid.session)
            }
            Part::Ask(ask) => (Side::Ask, self.roster.islands[ask.island].session),
        };
        emit(events, || {
            Event::OrderEnded(OrderEnded {
                order: order.id,
                account,
                session: self.roster.sessions[session].id,
                side,
                leaves: order.leaves,
                reason,
                resumes: whole.resumed().map(|resumed| resumed.job),
            })
        });
    }

    /// Rests a bid in the class of its eligibility. The caller has made sure that there is room for the class.
    #[inline]
    pub(crate) fn rest_bid(
        &mut self,
        order: Handle,
        eligibility: Eligibility,
        room: Room,
        events: &mut Vec<Event>,
    ) {
        let class = match room {
            Room::Known(class) => class,
            Room::Unused(class) | Room::Reused(class) => {
                if matches!(room, Room::Reused(_)) {
                    // What the number meant before is published before it changes its meaning.
                    self.publish_depth(events);
                }
                let instrument = self.orders[order].instrument;
                self.book_mut(instrument).define_class(class, eligibility);
                events.push(Event::ClassCreated(ClassDefinition {
                    instrument,
                    class,
                    eligibility,
                }));
                class
            }
        };
        let resting = &mut self.orders[order];
        resting.move_to(class);
        resting.priority = self.next_priority;
        self.next_priority += 1;
        self.link_bid(order);
    }

    /// Puts a bid at the back of its level, under the class and priority that it has.
    #[inline]
    pub(crate) fn link_bid(&mut self, order: Handle) {
        let leaves = self.orders[order].leaves;
        self.link(order, leaves, Priority::New);
    }

    /// Rests an ask in its cell, showing what its Island's free slots allow.
    #[inline]
    pub(crate) fn rest_ask(&mut self, order: Handle, priority: Priority) {
        let resting = &mut self.orders[order];
        let ask = resting.ask();
        let displayed = resting.leaves.min(self.roster.islands[ask.island].free());
        if displayed.is_zero() {
            let (instrument, ticks) = (resting.instrument, resting.ticks);
            let busy = &mut book_at(&mut self.books, instrument).cells.cell_mut(ask.cell).busy;
            let (level, _) = busy.level_or_new(&mut self.levels, ticks);
            self.orders[order].stand(level, Jobs::ZERO);
            let queue = &mut self.levels[level].queue;
            queue.push_back(&mut self.orders, Chain::Level, order);
            return;
        }
        if priority == Priority::New {
            resting.priority = self.next_priority;
            self.next_priority += 1;
        }
        self.link(order, displayed, priority);
    }

    /// Takes an order out of its level, if it is in one; it stands nowhere then.
    pub(crate) fn lift(&mut self, handle: Handle) {
        let order = self.orders[handle].clone();
        self.unlink(&order);
        self.orders[handle].leave();
    }

    /// Takes what an order was out of its level, if it was in one.
    #[inline(always)]
    fn unlink(&mut self, order: &Order) {
        let Some(level_handle) = order.level() else {
            return;
        };
        let (shown, links, part) = (order.shown(), order.links(Chain::Level), order.part());
        let key = order.level_key();
        let level = &mut self.levels[level_handle];
        let jobs_before = level.jobs;
        let jobs = jobs_before - u64::from(shown.get());
        level.jobs = jobs;
        level.queue.unlink(&mut self.orders, Chain::Level, links);
        let is_emptied = level.queue.is_empty();
        if !shown.is_zero() {
            self.depth.touch(key, jobs_before, jobs);
        }
        if !is_emptied {
            return;
        }
        let book = book_at(&mut self.books, key.instrument);
        match part {
            Part::Bid(bid) => {
                let ladder = &mut book.classes.get_mut(bid.class).ladder;
                if ladder.remove(&mut self.levels, level_handle) == BestPrice::Moved {
                    book.classes.refresh_top(bid.class);
                }
            }
            Part::Ask(ask) if shown.is_zero() => {
                let busy = &mut book.cells.cell_mut(ask.cell).busy;
                busy.remove(&mut self.levels, level_handle);
            }
            Part::Ask(ask) => {
                let displayed = &mut book.cells.cell_mut(ask.cell).displayed;
                if displayed.remove(&mut self.levels, level_handle) == BestPrice::Moved {
                    book.cells.refresh_top(ask.cell);
                }
            }
        }
    }

    /// Changes what an order in its level shows, which is not nothing; it keeps its place.
    #[inline]
    pub(crate) fn show(&mut self, handle: Handle, displayed: Jobs) {
        assert!(
            !displayed.is_zero(),
            "an order that shows nothing leaves its level"
        );
        let order = &mut self.orders[handle];
        let (shown, key) = (order.shown(), order.level_key());
        let level_handle = order
            .level()
            .expect("an order that shows something is in its level");
        order.stand(level_handle, displayed);
        let level = &mut self.levels[level_handle];
        let jobs_before = level.jobs;
        level.jobs = level.jobs - u64::from(shown.get()) + u64::from(displayed.get());
        self.depth.touch(key, jobs_before, level.jobs);
    }

    /// Publishes each level that changed since the last time, once, in order: asks by cell and price, then bids by
    /// class and price.
    #[inline]
    pub(crate) fn publish_depth(&mut self, events: &mut Vec<Event>) {
        if self.depth.is_empty() {
            return;
        }
        let books = &self.books;
        let place_of = |level: LevelKey| {
            let position = usize::try_from(level.instrument.get()).expect("32 bits fit a usize");
            books[position].cells.cell(level.shelf).place
        };
        self.depth.settle(|level| match level.side {
            Side::Ask => (0, level.instrument, Some(place_of(level)), 0, level.ticks),
            Side::Bid => (1, level.instrument, None, level.shelf, level.ticks),
        });
        for touch in self.depth.touches() {
            let (level, jobs) = (touch.level, touch.jobs);
            if jobs == touch.jobs_before {
                continue;
            }
            let price = level.ticks.price();
            emit(events, || match level.side {
                Side::Ask => Event::AskDepth(AskDepth {
                    cell: cell_key(level.instrument, place_of(level)),
                    price,
                    jobs,
                }),
                Side::Bid => Event::BidDepth(BidDepth {
                    instrument: level.instrument,
                    class: level.shelf,
                    price,
                    jobs,
                }),
            });
        }
        self.depth.clear();
    }

    /// Puts an order into its ladder.
    #[inline]
    fn link(&mut self, handle: Handle, displayed: Jobs, priority: Priority) {
        let order = &mut self.orders[handle];
        let key = order.level_key();
        let book = book_at(&mut self.books, key.instrument);
        let level_handle = match order.part() {
            Part::Bid(bid) => {
                let ladder = &mut book.classes.get_mut(bid.class).ladder;
                let (level, best) = ladder.level_or_new(&mut self.levels, key.ticks);
                if best == BestPrice::Moved {
                    book.classes.refresh_top(bid.class);
                }
                level
            }
            Part::Ask(ask) => {
                let displayed = &mut book.cells.cell_mut(ask.cell).displayed;
                let (level, best) = displayed.level_or_new(&mut self.levels, key.ticks);
                if best == BestPrice::Moved {
                    book.cells.refresh_top(ask.cell);
                }
                level
            }
        };
        order.stand(level_handle, displayed);
        let level = &mut self.levels[level_handle];
        let jobs_before = level.jobs;
        let jobs = jobs_before + u64::from(displayed.get());
        level.jobs = jobs;
        match priority {
            Priority::New => level.queue.push_back(&mut self.orders, Chain::Level, handle),
            Priority::Kept => level
                .queue
                .insert_by_priority(&mut self.orders, Chain::Level, handle),
        }
        self.depth.touch(key, jobs_before, jobs);
    }

    /// Where an ask stands, as events name it.
    pub(crate) fn cell_of(&self, instrument: InstrumentId, cell: u16) -> CellKey {
        cell_key(instrument, self.book(instrument).cells.cell(cell).place)
    }
}

/// A cell as events name it.
pub(crate) fn cell_key(instrument: InstrumentId, place: Place) -> CellKey {
    CellKey {
        instrument,
        region: place.region,
        tier: place.tier,
        band: place.band,
    }
}

/// The command that armed an order's deadline: the one that placed it.
pub(crate) fn armed_by(order: OrderId) -> Sequence {
    Sequence::new(order.get())
}
