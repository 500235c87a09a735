//! What `Engine::explain_ask` and `Engine::explain_bid` answer: why an order does not trade, at one sequence.

use domain::{Eligibility, Excluded, InstrumentId, Jobs, LatencyValue, OrderId, Price, RoundTrip, Sequence};

use crate::{Alternative, CellKey};

/// A buyer: what he would accept, and what distance is worth to him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buyer {
    /// Which cells may fill his bid.
    pub eligibility: Eligibility,
    /// What distance is worth to him.
    pub latency_value: LatencyValue,
    /// Islands that may not fill it.
    pub excluded: Excluded,
    /// The most that he pays, or any price.
    pub limit: Option<Price>,
}

/// An ask to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskSubject {
    /// One that rests.
    Resting(OrderId),
    /// One that is thought of: it would come after all others at its price.
    Imagined {
        /// Where it would stand.
        cell: CellKey,
        /// At which price.
        price: Price,
    },
}

/// A bid to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BidSubject {
    /// One that rests.
    Resting(OrderId),
    /// One that is thought of.
    Imagined {
        /// What it would buy.
        instrument: InstrumentId,
        /// On which terms.
        buyer: Buyer,
    },
}

/// What keeps an ask from a buyer, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    /// The instrument is halted: nothing trades.
    Halted,
    /// Its region is not one of the buyer's.
    Region,
    /// Its tier is below the buyer's floor.
    Tier,
    /// Its karma band is below the buyer's floor.
    KarmaBand,
    /// The buyer names its Island as one that may not fill the bid.
    Excluded,
    /// It has one owner with the bid.
    SameOwner,
    /// Its Island has no free slot.
    Busy,
    /// It asks more than the buyer pays.
    TooDear,
}

/// How an ask stands before a buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskStanding {
    /// The command after which this was true.
    pub sequence: Sequence,
    /// Where it stands.
    pub cell: CellKey,
    /// Its price.
    pub price: Price,
    /// How far it is from the buyer.
    pub distance: RoundTrip,
    /// What keeps it from him; with none, the buyer's bid would reach it after those ahead.
    pub filters: Vec<Filter>,
    /// Asks that a large bid of his would trade with before this one.
    pub asks_ahead: u32,
    /// Jobs that those would take, at most [`EXPLAINED_JOBS_MAX`]; an Island's slots count once.
    pub jobs_ahead: u64,
    /// The lowest price that he could trade at now.
    pub best: Option<Price>,
}

/// How a bid stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BidStanding {
    /// The command after which this was true.
    pub sequence: Sequence,
    /// What it buys.
    pub instrument: InstrumentId,
    /// The most that it pays, or any price.
    pub limit: Option<Price>,
    /// Every cell that quotes, in order.
    pub cells: Vec<CellStanding>,
    /// The eligible cell with the lowest quote, and that quote, busy Islands' included.
    pub best: Option<Alternative>,
    /// Resting bids that the Island of that quote would meet before this one, were its ask at this bid's limit.
    pub bids_ahead: u32,
    /// Jobs that those want, at most [`EXPLAINED_JOBS_MAX`].
    pub jobs_ahead: u64,
    /// For a bid that nobody who quotes could fill: the nearest that quotes.
    pub alternative: Option<Alternative>,
}

/// How a cell stands before a buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellStanding {
    /// The cell.
    pub cell: CellKey,
    /// How far it is from the buyer.
    pub distance: RoundTrip,
    /// Its lowest price with a free slot.
    pub displayed: Option<Price>,
    /// Its lowest price of a busy Island.
    pub busy: Option<Price>,
    /// What keeps all of its asks from the buyer; none if one of them could trade with him now.
    pub filters: Vec<Filter>,
}

/// What a halted instrument would trade in a cell if it resumed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndicativeVolume {
    /// The cell of the asks.
    pub cell: CellKey,
    /// Jobs that would trade.
    pub jobs: u64,
    /// The lowest price of those trades.
    pub lowest: Price,
    /// The highest price of those trades.
    pub highest: Price,
}

/// Jobs ahead are counted up to here: an explanation is read between two commands, so its time is bounded.
pub const EXPLAINED_JOBS_MAX: Jobs = Jobs::new(10_000);
