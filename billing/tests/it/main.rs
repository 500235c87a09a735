//! Billing from outside: over its store, over gRPC, over direct SQL, and under SIGKILL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod conformance;
mod crash;
mod database;
mod grouping;
mod hostile;
mod service_life;
mod settling;
mod support;
mod wire;
