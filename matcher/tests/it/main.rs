//! The engine from the outside: scripts with their expected events, a naive engine to compare with, replays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod campaign;
mod naive_book;
mod scenario;

mod price_time;
