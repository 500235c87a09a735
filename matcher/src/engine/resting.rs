//! Giving orders their place in the book and taking it away. Every change of a level's displayed jobs passes here.

use domain::{InstrumentId, Jobs, OrderId, Sequence, Side, TimeInForce};

use crate::book::arena::Handle;
use crate::book::cells::Place;
use crate::book::classes::Room;
use crate::book::queue::Chain;
use crate::depth::LevelKey;
use crate::engine::Engine;
use crate::order::{Bid, Entry, Order, Part, Standing};
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
    pub(crate) fn insert_order(&mut self, entry: Entry) -> Handle {
        let (id, account, time_in_force) = (entry.id, entry.account, entry.time_in_force);
        let order = self.orders.insert(Order::new(entry));
        let holder = match &self.orders[order].part {
            Part::Bid(bid) => &mut self.roster.sessions[bid.session].bids,
            Part::Ask(ask) => &mut self.roster.islands[ask.island].asks,
        };
        holder.push_back(&mut self.orders, Chain::Holder, order);
        let account = self.accounts.get_mut(account);
        account.orders.push_back(&mut self.orders, Chain::Account, order);
        account.order_count += 1;
        if let TimeInForce::Gtd(deadline) = time_in_force {
            self.timers.arm(deadline, armed_by(id), Timer::Order(order));
        }
        order
    }

    /// Takes an order out of the engine, wherever it stands.
    pub(crate) fn remove_order(&mut self, order: Handle) -> Order {
        if self.orders[order].standing != Standing::Away {
            self.lift(order);
        }
        let holder = match &self.orders[order].part {
            Part::Bid(bid) => &mut self.roster.sessions[bid.session].bids,
            Part::Ask(ask) => &mut self.roster.islands[ask.island].asks,
        };
        holder.remove(&mut self.orders, Chain::Holder, order);
        let account = self.accounts.get_mut(self.orders[order].account);
        account.orders.remove(&mut self.orders, Chain::Account, order);
        account.order_count -= 1;
        let order = self.orders.remove(order);
        if let TimeInForce::Gtd(deadline) = order.time_in_force {
            self.timers.disarm(deadline, armed_by(order.id));
        }
        if let Some(record) = order.record {
            self.client_ids.end(record, self.now, self.limits.client_id_kept);
        }
        order
    }

    /// Ends what is left of an order, and frees what was reserved for it.
    pub(crate) fn end_order(&mut self, order: Handle, reason: EndReason, events: &mut Vec<Event>) {
        let order = self.remove_order(order);
        let (side, session) = match &order.part {
            Part::Bid(bid) => {
                let reserved = bid
                    .reserved_per_job
                    .times(order.leaves.get())
                    .expect("the whole order's reservation fitted");
                self.accounts.release(order.account, reserved);
                (Side::Bid, bid.session)
            }
            Part::Ask(ask) => (Side::Ask, self.roster.islands[ask.island].session),
        };
        events.push(Event::OrderEnded(OrderEnded {
            order: order.id,
            account: self.accounts.get(order.account).id,
            session: self.roster.sessions[session].id,
            side,
            leaves: order.leaves,
            reason,
            resumes: order.resumed().map(|resumed| resumed.job),
        }));
    }

    /// Rests a bid in its class. The caller has made sure that there is room for the class.
    pub(crate) fn rest_bid(&mut self, order: Handle, room: Room, events: &mut Vec<Event>) {
        let instrument = self.orders[order].instrument;
        let eligibility = self.orders[order].bid().eligibility;
        let class = match room {
            Room::Known(class) => class,
            Room::Unused(class) | Room::Reused(class) => {
                if matches!(room, Room::Reused(_)) {
                    // What the number meant before is published before it changes its meaning.
                    self.publish_depth(events);
                }
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
        if let Part::Bid(bid) = &mut resting.part {
            bid.class = class;
        }
        resting.priority = self.next_priority;
        self.next_priority += 1;
        self.link_bid(order);
    }

    /// Puts a bid at the back of its level, under the class and priority that it has.
    pub(crate) fn link_bid(&mut self, order: Handle) {
        let leaves = self.orders[order].leaves;
        self.link(order, leaves, Priority::New);
    }

    /// Rests an ask in its cell, showing what its Island's free slots allow.
    pub(crate) fn rest_ask(&mut self, order: Handle, priority: Priority) {
        let resting = &mut self.orders[order];
        let island = &self.roster.islands[resting.ask().island];
        let displayed = resting.leaves.min(island.free());
        if displayed.is_zero() {
            resting.standing = Standing::Busy;
            let (instrument, price, cell) = (resting.instrument, resting.price, resting.ask().cell);
            let position = usize::try_from(instrument.get()).expect("32 bits fit a usize");
            let busy = &mut self.books[position].cells.cell_mut(cell).busy;
            let queue = &mut busy.level_or_new(price).queue;
            queue.push_back(&mut self.orders, Chain::Level, order);
            return;
        }
        if priority == Priority::New {
            resting.priority = self.next_priority;
            self.next_priority += 1;
        }
        self.link(order, displayed, priority);
    }

    /// Takes an order out of its ladder.
    pub(crate) fn lift(&mut self, order: Handle) {
        let standing = std::mem::replace(&mut self.orders[order].standing, Standing::Away);
        let shown = match standing {
            Standing::Away => return,
            Standing::Displayed(jobs) => jobs,
            Standing::Busy => Jobs::ZERO,
        };
        let (instrument, price) = (self.orders[order].instrument, self.orders[order].price);
        let position = usize::try_from(instrument.get()).expect("32 bits fit a usize");
        let book = &mut self.books[position];
        let ladder = match &self.orders[order].part {
            Part::Bid(Bid { class, .. }) => &mut book.classes.get_mut(*class).ladder,
            Part::Ask(ask) => {
                let cell = book.cells.cell_mut(ask.cell);
                match standing {
                    Standing::Displayed(_) => &mut cell.displayed,
                    Standing::Busy | Standing::Away => &mut cell.busy,
                }
            }
        };
        let level = ladder.level_or_new(price);
        let jobs_before = level.jobs;
        level.jobs -= u64::from(shown.get());
        level.queue.remove(&mut self.orders, Chain::Level, order);
        let emptied = level.queue.is_empty();
        if emptied {
            ladder.drop_if_empty(price);
        }
        if matches!(standing, Standing::Displayed(_)) {
            self.depth.touch(self.level_key(order), jobs_before);
            if emptied {
                self.refresh_top(order);
            }
        }
    }

    /// Changes what an order in its ladder shows, which is not nothing; it keeps its place.
    pub(crate) fn show(&mut self, order: Handle, displayed: Jobs) {
        assert!(
            !displayed.is_zero(),
            "an order that shows nothing leaves its level"
        );
        let standing = std::mem::replace(&mut self.orders[order].standing, Standing::Displayed(displayed));
        let shown = match standing {
            Standing::Displayed(jobs) => jobs,
            Standing::Away | Standing::Busy => Jobs::ZERO,
        };
        let key = self.level_key(order);
        let level = self.displayed_level(order);
        let jobs_before = level.jobs;
        level.jobs = level.jobs - u64::from(shown.get()) + u64::from(displayed.get());
        self.depth.touch(key, jobs_before);
    }

    /// Publishes each level that changed since the last time, once, in order.
    pub(crate) fn publish_depth(&mut self, events: &mut Vec<Event>) {
        let touches = self.depth.take();
        for touch in &touches {
            let jobs = self.displayed_jobs(touch.level);
            if jobs == touch.jobs_before {
                continue;
            }
            events.push(match touch.level {
                LevelKey::Ask(cell, price) => Event::AskDepth(AskDepth { cell, price, jobs }),
                LevelKey::Bid(instrument, class, price) => Event::BidDepth(BidDepth {
                    instrument,
                    class,
                    price,
                    jobs,
                }),
            });
        }
        self.depth.recycle(touches);
    }

    /// Puts an order into its ladder.
    fn link(&mut self, order: Handle, displayed: Jobs, priority: Priority) {
        self.orders[order].standing = Standing::Displayed(displayed);
        let key = self.level_key(order);
        let (instrument, price) = (self.orders[order].instrument, self.orders[order].price);
        let position = usize::try_from(instrument.get()).expect("32 bits fit a usize");
        let book = &mut self.books[position];
        let ladder = match &self.orders[order].part {
            Part::Bid(bid) => &mut book.classes.get_mut(bid.class).ladder,
            Part::Ask(ask) => &mut book.cells.cell_mut(ask.cell).displayed,
        };
        let level = ladder.level_or_new(price);
        let (jobs_before, opened) = (level.jobs, level.queue.is_empty());
        level.jobs += u64::from(displayed.get());
        match priority {
            Priority::New => level.queue.push_back(&mut self.orders, Chain::Level, order),
            Priority::Kept => level
                .queue
                .insert_by_priority(&mut self.orders, Chain::Level, order),
        }
        self.depth.touch(key, jobs_before);
        if opened {
            self.refresh_top(order);
        }
    }

    fn refresh_top(&mut self, order: Handle) {
        let instrument = self.orders[order].instrument;
        let position = usize::try_from(instrument.get()).expect("32 bits fit a usize");
        match &self.orders[order].part {
            Part::Bid(bid) => self.books[position].classes.refresh_top(bid.class),
            Part::Ask(ask) => self.books[position].cells.refresh_top(ask.cell),
        }
    }

    fn displayed_level(&mut self, order: Handle) -> &mut crate::book::ladder::Level {
        let (instrument, price) = (self.orders[order].instrument, self.orders[order].price);
        let position = usize::try_from(instrument.get()).expect("32 bits fit a usize");
        let book = &mut self.books[position];
        match &self.orders[order].part {
            Part::Bid(bid) => book.classes.get_mut(bid.class).ladder.level_or_new(price),
            Part::Ask(ask) => book.cells.cell_mut(ask.cell).displayed.level_or_new(price),
        }
    }

    fn level_key(&self, order: Handle) -> LevelKey {
        let order = &self.orders[order];
        match &order.part {
            Part::Bid(bid) => LevelKey::Bid(order.instrument, bid.class, order.price),
            Part::Ask(ask) => {
                let place = self.book(order.instrument).cells.cell(ask.cell).place;
                LevelKey::Ask(cell_key(order.instrument, place), order.price)
            }
        }
    }

    fn displayed_jobs(&self, level: LevelKey) -> u64 {
        let level = match level {
            LevelKey::Ask(cell, price) => {
                let place = Place {
                    region: cell.region,
                    tier: cell.tier,
                    band: cell.band,
                };
                self.book(cell.instrument)
                    .cells
                    .find(place)
                    .and_then(|cell| cell.displayed.level(price))
            }
            LevelKey::Bid(instrument, class, price) => {
                self.book(instrument).classes.get(class).ladder.level(price)
            }
        };
        level.map_or(0, |level| level.jobs)
    }

    /// Where an ask stands, as events name it.
    pub(crate) fn cell_of(&self, instrument: InstrumentId, cell: Handle) -> CellKey {
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
