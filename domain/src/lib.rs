//! What Atoll's parts speak about: ids, prices, quantities, credits, orders, trades, leases, receipts.
//!
//! Owns the newtypes that every other crate passes around, and the arithmetic that is allowed on them.
//! Invariants:
//! - a value that exists is legal: constructors check, fields are private where an invariant holds;
//! - money, work and time are integers; arithmetic on them is checked and named for what it means;
//! - nothing here reads a clock, a file, a socket, the environment or a random source.
//!
//! Deliberately absent: wire formats (`proto`), matching (`matcher`), balances (`ledger`).

mod credits;
mod id;
mod instrument;
mod lease;
mod order;
mod price;
mod quantity;
mod receipt;
mod region;
mod standing;
mod tier;
mod time;
mod trade;

pub use credits::{Credits, CreditsError, NANO_PER_CREDIT};
pub use id::{
    AccountId, ClientOrderId, IdError, InstrumentId, IslandId, JobId, KeyId, LeaseId, OrderId, PrefixedId,
    ReceiptId, Sequence, SessionId, ShardId, TradeId, TransferId,
};
pub use instrument::{InputWeight, InputWeightError, Instrument, SpeedFloors, Task, TierFloor};
pub use lease::{CancelCause, EndCause, JobEnd, JobOutcome, LeaseEpoch, LeaseFailure};
pub use order::{
    EXCLUDED_ISLANDS_MAX, Eligibility, Excluded, ExecutionType, LatencyValue, Liquidity, OrderStatus,
    PayloadDigest, SelfTradeMode, Side, TimeInForce, TooManyExcluded,
};
pub use price::{PRICE_TICK, Price, PriceBand, PriceBandError, PriceError};
pub use quantity::{JOBS_MAX, Jobs, JobsError, Slots, TokenCount, UNITS_MAX, Units};
pub use receipt::{ChainHead, Digest, RECEIPT_DOMAIN, ReceiptBody, ReceiptKind, TOKEN_CHAIN_DOMAIN};
pub use region::{REGIONS_MAX, Region, RegionError, RegionSet, RegionTable, RoundTrip};
pub use standing::Standing;
pub use tier::{Karma, KarmaBand, KarmaError, Tier, TierParseError};
pub use time::Timestamp;
pub use trade::{Bill, BillError, FEE_PER_THOUSAND, POOL_SHARE_DIVISOR, RunningBill, fee_on};
