//! The engine: one writer, commands in, events out.
//!
//! Owns everything that a command's outcome depends on: books, accounts, sessions, Islands, leases, timers. Each
//! command first fires the timers that are due, then is checked whole, then carried out; what it changed in the depth
//! is published last. Invariants: a refused command changes nothing but the clock; nothing here depends on the order
//! of a hash map, on the machine, or on how the state was reached (a restored engine equals the one that was saved).

mod anticipate;
mod cancel;
mod client_orders;
mod ended_jobs;
mod explain;
mod failover;
mod halt;
mod island;
mod lease;
mod listing;
mod money;
mod place_ask;
mod place_bid;
mod query;
mod quotes;
mod refusal;
pub(crate) mod resting;
mod session;
mod slots;
mod timers;
mod trading;

use domain::{InstrumentId, RegionTable, Sequence, Timestamp, TradeId};

use crate::book::Book;
use crate::book::ladder::Levels;
use crate::client_ids::ClientIds;
use crate::crossing::Plan;
use crate::depth::DepthLog;
use crate::ended_jobs::EndedJobs;
use crate::engine::refusal::{Refusal, Subject};
use crate::leases::Leases;
use crate::orders::Orders;
use crate::risk::Accounts;
use crate::roster::Roster;
use crate::timers::Timers;
use crate::{Command, Event, Limits, Rejected, Stamped};

/// How much an engine sets aside beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Orders that rest at once.
    pub orders: usize,
    /// Client order ids that are remembered at once.
    pub client_order_ids: usize,
    /// Trades with open leases at once.
    pub trades: usize,
}

/// The order book and all that its checks depend on.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) limits: Limits,
    pub(crate) sequence: Sequence,
    pub(crate) now: Timestamp,
    pub(crate) next_priority: u64,
    pub(crate) next_trade: TradeId,
    pub(crate) regions: Option<RegionTable>,
    /// By instrument.
    pub(crate) books: Vec<Book>,
    pub(crate) orders: Orders,
    /// Of every ladder of every book.
    pub(crate) levels: Levels,
    pub(crate) accounts: Accounts,
    pub(crate) roster: Roster,
    pub(crate) leases: Leases,
    pub(crate) client_ids: ClientIds,
    pub(crate) ended_jobs: EndedJobs,
    pub(crate) timers: Timers,
    /// Empty between commands.
    pub(crate) depth: DepthLog,
    /// Kept for its vectors; away while a plan is carried out.
    spare_plan: Option<Box<Plan>>,
}

