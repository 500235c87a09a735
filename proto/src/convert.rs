//! Wire ↔ domain. A value that cannot be converted names its field, so that the caller can mend it.
//!
//! Out of the domain nothing fails; into it everything is checked here once, and nowhere behind.

pub mod agent;
pub mod billing;
mod error;
mod exchange;
pub mod order_entry;
mod receipt;
mod values;

pub use error::{FieldError, FieldResult};
pub use exchange::{
    BidTerms, JOBS_PER_REQUEST_MAX, JobInput, JobRequest, MESSAGES_MAX, Market, NAME_LENGTH_MAX, Speaker,
    TEMPERATURE_MAX, Turn, bid_terms_from_wire, bid_terms_to_wire, job_request_from_wire, temperature, top_p,
};
pub use receipt::{SignedReceipt, receipt_from_wire, receipt_to_wire};
pub use values::{
    band_from_wire, band_to_wire, cell_to_wire, digest_from_wire, id_from_wire, liquidity_from_wire,
    liquidity_to_wire, outcome_from_wire, outcome_to_wire, price_from_wire, required, self_trade_from_wire,
    self_trade_to_wire, side_to_wire, task_to_wire, text_from_wire, tier_from_wire, tier_to_wire,
    time_in_force_from_wire, time_in_force_to_wire,
};
