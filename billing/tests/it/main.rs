//! Billing from outside: over its store, over gRPC, over direct SQL, and under SIGKILL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod backup;
mod conformance;
mod contention;
mod crash;
mod database;
mod grouping;
mod hostile;
mod keys;
mod large;
mod maturing;
mod payouts;
mod postgres_database;
mod refunds;
mod resets;
mod scripts;
mod service_life;
mod settling;
mod sign_ups;
mod spending;
mod statements;
mod support;
mod syncs;
mod usage;
mod wire;
