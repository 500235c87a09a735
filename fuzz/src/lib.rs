//! Fuzz targets: what must hold for any bytes.
//!
//! Each target is a function of bytes that panics when something is wrong, and knows no fuzzer. `fuzz_targets/` hands
//! it to libFuzzer (`cargo +nightly fuzz run commands --features libfuzzer`); `tests/it` replays the corpora of
//! `corpus/` through it, and what a fuzzer once found.

mod commands;
#[cfg(feature = "journal")]
mod journal;
mod order_flow;
mod snapshots;

pub use commands::{commands, snapshot_after};
#[cfg(feature = "journal")]
pub use journal::journal_records;
pub use order_flow::{Played, order_flow};
pub use snapshots::{body, snapshots};
