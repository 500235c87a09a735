//! Double entry, reserved accounts and settlement, without a database.
//!
//! Owns the rules of money: which accounts there are, what a transfer may do to them, and what a finished piece of
//! work moves. A store loads the accounts that a change touches into a [`Ledger`], lets it decide, and writes down
//! what it decided; tests run the same ledger in memory beside the store.
//!
//! Invariants:
//! - a transfer names one debit and one credit account and a positive amount, so an unbalanced one cannot be said;
//! - a journal's legs are applied together or not at all;
//! - the sum over all accounts is zero;
//! - no account of a user ever owes: what is posted and what is held out of it never exceed what came in;
//! - applying a journal again changes nothing; applying another under its ids is refused;
//! - earnings mature in the order in which they were earned, by the delay of the Island's standing.
//!
//! Deliberately absent: time, storage, names of people, API keys.

mod account;
mod book;
mod maturity;
mod refund;
mod reject;
mod settlement;
mod transfer;
mod transfer_id;

pub use account::{AccountKey, AccountKind, Counters, CountersError, Direction, OWNER_MAX, Owner};
pub use book::{Applied, LEGS_MAX, Ledger};
pub use maturity::MaturityDelays;
pub use refund::RefundShares;
pub use reject::Refusal;
pub use settlement::{LEGS_OF_SETTLEMENT_MAX, Settlement, SettlementRefusal, UNCOVERED_MAX};
pub use transfer::{Mode, Transfer, TransferKind};
pub use transfer_id::{DIGEST_BITS, Leg, TransferSource};
