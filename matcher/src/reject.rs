//! Why the engine refuses, in the order in which it checks. Codes are stable: each has a page in `docs/errors/`.

use serde::{Deserialize, Serialize};

/// Why a command was refused. Listed in order of precedence: the first that applies is the one reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectReason {
    /// The region table drops or moves a region that is in use.
    RegionsConflict,
    /// The instrument's id is not the next one.
    InstrumentOutOfOrder,
    /// No such instrument.
    UnknownInstrument,
    /// No such session, or it has ended.
    UnknownSession,
    /// No such Island, or it has no live session, or this is not its session.
    UnknownIsland,
    /// The Island has no tier for this instrument: its canary job has not passed.
    NotQuotable,
    /// A region that the table does not have.
    UnknownRegion,
    /// The bid may be filled nowhere: it names no region.
    NoRegion,
    /// No jobs, or too many, or a minimum above them.
    InvalidQuantity,
    /// No work, or too much.
    InvalidUnits,
    /// Fill-or-kill asks, immediate ones that may only rest, and bids with a minimum that are not immediate make no
    /// sense.
    InvalidTimeInForce,
    /// The deadline has passed already.
    DeadlinePassed,
    /// Another order of this owner has the same client order id and another body.
    DuplicateClientOrderId,
    /// The owner has as many orders resting, or as many client order ids remembered, as one may have.
    TooManyOrders,
    /// The owner enters, cancels and amends more for each trade than one may.
    OrderToTrade,
    /// The instrument has as many eligibility classes as it may have.
    TooManyClasses,
    /// A bid above the instrument's price band, or an ask below it.
    OutsidePriceBand,
    /// Nobody who quotes could ever fill it.
    Unservable,
    /// The instrument is halted.
    Halted,
    /// The reservation does not fit 64 bits.
    Overflow,
    /// The reservation is more than the buying power that is free.
    InsufficientBuyingPower,
    /// Not all of a fill-or-kill bid, or less than a bid's minimum, could be filled at once.
    NotFilled,
    /// It may only rest, and would have traded.
    WouldTrade,
    /// No such order, or it is not this owner's, or it has ended.
    UnknownOrder,
    /// An amend must leave less than is left now, and not nothing.
    NotLess,
    /// No such lease, or it has ended.
    UnknownLease,
    /// The slot was given back before, or its session has ended.
    NoSlot,
    /// More work than the lease may bill.
    OverBilled,
    /// Failed over as often as a job may be.
    TooManyFailovers,
    /// Not a sum that can be moved.
    InvalidAmount,
}

impl RejectReason {
    /// The stable code: what a client may match on.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::RegionsConflict => "REGIONS_CONFLICT",
            Self::InstrumentOutOfOrder => "INSTRUMENT_OUT_OF_ORDER",
            Self::UnknownInstrument => "UNKNOWN_INSTRUMENT",
            Self::UnknownSession => "UNKNOWN_SESSION",
            Self::UnknownIsland => "UNKNOWN_ISLAND",
            Self::NotQuotable => "NOT_QUOTABLE",
            Self::UnknownRegion => "UNKNOWN_REGION",
            Self::NoRegion => "NO_REGION",
            Self::InvalidQuantity => "INVALID_QUANTITY",
            Self::InvalidUnits => "INVALID_UNITS",
            Self::InvalidTimeInForce => "INVALID_TIME_IN_FORCE",
            Self::DeadlinePassed => "DEADLINE_PASSED",
            Self::DuplicateClientOrderId => "DUPLICATE_CLIENT_ORDER_ID",
            Self::TooManyOrders => "TOO_MANY_ORDERS",
            Self::OrderToTrade => "ORDER_TO_TRADE",
            Self::TooManyClasses => "TOO_MANY_CLASSES",
            Self::OutsidePriceBand => "OUTSIDE_PRICE_BAND",
            Self::Unservable => "UNSERVABLE",
            Self::Halted => "HALTED",
            Self::Overflow => "OVERFLOW",
            Self::InsufficientBuyingPower => "INSUFFICIENT_BUYING_POWER",
            Self::NotFilled => "NOT_FILLED",
            Self::WouldTrade => "WOULD_TRADE",
            Self::UnknownOrder => "UNKNOWN_ORDER",
            Self::NotLess => "NOT_LESS",
            Self::UnknownLease => "UNKNOWN_LEASE",
            Self::NoSlot => "NO_SLOT",
            Self::OverBilled => "OVER_BILLED",
            Self::TooManyFailovers => "TOO_MANY_FAILOVERS",
            Self::InvalidAmount => "INVALID_AMOUNT",
        }
    }
}
