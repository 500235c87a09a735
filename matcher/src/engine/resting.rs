//! Giving orders their place in the book and taking it away. Every change of a level's displayed jobs passes here.

use domain::{Eligibility, InstrumentId, Jobs, OrderId, Sequence, Side, TimeInForce};

use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::book::classes::Room;
use crate::book::ladder::BestPrice;
use crate::book::queue::Chain;
use crate::depth::LevelKey;
use crate::engine::{Engine, book_at, emit};
use crate::order::{Entry, Order, Part, Terms};
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
        let (id, owner, part, time_in_force) =
            (entry.id, entry.account, entry.part, entry.terms.time_in_force);
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

    /// Takes an order out of the engine, wherever it stands.
    #[inline]
    pub(crate) fn remove_order(&mut self, handle: Handle) -> (Order, Terms) {
        let (order, terms) = self.orders.remove(handle);
        self.unlink(&order);
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
        (order, terms)
    }

    /// Ends what is left of an order, and frees what was reserved for it.
    pub(crate) fn end_order(&mut self, order: Handle, reason: EndReason, events: &mut Vec<Event>) {
        let (order, terms) = self.remove_order(order);
        let (side, session) = match order.part() {
            Part::Bid(bid) => {
                self.note_bid(&terms, reason);
                let reserved = terms
                    .reserved_per_job
                    .times(order.leaves.get())
                    .expect("the whole order's reservation fitted");
                self.accounts.release(order.account, reserved);
                (Side::Bid, bid.session)
            }
            Part::Ask(ask) => (Side::Ask, self.roster.islands[ask.island].session),
        };
        emit(events, || {
            Event::OrderEnded(OrderEnded {
                order: order.id,
                account: self.accounts.get(order.account).id,
                session: self.roster.sessions[session].id,
                side,
                leaves: order.leaves,
                reason,
                resumes: terms.resumed().map(|resumed| resumed.job),
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
                self.book_mut(instrument).classes.define(class, eligibility);
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

    /// Takes an order out of its level, if it is in one.
    pub(crate) fn lift(&mut self, order: Handle) {
        let standing = self.orders[order].clone();
        self.orders[order].leave();
        self.unlink(&standing);
    }

    /// Takes an order, as it stood, out of its level.
    #[inline]
    fn unlink(&mut self, order: &Order) {
        let Some(handle) = order.level() else {
            return;
        };
        let shown = order.shown();
        let level = &mut self.levels[handle];
        let jobs_before = level.jobs;
        let jobs = jobs_before - u64::from(shown.get());
        level.jobs = jobs;
        level
            .queue
            .unlink(&mut self.orders, Chain::Level, order.links(Chain::Level));
        let is_emptied = level.queue.is_empty();
        let book = book_at(&mut self.books, order.instrument);
        match order.part() {
            Part::Bid(bid) => {
                let key = LevelKey::Bid(order.instrument, bid.class, order.price());
                self.depth.touch(key, jobs_before, jobs);
                if is_emptied {
                    let ladder = &mut book.classes.get_mut(bid.class).ladder;
                    if ladder.remove(&mut self.levels, handle) == BestPrice::Moved {
                        book.classes.refresh_top(bid.class);
                    }
                }
            }
            Part::Ask(ask) if shown.is_zero() => {
                if is_emptied {
                    let busy = &mut book.cells.cell_mut(ask.cell).busy;
                    busy.remove(&mut self.levels, handle);
                }
            }
            Part::Ask(ask) => {
                let cell = book.cells.cell_mut(ask.cell);
                let key = LevelKey::Ask(cell_key(order.instrument, cell.place), order.price());
                self.depth.touch(key, jobs_before, jobs);
                if is_emptied && cell.displayed.remove(&mut self.levels, handle) == BestPrice::Moved {
                    book.cells.refresh_top(ask.cell);
                }
            }
        }
    }

    /// Changes what an order in its level shows, which is not nothing; it keeps its place.
    #[inline]
    pub(crate) fn show(&mut self, order: Handle, displayed: Jobs) {
        assert!(
            !displayed.is_zero(),
            "an order that shows nothing leaves its level"
        );
        let key = self.level_key(order);
        let shown = self.orders[order].shown();
        let handle = self.orders[order]
            .level()
            .expect("an order that shows something is in its level");
        self.orders[order].stand(handle, displayed);
        let level = &mut self.levels[handle];
        let jobs_before = level.jobs;
        level.jobs = level.jobs - u64::from(shown.get()) + u64::from(displayed.get());
        self.depth.touch(key, jobs_before, level.jobs);
    }

    /// Publishes each level that changed since the last time, once, in order.
    #[inline]
    pub(crate) fn publish_depth(&mut self, events: &mut Vec<Event>) {
        if self.depth.is_empty() {
            return;
        }
        self.depth.settle();
        for touch in self.depth.touches() {
            let jobs = touch.jobs;
            if jobs == touch.jobs_before {
                continue;
            }
            emit(events, || match touch.level {
                LevelKey::Ask(cell, price) => Event::AskDepth(AskDepth { cell, price, jobs }),
                LevelKey::Bid(instrument, class, price) => Event::BidDepth(BidDepth {
                    instrument,
                    class,
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
        let order = &self.orders[handle];
        let (instrument, ticks) = (order.instrument, order.ticks);
        let book = book_at(&mut self.books, instrument);
        let (level_handle, key) = match order.part() {
            Part::Bid(bid) => {
                let ladder = &mut book.classes.get_mut(bid.class).ladder;
                let (level, best) = ladder.level_or_new(&mut self.levels, ticks);
                if best == BestPrice::Moved {
                    book.classes.refresh_top(bid.class);
                }
                (level, LevelKey::Bid(instrument, bid.class, ticks.price()))
            }
            Part::Ask(ask) => {
                let cell = book.cells.cell_mut(ask.cell);
                let place = cell.place;
                let (level, best) = cell.displayed.level_or_new(&mut self.levels, ticks);
                if best == BestPrice::Moved {
                    book.cells.refresh_top(ask.cell);
                }
                (level, LevelKey::Ask(cell_key(instrument, place), ticks.price()))
            }
        };
        self.orders[handle].stand(level_handle, displayed);
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

    #[inline]
    fn level_key(&self, order: Handle) -> LevelKey {
        let order = &self.orders[order];
        match order.part() {
            Part::Bid(bid) => LevelKey::Bid(order.instrument, bid.class, order.price()),
            Part::Ask(ask) => LevelKey::Ask(self.cell_of(order.instrument, ask.cell), order.price()),
        }
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
