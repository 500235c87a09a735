//! The ledger's rules, seen from outside, and judged by an auditor that shares no arithmetic with it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]
#![expect(
    clippy::disallowed_types,
    reason = "proptest's macros share strategies by Arc"
)]

mod auditor;
mod books;
mod journals;
mod properties;
mod settlements;
