//! What the engine bounds, and why each bound has its size.
//!
//! Jobs per order and work units per job are bounded by `domain` (`JOBS_MAX`, `UNITS_MAX`). Sessions and accounts are
//! as many as the shell opens and billing funds: both are admitted before the engine hears of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Orders that one account may have resting. A pricing agent with a hundred instruments and a hundred levels each
/// fits; a runaway client does not fill the book.
pub const ORDERS_PER_ACCOUNT_MAX: u32 = 16_384;

/// Orders, cancels and amends that an account may send in a minute before its trades count: 2,000 a second, which is an
/// agent that moves a thousand quotes every half second.
pub const FREE_MESSAGES_PER_MINUTE: u32 = 120_000;

/// How many more each trade of that minute allows: the order-to-trade ratio. Market makers of other exchanges stay
/// below a few hundred.
pub const MESSAGES_PER_TRADE: u32 = 1_000;

/// Client order ids remembered per account: three orders a second around the clock, at about 64 bytes each.
pub const CLIENT_IDS_PER_ACCOUNT_MAX: u32 = 262_144;

/// How long a client order id is remembered after its order's end: a client that retries on the next day is
/// answered, and memory stays bounded.
pub const CLIENT_ID_KEPT: Duration = Duration::from_hours(24);

/// Jobs of one order whose ends are remembered with its client order id: as many as one request may carry. Of a larger
/// order the first ones are.
pub const ENDED_JOBS_PER_ORDER_MAX: u32 = 16;

/// Transfers remembered per account, latest first to last. Buying power moves in chunks ahead of need, and a shell
/// repeats only what it has not seen acknowledged, so a repeat is never this old. An older one would count again.
pub const TRANSFERS_PER_ACCOUNT_MAX: u32 = 4_096;

/// Eligibility classes with resting bids per instrument: an incoming ask looks at each class that covers its cell,
/// so this bounds the time of one ask.
pub const CLASSES_PER_INSTRUMENT_MAX: u16 = 256;

/// Instruments that one shard lists: the roadmap's largest market with room to spare.
pub const INSTRUMENTS_MAX: u32 = 65_536;

/// Islands with a live session. More belong on another shard.
pub const ISLANDS_MAX: u32 = 1 << 20;

/// How often a job may be bid for again. Three Islands that fail in a row say more about the job than about them.
pub const FAILOVERS_PER_JOB_MAX: u8 = 2;

/// The bounds of one engine. They are part of its state: a replay under other bounds could refuse otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// See [`ORDERS_PER_ACCOUNT_MAX`].
    pub orders_per_account_max: u32,
    /// See [`FREE_MESSAGES_PER_MINUTE`].
    pub free_messages_per_minute: u32,
    /// See [`MESSAGES_PER_TRADE`].
    pub messages_per_trade: u32,
    /// See [`CLIENT_IDS_PER_ACCOUNT_MAX`].
    pub client_ids_per_account_max: u32,
    /// See [`CLIENT_ID_KEPT`].
    pub client_id_kept: Duration,
    /// See [`ENDED_JOBS_PER_ORDER_MAX`].
    pub ended_jobs_per_order_max: u32,
    /// See [`TRANSFERS_PER_ACCOUNT_MAX`].
    pub transfers_per_account_max: u32,
    /// See [`CLASSES_PER_INSTRUMENT_MAX`], which is the most that it can be.
    pub classes_per_instrument_max: u16,
    /// See [`INSTRUMENTS_MAX`].
    pub instruments_max: u32,
    /// See [`ISLANDS_MAX`].
    pub islands_max: u32,
    /// See [`FAILOVERS_PER_JOB_MAX`].
    pub failovers_per_job_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            orders_per_account_max: ORDERS_PER_ACCOUNT_MAX,
            free_messages_per_minute: FREE_MESSAGES_PER_MINUTE,
            messages_per_trade: MESSAGES_PER_TRADE,
            client_ids_per_account_max: CLIENT_IDS_PER_ACCOUNT_MAX,
            client_id_kept: CLIENT_ID_KEPT,
            ended_jobs_per_order_max: ENDED_JOBS_PER_ORDER_MAX,
            transfers_per_account_max: TRANSFERS_PER_ACCOUNT_MAX,
            classes_per_instrument_max: CLASSES_PER_INSTRUMENT_MAX,
            instruments_max: INSTRUMENTS_MAX,
            islands_max: ISLANDS_MAX,
            failovers_per_job_max: FAILOVERS_PER_JOB_MAX,
        }
    }
}