impl Engine {
    /// An engine before its first command.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sequence: Sequence::ZERO,
            now: Timestamp::ZERO,
            next_priority: 1,
            next_trade: TradeId::new(1),
            regions: None,
            books: Vec::new(),
            orders: Orders::default(),
            levels: Levels::default(),
            accounts: Accounts::default(),
            roster: Roster::default(),
            leases: Leases::default(),
            client_ids: ClientIds::default(),
            ended_jobs: EndedJobs::default(),
            timers: Timers::default(),
            depth: DepthLog::default(),
            spare_plan: Some(Box::default()),
        }
    }

    /// Sets memory aside beforehand, so that applying commands takes none while no more than this is in the engine.
    pub fn make_room(&mut self, room: &Room) {
        self.orders.make_room(room.orders);
        self.levels.make_room(room.orders);
        self.client_ids.make_room(room.client_order_ids);
        self.leases.make_room(room.trades);
    }

    /// Applies one command and appends what it did to `events`.
    ///
    /// # Panics
    /// When the command is not the next one, or its time lies before that of the last one.
    pub fn apply(&mut self, stamped: &Stamped, events: &mut Vec<Event>) {
        assert_eq!(
            stamped.sequence,
            self.sequence.next(),
            "commands come in the order of their sequence"
        );
        assert!(stamped.at >= self.now, "time never runs backwards");
        self.sequence = stamped.sequence;
        self.now = stamped.at;
        if self.is_any_timer_due() {
            self.fire_timers(events);
        }
        if let Err(refusal) = self.carry_out(&stamped.command, events) {
            report(refusal, &stamped.command, events);
        }
        self.publish_depth(events);
    }

    #[inline(always)]
    fn carry_out(&mut self, command: &Command, events: &mut Vec<Event>) -> Result<(), Refusal> {
        match command {
            Command::SetRegions(table) => self.set_regions(table, events),
            Command::ListInstrument(listing) => self.list_instrument(listing, events),
            Command::OpenSession => {
                self.open_session(events);
                Ok(())
            }
            Command::LoseSessions(lost) => self.lose_sessions(lost, events),
            Command::Fund(fund) => self.fund(fund, events),
            Command::Defund(defund) => self.defund(defund, events),
            Command::JoinIsland(join) => self.join_island(join, events),
            Command::SetTier(set) => self.set_tier(set, events),
            Command::SetBand(set) => self.set_band(set, events),
            Command::SetSlots(set) => self.set_slots(set, events),
            Command::PlaceBid(bid) => self.place_bid(bid, events),
            Command::PlaceAsk(ask) => self.place_ask(ask, events),
            Command::Cancel(cancel) => self.cancel(cancel, events),
            Command::CancelAll(cancel) => self.cancel_all(cancel, events),
            Command::Amend(amend) => self.amend(amend, events),
            Command::SetDeadMan(set) => self.set_dead_man(set, events),
            Command::ReleaseSlot(release) => self.release_slot(release, events),
            Command::Checkpoint(checkpoint) => self.checkpoint(checkpoint, events),
            Command::CloseLease(close) => self.close_lease(close, events),
            Command::FailOver(failover) => self.fail_over(failover, events),
            Command::Halt(instrument) => self.halt(*instrument, events),
            Command::Resume(instrument) => self.resume(*instrument, events),
            Command::Tick => Ok(()),
            Command::SetPriceBand(set) => self.set_price_band(set, events),
        }
    }

    /// A plan with room for one more incoming order, to be put back through [`Self::keep_plan`].
    #[inline]
    pub(crate) fn take_plan(&mut self) -> Box<Plan> {
        self.spare_plan.take().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn keep_plan(&mut self, plan: Box<Plan>) {
        self.spare_plan = Some(plan);
    }

    /// The book of a listed instrument.
    #[inline]
    pub(crate) fn book(&self, instrument: InstrumentId) -> &Book {
        self.find_book(instrument)
            .expect("orders and commands in hand name listed instruments")
    }

    #[inline]
    pub(crate) fn book_mut(&mut self, instrument: InstrumentId) -> &mut Book {
        book_at(&mut self.books, instrument)
    }

    #[inline]
    pub(crate) fn find_book(&self, instrument: InstrumentId) -> Option<&Book> {
        self.books.get(usize::try_from(instrument.get()).ok()?)
    }
}

/// Appends the event of a refusal.
#[cold]
fn report(refusal: Refusal, command: &Command, events: &mut Vec<Event>) {
    let subject = Subject::of(command);
    events.push(Event::Rejected(Rejected {
        account: subject.account,
        client_order_id: subject.client_order_id,
        order: subject.order,
        reason: refusal.reason,
        alternative: refusal.alternative,
        shortfall: refusal.shortfall,
    }));
}

/// Appends an event, written where it belongs: made before, as by `push`, it would be copied there, and copying what
/// was just written in pieces stalls.
#[inline(always)]
pub(crate) fn emit(events: &mut Vec<Event>, event: impl FnOnce() -> Event) {
    events.extend(std::iter::once_with(event));
}

/// The book of a listed instrument, when other parts of the engine are in use.
#[inline]
pub(crate) fn book_at(books: &mut [Book], instrument: InstrumentId) -> &mut Book {
    let position = usize::try_from(instrument.get()).expect("32 bits fit a usize");
    &mut books[position]
}
